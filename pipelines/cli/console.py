"""What a run shows on the terminal: one line a step; on a terminal the lines of running steps move."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any, Self

from headrace.pipelines.plan import Plan
from headrace.pipelines.redaction import redact
from headrace.pipelines.runner.options import Listener
from headrace.pipelines.runs import Run, StepRun
from headrace.pipelines.store.records import RunState, StepState

WORDS = {
    StepState.SUCCEEDED: "done",
    StepState.CACHED: "cached",
    StepState.FAILED: "failed",
    StepState.SKIPPED: "skipped",
    StepState.NOT_BLESSED: "refused",
    StepState.INTERRUPTED: "interrupted",
    StepState.RUNNING: "running",
}
COLOURS = {"done": "32", "cached": "36", "failed": "31", "skipped": "33", "refused": "35", "interrupted": "33"}


class Console(Listener):
    """Lines of text. Used as a context manager, since a terminal's moving lines must be taken down.

    Args:
        plan: The Plan that runs.
        target: FILE[:NAME] as the user gave it, for the commands that are suggested.
    """

    def __init__(self, plan: Plan, target: str) -> None:
        self._target = target
        self._width = max((len(step.id) for step in plan.steps), default=4)
        self._began = time.monotonic()
        self._colour = sys.stdout.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to take down."""

    def print(self, line: str) -> None:
        print(line, flush=True)

    def run_started(self, run_id: str, plan: Plan) -> None:
        self.print(f"{plan.name}, run {run_id}")

    def step_retried(self, step: str, error: Mapping[str, Any]) -> None:
        self.print(f"  {step:{self._width}}  again: {redact(_first_line(error))}")

    def step_finished(self, step: StepRun) -> None:
        self.print(self.line(step))
        for warning in step.warnings:
            self.print(f"  {'':{self._width}}  warning: {redact(warning)}")
        if step.state is StepState.FAILED and step.error:
            for line in _abridged(redact(str(step.error.get("message", ""))).splitlines()):
                self.print(f"  {'':{self._width}}  {line}")
            if step.log:
                self.print(
                    f"  {'':{self._width}}  log: headrace logs {step.id}    again, alone: headrace rerun {step.id}"
                )

    def line(self, step: StepRun) -> str:
        word = WORDS[step.state]
        painted = f"\x1b[{COLOURS.get(word, '0')}m{word:8}\x1b[0m" if self._colour else f"{word:8}"
        seconds = f"{step.seconds:7.1f} s" if step.state not in (StepState.CACHED, StepState.SKIPPED) else " " * 9
        rows = f"{step.rows:>12,} rows" if step.rows else " " * 17
        return f"  {step.id:{self._width}}  {painted} {seconds} {rows}  {redact(_reason(step))}".rstrip()

    def warned(self, message: str) -> None:
        self.print(f"warning: {redact(message)}")

    def run_finished(self, run: Run) -> None:
        seconds = time.monotonic() - self._began
        cached = sum(step.state is StepState.CACHED for step in run.steps.values())
        if run.report:
            self.print(f"report: {run.report}")
        count = f"{len(run)} steps, {cached} cached, {seconds:.1f} s"
        if run.state is RunState.SUCCEEDED:
            self.print(f"done: {count}")
        elif run.state is RunState.NOT_BLESSED:
            refusals = [step.refusal for step in run.steps.values() if step.refusal]
            self.print(f"not blessed: {redact(refusals[-1])}  ({count})")
        elif run.state is RunState.INTERRUPTED:
            self.print(f"interrupted: {count}; run it again to go on from what succeeded")
        else:
            failed = [step.id for step in run.steps.values() if step.state is StepState.FAILED]
            self.print(f"failed: {', '.join(failed)}  ({count}); run it again to go on from what succeeded")


