"""What a report is made from: a run, and its artifacts opened. The one place that knows the `Run` object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from headrace.pipelines.artifact import Artifact
from headrace.pipelines.graph_drawing.states import sign_of
from headrace.pipelines.plan import Plan

if TYPE_CHECKING:
    from headrace.pipelines.runs import Run, StepRun

A = TypeVar("A", bound=Artifact)


@dataclass(frozen=True)
class ErrorReport:
    """Why a step failed."""

    type: str
    message: str
    traceback: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.type, self.message)))


@dataclass(frozen=True)
class StepReport:
    """One step of the run.

    Args:
        id: The step's id.
        state: One of `headrace.pipelines.graph_drawing.states`.
        component: The component's name.
        began: Seconds after the run began, None when it never did.
        seconds: How long it took.
        cache_reason: Why it was taken from the cache, or was not.
        rows: Rows that it handled.
        refusal: What it said no to, and why.
        log: Path or URL of its log.
    """

    id: str
    state: str
    component: str = ""
    began: float | None = None
    seconds: float = 0.0
    cache_reason: str = ""
    rows: int | None = None
    warnings: tuple[str, ...] = ()
    error: ErrorReport | None = None
    refusal: str | None = None
    inputs: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)
    outputs: Mapping[str, Artifact] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    log: str | None = None
    attempt: int = 1
    peak_rss: int | None = None


@dataclass(frozen=True)
class ReportData:
    """A run as its report tells it.

    Args:
        run_id, pipeline, state, started, ended, parameters, root, plan, sample: As of the run.
        steps: In the plan's order.
        free_text: Whether values of string columns are shown that look like free text.
    """

    run_id: str
    pipeline: str
    state: str
    steps: tuple[StepReport, ...]
    plan: Plan | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    root: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    sample: int | None = None
    free_text: bool = False

    @property
    def seconds(self) -> float:
        """How long the run took; of one that has not ended, until its last step did."""
        if self.started and self.ended:
            return (self.ended - self.started).total_seconds()
        return max((step.began + step.seconds for step in self.steps if step.began is not None), default=0.0)

    @property
    def states(self) -> dict[str, str]:
        return {step.id: step.state for step in self.steps}

    def made(self, type_: type[A]) -> Iterator[tuple[str, A]]:
        """Yields every output of a type with its channel, `step.output`, in the order of the steps."""
        for step in self.steps:
            for name, artifact in step.outputs.items():
                if isinstance(artifact, type_):
                    yield f"{step.id}.{name}", artifact

    def artifacts(self) -> Iterator[Artifact]:
        """Yields every artifact that a step made or read, each once."""
        seen = set()
        for step in self.steps:
            for artifact in (*step.outputs.values(), *(one for several in step.inputs.values() for one in several)):
                if artifact.uri not in seen:
                    seen.add(artifact.uri)
                    yield artifact


def report_data(run: Run, *, free_text: bool = False) -> ReportData:
    """Takes what a report tells from a run.

    Args:
        run: A run, just ended or read back from the store.
        free_text: Whether values of string columns are shown that look like free text.
    """
    return ReportData(
        run_id=run.id,
        pipeline=run.pipeline,
        state=str(getattr(run.state, "value", run.state)),
        steps=tuple(_step(step, run.started) for step in _in_order(run)),
        plan=run.plan,
        parameters=run.parameters,
        root=run.root,
        started=run.started,
        ended=run.ended,
        sample=run.sample,
        free_text=free_text,
    )


def _in_order(run: Run) -> list[StepRun]:
    planned = [step.id for step in run.plan.steps] if run.plan is not None else []
    known = [id_ for id_ in planned if id_ in run.steps]
    return [run.steps[id_] for id_ in (*known, *(id_ for id_ in run.steps if id_ not in planned))]


def _step(step: StepRun, run_started: datetime | None) -> StepReport:
    state = sign_of(step.state).state
    error = _error(step.error) if step.error else None
    reasons = [step.cache_reason]
    # A step that was skipped or interrupted has no error of its own: what is recorded there is why it did not run.
    if error is not None and not error.type:
        reasons += [error.message] if error.message != state else []
        error = None
    return StepReport(
        id=step.id,
        state=state,
        component=step.component.rpartition(":")[2].rpartition(".")[2],
        began=(step.started - run_started).total_seconds() if step.started and run_started else None,
        seconds=step.seconds,
        cache_reason="; ".join(filter(None, reasons)),
        rows=step.rows,
        warnings=tuple(step.warnings),
        error=error,
        refusal=step.refusal,
        inputs=step.inputs,
        outputs=step.outputs,
        results=step.results,
        log=step.log,
        attempt=step.attempt,
        peak_rss=step.peak_rss,
    )


def _error(recorded: Mapping[str, Any]) -> ErrorReport:
    """An error whose message does not begin with its type, which is shown before it."""
    type_, message, traceback = (str(recorded.get(name, "")) for name in ("type", "message", "traceback"))
    if type_ and (message == type_ or message.startswith(f"{type_}:")):
        message = message.removeprefix(type_).removeprefix(":").lstrip(" ")
    return ErrorReport(type_, message, traceback)
