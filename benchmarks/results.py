"""What a benchmark found, as a line for people and a line for `python -m benchmarks`."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

MARK = "= "


@dataclass(frozen=True)
class Result:
    """One line of the table.

    With a reference, `target` bounds the ratio of wall times; without one, it bounds `ours`.

    Args:
        what: What was measured.
        ours: Headrace's figure.
        target: What it should not exceed.
        reference: The yardstick's figure, of the same run.
        unit: Of both.
        ours_cpu: Headrace's processor seconds.
        reference_cpu: The yardstick's.
    """

    what: str
    ours: float
    target: float
    reference: float | None = None
    unit: str = "s"
    ours_cpu: float | None = None
    reference_cpu: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.reference if self.reference else None

    @property
    def ratio_cpu(self) -> float | None:
        return self.ours_cpu / self.reference_cpu if self.ours_cpu is not None and self.reference_cpu else None

    @property
    def is_met(self) -> bool:
        return (self.ours if self.reference is None else self.ours / self.reference) <= self.target

    def cells(self) -> tuple[str, ...]:
        """What, ours, processor time of ours, reference, ratio, ratio of processor time, target, whether it is met."""

        def shown(value: float | None, unit: str) -> str:
            return "" if value is None else f"{value:,.0f} {unit}" if value >= 100 else f"{value:.2f} {unit}"

        target = shown(self.target, self.unit) if self.reference is None else f"{self.target:.1f}x"
        ratios = tuple("" if ratio is None else f"{ratio:.2f}x" for ratio in (self.ratio, self.ratio_cpu))
        met = "yes" if self.is_met else "no"
        figures = (shown(self.ours, self.unit), shown(self.ours_cpu, "s"), shown(self.reference, self.unit))
        return (self.what, *figures, *ratios, target, met)


def tell(result: Result) -> None:
    """Prints a result for people, and for `python -m benchmarks` to collect."""
    what, ours, cpu, reference, ratio, ratio_cpu, target, met = result.cells()
    against = f" against {reference}: {ratio}" if reference else ""
    of_cpu = f", processor time {ratio_cpu or cpu}" if cpu else ""
    print(f"{what}: {ours}{against}{of_cpu}; target {target}: {'met' if met == 'yes' else 'NOT met'}")
    print(MARK + json.dumps(asdict(result)), flush=True)


def told(output: str) -> list[Result]:
    """The results in a benchmark's output."""
    return [Result(**json.loads(line[len(MARK) :])) for line in output.splitlines() if line.startswith(MARK + "{")]


def alternate(
    what: str, target: float, ours: Callable[[], object], reference: Callable[[], object], repeat: int
) -> Result:
    """Measures two pieces of work in this process, A B A B, and compares their medians.

    Args:
        what: What is measured.
        target: What the ratio should not exceed.
        ours: Headrace's work.
        reference: The yardstick's.
        repeat: How often each is done.
    """
    taken: dict[str, list[tuple[float, float]]] = {"ours": [], "reference": []}
    for _ in range(repeat):
        for name, work in (("ours", ours), ("reference", reference)):
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    (wall, cpu), (reference_wall, reference_cpu) = (medians(taken[name]) for name in ("ours", "reference"))
    return Result(what, wall, target, reference_wall, "s", cpu, reference_cpu)


def medians(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The median of each side of some pairs."""
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


def table(results: Sequence[Result]) -> str:
    """The results as aligned text."""
    heads = ("what", "ours", "CPU", "reference", "ratio", "CPU ratio", "target", "met")
    rows = [heads, *(result.cells() for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = []
    for row in rows:
        padded = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))
        lines.append("  ".join([row[0].ljust(widths[0]), *padded]))
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
