"""A step of a cluster reports to a store, so that `headrace runs` lists its run beside those of people's machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from headrace.kubeflow.container.log_lines import Log
from headrace.pipelines import storage
from headrace.pipelines.artifact import with_link_uris
from headrace.pipelines.errors import StoreError
from headrace.pipelines.execution import OutputRecord, StepResult
from headrace.pipelines.runner.step_planning import PlannedStep
from headrace.pipelines.store import ArtifactRecord, NewArtifact, StepState, Store
from headrace.pipelines.store.from_records import adopt

# A step that has worked for hours is not to fail because a database restarts.
TRIES, WAIT = 4, 5.0
PROGRESS_SECONDS = 10.0


class StoreReport:
    """What a store is told of one attempt at a step.

    Args:
        store: The open store.
        log: Told when the store cannot be.
        run: The run's id.
        pipeline: The pipeline's name.
        step, component: The step's id and its component's name.
        root: The pipeline root, which the store knows by its URL.
        target: ``"kfp"`` or ``"argo"``.
    """

    def __init__(
        self, store: Store, log: Log, *, run: str, pipeline: str, step: str, component: str, root: str, target: str
    ) -> None:
        self._store, self._log, self._run, self._root = store, log, run, root
        self._pipeline, self._step, self._component, self._target = pipeline, step, component, target
        self._number: int | None = None
        self._told = 0.0
        self.attempt = 1

    def join(self, parameters: Mapping[str, Any], attempt: int) -> None:
        """Records the run, if no other step has; `attempt` is then the number of this attempt.

        Raises:
            StoreError: The store cannot be reached.
        """
        labels = {"target": self._target}
        self._store.join_run(self._run, self._pipeline, root=self._root, parameters=parameters, labels=labels)
        self.attempt = max(attempt, self._store.next_attempt(self._run, self._step))

    def start(self, planned: PlannedStep) -> None:
        """Records that the step starts.

        Raises:
            StoreError: The store cannot be reached.
        """
        inputs = {name: [self._known(one) for one in all_] for name, all_ in planned.inputs.items()}
        self._number = self._store.start_step(
            self._run,
            self._step,
            component=self._component,
            attempt=self.attempt,
            cache_key=planned.key.digest if planned.step.place == "worker" else None,
            key_fields=planned.key.stored(),
            parameters=planned.parameters,
            inputs=inputs,
        )

    def progress(self, event: Mapping[str, Any]) -> None:
        """Passes on what a step says of itself, now and then."""
        number = self._number
        if number is not None and time.monotonic() - self._told > PROGRESS_SECONDS:
            self._told = time.monotonic()
            said = {"rows": int(event["done"])} if event.get("unit") == "rows" else {}
            self._tell(lambda: self._store.report_progress(number, said), tries=1)

    def finish(self, result: StepResult, state: StepState, reason: str = "") -> None:
        """Records how the step ended."""
        outputs = {name: [self._new(record)] for name, record in result.outputs.items()}
        error = asdict(result.error) if result.error is not None else None
        told = {"cache_reason": reason, "rows": None, "warnings": list(result.warnings)}
        number = self._number
        assert number is not None
        self._tell(
            lambda: self._store.finish_step(
                number,
                state,
                outputs=outputs,
                output_parameters=result.results,
                refusal=result.refusal,
                error=error,
                peak_rss=result.peak_rss or None,
                progress=told,
            )
        )
        self._tell(self._settle)

    def cached(self, planned: PlannedStep, result: StepResult, reason: str) -> None:
        """Records a step whose outputs were made before.

        Raises:
            StoreError: The store cannot be reached.
        """
        self.start(planned)
        self.finish(result, StepState.CACHED, reason)

    def failed(self, error: Mapping[str, Any]) -> None:
        """Records a step whose files, parameters or code were wrong, or whose results could not be kept."""
        if self._number is None:
            self._tell(lambda: self._begin(), tries=1)
        self._tell(lambda: self._end(StepState.FAILED, error), tries=1)
        self._tell(self._settle, tries=1)

    def skipped(self, reason: str) -> None:
        """Records a step that could not run because something was not made."""
        component, attempt = self._component, self.attempt
        self._store.record_skipped_step(self._run, self._step, component=component, reason=reason, attempt=attempt)
        self._store.settle_run(self._run)

    def interrupted(self) -> None:
        """Records that the step was ended from outside."""
        error = {"message": "the container was asked to end"}
        self._tell(lambda: self._end(StepState.INTERRUPTED, error), tries=1)
        self._tell(self._settle, tries=1)

    def _begin(self) -> None:
        self._number = self._store.start_step(self._run, self._step, component=self._component, attempt=self.attempt)

    def _end(self, state: StepState, error: Mapping[str, Any]) -> None:
        if self._number is not None:
            self._store.finish_step(self._number, state, error=error)

    def _settle(self) -> None:
        self._store.settle_run(self._run)

    def _tell(self, say: Callable[[], Any], tries: int = TRIES) -> None:
        """Tells the store; when it cannot be told, the log is, and the step goes on."""
        for left in reversed(range(tries)):
            try:
                say()
                return
            except StoreError as error:
                if not left:
                    self._log.line(f"warning: the store was not told: {error}")
                else:
                    time.sleep(WAIT)

    def _known(self, one: ArtifactRecord) -> int:
        """The number of an input in the store, which may see it for the first time."""
        uri = storage.relative_to_root(one.uri, self._root)
        if found := self._store.artifacts(uri=uri, root=self._root, digest=one.digest, limit=1):
            return found[0].id
        links = with_link_uris(one.links, lambda link: storage.relative_to_root(link, self._root))
        new = NewArtifact(uri, one.type, one.digest, one.properties, links)
        try:
            return adopt(self._store, self._pipeline, self._root, one, new)
        except StoreError:
            # Another step that reads it was quicker.
            if found := self._store.artifacts(uri=uri, root=self._root, digest=one.digest, limit=1):
                return found[0].id
            raise

    def _new(self, record: OutputRecord) -> NewArtifact:
        uri = storage.relative_to_root(record.uri, self._root)
        links = with_link_uris(record.links, lambda link: storage.relative_to_root(link, self._root))
        return NewArtifact(uri, record.type, record.digest, record.properties, links)
