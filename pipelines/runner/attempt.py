"""One attempt at a step: what is known of it while it runs, and what is said of it when it has ended."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from headrace.pipelines.execution import StepResult
from headrace.pipelines.runner.step_planning import PlannedStep
from headrace.pipelines.runs import StepRun
from headrace.pipelines.store import StepState

# How long a process that was asked to end may take.
GRACE = 5.0


@dataclass
class Attempt:
    """One attempt at a step that runs now."""

    planned: PlannedStep
    number: int
    record: int
    log: str
    reason: str
    began: float = field(default_factory=time.monotonic)
    started: float | None = None
    result: StepResult | None = None
    rows: int | None = None
    asked_to_end: float | None = None
    killed: bool = False

    def due(self) -> float | None:
        """When, on the monotonic clock, something must be done about it: its timeout, or the end of its grace."""
        if self.killed or self.started is None:
            return None
        if self.asked_to_end is not None:
            return self.asked_to_end + GRACE
        timeout = self.planned.step.settings.timeout
        return self.started + timeout if timeout is not None else None

    def told(self) -> dict[str, Any]:
        """What is kept beside the record and decides nothing."""
        warnings = list(self.result.warnings) if self.result else []
        return {"cache_reason": self.reason, "rows": self.rows, "warnings": warnings}

    def step_run(self, state: StepState, **more: Any) -> StepRun:
        """Gives what came of it, as the run's user sees it."""
        ended, result, step = datetime.now(UTC), self.result, self.planned.step
        run = StepRun(
            step.id,
            step.component.qualname,
            state,
            results=result.results if result else {},
            started=datetime.fromtimestamp(ended.timestamp() - (time.monotonic() - self.began), UTC),
            ended=ended,
            cache_reason=self.reason,
            refusal=result.refusal if result else None,
            warnings=result.warnings if result else (),
            rows=self.rows,
            log=self.log,
            attempt=self.number,
            peak_rss=result.peak_rss if result else None,
        )
        return replace(run, **more)

    def error(self, status: int) -> dict[str, Any]:
        """Says why it failed: the step's own error, or what became of its process."""
        if self.asked_to_end is not None:
            limit = self.planned.step.settings.timeout
            return {"type": "TimeoutError", "message": f"ended after its timeout of {limit:g} s", "traceback": ""}
        if self.result is not None and self.result.error is not None:
            error = self.result.error
            return {"type": error.type, "message": error.message, "traceback": error.traceback}
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            hint = ": the system may have been out of memory (dmesg tells)" if name == "SIGKILL" else ""
            return {"type": name, "message": f"its process was ended by {name}{hint}", "traceback": ""}
        message = f"its process exited with status {os.WEXITSTATUS(status)} and gave no result; see the log"
        return {"type": "ProcessExited", "message": message, "traceback": ""}
