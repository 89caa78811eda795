"""A run in a cluster on the terminal, as a local run is shown."""

from __future__ import annotations

import sys

from headrace.kubeflow.client.run_status import RunStatus, StepStatus
from headrace.pipelines.redaction import redact

WORDS = {"succeeded": "done"}
COLOURS = {"done": "32", "cached": "36", "failed": "31", "skipped": "33", "refused": "35", "terminated": "33"}
_WIDTH = 24


def print_step(step: StepStatus) -> None:
    """One line of a step, and what a failed one said."""
    print(step_line(step), flush=True)
    if step.state in ("failed", "refused"):
        for line in message_lines(step):
            print(f"  {'':{_WIDTH}}  {line}", flush=True)


def step_line(step: StepStatus) -> str:
    word = WORDS.get(step.state, step.state)
    painted = f"\x1b[{COLOURS.get(word, '0')}m{word:10}\x1b[0m" if sys.stdout.isatty() else f"{word:10}"
    seconds = f"{step.seconds:7.1f} s" if step.seconds is not None and step.state not in ("cached", "skipped") else ""
    return f"  {step.id:{_WIDTH}}  {painted} {seconds}".rstrip()


def message_lines(step: StepStatus) -> list[str]:
    """The server's message on a step: what its container wrote before it ended."""
    return [line for line in redact(step.message).splitlines() if line.strip()][:12]


def print_run(run: RunStatus, *, steps: bool = True, failures: bool = True) -> None:
    """A run: its steps, and in the last line how it stands."""
    if steps:
        print(f"{run.pipeline}, run {run.id}: {run.state}")
    for step in run.steps:
        if steps:
            print(step_line(step))
        if failures and step.state in ("failed", "refused"):
            if not steps:
                print(step_line(step))
            for line in message_lines(step):
                print(f"  {'':{_WIDTH}}  {line}")
    if run.verdicts_unknown:
        print(f"warning: {run.verdicts_unknown}")
    if run.ended:
        print(_last_line(run))


def _last_line(run: RunStatus) -> str:
    count = f"{len(run.steps)} steps, {sum(step.state == 'cached' for step in run.steps)} cached"
    if run.exit_code == 3:
        return f"not blessed: {', '.join(step.id for step in run.refused)}  ({count})"
    if run.state == "terminated":
        return f"terminated: {count}"
    if run.state == "failed":
        failed = [step.id for step in run.steps if step.state == "failed"]
        return f"failed: {', '.join(failed) or redact(run.message) or 'the server does not say why'}  ({count})"
    return f"done: {count}"
