"""An identical second run, `check` and `plan` of the flights, each as a whole process.

    python -m benchmarks.second_run [--repeat 5]

`benchmarks/scale.py` does the same second run at x3, x10 and x30.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence

from benchmarks.flights_pipeline import PIPELINE, ROOT
from benchmarks.process_tree import Measured, measure
from benchmarks.results import Result, tell

COMMAND = (sys.executable, "-m", "headrace.pipelines.cli")


def second_runs(arguments: Sequence[str], repeat: int) -> list[Measured]:
    """Repeats a run whose first time is over, and makes sure that nothing ran.

    Args:
        arguments: Of `headrace run`.
        repeat: How often.

    Raises:
        RuntimeError: A step ran again.
    """
    found = [measure([*COMMAND, "run", *arguments], cwd=ROOT) for _ in range(repeat)]
    for one in found:
        again = [line for _, line in one.lines if "  done  " in line and "asks the store" not in line]
        if again:
            raise RuntimeError("expected every step from the cache, but these ran:\n" + "\n".join(again))
    return found


def result(what: str, target: float, found: Sequence[Measured]) -> Result:
    """The medians of some whole processes as a result."""
    cpu = statistics.median(one.cpu for one in found)
    return Result(what, statistics.median(one.wall for one in found), target, ours_cpu=cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--pipeline", default=PIPELINE, help="another file to run instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = [arguments.pipeline]
        given = [*file, "--root", f"{folder}/root", "-p", f"serving={folder}/serving"]
        measure([*COMMAND, "run", *given], cwd=ROOT)
        tell(result("identical second run, whole process", 1.2, second_runs(given, arguments.repeat)))
        for command, target, more in (("plan", 0.8, given), ("check", 0.5, file)):
            found = [measure([*COMMAND, command, *more], cwd=ROOT) for _ in range(arguments.repeat)]
            tell(result(f"headrace {command}, whole process", target, found))


if __name__ == "__main__":
    main()
