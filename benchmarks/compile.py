"""`headrace compile`, as a whole process: the flights, and a pipeline of 1,000 steps, for both targets.

python -m benchmarks.compile [--repeat 5]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.flights_pipeline import PIPELINE, ROOT
from benchmarks.process_tree import measure
from benchmarks.results import tell
from benchmarks.second_run import COMMAND, result

STEPS = 1000
# Each step reads what two others made, and an argument of the one before.
AUTHOR = """
from typing import NamedTuple

from headrace.pipelines import HyperParameters, Input, Output, component, pipeline


class Counted(NamedTuple):
    number: int


@component
def Source(made: Output[HyperParameters], *, text: str) -> Counted:
    made.write({{}})
    return Counted(0)


@component
def Add(
    one: Input[HyperParameters], other: Input[HyperParameters], made: Output[HyperParameters], *, number: int, text: str
) -> Counted:
    made.write({{}})
    return Counted(number + 1)


@pipeline
def many() -> None:
    steps = [Source(text="a" * 100).with_id("step-0")]
    for number in range(1, {steps}):
        one, other = steps[-1], steps[number // 2]
        step = Add(
            one=one.outputs["made"],
            other=other.outputs["made"],
            number=one.outputs["number"],
            text="a" * 100,
        )
        steps.append(step.with_id(f"step-{{number}}"))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pyproject.toml").touch()
        many = Path(folder, "many.py")
        many.write_text(AUTHOR.format(steps=STEPS))
        for file, what, seconds in ((PIPELINE, "the flights", 0.5), (str(many), f"{STEPS:,} steps", 2.0)):
            for target in ("kfp", "argo"):
                options = ["--target", target, "-o", f"{folder}/out.yaml", "--image", "repo/flow:1"]
                command = [*COMMAND, "compile", file, *options, "--root", "s3://bucket/root"]
                found = [measure(command, cwd=ROOT) for _ in range(repeat + 1)][1:]
                tell(result(f"headrace compile to {target}, {what}, whole process", seconds, found))


if __name__ == "__main__":
    main()
