"""One step before it runs: its inputs, its parameters, its cache key, and whether an earlier result will do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.pipelines import storage
from headrace.pipelines.cache_key import CacheKey, cache_key, differences, function_refs
from headrace.pipelines.errors import PipelineError, Problem
from headrace.pipelines.execution import ArtifactRef, StepRequest
from headrace.pipelines.file_patterns import DigestMemo
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.input_files import Resolved, files_digest, files_to_json, resolve_files
from headrace.pipelines.plan import (
    Channel,
    Collected,
    Comparison,
    Const,
    Function,
    ListOf,
    MapOf,
    OneOf,
    Parameter,
    Plan,
    PropertyOf,
    Step,
    Value,
)
from headrace.pipelines.runner.options import Place, RunOptions
from headrace.pipelines.runs import open_recorded
from headrace.pipelines.store import ArtifactRecord, CachedStep, FileStamp, History

if TYPE_CHECKING:
    from headrace.pipelines.store import Store


@dataclass(frozen=True)
class Outcome:
    """What a finished step left for those after it."""

    outputs: Mapping[str, tuple[ArtifactRecord, ...]] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    refusal: str | None = None
    missing: str | None = None


@dataclass(frozen=True)
class PlannedStep:
    """A step whose inputs are known.

    Args:
        inputs: Recorded artifacts by input name.
        parameters: JSON values by name.
        files: The files that each files argument means now.
        key: The cache key.
    """

    step: Step
    inputs: Mapping[str, tuple[ArtifactRecord, ...]]
    parameters: Mapping[str, Any]
    files: Mapping[str, Resolved]
    key: CacheKey

    def request_parameters(self) -> dict[str, Any]:
        return {**self.parameters, **{name: files_to_json(resolved) for name, resolved in self.files.items()}}


def step_request(
    planned: PlannedStep, plan: Plan, options: RunOptions, place: Place, *, run: str, folder: str, attempt: int = 1
) -> StepRequest:
    """Gives the request of a planned step.

    Args:
        planned: The step.
        plan: Its Plan.
        options: How the Plan is run.
        place: Where the run keeps what it makes.
        run: The run's id.
        folder: Folder or URL under which its outputs are written.
        attempt: Counted from 1.
    """
    slots = dict(planned.step.interface.inputs)

    def refs(name: str) -> ArtifactRef | list[ArtifactRef]:
        found = [ArtifactRef(storage.resolve(r.uri, place.root), r.type, r.digest) for r in planned.inputs[name]]
        return found if slots[name].list else found[0]

    return StepRequest(
        pipeline=plan.name,
        run=run,
        step=planned.step.id,
        attempt=attempt,
        component=planned.step.component,
        inputs={name: refs(name) for name in planned.inputs},
        outputs={name: storage.join(folder, name) for name, _ in planned.step.interface.outputs},
        parameters=planned.request_parameters(),
        root=place.root,
        project=plan.root,
        beam_args=(*planned.step.settings.beam_args, *options.beam_args),
        sample=options.sample,
        store_url=place.store,
        store_root=place.recorded_root,
    )


class StoreMemo(DigestMemo):
    """Remembers content digests of files in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, path: str, size: int, mtime_ns: int, inode: int) -> str | None:
        return self._store.known_digests([FileStamp(path, size, mtime_ns, inode)]).get(path)

    def put(self, path: str, size: int, mtime_ns: int, inode: int, digest: str) -> None:
        self._store.remember_digests({FileStamp(path, size, mtime_ns, inode): digest})


