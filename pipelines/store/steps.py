"""The store's steps: each change of state is one transaction, so that a kill leaves the state before it or after it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headrace.pipelines.errors import StoreError
from headrace.pipelines.store import rows
from headrace.pipelines.store.records import ArtifactRecord, CachedStep, NewArtifact, StepKey, StepRecord, StepState
from headrace.pipelines.store.runs import Runs
from headrace.pipelines.store.schema import artifacts, cache_keys, metrics, runs, step_inputs, step_outputs, steps
from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

_START = insert(steps).returning(steps.c.id)
_INPUTS, _OUTPUTS = insert(step_inputs), insert(step_outputs)
_FINISH = (
    update(steps)
    .where(steps.c.id == bindparam("step"), steps.c.state == StepState.RUNNING.value)
    .values(
        state=bindparam("to"),
        ended=bindparam("at"),
        error=bindparam("why"),
        refusal=bindparam("says_no"),
        output_parameters=bindparam("gave"),
        peak_rss=bindparam("rss"),
    )
    .returning(steps.c.run, steps.c.path, steps.c.loop_index, steps.c.attempt)
)
_FINISH_AND_TELL = _FINISH.values(progress=bindparam("told"))
_PROGRESS = update(steps).where(steps.c.id == bindparam("step")).values(progress=bindparam("now"))
_RUN = select(runs.c.id, runs.c.root).where(runs.c.sequence == bindparam("run"))
_REPLACE = (
    update(artifacts)
    .where(
        artifacts.c.root == bindparam("in_root"),
        artifacts.c.uri == bindparam("at_uri"),
        artifacts.c.digest != bindparam("other_than"),
        artifacts.c.live,
    )
    .values(live=False)
)
_MADE = rows.select_artifacts().where(artifacts.c.id == bindparam("made"))

Inputs = Mapping[str, Sequence[int]]


class Steps(Runs):
    """The part of the store that is about steps."""

    def start_step(
        self,
        run_id: str,
        path: str,
        *,
        component: str,
        loop_index: str = "",
        attempt: int = 1,
        cache_key: str | None = None,
        key_fields: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Any] | None = None,
        inputs: Inputs | None = None,
        log_uri: str | None = None,
    ) -> int:
        """Records that a step starts, and gives the number by which `finish_step` knows it.

        Args:
            path: The step's place in the Plan, such as ``"Trainer"`` or ``"Tune/Trainer"``.
            loop_index: Which pass of the loops around it, such as ``"0"`` or ``"2.1"``; empty outside a loop.
            attempt: Counted from 1.
            cache_key: The digest of `key_fields`, which `previous_step` gives back for ``why``.
            inputs: The ids of the artifacts it reads, by input name, in order.

        Raises:
            StoreError: This attempt at the step was started before, or the run or an input is unknown.
        """
        row = self._row(run_id, path, component, loop_index, attempt, cache_key, parameters)
        with self._write() as connection:
            return self._start(connection, {**row, "log_uri": log_uri}, key_fields, inputs)

    def finish_step(
        self,
        step: int,
        state: StepState,
        *,
        outputs: Mapping[str, Sequence[NewArtifact]] | None = None,
        output_parameters: Mapping[str, Any] | None = None,
        refusal: str | None = None,
        error: Mapping[str, Any] | None = None,
        peak_rss: int | None = None,
        progress: Mapping[str, Any] | None = None,
    ) -> dict[str, tuple[ArtifactRecord, ...]]:
        """Records, all or nothing, how a step ended and what it made; gives the artifacts as recorded.

        Args:
            step: What `start_step` gave.
            outputs: The artifacts by output name, in order.
            refusal: Why the step says no, when it ran to its end and does. A cache hit repeats it.
            peak_rss: In bytes.
            progress: What the step said of itself; by default what `report_progress` recorded last stays.

        Raises:
            StoreError: The step has ended before, or the store refuses the write.
        """
        if state is StepState.RUNNING:
            raise StoreError(f"step {step}: expected a final state, received {state.value!r}")
        now = self._now()
        values = {
            "step": step,
            "to": state.value,
            "at": now,
            "why": error,
            "says_no": refusal,
            "gave": dict(output_parameters or {}),
            "rss": peak_rss,
        }
        if progress is not None:
            values["told"] = dict(progress)
        with self._write(ordered=bool(outputs)) as connection:
            ended = connection.execute(_FINISH if progress is None else _FINISH_AND_TELL, values).one_or_none()
            if ended is None:
                raise StoreError(f"step {step} is not running: it was finished before, or its run was interrupted")
            run_id, root = connection.execute(_RUN, {"run": ended.run}).one()
            producer = StepKey(run_id, ended.path, ended.loop_index, ended.attempt)
            found = {
                name: tuple(self._record_artifact(connection, new, root, step, producer, name) for new in made)
                for name, made in (outputs or {}).items()
            }
            _use(connection, _OUTPUTS, step, {name: [made.id for made in made_all] for name, made_all in found.items()})
        return found

    def record_cached_step(
        self,
        run_id: str,
        path: str,
        hit: CachedStep,
        *,
        component: str,
        cache_key: str,
        loop_index: str = "",
        parameters: Mapping[str, Any] | None = None,
        inputs: Inputs | None = None,
    ) -> int:
        """Records a step whose outputs were taken from the cache, its refusal included.

        Raises:
            StoreError: The step was recorded in this run before.
        """
        row = self._row(run_id, path, component, loop_index, 1, cache_key, parameters)
        ended = {
            "state": StepState.CACHED.value,
            "ended": row["started"],
            "refusal": hit.refusal,
            "output_parameters": dict(hit.output_parameters),
            "cached_from": hit.step_id,
        }
        with self._write() as connection:
            step = self._start(connection, {**row, **ended}, None, inputs)
            _use(connection, _OUTPUTS, step, {name: [made.id for made in all_] for name, all_ in hit.outputs.items()})
        return step

    def record_skipped_step(
        self, run_id: str, path: str, *, component: str, reason: str, loop_index: str = "", attempt: int = 1
    ) -> int:
        """Records a step that did not run, and why.

        Raises:
            StoreError: The step was recorded in this run before.
        """
        row = self._row(run_id, path, component, loop_index, attempt, None, None)
        ended = {"state": StepState.SKIPPED.value, "ended": row["started"], "error": {"message": reason}}
        with self._write() as connection:
            return self._start(connection, {**row, **ended}, None, None)

    def report_progress(self, step: int, progress: Mapping[str, Any]) -> None:
        """Replaces what a running step last said of itself (rows, epochs); for others who watch the run."""
        with self._write() as connection:
            connection.execute(_PROGRESS, {"step": step, "now": dict(progress)})

    def record_metrics(self, step: int, series: Mapping[str, Iterable[tuple[int, float]]]) -> None:
        """Adds points to a step's series (loss by epoch); a point that is there is replaced.

        Args:
            series: By name, the points as (number of the epoch or training step, value).
        """
        points = [
            {"step": step, "name": name, "number": number, "value": None if math.isnan(value) else value}
            for name, values in series.items()
            for number, value in values
        ]
        if points:
            with self._write() as connection:
                connection.execute(self._insert_or_replace(metrics, "step", "name", "number"), points)

    def metrics(self, step: int) -> dict[str, list[tuple[int, float]]]:
        """A step's series by name, each in the order of its numbers."""
        query = select(metrics).where(metrics.c.step == step).order_by(metrics.c.name, metrics.c.number)
        found: dict[str, list[tuple[int, float]]] = {}
        with self._read() as connection:
            for _, name, number, value in connection.execute(query):
                found.setdefault(name, []).append((number, math.nan if value is None else value))
        return found

    def steps(self, run_id: str) -> tuple[StepRecord, ...]:
        """The steps of a run in the order they were started, every attempt."""
        sequence = self._run_sequence(run_id)
        with self._read() as connection:
            return rows.step_records(connection, select(steps.c.id).where(steps.c.run == sequence))

    def step(self, key: StepKey | int) -> StepRecord:
        """One step, by its key or its number.

        Raises:
            StoreError: There is none.
        """
        query = select(steps.c.id)
        if isinstance(key, int):
            query = query.where(steps.c.id == key)
        else:
            where = (steps.c.path == key.path, steps.c.loop_index == key.loop_index, steps.c.attempt == key.attempt)
            query = query.where(steps.c.run == self._run_sequence(key.run_id), *where)
        with self._read() as connection:
            found = rows.step_records(connection, query)
        if not found:
            raise StoreError(f"the store {self.url} has no step {key}\n    fix: headrace show RUN lists a run's steps")
        return found[0]

    def _row(
        self,
        run_id: str,
        path: str,
        component: str,
        loop_index: str,
        attempt: int,
        cache_key: str | None,
        parameters: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        return {
            "run": self._run_sequence(run_id),
            "path": path,
            "loop_index": loop_index,
            "attempt": attempt,
            "component": component,
            "state": StepState.RUNNING.value,
            "cache_key": cache_key,
            "parameters": dict(parameters or {}),
            "started": self._now(),
            "output_parameters": {},
            "progress": {},
        }

    def _start(
        self,
        connection: Connection,
        row: Mapping[str, Any],
        key_fields: Mapping[str, Any] | None,
        inputs: Inputs | None,
    ) -> int:
        if key_fields is not None and row["cache_key"] is not None:
            fields = {"key": row["cache_key"], "fields": dict(key_fields)}
            connection.execute(self._insert_or_keep(cache_keys), fields)
        try:
            step = int(connection.execute(_START, row).scalar_one())
        except IntegrityError as error:
            key = (row["path"], row["loop_index"], row["attempt"])
            raise StoreError(f"step {key} was recorded in this run before\n    fix: count the attempts up") from error
        _use(connection, _INPUTS, step, inputs or {})
        return step

    def _insert_artifact(self) -> Any:
        def insert_or_revive() -> Any:
            new = self._insert(artifacts)
            again = new.on_conflict_do_update(index_elements=["root", "uri", "digest"], set_={"live": True})
            return again.returning(artifacts.c.id, artifacts.c.producer)

        return self._statement("revive", artifacts, insert_or_revive)

    def _record_artifact(
        self, connection: Connection, new: NewArtifact, root: str, step: int, producer: StepKey, output: str
    ) -> ArtifactRecord:
        created = self._now()
        row = {
            "root": root,
            "uri": new.uri,
            "type": new.type,
            "digest": new.digest,
            "properties": dict(new.properties),
            "links": dict(new.links),
            "live": True,
            "created": created,
            "producer": step,
            "output": output,
        }
        connection.execute(_REPLACE, {"in_root": root, "at_uri": new.uri, "other_than": new.digest})
        made, maker = connection.execute(self._insert_artifact(), row).one()
        if maker != step:
            # The same content at the same place as before (an import): it keeps its number, by which "as of" goes.
            return rows.artifact(connection.execute(_MADE, {"made": made}).one())
        return ArtifactRecord(**{**row, "id": made, "producer": producer})


def _use(connection: Connection, statement: Any, step: int, used: Inputs) -> None:
    usage = [
        {"step": step, "name": name, "position": position, "artifact": artifact}
        for name, all_ in used.items()
        for position, artifact in enumerate(all_)
    ]
    if usage:
        connection.execute(statement, usage)
