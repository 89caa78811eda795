"""The local runner: starts each step when its inputs are there, and records what became of it.

    plan_step -> cache hit?  --yes--> recorded as cached
                   |no
                   v
              StepRequest -> worker -> events -> StepResult -> recorded, then whatever waited for it

One thread, one loop; a second thread only imports what the report will need. Every change of state is one transaction
of the store, so a run that is killed leaves what had succeeded.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.pipelines import storage
from headrace.pipelines.artifact import with_link_uris
from headrace.pipelines.errors import HeadraceError
from headrace.pipelines.execution import OutputRecord, StepResult, execute
from headrace.pipelines.file_patterns import DigestMemo
from headrace.pipelines.plan import Plan, Step
from headrace.pipelines.runner.attempt import GRACE, Attempt
from headrace.pipelines.runner.imports import imports_of
from headrace.pipelines.runner.options import Listener, RunOptions, check_runnable, cluster_only, resolve_parameters
from headrace.pipelines.runner.schedule import Schedule
from headrace.pipelines.runner.step_planning import (
    CodeParts,
    MissingInput,
    Outcome,
    PlannedStep,
    StoreMemo,
    find_hit,
    plan_step,
    step_request,
    why_it_runs,
)
from headrace.pipelines.runner.workers import Event, ForkedWorkers, InProcessWorkers, Job, Workers, workers_for
from headrace.pipelines.runs import Run, StepRun, open_recorded, read_run, run_folder
from headrace.pipelines.store import History, NewArtifact, RunState, StepState, Store

ENDED = {"succeeded": StepState.SUCCEEDED, "refused": StepState.NOT_BLESSED, "rejected": StepState.FAILED}


class Driver:
    """Runs one Plan once.

    Args:
        plan: What to run.
        options: How.
        listener: Who is told.
        workers: A way to run steps that was started already, and that whoever started it closes.
    """

    def __init__(
        self, plan: Plan, options: RunOptions, listener: Listener, workers: ForkedWorkers | None = None
    ) -> None:
        check_runnable(plan)
        self.plan, self.options, self.listener = plan, options, listener
        self.parameters = resolve_parameters(plan, options.parameters)
        self.place = options.place_for(plan)
        self.root = self.place.root
        self.home = options.home_for(plan)
        self.history = History(plan.name, self.place.recorded_root, options.scope)
        self.jobs = options.jobs or os.cpu_count() or 1
        self.outcomes: dict[str, Outcome] = {}
        self.finished: dict[str, StepRun] = {}
        self.attempts: dict[str, Attempt] = {}
        self.schedule = Schedule(plan.steps)
        self.ready: deque[Step] = deque()
        self._early_workers = workers
        self._workers: Workers | None = workers

    def run(self) -> Run:
        """Runs the Plan to its end.

        Raises:
            StoreError: The store cannot be opened.
        """
        with Store.open(self.place.store) as store:
            self.store = store
            self.memo: DigestMemo = StoreMemo(store)
            self.code = CodeParts(self.plan.root)
            store.recover_dead_runs()
            record = store.create_run(
                self.plan.name,
                root=self.place.recorded_root,
                plan_digest=self.plan.digest,
                plan=self.plan.to_document(),
                parameters=self.parameters,
                experiment=self.options.experiment,
                scope=self.options.scope,
            )
            self.run_id = record.id
            self.folder = run_folder(self.root, self.plan.name, self.run_id)
            self.logs = self.home / "logs" / self.run_id
            self.logs.mkdir(parents=True, exist_ok=True)
            if self._early_workers is not None:
                self._early_workers.keep_log(str(self.logs / "imports.log"))
            self.listener.run_started(self.run_id, self.plan)
            for line in cluster_only(self.plan):
                self.listener.warned(line)
            try:
                self._loop()
                state = self._final_state()
            except KeyboardInterrupt:
                self._interrupt()
                state = RunState.INTERRUPTED
            except BaseException:
                self._interrupt()
                store.finish_run(self.run_id, RunState.FAILED)
                raise
            finally:
                if self._workers is not None:
                    self._workers.close()
            store.finish_run(self.run_id, state)
            run = read_run(store, self.run_id)
        run = self._with_report(run)
        self.listener.run_finished(run)
        return run

    def _loop(self) -> None:
        if self._writes_report():
            # Beside the steps, for which this process only waits.
            threading.Thread(target=_prepare_report, name="report").start()
        while self.schedule or self.ready or self.attempts:
            self._advance()
            if self.attempts:
                for event in self._get_workers().wait(self._patience()):
                    self._handle(event)
                self._enforce_timeouts()

    def _advance(self) -> None:
        """Skips every step that cannot run, and begins those that can while there is room."""
        while True:
            for step in self.schedule.settled():
                broken = [up for up in self.schedule.upstream[step.id] if up not in self.outcomes]
                if broken:
                    self._skip(step, f"{broken[0]} {self.finished[broken[0]].state.value}")
                else:
                    self.ready.append(step)
            if not self.ready or len(self.attempts) >= self.jobs:
                return
            self._begin(self.ready.popleft())

    def _begin(self, step: Step) -> None:
        try:
            planned = plan_step(step, self.parameters, self.outcomes, self.memo, self.code, self.options.sample)
        except MissingInput as missing:
            # Nothing went wrong: a step that can do without its outputs may run.
            self.outcomes[step.id] = Outcome(missing=str(missing))
            self._skip(step, str(missing))
            return
        except HeadraceError as error:
            self._fail_unstarted(step, error)
            return
        hit = None
        if step.place == "worker" and self.options.cache and step.settings.cache and self.options.debug != step.id:
            hit = find_hit(self.store, planned, self.place.recorded_root, self.root)
        if hit is not None:
            inputs = {name: [record.id for record in records] for name, records in planned.inputs.items()}
            self.store.record_cached_step(
                self.run_id,
                step.id,
                hit,
                component=step.component.qualname,
                cache_key=planned.key.digest,
                inputs=inputs,
            )
            self.outcomes[step.id] = Outcome(hit.outputs, hit.output_parameters, hit.refusal)
            outputs = {name: open_recorded(records[0], self.root) for name, records in hit.outputs.items()}
            now = datetime.now(UTC)
            reason = f"nothing changed since run {hit.key.run_id}"
            cached = StepRun(
                step.id,
                step.component.qualname,
                StepState.CACHED,
                outputs,
                hit.output_parameters,
                started=now,
                ended=now,
            )
            self._finish(_with(cached, cache_reason=reason, refusal=hit.refusal))
            return
        self._start(planned, 1, self._reason(planned))

    def _reason(self, planned: PlannedStep) -> str:
        if planned.step.place == "driver":
            return "asks the store"
        if not self.options.cache:
            return "--no-cache"
        if not planned.step.settings.cache:
            return "cache is off for this step"
        return "; ".join(why_it_runs(self.store, planned, self.history, self.run_id)[:3])

    def _start(self, planned: PlannedStep, number: int, reason: str) -> None:
        step = planned.step
        log = str(self.logs / f"{step.id}.{number}.log")
        record = self.store.start_step(
            self.run_id,
            step.id,
            component=step.component.qualname,
            attempt=number,
            cache_key=planned.key.digest if step.place == "worker" else None,
            key_fields=planned.key.stored(),
            parameters=planned.parameters,
            inputs={name: [made.id for made in records] for name, records in planned.inputs.items()},
            log_uri=storage.relative_to_root(log, self.root),
        )
        attempt = Attempt(planned, number, record, log, reason)
        self.attempts[step.id] = attempt
        self.listener.step_started(step.id, reason, number)
        folder = storage.join(self.folder, step.id if number == 1 else f"{step.id}.{number}")
        request = step_request(
            planned, self.plan, self.options, self.place, run=self.run_id, attempt=number, folder=folder
        )
        if step.place == "driver":
            attempt.result = execute(request)
            Path(log).write_text(attempt.result.error.traceback if attempt.result.error else "asked the store\n")
            self._end(step.id, 0)
            return
        job = Job(step.id, request, log, dict(step.settings.env), imports_of(step))
        self._get_workers().start(job)

    def _get_workers(self) -> Workers:
        if self._workers is None:
            running = [attempt.planned.step for attempt in self.attempts.values()]
            remaining = [*self.schedule.remaining(), *self.ready, *running]
            self._workers = workers_for(remaining, self.options, self.root, str(self.logs / "imports.log"))
        return self._workers

    def _handle(self, event: Event) -> None:
        attempt = self.attempts.get(event.job)
        if attempt is None:
            return
        if event.kind == "started":
            attempt.started = time.monotonic()
        elif event.kind == "progress":
            if event.content.get("unit") == "rows":
                attempt.rows = int(event.content["done"])
            self.listener.step_progress(event.job, event.content)
        elif event.kind == "warning":
            self.listener.step_progress(event.job, event.content)
        elif event.kind == "result":
            attempt.result = StepResult.from_json(event.content["result"])
        elif event.kind == "exited":
            self._end(event.job, event.content["status"])

    def _end(self, id_: str, status: int) -> None:
        attempt = self.attempts.pop(id_)
        result = attempt.result
        if result is None or result.state == "failed":
            error = attempt.error(status)
            if attempt.number <= attempt.planned.step.settings.retries:
                self._record_failure(attempt, error)
                self.listener.step_retried(id_, error)
                self._start(attempt.planned, attempt.number + 1, f"attempt {attempt.number} failed")
                return
            self._record_failure(attempt, error)
            self._finish(attempt.step_run(StepState.FAILED, error=error))
            return
        state = ENDED[result.state]
        rejection = attempt.error(status) if result.error is not None else None
        made = self.store.finish_step(
            attempt.record,
            state,
            outputs={name: [self._new_artifact(record)] for name, record in result.outputs.items()},
            output_parameters=result.results,
            refusal=result.refusal,
            error=rejection,
            peak_rss=result.peak_rss,
            progress=attempt.told(),
        )
        if state is not StepState.FAILED:
            self.outcomes[id_] = Outcome(made, result.results, result.refusal)
        outputs = {name: open_recorded(records[0], self.root) for name, records in made.items()}
        self._finish(attempt.step_run(state, outputs=outputs, error=rejection))

    def _new_artifact(self, record: OutputRecord) -> NewArtifact:
        uri = storage.relative_to_root(record.uri, self.root)
        links = with_link_uris(record.links, lambda link: storage.relative_to_root(link, self.root))
        return NewArtifact(uri, record.type, record.digest, record.properties, links)

    def _record_failure(self, attempt: Attempt, error: Mapping[str, Any]) -> None:
        peak = attempt.result.peak_rss if attempt.result else None
        self.store.finish_step(attempt.record, StepState.FAILED, error=error, peak_rss=peak, progress=attempt.told())

    def _fail_unstarted(self, step: Step, error: HeadraceError) -> None:
        """Records a step whose files, parameters or code were wrong before it could start."""
        record = self.store.start_step(self.run_id, step.id, component=step.component.qualname)
        said = {"type": type(error).__name__, "message": str(error), "traceback": ""}
        self.store.finish_step(record, StepState.FAILED, error=said)
        now = datetime.now(UTC)
        self._finish(StepRun(step.id, step.component.qualname, StepState.FAILED, started=now, ended=now, error=said))

    def _skip(self, step: Step, reason: str) -> None:
        self.store.record_skipped_step(self.run_id, step.id, component=step.component.qualname, reason=reason)
        now = datetime.now(UTC)
        error = {"message": reason}
        self._finish(StepRun(step.id, step.component.qualname, StepState.SKIPPED, started=now, ended=now, error=error))

    def _finish(self, step: StepRun) -> None:
        self.finished[step.id] = step
        self.schedule.ended(step.id)
        self.listener.step_finished(step)

    def _patience(self) -> float | None:
        """How long the loop may wait for an event before a timeout is due."""
        due = [moment for attempt in self.attempts.values() if (moment := attempt.due()) is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _enforce_timeouts(self) -> None:
        now = time.monotonic()
        for id_, attempt in self.attempts.items():
            due = attempt.due()
            if due is None or now < due:
                continue
            attempt.killed = attempt.asked_to_end is not None
            attempt.asked_to_end = attempt.asked_to_end or now
            self._get_workers().kill(id_, hard=attempt.killed)

    def _interrupt(self) -> None:
        """Ends every worker and records their steps as interrupted."""
        workers = self._workers
        deadline = time.monotonic() + GRACE
        for id_ in self.attempts:
            if workers is not None:
                workers.kill(id_, hard=False)
        running = set(self.attempts)
        while (
            workers is not None
            and running
            and time.monotonic() < deadline
            and not isinstance(workers, InProcessWorkers)
        ):
            running -= {event.job for event in workers.wait(0.2) if event.kind == "exited"}
        for id_, attempt in self.attempts.items():
            if workers is not None:
                workers.kill(id_, hard=True)
            self.store.finish_step(attempt.record, StepState.INTERRUPTED, error={"message": "interrupted"})
            self._finish(attempt.step_run(StepState.INTERRUPTED))
        self.attempts.clear()

    def _final_state(self) -> RunState:
        states = {step.state for step in self.finished.values()}
        if StepState.FAILED in states:
            return RunState.FAILED
        if any(step.refusal for step in self.finished.values()):
            return RunState.NOT_BLESSED
        return RunState.SUCCEEDED

    def _writes_report(self) -> bool:
        return self.options.report and storage.is_local(self.root)

    def _with_report(self, run: Run) -> Run:
        if not self._writes_report():
            return run
        try:
            from headrace.pipelines.report import write_run_report

            return write_run_report(run)
        except Exception as error:
            # The run is over and recorded: a fault of its picture must not change how it ended.
            self.listener.warned(f"report.html could not be written: {type(error).__name__}: {error}")
            return run


def _prepare_report() -> None:
    # What is wrong with it, the writing of the report will say.
    with contextlib.suppress(Exception):
        from headrace.pipelines.report.page import page_template

        page_template()
        importlib.import_module("tensorflow_metadata.proto.v0")


def _with(step: StepRun, **changes: Any) -> StepRun:
    from dataclasses import replace

    return replace(step, **changes)
