"""The store's runs: begun, ended, found again, and declared dead when their driver was killed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from headrace.pipelines.errors import StoreError
from headrace.pipelines.store import rows
from headrace.pipelines.store.database import Database
from headrace.pipelines.store.liveness import surely_dead, this_process
from headrace.pipelines.store.records import RunRecord, RunState, StepState
from headrace.pipelines.store.schema import plans, runs, steps
from sqlalchemy import bindparam, insert, select, update

_NEW_RUN = insert(runs).returning(runs.c.sequence)
_END_RUN = (
    update(runs)
    .where(runs.c.sequence == bindparam("run"), runs.c.state == RunState.RUNNING.value)
    .values(state=bindparam("to"), ended=bindparam("at"), error=bindparam("why"))
)
_END_STEPS = (
    update(steps)
    .where(steps.c.run == bindparam("which"), steps.c.state == StepState.RUNNING.value)
    .values(state=StepState.INTERRUPTED.value, ended=bindparam("at"))
)


class Runs(Database):
    """The part of the store that is about runs."""

    def create_run(
        self,
        pipeline: str,
        *,
        root: str,
        plan_digest: str = "",
        plan: Any = None,
        parameters: Mapping[str, Any] | None = None,
        experiment: str = "",
        scope: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> RunRecord:
        """Records that this process starts a run.

        Args:
            root: What the run's relative URIs start from; ``"."`` for a store that lies in its root and moves with it.
            plan_digest: The Plan's digest; a Plan already recorded is not written again.
            plan: The Plan as JSON values.
            scope: See `History`.

        Raises:
            StoreError: The store refuses the write.
        """
        started = self._now()
        run_id = f"{started:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        row = {
            "id": run_id,
            "pipeline": pipeline,
            "state": RunState.RUNNING.value,
            "started": started,
            "plan_digest": plan_digest,
            "parameters": dict(parameters or {}),
            "root": root,
            "experiment": experiment,
            "scope": scope,
            "labels": dict(labels or {}),
            "process": this_process(),
        }
        with self._write() as connection:
            if plan is not None:
                connection.execute(self._insert_or_keep(plans), {"digest": plan_digest, "document": plan})
            sequence = connection.execute(_NEW_RUN, row).scalar_one()
        self._run_sequences[run_id] = sequence
        return RunRecord(**{**row, "sequence": sequence, "state": RunState.RUNNING, "ended": None, "error": None})

    def finish_run(self, run_id: str, state: RunState, *, error: Mapping[str, Any] | None = None) -> None:
        """Ends a run; steps of it that still count as running are interrupted with it.

        Raises:
            StoreError: The run is unknown or has ended before.
        """
        if state is RunState.RUNNING:
            raise StoreError(f"run {run_id}: expected a final state, received {state.value!r}")
        sequence, now = self._run_sequence(run_id), self._now()
        with self._write() as connection:
            ended = connection.execute(_END_RUN, {"run": sequence, "to": state.value, "at": now, "why": error})
            if ended.rowcount != 1:
                raise StoreError(f"run {run_id} has already ended\n    fix: start another run")
            connection.execute(_END_STEPS, {"which": sequence, "at": now})

    def run(self, run_id: str = "latest") -> RunRecord:
        """A run by its id, by an unambiguous beginning of it, or the latest.

        Raises:
            StoreError: No run, or more than one, is meant.
        """
        query = select(*rows.RUN_COLUMNS).order_by(runs.c.sequence.desc()).limit(2)
        if run_id != "latest":
            query = query.where(runs.c.id.startswith(run_id, autoescape=True))
        with self._read() as connection:
            found = [rows.run(row) for row in connection.execute(query)]
        exact = [record for record in found if record.id == run_id]
        if exact or (found and run_id == "latest") or len(found) == 1:
            return (exact or found)[0]
        if found:
            raise StoreError(f"{run_id!r} is the beginning of several runs\n    fix: type more of it (headrace runs)")
        raise StoreError(f"the store {self.url} has no run {run_id!r}\n    fix: headrace runs lists what it has")

    def runs(
        self,
        limit: int | None = 20,
        *,
        pipeline: str | None = None,
        experiment: str | None = None,
        state: RunState | None = None,
    ) -> tuple[RunRecord, ...]:
        """The newest runs, newest first."""
        query = select(*rows.RUN_COLUMNS).order_by(runs.c.sequence.desc()).limit(limit)
        for column, wanted in ((runs.c.pipeline, pipeline), (runs.c.experiment, experiment), (runs.c.state, state)):
            if wanted is not None:
                query = query.where(column == wanted)
        with self._read() as connection:
            return tuple(rows.run(row) for row in connection.execute(query))

    def plan(self, run_id: str) -> Any:
        """The Plan of a run as JSON values, None when it was recorded without."""
        query = select(plans.c.document).join(runs, runs.c.plan_digest == plans.c.digest).where(runs.c.id == run_id)
        with self._read() as connection:
            return connection.execute(query).scalar()

    def recover_dead_runs(self) -> tuple[RunRecord, ...]:
        """Marks the runs whose driver was killed, and their running steps, as interrupted, and gives them.

        Only a process that is known to be dead counts: a run on another host is left alone. In a store that may only
        be read, that is left to its owner.
        """
        if self.read_only:
            return ()
        dead = [record for record in self.runs(None, state=RunState.RUNNING) if surely_dead(record.process)]
        if not dead:
            return ()
        now = self._now()
        why = {"message": "the driver's process ended without saying so"}
        with self._write() as connection:
            for record in dead:
                values = {"run": record.sequence, "to": RunState.INTERRUPTED.value, "at": now, "why": why}
                if connection.execute(_END_RUN, values).rowcount:
                    connection.execute(_END_STEPS, {"which": record.sequence, "at": now})
        return tuple(self.run(record.id) for record in dead)

    def _run_sequence(self, run_id: str) -> int:
        """The number by which the other tables name a run."""
        known = self._run_sequences.get(run_id)
        if known is None:
            with self._read() as connection:
                known = connection.execute(select(runs.c.sequence).where(runs.c.id == run_id)).scalar()
            if known is None:
                raise StoreError(
                    f"the store {self.url} has no run {run_id!r}\n    fix: headrace runs lists what it has"
                )
            self._run_sequences[run_id] = known
        return known
