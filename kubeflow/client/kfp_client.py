"""Kubeflow Pipelines, through its own client."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from headrace.kubeflow.client.compiled_file import CompiledFile, step_ids
from headrace.kubeflow.client.connection import Connection, Uploaded
from headrace.kubeflow.client.kfp_runs import (
    OtherLogs,
    kfp_steps,
    log_in_cluster,
    namespace_of,
    pipeline_name,
    read_log,
    read_workflow,
    run_state,
    verdict_in,
    with_verdicts,
)
from headrace.kubeflow.client.run_status import RunStatus, StepStatus
from headrace.kubeflow.client.server_errors import bound, explained
from headrace.kubeflow.deployment import Schedule
from headrace.kubeflow.kfp.refusals import schedule_refusals
from headrace.pipelines.errors import ClusterError, MissingExtra

# Where a run goes that names no experiment; Kubeflow makes it when it is installed.
DEFAULT_EXPERIMENT = "Default"


class KfpClient:
    """Runs on Kubeflow Pipelines.

    Args:
        connection: How its API is reached.

    Raises:
        ClusterError: It is not there, or lets nobody in.
    """

    target = "kfp"

    def __init__(self, connection: Connection) -> None:
        self.host, self._connection = connection.host or "Kubeflow Pipelines", connection
        with explained("connecting", self.host):
            self._kfp = _client(connection)
        self.host = str(self._kfp._existing_config.host)
        self._api = self._kfp._run_api.api_client
        self._namespace = self._kfp.get_user_namespace() or None
        self._verdicts: dict[tuple[str, ...], str] = {}

    def upload(self, compiled: CompiledFile, pipeline: str | None = None, version: str | None = None) -> Uploaded:
        """Uploads a version of a pipeline, which is made if it is not there.

        Args:
            compiled: The pipeline.
            pipeline: Its name there, by default its own.
            version: The version's name, by default one that follows from the file's bytes.

        Raises:
            ClusterError: A version of that name is there with another content.
        """
        compiled.require_sound()
        pipeline, version = pipeline or compiled.name, version or f"sha256-{compiled.digest[:12]}"
        taken = f"give the version another name: --version; or --pipeline, if {pipeline} is somebody else's"
        with self._explained(f"uploading {pipeline}", taken=taken, size=len(compiled.text.encode())):
            id_ = self._pipeline_id(pipeline)
            there = self._version(id_, version) if id_ else None
            if there is None:
                self._upload_version(compiled, pipeline, id_, version)
                return Uploaded(pipeline, version, was_there=False)
        if not _same(there.pipeline_spec, compiled):
            raise ClusterError(f"version {version!r} of pipeline {pipeline!r} is there with another content", taken)
        return Uploaded(pipeline, version, was_there=True)

    def _upload_version(self, compiled: CompiledFile, pipeline: str, id_: str | None, version: str) -> None:
        new = None
        if id_ is None:
            # Made by itself: the version that comes with an uploaded pipeline cannot be named.
            body = self._kfp.api_models.V2beta1Pipeline(display_name=pipeline, namespace=self._namespace)
            new = id_ = self._kfp.pipelines.pipeline_service_create_pipeline(body).pipeline_id
        try:
            with _on_disk(compiled) as path, _quiet():
                self._kfp.upload_pipeline_version(path, version, pipeline_id=id_)
        except Exception:
            if new is not None:
                with contextlib.suppress(Exception):
                    self._kfp.delete_pipeline(new)
            raise

    def submit(
        self,
        compiled: CompiledFile,
        parameters: Mapping[str, Any],
        *,
        experiment: str | None = None,
        service_account: str | None = None,
    ) -> str:
        compiled.require_sound()
        values = compiled.kfp_values(parameters)
        with self._explained(f"starting {compiled.name}", size=len(compiled.text.encode())), _on_disk(compiled) as path:
            return self._run(
                compiled.name, values, experiment, pipeline_package_path=path, service_account=service_account
            )

    def submit_uploaded(
        self,
        pipeline: str,
        version: str | None,
        parameters: Mapping[str, Any],
        *,
        experiment: str | None = None,
        service_account: str | None = None,
    ) -> str:
        with self._explained(f"starting {pipeline}"):
            id_ = self._pipeline_id(pipeline)
            if id_ is None:
                raise ClusterError(f"no pipeline {pipeline!r} at {self.host}", "headrace upload --target kfp FILE")
            found = self._version(id_, version) if version else self._newest(id_)
            if found is None:
                raise ClusterError(
                    f"pipeline {pipeline!r} has no version {version or ''}".rstrip(), "leave --version out"
                )
            compiled = CompiledFile("", "kfp", _documents(found.pipeline_spec), pipeline)
            values = compiled.kfp_values(parameters)
            version_id = found.pipeline_version_id
            return self._run(
                pipeline, values, experiment, pipeline_id=id_, version_id=version_id, service_account=service_account
            )

    def _run(self, name: str, values: Mapping[str, Any], experiment: str | None, **what: Any) -> str:
        where = self._experiment(experiment or DEFAULT_EXPERIMENT)
        with _quiet():
            shown = f"{name} {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S}"
            return str(self._kfp.run_pipeline(where, shown, params=dict(values), **what).run_id)

    def schedule(
        self,
        compiled: CompiledFile,
        schedule: Schedule,
        parameters: Mapping[str, Any],
        *,
        name: str | None = None,
        experiment: str | None = None,
        service_account: str | None = None,
    ) -> str:
        """Makes a recurring run. The server reads its times in its own time zone, which is UTC unless it was told."""
        for what, fix in schedule_refusals(schedule):
            raise ClusterError(what, fix)
        compiled.require_sound()
        values, name = compiled.kfp_values(parameters), name or compiled.name
        size = len(compiled.text.encode())
        with self._explained(f"scheduling {name}", size=size), _on_disk(compiled) as path, _quiet():
            where = self._experiment(experiment or DEFAULT_EXPERIMENT)
            before = list(self._recurring(name, where))
            self._kfp.create_recurring_run(
                where,
                name,
                # Seconds come first in Kubeflow's; a day of the week and of the month that are both free, one is `?`.
                cron_expression=f"0 {schedule.cron}",
                max_concurrency=10 if schedule.concurrency == "Allow" else 1,
                no_catchup=True,
                params=dict(values),
                pipeline_package_path=path,
                service_account=service_account,
            )
            for one in before:
                self._kfp.delete_recurring_run(one.recurring_run_id)
        return name

    def unschedule(self, name: str, *, experiment: str | None = None) -> None:
        with self._explained(f"ending the schedule {name}"):
            found = list(self._recurring(name, self._experiment(experiment or DEFAULT_EXPERIMENT)))
            for one in found:
                self._kfp.delete_recurring_run(one.recurring_run_id)
        if not found:
            raise ClusterError(f"there is no schedule {name!r} at {self.host}", "its page of recurring runs names them")

    def status(self, run: str) -> RunStatus:
        with self._explained("looking at the run", unknown=self._no_run(run)):
            found = self._kfp.get_run(run)
            workflow = read_workflow(self._api, run)
            spec = found.pipeline_spec or self._spec_of(found)
        ids, state = step_ids(spec), run_state(found, workflow)
        steps = kfp_steps(found, workflow, ids)
        begun = {step.id for step in steps}
        waiting = tuple(StepStatus(id_, "pending") for id_ in ids.values() if id_ not in begun)
        if state in ("failed", "terminated"):
            waiting = tuple(StepStatus(step.id, "skipped", message="it was never reached") for step in waiting)
        with self._explained("reading the verdicts"):
            steps, unknown = with_verdicts(steps, lambda step: self._verdict(run, workflow, step))
        # Of a run that goes on, the logs may be there a little later.
        unknown = unknown if state == "succeeded" else ""
        message = str(getattr(found.error, "message", "") or "")
        return RunStatus(
            run, pipeline_name(spec) or str(found.display_name), state, (*steps, *waiting), message, unknown
        )

    def terminate(self, run: str) -> None:
        with self._explained(f"ending run {run}", unknown=self._no_run(run)):
            self._kfp.terminate_run(run)

    def log(self, run: str, step: str) -> str:
        status = self.status(run)
        found = next((one for one in status.steps if one.id == step), None)
        if found is None or not found.attempts:
            said = f"step {step} of run {run} has no log: it is {found.state if found else 'not in the run'}"
            raise ClusterError(said, f"headrace status --target kfp {run}")
        with self._explained(f"reading the log of {step}"):
            text = self._log(run, read_workflow(self._api, run), found)
        if not text:
            what = f"the log of {step} cannot be read: its pod is gone, or {self.host} may not read it"
            raise ClusterError(what, "give a kubeconfig of its cluster: KUBECONFIG, --context")
        return text

    def _log(self, run: str, workflow: Mapping[str, Any], step: StepStatus) -> str:
        return read_log(self._api, run, step.attempts, namespace_of(workflow), self._other_logs)

    def _verdict(self, run: str, workflow: Mapping[str, Any], step: StepStatus) -> str | None:
        """What a step that has ended said of itself, read once; None while the server has no end of its log."""
        if step.attempts not in self._verdicts:
            verdict = verdict_in(self._log(run, workflow, step), step.id)
            if verdict is None:
                return None
            self._verdicts[step.attempts] = verdict
        return self._verdicts[step.attempts]

    @cached_property
    def _other_logs(self) -> OtherLogs:
        return log_in_cluster(self._connection)

    def _pipeline_id(self, name: str) -> str | None:
        found = self._kfp.pipelines.pipeline_service_list_pipelines(
            namespace=self._namespace, filter=_named(name)
        ).pipelines
        return str(found[0].pipeline_id) if found else None

    def _version(self, pipeline: str, name: str) -> Any:
        found = self._kfp.list_pipeline_versions(pipeline, filter=_named(name)).pipeline_versions
        return self._kfp.get_pipeline_version(pipeline, found[0].pipeline_version_id) if found else None

    def _newest(self, pipeline: str) -> Any:
        found = self._kfp.list_pipeline_versions(pipeline, page_size=1, sort_by="created_at desc").pipeline_versions
        return self._kfp.get_pipeline_version(pipeline, found[0].pipeline_version_id) if found else None

    def _experiment(self, name: str) -> str:
        with _quiet():
            return str(self._kfp.create_experiment(name, namespace=self._namespace).experiment_id)

    def _recurring(self, name: str, experiment: str) -> Iterator[Any]:
        page = ""
        while True:
            found = self._kfp.list_recurring_runs(
                page_token=page, page_size=100, experiment_id=experiment, filter=_named(name)
            )
            yield from found.recurring_runs or ()
            page = found.next_page_token
            if not page:
                return

    def _spec_of(self, run: Any) -> Any:
        """The pipeline of a run that was started by a version's name."""
        version = run.pipeline_version_reference
        if version is None:
            return {}
        return self._kfp.get_pipeline_version(version.pipeline_id, version.pipeline_version_id).pipeline_spec

    def _no_run(self, run: str) -> str:
        return f"there is no run {run!r} at {self.host}"

    def _explained(self, what: str, *, unknown: str = "", taken: str = "", size: int = 0) -> Any:
        return explained(what, self.host, unknown=unknown, taken=taken, size=size)


