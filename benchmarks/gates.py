"""What both gates add to `make demo`: the flights with them and without, both cold, and the proof after each.

    python -m benchmarks.gates [--repeat 3]

By turns, whole processes from start to end; processor time counts every process that a run starts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process_tree import measure
from benchmarks.results import Result, tell

ROOT = Path(__file__).resolve().parent.parent
WITH, WITHOUT = "examples/flights/pipeline.py", "benchmarks/flights_without_gates.py"
GATES = ("SkewValidator", "InfraValidator")


@dataclass(frozen=True)
class Taken:
    """Seconds of the run and of the proof, wall and processor, and the wall seconds of each step."""

    wall: float
    cpu: float
    steps: dict[str, float]


def demo(file: str) -> Taken:
    """One cold run and its proof."""
    with tempfile.TemporaryDirectory() as folder:
        serving = Path(folder) / "serving"
        command = [sys.executable, "-m", "headrace.pipelines.cli", "run", file, "--json", "--root", f"{folder}/root"]
        run = measure([*command, "-p", f"serving={serving}"], cwd=ROOT)
        proof = measure([sys.executable, "-m", "examples.flights.proof", "--root", f"{folder}/root"], cwd=ROOT)
    events = [json.loads(line) for _, line in run.lines if line.startswith("{")]
    steps = {event["step"]: event["seconds"] for event in events if event.get("event") == "step_finished"}
    return Taken(run.wall + proof.wall, run.cpu + proof.cpu, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    taken: dict[str, list[Taken]] = {WITH: [], WITHOUT: []}
    for _ in range(arguments.repeat):
        for file, found in taken.items():
            found.append(demo(file))
    for gate in GATES:
        print(f"{gate}: {statistics.median(one.steps[gate] for one in taken[WITH]):.2f} s from start to end")
    wall = [statistics.median(one.wall for one in taken[file]) for file in (WITH, WITHOUT)]
    cpu = [statistics.median(one.cpu for one in taken[file]) for file in (WITH, WITHOUT)]
    tell(Result("make demo with both gates, against without", wall[0], 1.25, wall[1], "s", *cpu))


if __name__ == "__main__":
    main()