class CodeParts:
    """The definitions behind code digests, each digest taken apart once.

    Args:
        root: The project root, under which code is found.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[FunctionRef, dict[str, str]] = {}

    def of(self, ref: FunctionRef) -> dict[str, str]:
        if ref not in self._known:
            self._known[ref] = dict(ref.digest(self._root).parts)
        return self._known[ref]


class MissingInput(Exception):
    """An upstream step ended without making what this one needs; the message says which."""


def plan_step(
    step: Step,
    parameters: Mapping[str, Any],
    outcomes: Mapping[str, Outcome],
    memo: DigestMemo | None,
    code: CodeParts,
    sample: int | None,
) -> PlannedStep:
    """Resolves a step's values and gives it its cache key.

    Args:
        step: The step of the Plan.
        parameters: The pipeline's parameters.
        outcomes: What the steps before it left.
        memo: Where files' digests are remembered, if anywhere.
        code: Names the definitions behind the code digests.
        sample: Rows of each split, or None.

    Raises:
        MissingInput: An input that the step must have was not made.
        DataError: A files argument means no files.
    """
    inputs = _inputs(step, outcomes)
    values = {name: _value(value, parameters, outcomes, f"{step.id}.{name}") for name, value in step.arguments}
    kinds = dict(step.interface.parameters)
    files = {
        name: resolve_files(values[name])
        for name, kind in kinds.items()
        if kind.startswith("files") and values.get(name) is not None
    }
    key = cache_key(
        step,
        {name: [record.digest for record in records] for name, records in inputs.items()},
        values,
        {name: files_digest(found, memo) for name, found in files.items()},
        sample=sample,
        parts={name: code.of(ref) for name, ref in function_refs(step, values).items()},
    )
    return PlannedStep(step, inputs, values, files, key)


def find_hit(store: Store, planned: PlannedStep, root: str, artifact_root: str) -> CachedStep | None:
    """Looks for an earlier result whose artifacts are all still there and whole."""
    while hit := store.lookup_cache(planned.key.digest, root=root):
        gone = [
            made
            for records in hit.outputs.values()
            for made in records
            if not open_recorded(made, artifact_root).is_live()
        ]
        for made in gone:
            store.mark_artifact_gone(made.id)
        if not gone:
            return hit
    return None


def why_it_runs(store: Store, planned: PlannedStep, history: History, run_id: str | None = None) -> list[str]:
    """Says, a line each, what differs from the step's last time; of a first time, that it is one."""
    previous = store.previous_step(history, planned.step.id, before_run=run_id)
    if previous is None or previous.key_fields is None:
        return ["it never ran before"]
    if previous.cache_key == planned.key.digest:
        if previous.state.value == "failed":
            return ["its last attempt failed"]
        if previous.state.value == "interrupted":
            return ["its last attempt was interrupted"]
        return ["its earlier outputs are gone or damaged"]
    return list(differences(previous.key_fields, planned.key.stored())) or ["its key changed"]


def _inputs(step: Step, outcomes: Mapping[str, Outcome]) -> dict[str, tuple[ArtifactRecord, ...]]:
    slots = dict(step.interface.inputs)
    inputs = {}
    for name, value in step.inputs:
        channels = value.values if isinstance(value, ListOf) else (value,)
        found: list[ArtifactRecord] = []
        for channel in channels:
            assert isinstance(channel, Channel)
            records = outcomes[channel.step].outputs.get(channel.output, ())
            if not records and not slots[name].optional:
                why = outcomes[channel.step].refusal or outcomes[channel.step].missing
                raise MissingInput(f"{channel.step} made no {channel.output}" + (f": {why}" if why else ""))
            found += records
        if found:
            inputs[name] = tuple(found)
    return inputs


def _value(value: Value, parameters: Mapping[str, Any], outcomes: Mapping[str, Outcome], place: str) -> Any:
    match value:
        case Const():
            return value.value
        case Parameter():
            return parameters[value.name]
        case Channel():
            results = outcomes[value.step].results
            if value.output not in results:
                raise MissingInput(f"{value.step} gave no {value.output}")
            return results[value.output]
        case Function():
            return {"function": value.ref.to_json()}
        case ListOf():
            return [_value(item, parameters, outcomes, place) for item in value.values]
        case MapOf():
            return {key: _value(item, parameters, outcomes, place) for key, item in value.items}
        case PropertyOf() | Comparison() | OneOf() | Collected():
            what = f"{place}: a local run does not know values of kind {type(value).__name__} yet"
            raise PipelineError(Problem(what, "pass an output parameter instead", code="unsupported"))
