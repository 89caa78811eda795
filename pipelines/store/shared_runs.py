"""Runs whose steps report by themselves, each from its own pod: nobody begins such a run, and nobody ends it.

The first step that reports makes the run, under the name that the cluster gave it. When none of its steps runs any
more, the run is as its steps are; a further step opens it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.pipelines.store.records import RunState, StepState
from headrace.pipelines.store.runs import Runs
from headrace.pipelines.store.schema import runs, steps
from sqlalchemy import Connection, func, select, update

_ENDED_AS = (
    (StepState.FAILED, RunState.FAILED),
    (StepState.INTERRUPTED, RunState.INTERRUPTED),
    (StepState.NOT_BLESSED, RunState.NOT_BLESSED),
)


class SharedRuns(Runs):
    """The part of the store that is about runs without a driver."""

    def join_run(
        self,
        run_id: str,
        pipeline: str,
        *,
        root: str,
        parameters: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> int:
        """Records that a step of a cluster's run is about to start; of many that join at once, one makes the run.

        Args:
            run_id: The name that the cluster gave the run.
            root: What the run's relative URIs start from.
            parameters: Those of the pipeline that this step knows; they are added to what others knew.
            labels: Such as the target.

        Returns:
            How many steps the run has by now.

        Raises:
            StoreError: The store refuses the write.
        """
        row = {
            "id": run_id,
            "pipeline": pipeline,
            "state": RunState.RUNNING.value,
            "started": self._now(),
            "plan_digest": "",
            "parameters": {},
            "root": root,
            "experiment": "",
            "scope": "",
            "labels": dict(labels or {}),
            "process": {},
        }
        with self._write() as connection:
            connection.execute(self._insert_or_keep(runs), row)
            found = self._locked(connection, run_id)
            joined = {**found.parameters, **(parameters or {})}
            changed = {"state": RunState.RUNNING.value, "ended": None, "error": None, "parameters": joined}
            connection.execute(update(runs).where(runs.c.sequence == found.sequence).values(changed))
            self._run_sequences[run_id] = found.sequence
            count = select(func.count()).select_from(steps).where(steps.c.run == found.sequence)
            return int(connection.execute(count).scalar_one())

    def next_attempt(self, run_id: str, path: str) -> int:
        """The number of the attempt at a step that comes after all that are recorded."""
        last = select(func.max(steps.c.attempt)).where(steps.c.run == self._run_sequence(run_id), steps.c.path == path)
        with self._read() as connection:
            return int(connection.execute(last).scalar() or 0) + 1

    def settle_run(self, run_id: str) -> RunState:
        """Gives a run the state that follows from the last attempt at each of its steps, once none of them runs."""
        with self._write() as connection:
            run = self._locked(connection, run_id)
            ended = select(steps.c.path, steps.c.state, steps.c.refusal).where(steps.c.run == run.sequence)
            last: dict[str, tuple[str, bool]] = {}
            for path, state, refusal in connection.execute(ended.order_by(steps.c.attempt)):
                last[path] = (state, refusal is not None)
            states = {state for state, _ in last.values()}
            if StepState.RUNNING.value in states:
                return RunState.RUNNING
            found = next((run_state for state, run_state in _ENDED_AS if state.value in states), RunState.SUCCEEDED)
            if found is RunState.SUCCEEDED and any(refused for _, refused in last.values()):
                found = RunState.NOT_BLESSED
            new = {"state": found.value, "ended": self._now()}
            connection.execute(update(runs).where(runs.c.sequence == run.sequence).values(new))
            return found

    def _locked(self, connection: Connection, run_id: str) -> Any:
        """The run's row, which others cannot change until this transaction ends."""
        return connection.execute(select(runs).where(runs.c.id == run_id).with_for_update()).one()