class LiveConsole(Console):
    """The same lines on a terminal, with those of running steps kept at the bottom and renewed."""

    def __init__(self, plan: Plan, target: str) -> None:
        from rich.console import Console as Terminal
        from rich.live import Live
        from rich.text import Text

        super().__init__(plan, target)
        self._text = Text
        self._terminal = Terminal(highlight=False, soft_wrap=True)
        self._live = Live(
            console=self._terminal, refresh_per_second=8, transient=True, get_renderable=self._running_lines
        )
        self._running: dict[str, tuple[float, str, Mapping[str, Any]]] = {}

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def print(self, line: str) -> None:
        self._terminal.print(self._text.from_ansi(line))

    def step_started(self, step: str, reason: str, attempt: int) -> None:
        self._running[step] = (time.monotonic(), reason, {})

    def step_progress(self, step: str, progress: Mapping[str, Any]) -> None:
        if step in self._running and "done" in progress:
            began, reason, _ = self._running[step]
            self._running[step] = (began, reason, progress)

    def step_finished(self, step: StepRun) -> None:
        self._running.pop(step.id, None)
        super().step_finished(step)

    def _running_lines(self) -> Any:
        now = time.monotonic()
        lines = []
        for step, (began, reason, progress) in list(self._running.items()):
            said = _progress(progress, now - began) or reason
            lines.append(f"  {step:{self._width}}  running  {now - began:7.1f} s  {said}")
        return self._text("\n".join(line[: self._terminal.width - 1] for line in lines), style="dim")


class JsonConsole(Listener):
    """One JSON document a line, for programs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to take down."""

    def _say(self, **document: Any) -> None:
        print(json.dumps(document), flush=True)

    def run_started(self, run_id: str, plan: Plan) -> None:
        self._say(event="run_started", run=run_id, pipeline=plan.name, steps=[step.id for step in plan.steps])

    def step_started(self, step: str, reason: str, attempt: int) -> None:
        self._say(event="step_started", step=step, reason=reason, attempt=attempt)

    def step_progress(self, step: str, progress: Mapping[str, Any]) -> None:
        self._say(event="step_progress", step=step, **progress)

    def step_finished(self, step: StepRun) -> None:
        error = redact(_first_line(step.error)) if step.error else None
        self._say(
            event="step_finished",
            step=step.id,
            state=step.state.value,
            seconds=round(step.seconds, 3),
            rows=step.rows,
            reason=_reason(step),
            error=error,
            warnings=list(step.warnings),
            results=dict(step.results),
        )

    def warned(self, message: str) -> None:
        self._say(event="warning", message=redact(message))

    def run_finished(self, run: Run) -> None:
        refusals = [step.refusal for step in run.steps.values() if step.refusal]
        self._say(
            event="run_finished",
            run=run.id,
            state=run.state.value,
            exit_code=run.exit_code,
            report=run.report,
            refusals=refusals,
        )


def console_for(plan: Plan, target: str, *, as_json: bool, live: bool) -> Console | JsonConsole:
    """Chooses how a run is shown: JSON, moving lines on a terminal, or plain lines."""
    if as_json:
        return JsonConsole()
    return LiveConsole(plan, target) if live and sys.stdout.isatty() else Console(plan, target)


def _reason(step: StepRun) -> str:
    if step.refusal:
        return step.refusal
    if step.state is StepState.SKIPPED:
        return str((step.error or {}).get("message", ""))
    return step.cache_reason


def _abridged(lines: list[str], most: int = 30) -> list[str]:
    """The beginning and the end of a long message: TensorFlow puts the cause last."""
    lines = [line for line in lines if line.strip()]
    return lines if len(lines) <= most else [*lines[:3], f"... {len(lines) - 9} more lines in the log ...", *lines[-6:]]


def _first_line(error: Mapping[str, Any] | None) -> str:
    text = str((error or {}).get("message", ""))
    return text.splitlines()[0] if text else ""


def _progress(progress: Mapping[str, Any], seconds: float) -> str:
    if not progress:
        return ""
    done, total, unit = progress["done"], progress.get("total"), progress["unit"]
    shown = f"{done:,.0f}" + (f" of {total:,.0f}" if total else "") + f" {unit}"
    rate = f", {done / seconds:,.0f} {unit}/s" if seconds > 1 else ""
    figures = "".join(
        f", {name} {value:.4g}" if isinstance(value, float) else f", {name} {value}"
        for name, value in progress.get("shown", {}).items()
    )
    return shown + rate + figures