def _client(connection: Connection) -> Any:
    """The official client, told to answer or to fail within its time."""
    try:
        from kfp import client as official
    except ImportError:
        # Not a missing module: kfp-pipeline-spec, which compiling needs, lies in a package of the same name.
        raise MissingExtra("kfp", "kfp") from None

    class Bounded(official.Client):  # type: ignore[misc]
        """Asks once whether the server is there, where the official client asks five times in 25 s."""

        def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
            return self._healthz_api.healthz_service_get_healthz(_request_timeout=connection.timeouts)

    credentials = None
    if connection.service_account_token is not None:
        path = connection.service_account_token or None
        credentials = official.ServiceAccountTokenVolumeCredentials(path)
    with _quiet():
        client = Bounded(
            host=connection.host,
            client_id=connection.iap_client_id,
            namespace=connection.namespace or "",
            existing_token=connection.token,
            cookies=connection.cookies,
            ssl_ca_cert=connection.ca_file,
            kube_context=connection.context,
            credentials=credentials,
            verify_ssl=None if connection.verify else False,
        )
    bound(client._run_api.api_client, connection)
    # Whatever the constructor has asked: a token that is no longer valid is said now, and not in the middle.
    client.get_kfp_healthz()
    return client


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The official client prints links and warnings, which are for a notebook."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@contextlib.contextmanager
def _on_disk(compiled: CompiledFile) -> Iterator[str]:
    """The file under a name that the client takes for YAML."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        path = Path(folder, "pipeline.yaml")
        path.write_text(compiled.text, encoding="utf-8")
        yield str(path)


def _named(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _documents(spec: Any) -> tuple[Mapping[str, Any], ...]:
    """What a server gives back of a compiled file, as the documents it was made of."""
    if isinstance(spec, Mapping) and "pipeline_spec" in spec:
        platform = spec.get("platform_spec")
        return (spec["pipeline_spec"], platform) if platform else (spec["pipeline_spec"],)
    return (spec,)


def _same(spec: Any, compiled: CompiledFile) -> bool:
    """Whether a server's version is that of a file: it keeps the meaning, not the bytes."""
    return [_plain(document) for document in _documents(spec)] == [_plain(document) for document in compiled.documents]


def _plain(value: Any) -> Any:
    """A document without the fields that a server writes out although they have their default, and leaves out else."""
    if isinstance(value, Mapping):
        found = {str(key): _plain(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in (None, {}, [])}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
