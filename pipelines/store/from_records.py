"""Fills an empty store with what was written down elsewhere of past steps, such as in a pipeline root.

The store then answers as the one would that had watched those steps: numbers are given in the order in which the steps
ended, which is the order of commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from headrace.pipelines.store.records import ArtifactRecord, NewArtifact, PastStep, RunState, StepState
from headrace.pipelines.store.schema import artifacts, runs, step_inputs, step_outputs, steps
from headrace.pipelines.store.store import Store
from sqlalchemy import insert


def fill(store: Store, past: Iterable[PastStep], *, pipeline: str, root: str) -> None:
    """Records past steps in a store that has none.

    An artifact that a step read and none of them made is recorded as made by the step that its record names.

    Args:
        store: An empty store.
        past: The steps, in any order.
        pipeline: The pipeline that they are of.
        root: What the store is to call the pipeline root.
    """
    known = sorted(past, key=lambda step: (step.ended, step.key))
    filling = _Filling(pipeline, root)
    for step in sorted([*known, *_makers(known)], key=lambda step: (step.ended, step.key)):
        filling.add(step)
    with store._write() as connection:
        for table, rows in filling.rows():
            if rows:
                connection.execute(insert(table), rows)


def _makers(past: Sequence[PastStep]) -> list[PastStep]:
    """Steps for the artifacts that are read and that no known step made."""
    made = {_identity(one) for step in past for all_ in step.outputs.values() for one in all_}
    makers: dict[tuple[str, str], PastStep] = {}
    for step in past:
        for one in (one for all_ in step.inputs.values() for one in all_):
            if _identity(one) not in made:
                # Of a run of its own, so that it cannot meet an attempt that is known.
                key = one.producer._replace(run_id=one.producer.run_id or "imported", loop_index=_identity(one)[1])
                outputs = {one.output or "result": (one,)}
                makers[_identity(one)] = PastStep(
                    key, one.producer.path, StepState.SUCCEEDED, one.created, one.created, {}, outputs
                )
    return list(makers.values())


def _identity(artifact: ArtifactRecord) -> tuple[str, str]:
    return artifact.uri, artifact.digest


class _Filling:
    """Rows in the making; numbers are given as steps are added."""

    def __init__(self, pipeline: str, root: str) -> None:
        self._pipeline, self._root = pipeline, root
        self._runs: dict[str, dict[str, Any]] = {}
        self._steps: list[dict[str, Any]] = []
        self._artifacts: dict[tuple[str, str], dict[str, Any]] = {}
        self._at_uri: dict[str, dict[str, Any]] = {}
        self._used: dict[str, list[dict[str, Any]]] = {"inputs": [], "outputs": []}

    def add(self, step: PastStep) -> None:
        run = self._run(step)
        number = len(self._steps) + 1
        self._steps.append(
            {
                "id": number,
                "run": run["sequence"],
                "path": step.key.path,
                "loop_index": step.key.loop_index,
                "attempt": step.key.attempt,
                "component": step.component,
                "state": step.state.value,
                "cache_key": None,
                "parameters": {},
                "started": step.started,
                "ended": step.ended,
                "output_parameters": {},
                "progress": {},
            }
        )
        for name, all_ in step.outputs.items():
            for position, one in enumerate(all_):
                self._use("outputs", number, name, position, self._artifact(one, number, name))
        for name, all_ in step.inputs.items():
            for position, one in enumerate(all_):
                self._use("inputs", number, name, position, self._artifacts[_identity(one)]["id"])

    def rows(self) -> Iterable[tuple[Any, list[dict[str, Any]]]]:
        yield runs, list(self._runs.values())
        yield steps, self._steps
        yield artifacts, list(self._artifacts.values())
        yield step_inputs, self._used["inputs"]
        yield step_outputs, self._used["outputs"]

    def _run(self, step: PastStep) -> dict[str, Any]:
        new = {
            "sequence": len(self._runs) + 1,
            "id": step.key.run_id,
            "pipeline": self._pipeline,
            "state": RunState.SUCCEEDED.value,
            "started": step.started,
            "plan_digest": "",
            "parameters": {},
            "root": self._root,
            "experiment": "",
            "scope": "",
            "labels": {},
            "process": {},
        }
        return self._runs.setdefault(step.key.run_id, new)

    def _artifact(self, one: ArtifactRecord, step: int, output: str) -> int:
        """The number of an artifact; the same content at the same place keeps its own."""
        before = self._at_uri.get(one.uri)
        if before is not None and before["digest"] != one.digest:
            before["live"] = False
        new = {
            "id": len(self._artifacts) + 1,
            "root": self._root,
            "uri": one.uri,
            "type": one.type,
            "digest": one.digest,
            "properties": dict(one.properties),
            "links": dict(one.links),
            "live": True,
            "created": one.created,
            "producer": step,
            "output": output,
        }
        row = self._at_uri[one.uri] = self._artifacts.setdefault(_identity(one), new)
        row["live"] = True
        return int(row["id"])

    def _use(self, kind: str, step: int, name: str, position: int, artifact: int) -> None:
        self._used[kind].append({"step": step, "name": name, "position": position, "artifact": artifact})


def adopt(store: Store, pipeline: str, root: str, known: ArtifactRecord, new: NewArtifact) -> int:
    """Records one artifact that a store has not seen made, with the step that its record names; gives its number.

    Args:
        store: The store.
        pipeline: The pipeline that made it.
        root: What the store calls the pipeline root.
        known: What is known of it.
        new: The artifact as it is to be recorded.
    """
    run = known.producer.run_id or "imported"
    store.join_run(run, pipeline, root=root)
    attempt = store.next_attempt(run, known.producer.path)
    step = store.start_step(run, known.producer.path, component=known.producer.path, attempt=attempt)
    output = known.output or "result"
    made = store.finish_step(step, StepState.SUCCEEDED, outputs={output: [new]})
    store.settle_run(run)
    return made[output][0].id
