"""What each step of a cluster leaves in the root for those of later runs: one small document when it has ended.

A Resolver asks what was made before, and in which order. Manifests alone do not say whether the step that wrote them
ended well, nor what was taken from a cache; these documents do, and one flat folder of them is listed in one request.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from headrace.kubeflow.container.references import moment
from headrace.kubeflow.step_document import task_name
from headrace.pipelines import storage
from headrace.pipelines.artifact import with_link_uris
from headrace.pipelines.execution import OutputRecord
from headrace.pipelines.runner.step_planning import PlannedStep
from headrace.pipelines.store import ArtifactRecord, PastStep, StepKey, StepState

VERSION = 1


def history_folder(root: str, pipeline: str) -> str:
    return storage.join(root, pipeline, "steps")


def past_step(
    planned: PlannedStep, key: StepKey, state: StepState, outputs: Mapping[str, OutputRecord], started: datetime
) -> PastStep:
    """What is to be known of a step that has just ended.

    Args:
        planned: The step.
        key: Its run and attempt.
        state: How it ended.
        outputs: What it made or took from the cache.
        started: When it started.
    """
    made = {name: (_record(record, name, key),) for name, record in outputs.items()}
    ended = datetime.now(UTC)
    return PastStep(key, planned.step.component.qualname, state, started, ended, dict(planned.inputs), made)


def _record(output: OutputRecord, name: str, key: StepKey) -> ArtifactRecord:
    return ArtifactRecord(
        id=0,
        root="",
        uri=output.uri,
        type=output.type,
        digest=output.digest,
        properties=output.properties,
        links=output.links,
        live=True,
        created=moment(output.created),
        producer=key,
        output=name,
    )


def write_past_step(root: str, pipeline: str, step: PastStep) -> None:
    """Writes a step down in the root."""
    name = f"{step.ended.timestamp():017.6f}-{task_name(step.key.path)}-{step.key.run_id}-{step.key.attempt}.json"
    document = {
        "headrace_past_step": VERSION,
        "key": list(step.key),
        "component": step.component,
        "state": step.state.value,
        "started": step.started.isoformat(),
        "ended": step.ended.isoformat(),
        "inputs": {name: [_to_json(one, root) for one in all_] for name, all_ in step.inputs.items()},
        "outputs": {name: [_to_json(one, root) for one in all_] for name, all_ in step.outputs.items()},
    }
    text = json.dumps(document, sort_keys=True)
    storage.write_bytes(storage.join(history_folder(root, pipeline), name), text.encode())


def read_past_steps(root: str, pipeline: str) -> list[PastStep]:
    """Reads what the steps of a pipeline have left, URIs relative to the root."""
    folder = history_folder(root, pipeline)
    names = [name for name in storage.names_in(folder) if name.endswith(".json") and not name.startswith(".")]
    return [_past_step(json.loads(text)) for text in _read_all(folder, names)]


def _read_all(folder: str, names: Sequence[str]) -> Iterable[bytes]:
    """The contents of many small files; of a remote folder, many at a time."""
    if storage.is_local(folder) or not names:
        return [storage.read_bytes(storage.join(folder, name)) for name in names]
    fs, path = storage.filesystem(folder)
    found: Mapping[str, bytes] = fs.cat([storage.join(path, name) for name in names])
    return found.values()


def _to_json(one: ArtifactRecord, root: str) -> dict[str, Any]:
    links = with_link_uris(one.links, lambda uri: storage.relative_to_root(uri, root))
    return {
        "uri": storage.relative_to_root(one.uri, root),
        "type": one.type,
        "digest": one.digest,
        "properties": dict(one.properties),
        "links": links,
        "created": one.created.isoformat(),
        "producer": list(one.producer),
        "output": one.output,
    }


def _past_step(document: Mapping[str, Any]) -> PastStep:
    def records(part: str) -> dict[str, tuple[ArtifactRecord, ...]]:
        return {name: tuple(_from_json(one) for one in all_) for name, all_ in document[part].items()}

    return PastStep(
        StepKey(*document["key"]),
        document["component"],
        StepState(document["state"]),
        moment(document["started"]),
        moment(document["ended"]),
        records("inputs"),
        records("outputs"),
    )


def _from_json(document: Mapping[str, Any]) -> ArtifactRecord:
    fields = {**document, "created": moment(document["created"]), "producer": StepKey(*document["producer"])}
    return ArtifactRecord(id=0, root="", live=True, **fields)


def inputs_as_past(planned: PlannedStep, root: str) -> PastStep:
    """A step that read what this one reads, so that a store knows of it though nothing else in the root does."""

    def relative(one: ArtifactRecord) -> ArtifactRecord:
        return replace(one, uri=storage.relative_to_root(one.uri, root))

    now = datetime.now(UTC)
    inputs = {name: tuple(relative(one) for one in all_) for name, all_ in planned.inputs.items()}
    key = StepKey("this run", planned.step.id, "", 0)
    return PastStep(key, planned.step.component.qualname, StepState.RUNNING, now, now, inputs)
