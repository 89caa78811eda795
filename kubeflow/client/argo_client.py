"""Argo Workflows, through the Kubernetes API or through Argo's own server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headrace.kubeflow.client.argo_api import API, ArgoServer, KubernetesApi
from headrace.kubeflow.client.compiled_file import CompiledFile, step_ids
from headrace.kubeflow.client.connection import Connection, Uploaded
from headrace.kubeflow.client.object_size import require_small
from headrace.kubeflow.client.run_status import RunStatus, StepStatus
from headrace.kubeflow.client.server_errors import explained
from headrace.kubeflow.client.workflow_nodes import argo_steps, run_state
from headrace.kubeflow.deployment import Schedule
from headrace.pipelines.errors import ClusterError

DIGEST = "headrace/digest"
EXPERIMENT = "headrace/experiment"


class ArgoClient:
    """Runs on Argo.

    Args:
        connection: With a host, Argo's server; else the cluster of the kubeconfig, or of the pod this runs in.

    Raises:
        ClusterError: No cluster is known here.
    """

    target = "argo"

    def __init__(self, connection: Connection) -> None:
        self._api: KubernetesApi | ArgoServer = ArgoServer(connection) if connection.host else KubernetesApi(connection)

    def upload(self, compiled: CompiledFile, pipeline: str | None = None, version: str | None = None) -> Uploaded:
        """Makes or replaces a WorkflowTemplate, or the CronWorkflow that the file is."""
        if version is not None:
            raise ClusterError("Argo keeps one version of a workflow template", "leave --version out")
        compiled.require_sound()
        kind = "CronWorkflow" if compiled.document["kind"] == "CronWorkflow" else "WorkflowTemplate"
        name = pipeline or compiled.name
        spec = compiled.document["spec"] if kind == "CronWorkflow" else compiled.workflow_spec
        body = _body(kind, compiled, spec, name=name)
        return Uploaded(name, "", not self._put(kind, name, body, len(compiled.text)))

    def _put(self, kind: str, name: str, body: dict[str, Any], size: int) -> bool:
        """Makes or replaces an object; False if it was there with the same content."""
        require_small(body, what := f"uploading {kind} {name}")
        with self._explained(what, size=size):
            there = self._api.find(kind, name)
            if there is None:
                self._api.create(kind, body)
                return True
            before = there.get("metadata") or {}
            if (before.get("annotations") or {}).get(DIGEST) == body["metadata"]["annotations"][DIGEST]:
                return False
            version = {"resourceVersion": before.get("resourceVersion"), "uid": before.get("uid")}
            body["metadata"] |= {key: value for key, value in version.items() if value}
            self._api.replace(kind, name, body)
            return True

    def submit(
        self,
        compiled: CompiledFile,
        parameters: Mapping[str, Any],
        *,
        experiment: str | None = None,
        service_account: str | None = None,
    ) -> str:
        compiled.require_sound()
        spec = _with_parameters(compiled.workflow_spec, compiled.texts(parameters))
        if service_account is not None:
            spec["serviceAccountName"] = service_account
        body = _body("Workflow", compiled, spec, generate_name=f"{compiled.name}-")
        return self._create(_of_experiment(body, experiment), f"starting {compiled.name}", len(compiled.text))

    def submit_uploaded(
        self,
        pipeline: str,
        version: str | None,
        parameters: Mapping[str, Any],
        *,
        experiment: str | None = None,
        service_account: str | None = None,
    ) -> str:
        if version is not None:
            raise ClusterError("Argo keeps one version of a workflow template", "leave --version out")
        with self._explained(f"starting {pipeline}"):
            template = self._api.find("WorkflowTemplate", pipeline)
        if template is None:
            where = f"in namespace {self._api.namespace}"
            raise ClusterError(f"no workflow template {pipeline!r} {where}", "headrace upload --target argo FILE")
        compiled = CompiledFile("", "argo", ({**template, "kind": "WorkflowTemplate"},), pipeline)
        texts = compiled.texts(parameters)
        arguments = {"parameters": [{"name": name, "value": value} for name, value in texts.items()]}
        spec: dict[str, Any] = {"workflowTemplateRef": {"name": pipeline}, "arguments": arguments}
        if service_account is not None:
            spec["serviceAccountName"] = service_account
        body = {"apiVersion": API, "kind": "Workflow", "metadata": {"generateName": f"{pipeline}-"}, "spec": spec}
        return self._create(_of_experiment(body, experiment), f"starting {pipeline}", 0)

    def _create(self, body: dict[str, Any], what: str, size: int) -> str:
        require_small(body, what)
        with self._explained(what, size=size):
            return str(self._api.create("Workflow", body)["metadata"]["name"])

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
        compiled.require_sound()
        spec: dict[str, Any] = {
            **(compiled.document["spec"] if compiled.document["kind"] == "CronWorkflow" else {}),
            "schedules": [schedule.cron],
            "timezone": schedule.timezone,
            "concurrencyPolicy": schedule.concurrency,
            "workflowSpec": _with_parameters(compiled.workflow_spec, compiled.texts(parameters)),
        }
        spec.pop("schedule", None)
        if service_account is not None:
            spec["workflowSpec"]["serviceAccountName"] = service_account
        name = name or compiled.name
        body = _body("CronWorkflow", compiled, spec, name=name)
        if experiment is not None:
            spec["workflowMetadata"] = {"labels": {EXPERIMENT: experiment}}
        # The digest is of all that decides on the runs, so that another hour is not taken for the same schedule.
        body["metadata"]["annotations"] = {DIGEST: CompiledFile(json.dumps(spec, sort_keys=True), "argo", ()).digest}
        self._put("CronWorkflow", name, body, len(compiled.text))
        return name

    def unschedule(self, name: str, *, experiment: str | None = None) -> None:
        with self._explained(f"ending the schedule {name}", unknown=f"there is no schedule {name!r}"):
            self._api.delete("CronWorkflow", name)

    def status(self, run: str) -> RunStatus:
        workflow = self._workflow(run, "looking at the run")
        status = workflow.get("status") or {}
        spec = status.get("storedWorkflowTemplateSpec") or workflow.get("spec") or {}
        ids = step_ids(spec)
        steps = argo_steps(workflow, ids)
        begun = {step.id for step in steps}
        waiting = tuple(StepStatus(id_, "pending") for id_ in ids.values() if id_ not in begun)
        if (state := run_state(workflow)) in ("failed", "terminated"):
            waiting = tuple(StepStatus(step.id, "skipped", message="it was never reached") for step in waiting)
        metadata = workflow["metadata"]
        pipeline = str(metadata.get("generateName") or metadata["name"]).rstrip("-")
        return RunStatus(run, pipeline, state, (*steps, *waiting), str(status.get("message") or ""))

    def terminate(self, run: str) -> None:
        with self._explained(f"ending run {run}", unknown=self._no_run(run)):
            self._api.terminate(run)

    def log(self, run: str, step: str) -> str:
        status = self.status(run)
        found = next((one for one in status.steps if one.id == step), None)
        if found is None or not found.attempts:
            said = f"step {step} of run {run} has no log: it is {found.state if found else 'not in the run'}"
            raise ClusterError(said, f"headrace status --target argo {run}")
        gone = f"the pod of {step} is gone, and its log with it"
        with self._explained(f"reading the log of {step}", unknown=gone):
            return self._api.log(run, found.attempts[-1])

    def _workflow(self, run: str, what: str) -> Mapping[str, Any]:
        with self._explained(what, unknown=self._no_run(run)):
            found = self._api.find("Workflow", run)
        if found is None:
            raise ClusterError(self._no_run(run), "argo list, or kubectl get workflows, names those that are there")
        return found

    def _no_run(self, run: str) -> str:
        return f"there is no run {run!r} in namespace {self._api.namespace} of {self._api.host}"

    def _explained(self, what: str, *, unknown: str = "", size: int = 0) -> Any:
        return explained(what, self._api.host, unknown=unknown, size=size)


def _body(
    kind: str, compiled: CompiledFile, spec: Mapping[str, Any], *, name: str = "", generate_name: str = ""
) -> dict[str, Any]:
    """An object of a kind from a compiled file of whatever kind."""
    metadata = {
        key: value
        for key, value in compiled.document.get("metadata", {}).items()
        if key not in ("name", "generateName", "namespace")
    }
    metadata |= {"name": name} if name else {"generateName": generate_name}
    metadata["annotations"] = {**metadata.get("annotations", {}), DIGEST: compiled.digest}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": dict(spec)}


def _of_experiment(body: dict[str, Any], experiment: str | None) -> dict[str, Any]:
    if experiment is not None:
        body["metadata"]["labels"] = {**body["metadata"].get("labels", {}), EXPERIMENT: experiment}
    return body


def _with_parameters(spec: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """A workflow's spec with other values of its parameters."""
    arguments = spec.get("arguments", {})
    entries = [
        {**entry, "value": texts[entry["name"]]} if entry["name"] in texts else dict(entry)
        for entry in arguments.get("parameters", [])
    ]
    return {**spec, "arguments": {**arguments, "parameters": entries}} if entries else dict(spec)
