"""A run of Kubeflow Pipelines, read as steps.

Kubeflow makes a workflow of each run: of a task called `trainer`, a pod `trainer-driver` and a DAG `trainer` whose pod
`executor` is the step's; where the cache has the task, that pod is skipped. Newer servers list the tasks alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from headrace.kubeflow.client.connection import Connection
from headrace.kubeflow.client.run_status import StepStatus, moment
from headrace.kubeflow.client.server_errors import LogInPage
from headrace.kubeflow.client.workflow_nodes import NOT_BLESSED, Node, in_order, nodes_of, pod_name
from headrace.pipelines.errors import ClusterError

OtherLogs = Callable[[str, str], str] | None

_STATES = {
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "SKIPPED": "skipped",
    "FAILED": "failed",
    "CANCELING": "running",
    "CANCELED": "terminated",
    "PAUSED": "running",
}
# What a step's container says last of itself, after all that the step has printed; see kubeflow/container/step.py.
_VERDICT = r"^(?:\[{id}\] )?(?:{id} (?P<said>refused|skipped): |(?P<word>succeeded|cached)(?: \(|$))"


def read_workflow(api_client: Any, run: str) -> Mapping[str, Any]:
    """The workflow of a run, which has what the newer API leaves out: messages, and names of pods.

    Empty where the server keeps none.
    """
    text = _get(api_client, f"/apis/v1beta1/runs/{run}", missing="{}")
    manifest = (json.loads(text).get("pipeline_runtime") or {}).get("workflow_manifest")
    return json.loads(manifest) if manifest else {}


def run_state(run: Any, workflow: Mapping[str, Any]) -> str:
    """The state of a run in our words. Servers up to 2.0 call a run failed that a person has ended."""
    state = _STATES.get(str(run.state), "pending")
    ended = (workflow.get("spec") or {}).get("activeDeadlineSeconds") == 0
    ended = ended or any(str(entry.state) in ("CANCELING", "CANCELED") for entry in run.state_history or ())
    return "terminated" if state == "failed" and ended else state


def kfp_steps(run: Any, workflow: Mapping[str, Any], ids: Mapping[str, str]) -> tuple[StepStatus, ...]:
    """The steps that a run has begun.

    Args:
        run: The run, as the API gives it.
        workflow: Its workflow, if the server keeps it.
        ids: The author's name of each step by its name in the cluster.
    """
    nodes = nodes_of(workflow)
    if not nodes:
        return _steps_of_tasks(run, ids)
    by_name: dict[str, Node] = {}
    for node in nodes.values():
        by_name.setdefault(str(node.get("displayName", "")), node)
    found = (_step(workflow, nodes, by_name, name, id_) for name, id_ in ids.items())
    return in_order(step for step in found if step is not None)


def _step(
    workflow: Mapping[str, Any], nodes: Mapping[str, Node], by_name: Mapping[str, Node], name: str, id_: str
) -> StepStatus | None:
    task, driver = by_name.get(name), by_name.get(f"{name}-driver")
    if task is None and driver is None:
        return None
    inside = [node for node in nodes.values() if task is not None and node.get("boundaryID") == task["id"]]
    pods = sorted((node for node in inside if node.get("type") == "Pod"), key=lambda pod: str(pod.get("startedAt")))
    chosen = task if task is not None and (pods or task.get("phase") not in (None, "Omitted")) else driver or task
    assert chosen is not None
    phase = str(chosen.get("phase", "")).upper()
    state = {"ERROR": "failed", "OMITTED": "skipped"}.get(phase) or _STATES.get(phase, "pending")
    last = pods[-1] if pods else chosen
    if state == "succeeded" and chosen is driver:
        state = "running"
    elif state == "succeeded" and not pods:
        state = "cached" if any(node.get("type") == "Skipped" for node in inside) else "succeeded"
    elif state == "failed" and (last.get("outputs") or {}).get("exitCode") == NOT_BLESSED:
        state = "refused"
    message = str(last.get("message") or chosen.get("message") or "")
    started = moment((driver or chosen).get("startedAt"))
    ended = moment(chosen.get("finishedAt")) if state != "running" else None
    names = tuple(name for pod in pods for name in dict.fromkeys((pod_name(workflow, pod), str(pod["id"]))))
    return StepStatus(id_, state, started, ended, message, names)


def _steps_of_tasks(run: Any, ids: Mapping[str, str]) -> tuple[StepStatus, ...]:
    details = run.run_details.task_details if run.run_details is not None else None
    steps = []
    for task in details or ():
        id_ = ids.get(str(task.display_name))
        if id_ is None:
            continue
        message = str(getattr(task.error, "message", "") or "")
        pods = [child.pod_name for child in task.child_tasks or () if child.pod_name]
        names = tuple(dict.fromkeys([*pods, *([task.pod_name] if task.pod_name else [])]))
        state = _STATES.get(str(task.state), "pending")
        steps.append(StepStatus(id_, state, moment(task.start_time), moment(task.end_time), message, names))
    return in_order(steps)


def verdict_in(log: str, step: str) -> str | None:
    """What a step's log says last of the step itself; None where it does not come to that."""
    pattern = re.compile(_VERDICT.replace("{id}", re.escape(step)), re.M)
    found = [match["said"] or match["word"] for match in pattern.finditer(log)]
    return found[-1] if found else None


