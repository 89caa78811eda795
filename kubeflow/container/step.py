"""One step in its container, from what the target hands over to what it takes back.

given -> plan -> missing input? ---> skipped: every output is absent, and says why
                   |
                 cached? ----------> the earlier result, if all of it is still there
                   |
                 worker process ---> succeeded | refused | rejected | failed
                   |
                 cache entry, history, references, parameters, the target's own output
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.kubeflow.container import result_cache, step_history
from headrace.kubeflow.container.kfp_metadata import evaluation_metrics
from headrace.kubeflow.container.log_lines import Log
from headrace.kubeflow.container.planning import MissingInput, plan_given, read_parameter
from headrace.kubeflow.container.references import Reference
from headrace.kubeflow.container.target_io import Given, Made, TargetIo
from headrace.kubeflow.container.termination_message import error_message, write_message
from headrace.kubeflow.container.user_types import types_of
from headrace.kubeflow.container.watch import Interrupted, Watcher
from headrace.kubeflow.step_document import StepDocument, parameter_ports
from headrace.pipelines import storage
from headrace.pipelines.artifact import MANIFEST
from headrace.pipelines.errors import HeadraceError
from headrace.pipelines.execution import StepError, StepRequest, StepResult, describe
from headrace.pipelines.plan import Parameter, Plan
from headrace.pipelines.runner.options import Place, RunOptions
from headrace.pipelines.runner.step_planning import PlannedStep, StoreMemo, step_request
from headrace.pipelines.runs import run_folder
from headrace.pipelines.store import StepKey, StepState

if TYPE_CHECKING:
    from headrace.kubeflow.container.store_report import StoreReport
    from headrace.pipelines.store import Store

STATES = {"succeeded": StepState.SUCCEEDED, "refused": StepState.NOT_BLESSED, "rejected": StepState.FAILED}
INTERRUPTED = 143
NOT_BLESSED = 3


@dataclass(frozen=True)
class Surroundings:
    """Where a container's step runs.

    Args:
        root: The pipeline root.
        project: The project's folder in the image.
        target: ``"kfp"`` or ``"argo"``.
        store: URL of the store that is reported to, or None.
        fail_if_not_blessed: Whether a refusal is exit code 3 instead of 0.
    """

    root: str
    project: str
    target: str
    store: str | None = None
    fail_if_not_blessed: bool = False


class ContainerStep:
    """One attempt at a step.

    Args:
        document: The step as its compiled file says.
        io: The target's way of handing over.
        place: Where it runs.
        log: Where its lines go.
    """

    def __init__(self, document: StepDocument, io: TargetIo, place: Surroundings, log: Log) -> None:
        self.document, self.io, self.place, self.log = document, io, place, log
        self.step = document.step
        self.report: StoreReport | None = None
        self.started = datetime.now(UTC)
        self._open = ExitStack()

    def run(self) -> int:
        """Runs it; gives the exit code."""
        watcher = Watcher(self.log, self._on_event)
        with self._open:
            try:
                return self._run(watcher)
            except Interrupted:
                return self._interrupted()
            except HeadraceError as error:
                return self._failed(StepError(type(error).__name__, str(error), ""))
            except Exception as error:
                # Such as a bucket that is not there, or that may not be written to.
                found = describe(error)
                message = f"{found.type}: {found.message} (pipeline root {self.place.root})"
                return self._failed(replace(found, message=message))

    def _run(self, watcher: Watcher) -> int:
        given = self.io.given()
        given = replace(given, attempt=self._first_unused(given))
        store = self._join_store(given)
        if self.report is not None:
            given = replace(given, attempt=self.report.attempt)
        self.key = StepKey(given.run, self.step.id, "", given.attempt)
        memo = StoreMemo(store) if store is not None else None
        try:
            planned = plan_given(self.document, given, root=self.place.root, project=self.place.project, memo=memo)
        except MissingInput as missing:
            return self._skipped(str(missing))
        if (hit := self._cached(planned)) is not None:
            return self._ended(planned, hit, StepState.CACHED, "nothing changed since it was made")
        if self.report is not None:
            self.report.start(planned)
        request = self._request(planned, given)
        self.log.line(f"starts: attempt {given.attempt} of run {given.run}, key {planned.key.digest[:12]}")
        self._outputs = request.outputs
        result = watcher.run(request.to_json(), sorted(self._types(request)), self.place.project)
        if result.state == "failed":
            assert result.error is not None
            return self._failed(result.error, result)
        return self._ended(planned, result, STATES[result.state])

    def _first_unused(self, given: Given) -> int:
        """The attempt whose folder holds nothing yet: a target that starts a pod anew need not count as we do."""
        attempt = given.attempt
        while storage.names_in(self._folder(given.run, attempt)):
            attempt += 1
        return attempt

    def _folder(self, run: str, attempt: int) -> str:
        name = self.step.id if attempt == 1 else f"{self.step.id}.{attempt}"
        return storage.join(run_folder(self.place.root, self.document.pipeline, run), name)

    def _join_store(self, given: Given) -> Store | None:
        if self.place.store is None:
            return None
        from headrace.kubeflow.container.store_report import StoreReport
        from headrace.pipelines.store import Store

        store = self._open.enter_context(Store.open(self.place.store))
        self.report = StoreReport(
            store,
            self.log,
            run=given.run,
            pipeline=self.document.pipeline,
            step=self.step.id,
            component=self.step.component.qualname,
            root=self.place.root,
            target=self.place.target,
        )
        self.report.join(self._parameters(given), given.attempt)
        return store

    def _parameters(self, given: Given) -> dict[str, Any]:
        kinds, found = dict(self.document.parameters), {}
        for port, value in parameter_ports(self.step).items():
            if isinstance(value, Parameter) and port in given.parameters:
                found[value.name] = read_parameter(value.name, kinds.get(value.name, "any"), given.parameters[port])
        return found

    def _cached(self, planned: PlannedStep) -> StepResult | None:
        if self.step.place != "worker" or not self.step.settings.cache:
            return None
        return result_cache.lookup(self.place.root, self.document.pipeline, planned.key.digest)

    def _request(self, planned: PlannedStep, given: Given) -> StepRequest:
        plan = Plan(self.document.pipeline, (planned.step,), root=self.place.project)
        store = self.place.store
        if store is None and self.step.place == "driver":
            store = self._scratch_store(planned)
        place = Place(self.place.root, self.place.root, store or "")
        folder = self._folder(given.run, given.attempt)
        request = step_request(planned, plan, RunOptions(), place, run=given.run, folder=folder, attempt=given.attempt)
        return replace(request, store_url=store)

    def _scratch_store(self, planned: PlannedStep) -> str:
        """A store filled from what earlier steps left in the root, for a step that asks one."""
        from headrace.pipelines.store import Store
        from headrace.pipelines.store.from_records import fill

        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="headrace-store-")))
        past = step_history.read_past_steps(self.place.root, self.document.pipeline)
        past.append(step_history.inputs_as_past(planned, self.place.root))
        with Store.open(folder / "store.db") as store:
            fill(store, past, pipeline=self.document.pipeline, root=self.place.root)
        self.log.line(f"asks what {len(past) - 1} earlier steps left in {self.place.root}")
        return str(folder / "store.db")

    def _types(self, request: StepRequest) -> set[str]:
        given = [ref for entry in request.inputs.values() for ref in (entry if isinstance(entry, list) else [entry])]
        return types_of(self.step) | {ref.type for ref in given}

    def _on_event(self, event: Mapping[str, Any]) -> None:
        if event["kind"] == "warning":
            self.log.line(f"warning: {event['message']}")
        elif event["kind"] == "progress" and self.report is not None:
            self.report.progress(event)

    def _ended(self, planned: PlannedStep, result: StepResult, state: StepState, reason: str = "") -> int:
        """Ships what a step made or took from the cache."""
        root, pipeline = self.place.root, self.document.pipeline
        if self.step.place == "worker" and state is not StepState.CACHED:
            result_cache.remember(root, pipeline, planned.key.digest, result)
        past = step_history.past_step(planned, self.key, state, result.outputs, self.started)
        step_history.write_past_step(root, pipeline, past)
        verdict = {"rejected": "", "refused": "refused"}.get(result.state, "succeeded")
        if state is StepState.CACHED and verdict == "succeeded":
            verdict = "cached"
        why = result.refusal or f"{self.step.id} left it out"
        types = dict(self.step.interface.outputs)
        references = {
            name: Reference.of(result.outputs[name]) if name in result.outputs else Reference(types[name], absent=why)
            for name in types
        }
        self.io.write(Made(verdict, references, result.results, why, self._metrics(references)))
        for name, reference in sorted(references.items()):
            self.log.line(f"{name}: {reference.uri or 'none: ' + why}")
        if self.report is not None and state is StepState.CACHED:
            self.report.cached(planned, result, reason)
        elif self.report is not None:
            self.report.finish(result, state)
        return self._exit_code(result, verdict, reason)

    def _exit_code(self, result: StepResult, verdict: str, reason: str) -> int:
        if result.state == "rejected":
            assert result.error is not None
            self._say(error_message(self.step.id, result.error))
            return 1
        self.log.line(" ".join(part for part in (verdict, reason and f"({reason})") if part))
        if result.refusal is not None:
            self._say(f"{self.step.id} refused: {result.refusal}")
            return NOT_BLESSED if self.place.fail_if_not_blessed else 0
        return 0

    def _metrics(self, references: Mapping[str, Reference]) -> dict[str, Mapping[str, Any]]:
        """The standard metrics of the evaluations among the outputs, for a target with pages that draw them."""
        from headrace.pipelines.artifact_types import Evaluation

        found: dict[str, Mapping[str, Any]] = {}
        for name, reference in references.items():
            if self.place.target == "kfp" and reference.type == "Evaluation" and reference.absent is None:
                found[name] = evaluation_metrics(Evaluation.open(reference.uri).read())
        return found

    def _skipped(self, why: str) -> int:
        references = {name: Reference(type_, absent=why) for name, type_ in self.step.interface.outputs}
        self.io.write(Made("skipped", references, {}, why))
        if self.report is not None:
            self.report.skipped(why)
        self._say(f"{self.step.id} skipped: {why}")
        return 0

    def _failed(self, error: StepError, result: StepResult | None = None) -> int:
        if self.report is not None and result is not None:
            self.report.finish(result, StepState.FAILED)
        elif self.report is not None:
            self.report.failed(asdict(error))
        self._say(error_message(self.step.id, error))
        return 1

    def _interrupted(self) -> int:
        """Takes away what was half written, and says that the step was ended."""
        for uri in getattr(self, "_outputs", {}).values():
            if not storage.exists(storage.join(uri, MANIFEST)):
                storage.remove_tree(uri)
        if self.report is not None:
            self.report.interrupted()
        self._say(f"{self.step.id} was ended from outside")
        return INTERRUPTED

    def _say(self, text: str) -> None:
        self.log.line(text)
        write_message(text)
