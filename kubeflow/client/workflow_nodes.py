"""The nodes of an Argo workflow's status, read as steps. Kubeflow's runs are such workflows too."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterable, Mapping
from typing import Any

from headrace.kubeflow.client.run_status import StepStatus, moment
from headrace.kubeflow.step_document import VERDICT
from headrace.pipelines.errors import ClusterError

Node = Mapping[str, Any]
_STATES = {
    "Pending": "pending",
    "Running": "running",
    "Succeeded": "succeeded",
    "Skipped": "skipped",
    "Omitted": "skipped",
    "Failed": "failed",
    "Error": "failed",
}
# What a container ends with that refused a model and was told to fail for it.
NOT_BLESSED = "3"


def nodes_of(workflow: Mapping[str, Any]) -> dict[str, Node]:
    """A workflow's nodes by id. Argo compresses those of a large one.

    Raises:
        ClusterError: They were put into Argo's database, which only Argo's server reads.
    """
    status = workflow.get("status") or {}
    if packed := status.get("compressedNodes"):
        return dict(json.loads(gzip.decompress(base64.b64decode(packed))))
    if status.get("offloadNodeStatusVersion") and not status.get("nodes"):
        what = "the workflow is so large that Argo keeps its nodes in a database"
        raise ClusterError(what, "ask Argo's server for it: --host URL --token-file FILE")
    return dict(status.get("nodes") or {})


def run_state(workflow: Mapping[str, Any]) -> str:
    """A workflow's state in our words."""
    status = workflow.get("status") or {}
    phase = status.get("phase") or "Pending"
    if phase in ("Failed", "Error") and (workflow.get("spec") or {}).get("shutdown"):
        return "terminated"
    return _STATES.get(phase, "running")


def argo_steps(workflow: Mapping[str, Any], ids: Mapping[str, str]) -> tuple[StepStatus, ...]:
    """The steps that a workflow has begun.

    Args:
        workflow: The workflow with its status.
        ids: The author's name of each step by its name in the cluster.
    """
    nodes = nodes_of(workflow)
    steps = []
    for node in nodes.values():
        # A step that is tried again is a Retry node whose children are its pods; they have other names.
        id_ = ids.get(str(node.get("displayName", "")))
        if id_ is not None and node.get("type") in ("Pod", "Retry", "Skipped", "Container"):
            pods = [nodes[child] for child in node.get("children", ()) if child in nodes]
            pods = [child for child in pods if child.get("type") == "Pod"] if node["type"] == "Retry" else [node]
            steps.append(_step(workflow, id_, node, pods))
    return in_order(steps)


def _step(workflow: Mapping[str, Any], id_: str, node: Node, pods: list[Node]) -> StepStatus:
    pods = sorted(pods, key=lambda pod: str(pod.get("startedAt") or ""))
    last = pods[-1] if pods else node
    state = _STATES.get(node.get("phase", ""), "pending")
    outputs = [*parameters_of(node).items(), *parameters_of(last).items()]
    verdict = dict(outputs).get(VERDICT, "").strip('"')
    if state == "succeeded":
        hit = any((one.get("memoizationStatus") or {}).get("hit") for one in (node, last))
        state = verdict if verdict in ("refused", "skipped", "cached") else "cached" if hit else state
    elif state == "failed":
        state = failed_state(workflow, last)
    message = str(last.get("message") or node.get("message") or "")
    names = tuple(pod_name(workflow, pod) for pod in pods if pod.get("type") == "Pod")
    return StepStatus(id_, state, moment(node.get("startedAt")), moment(node.get("finishedAt")), message, names)


def failed_state(workflow: Mapping[str, Any], node: Node) -> str:
    """What a node that failed means: it refused a model, was ended with its run, or failed."""
    if (node.get("outputs") or {}).get("exitCode") == NOT_BLESSED:
        return "refused"
    ended = (workflow.get("spec") or {}).get("shutdown")
    return "terminated" if ended and "shutdown" in str(node.get("message", "")).lower() else "failed"


def parameters_of(node: Node) -> dict[str, str]:
    """A node's output parameters."""
    entries = (node.get("outputs") or {}).get("parameters") or ()
    return {entry["name"]: str(entry.get("value", "")) for entry in entries}


def in_order(steps: Iterable[StepStatus]) -> tuple[StepStatus, ...]:
    """Steps as they started; what has not, last."""
    return tuple(sorted(steps, key=lambda step: (step.started is None, str(step.started), step.id)))


def pod_name(workflow: Mapping[str, Any], node: Node) -> str:
    """The name of a node's pod: its id where Argo was told so, else the template's name before the id's digest."""
    id_ = str(node["id"])
    metadata = workflow.get("metadata") or {}
    name = str(metadata.get("name", ""))
    if (metadata.get("annotations") or {}).get("workflows.argoproj.io/pod-name-format") == "v1":
        return id_
    template = node.get("templateName") or (node.get("templateRef") or {}).get("template") or ""
    if id_ == name or not template:
        return id_
    # Argo's GeneratePodName: at most 253 characters, of which the digest and its hyphen take eleven.
    return f"{name}-{template}"[:242] + "-" + id_.rpartition("-")[2]
