"""A run as its user sees it: the same object after `pipeline.run(...)` and read back from the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from headrace.pipelines import storage
from headrace.pipelines.artifact import Artifact, Manifest, with_link_uris
from headrace.pipelines.artifact_types import artifact_class
from headrace.pipelines.errors import ArtifactError
from headrace.pipelines.plan import Plan
from headrace.pipelines.store.records import ArtifactRecord, RunRecord, RunState, StepRecord, StepState

if TYPE_CHECKING:
    from headrace.pipelines.store import Store

# What a store that lies in its pipeline root calls it, so that the folder can be moved with its cache.
EMBEDDED = "."

EXIT_CODES = {
    RunState.SUCCEEDED: 0,
    RunState.FAILED: 1,
    RunState.NOT_BLESSED: 3,
    RunState.INTERRUPTED: 130,
    RunState.RUNNING: 1,
}


@dataclass(frozen=True)
class StepRun:
    """What came of one step of a run.

    Attributes:
        outputs: The artifacts it made, or took from the cache, by output name; one that was not made is absent.
        results: Its output parameters by name.
        cache_reason: Why it was, or was not, taken from the cache.
    """

    id: str
    component: str
    state: StepState
    outputs: Mapping[str, Artifact] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)
    started: datetime | None = None
    ended: datetime | None = None
    cache_reason: str = ""
    refusal: str | None = None
    error: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    rows: int | None = None
    log: str | None = None
    attempt: int = 1
    peak_rss: int | None = None

    @property
    def seconds(self) -> float:
        return (self.ended - self.started).total_seconds() if self.started and self.ended else 0.0


@dataclass(frozen=True)
class Run:
    """One run of a pipeline.

    >>> run = pipeline.run(parameters={"epochs": 2})                             # doctest: +SKIP
    >>> run["StatisticsGen"].outputs["statistics"].read()                        # doctest: +SKIP
    """

    id: str
    pipeline: str
    state: RunState
    steps: Mapping[str, StepRun]
    plan: Plan | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    root: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    sample: int | None = None
    report: str | None = None

    @property
    def exit_code(self) -> int:
        """0 done, 1 a step failed, 3 not blessed, 130 interrupted."""
        return EXIT_CODES[self.state]

    @property
    def folder(self) -> str:
        """Folder or URL with the run's artifacts and report."""
        return run_folder(self.root, self.pipeline, self.id)

    def __getitem__(self, step: str) -> StepRun:
        if step not in self.steps:
            raise KeyError(f"run {self.id} has no step {step!r}; it has {', '.join(self.steps)}")
        return self.steps[step]

    def __iter__(self) -> Iterator[str]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def _repr_html_(self) -> str:
        from headrace.pipelines.html import run_html

        return run_html(self)


def run_folder(root: str, pipeline: str, run_id: str) -> str:
    return storage.join(root, pipeline, run_id)


def open_recorded(record: ArtifactRecord, root: str) -> Artifact:
    """Gives the artifact of a record without reading its folder: the record has all that the manifest says."""
    uri = storage.resolve(record.uri, root)
    links = with_link_uris(record.links, lambda link: storage.resolve(link, root))
    manifest = Manifest(
        record.type, "1", record.digest, {}, dict(record.properties), links, {}, record.created.isoformat()
    )
    return artifact_class(record.type)(uri, manifest)


def real_root(store: Store, recorded: str) -> str:
    """Gives the root that a store's record means: a store that lies in its root finds it where it is itself."""
    return str(store.folder) if recorded == EMBEDDED else recorded


def read_run(store: Store, run_id: str) -> Run:
    """Reads a run back from the store.

    Args:
        store: An open `Store`.
        run_id: The run's id, the beginning of one, or ``"latest"``.

    Raises:
        StoreError: There is no such run.
    """
    record: RunRecord = store.run(run_id)
    root = real_root(store, record.root)
    document = store.plan(record.id)
    plan = Plan.from_document(document) if document else None
    steps: dict[str, StepRun] = {}
    for step in store.steps(record.id):
        steps[step.key.path] = _step_run(step, root)
    if plan is not None:
        steps = {step.id: steps[step.id] for step in plan.steps if step.id in steps}
    return Run(
        id=record.id,
        pipeline=record.pipeline,
        state=record.state,
        steps=steps,
        plan=plan,
        parameters=record.parameters,
        root=root,
        started=record.started,
        ended=record.ended,
        sample=int(record.scope.removeprefix("sample-")) if record.scope.startswith("sample-") else None,
    )


def _step_run(step: StepRecord, root: str) -> StepRun:
    progress = step.progress or {}
    return StepRun(
        id=step.key.path,
        component=step.component,
        state=step.state,
        outputs={name: open_recorded(records[0], root) for name, records in step.outputs.items()},
        results=step.output_parameters,
        inputs={
            name: tuple(open_recorded(record, root) for record in records) for name, records in step.inputs.items()
        },
        started=step.started,
        ended=step.ended,
        cache_reason=progress.get(
            "cache_reason", f"taken from run {step.cached_from.run_id}" if step.cached_from else ""
        ),
        refusal=step.refusal,
        error=step.error,
        warnings=tuple(progress.get("warnings", ())),
        rows=progress.get("rows"),
        log=storage.resolve(step.log_uri, root) if step.log_uri else None,
        attempt=step.key.attempt,
        peak_rss=step.peak_rss,
    )


def require_output(step: StepRun, output: str) -> Artifact:
    """Gives an output that must be there.

    Raises:
        ArtifactError: The step did not make it.
    """
    if output not in step.outputs:
        raise ArtifactError(f"step {step.id} made no {output!r}: it is {step.state.value}")
    return step.outputs[output]
