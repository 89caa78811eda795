"""The whole flights pipeline against an expert's script that does the same by hand, both cold.

    python -m benchmarks.flights_pipeline [--repeat 3]

By turns: the pipeline of examples/flights on a new root and store, without its gates, since the script has none, and
`benchmarks/by_hand.py` (with gates: `--pipeline examples/flights/pipeline.py`; what they add: `benchmarks.gates`).
Whole processes from start to end, so that imports and what the runner does are counted. The time of `fit`, which is the
same network on the same batches, is taken off for the second ratio: it begins when Trainer says so and ends with its
last report; by_hand times its own. Processor time counts every process that a run starts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process_tree import measure
from benchmarks.results import Result, tell

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = "examples/flights/pipeline.py"
WITHOUT_GATES = "benchmarks/flights_without_gates.py"


@dataclass(frozen=True)
class Taken:
    """Seconds of one whole process: all, those of `fit`, and processor seconds of all."""

    total: float
    fit: float
    cpu: float

    @property
    def rest(self) -> float:
        return self.total - self.fit


def by_headrace(folder: Path, file: str) -> tuple[Taken, dict[str, float]]:
    """One cold run; also the seconds of each step."""
    command = [sys.executable, "-m", "headrace.pipelines.cli", "run", file, "--json"]
    found = measure([*command, "--root", str(folder / "root"), "-p", f"serving={folder / 'serving'}"], cwd=ROOT)
    steps: dict[str, float] = {}
    fit: list[float] = []
    for second, line in found.lines:
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "step_progress" and event["step"] == "Trainer":
            fit.append(second)
        if event.get("event") == "step_finished":
            steps[event["step"]] = event["seconds"]
    return Taken(found.wall, fit[-1] - fit[0], found.cpu), steps


def by_hand(folder: Path) -> Taken:
    found = measure([sys.executable, "benchmarks/by_hand.py", "--out", str(folder)], cwd=ROOT)
    text = found.output
    phases = json.loads(text[text.index("{\n") :])["phases"]
    return Taken(found.wall, phases["fit"]["wall"], found.cpu)


def compare(ours: Sequence[Taken], reference: Sequence[Taken]) -> list[Result]:
    """Both ratios, of medians."""
    cpu = [statistics.median(one.cpu for one in side) for side in (ours, reference)]
    total = [statistics.median(one.total for one in side) for side in (ours, reference)]
    rest = [statistics.median(one.rest for one in side) for side in (ours, reference)]
    return [
        Result("flights, cold, in all, against by_hand.py", total[0], 1.3, total[1], "s", *cpu),
        Result("flights, cold, less fit, against by_hand.py", rest[0], 1.5, rest[1]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--pipeline", default=WITHOUT_GATES, help="another file to run instead")
    arguments = parser.parse_args()
    ours: list[Taken] = []
    reference: list[Taken] = []
    # One pass of each beforehand: byte code is written and the files of the libraries are in the system's cache.
    for number in range(arguments.repeat + 1):
        with tempfile.TemporaryDirectory() as name:
            hand = by_hand(Path(name) / "by_hand")
            run, steps = by_headrace(Path(name), arguments.pipeline)
        print(
            f"{'warm-up' if not number else f'run {number}'}: "
            f"headrace {run.total:.2f} s, of it fit {run.fit:.2f}, CPU {run.cpu:.2f}; "
            f"by hand {hand.total:.2f} s, of it fit {hand.fit:.2f}, CPU {hand.cpu:.2f}",
            flush=True,
        )
        print("  " + ", ".join(f"{step} {seconds:.2f}" for step, seconds in steps.items()), flush=True)
        if number:
            ours.append(run)
            reference.append(hand)
    for result in compare(ours, reference):
        tell(result)


if __name__ == "__main__":
    main()
