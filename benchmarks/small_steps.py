"""What the runner itself costs: 200 small steps in 10 layers, each reading an artifact and writing one.

    python -m benchmarks.small_steps [--steps 200] [--layers 10] [--profile FILE]

Prints wall and processor time a step, first run (every step forked, logged, recorded) and second run (every step a
cache hit). The components' own work is measured inside the workers and taken off, so that what is left is overhead.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from headrace.pipelines import Pipeline
from headrace.pipelines.plan import Plan
from headrace.pipelines.recorded_step import RecordedStep
from headrace.pipelines.runner import run

from benchmarks.results import Result, tell

AUTHOR = """
from headrace.pipelines import HyperParameters, Input, Output, component


@component
def Source(value: Output[HyperParameters], *, number: int) -> None:
    value.write({"number": number})


@component
def Add(before: Input[HyperParameters], value: Output[HyperParameters], *, number: int) -> None:
    value.write({"number": before.read()["number"] + number})
"""


def make_plan(project: Path, steps: int, layers: int) -> Plan:
    """Writes the author's module and builds the Plan: each step reads one of the layer before it."""
    (project / "pyproject.toml").write_text("")
    (project / "small_steps_author.py").write_text(AUTHOR)
    sys.path.insert(0, str(project))
    import small_steps_author as author  # type: ignore[import-not-found]

    width = steps // layers
    layer: list[RecordedStep] = []
    recorded: list[RecordedStep] = []
    for depth in range(layers):
        layer = [
            author.Add(before=layer[i].outputs["value"], number=i).with_id(f"step-{depth}-{i}")
            if layer
            else author.Source(number=i).with_id(f"step-{depth}-{i}")
            for i in range(width)
        ]
        recorded += layer
    return Pipeline(name="small", components=recorded, root=str(project)).plan


def processor_seconds(whose: int) -> float:
    """Processor time of this process, or of its children that have ended."""
    used = resource.getrusage(whose)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--layers", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--profile", metavar="FILE", help="write a profile of the driver's first run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        plan = make_plan(Path(folder), arguments.steps, arguments.layers)
        figures = {"build_ms_a_step": (time.perf_counter() - began) * 1000 / arguments.steps}
        # One run beforehand: SQLAlchemy's imports and the store's first migration are no cost of a step.
        warm = Pipeline(name="warm", components=[_first(folder)], root=folder).plan
        run(warm, report=False)
        for name in ("first", "cached"):
            profile = cProfile.Profile()
            if arguments.profile and name == "first":
                profile.enable()
            before = [processor_seconds(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            began = time.perf_counter()
            done = run(plan, report=False, jobs=arguments.jobs)
            wall = time.perf_counter() - began
            after = [processor_seconds(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
            if arguments.profile and name == "first":
                profile.disable()
                profile.dump_stats(arguments.profile)
            assert done.exit_code == 0, done
            spent = {"wall": wall, "driver": after[0] - before[0], "workers": after[1] - before[1]}
            figures |= {f"{name}_{what}_ms": seconds * 1000 / len(done) for what, seconds in spent.items()}
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))
    tell(Result("overhead of a small step", figures["first_wall_ms"], 5.0, unit="ms"))


def _first(folder: str) -> RecordedStep:
    import small_steps_author as author

    step: RecordedStep = author.Source(number=-1)
    return step


if __name__ == "__main__":
    main()