def with_verdicts(
    steps: tuple[StepStatus, ...], verdict_of: Callable[[StepStatus], str | None]
) -> tuple[tuple[StepStatus, ...], str]:
    """The steps of a run that succeeded, with what each said of itself, and why that is not known if it is not.

    Kubeflow's API gives no output parameters, so the verdict is read where the step printed it.
    """
    said, unknown = [], []
    for step in steps:
        if step.state == "succeeded" and step.attempts:
            verdict = verdict_of(step)
            if verdict is None:
                unknown.append(step.id)
            elif verdict != "succeeded":
                step = StepStatus(step.id, verdict, step.started, step.ended, step.message, step.attempts)
        said.append(step)
    why = (
        f"the logs of {', '.join(unknown)} cannot be read, and with them what they said of the model" if unknown else ""
    )
    return tuple(said), why


def read_log(api_client: Any, run: str, pods: tuple[str, ...], namespace: str, other: OtherLogs = None) -> str:
    """The log of the last of a step's pods; empty if it is gone.

    Args:
        api_client: The official client's.
        run: The run.
        pods: Names that the step's pods may have.
        namespace: Where they run.
        other: Reads a pod's log elsewhere. Servers of one user look for it in no namespace, and find none (2.0.5).
    """
    for pod in reversed(pods):
        text = _get(api_client, f"/apis/v1alpha1/runs/{run}/nodes/{pod}/log", missing="")
        # A server that finds none has said before that all is well.
        if text and not text.startswith('{"error_message"'):
            return text
    for pod in pods:
        # Where the host is Kubeflow's page and not the API alone, it reads pods by itself.
        query = {"podname": pod, "podnamespace": namespace, "runid": run}
        text = _get(api_client, "/k8s/pod/logs", query, missing="") if namespace else ""
        text = text or (other(pod, namespace) if other is not None and namespace else "")
        if text:
            return text
    return ""


def log_in_cluster(connection: Connection) -> OtherLogs:
    """Reads logs by the Kubernetes API, where the kubeconfig or this pod's account gives one; None where not."""
    from headrace.kubeflow.client.argo_api import KubernetesApi

    try:
        # Kubeflow's host and token are none of Kubernetes'.
        api = KubernetesApi(replace(connection, host=None, token=None, ca_file=None))
    except ClusterError:
        return None

    def read(pod: str, namespace: str) -> str:
        try:
            return api.log("", pod, namespace)
        except Exception:
            # Another cluster, or no right to read there: Kubeflow itself was asked, and has said that it has none.
            return ""

    return read


def namespace_of(workflow: Mapping[str, Any]) -> str:
    """Where the pods of a run are."""
    return str((workflow.get("metadata") or {}).get("namespace", ""))


def pipeline_name(spec: Any) -> str:
    """The name of the pipeline in what a server gives back of a compiled file."""
    spec = spec.get("pipeline_spec", spec) if isinstance(spec, Mapping) else {}
    return str((spec.get("pipelineInfo") or {}).get("name", ""))


def _get(api_client: Any, path: str, query: Mapping[str, str] | None = None, *, missing: str) -> str:
    """A path that the official client has no method for."""
    import kfp_server_api

    try:
        answer = api_client.call_api(
            path,
            "GET",
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json, text/plain"},
            auth_settings=["Bearer"],
            _preload_content=False,
            _return_http_data_only=True,
        )
    except LogInPage:
        return missing
    except kfp_server_api.ApiException as error:
        if error.status in (404, 501):
            return missing
        raise
    data = answer.data
    return data.decode(errors="replace") if isinstance(data, bytes) else str(data)
