"""Plan -> Argo: a DAG whose tasks are pods of one image, as a Workflow, a WorkflowTemplate or a CronWorkflow.

The steps: check that all of it can be expressed, lower the Plan to Argo's documents, write them as YAML. Nothing of the
Plan is changed, and equal Plans give equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headrace.kubeflow.argo import arguments, expressions, legal
from headrace.kubeflow.argo.names import pipeline_name, task_names
from headrace.kubeflow.argo.step_template import StepTemplate
from headrace.kubeflow.argo.target import DEFAULT, OLDEST, SCHEDULES, target
from headrace.kubeflow.argo.yaml_text import to_yaml
from headrace.kubeflow.deployment import Deployment
from headrace.kubeflow.portability import Version, problems
from headrace.kubeflow.step_document import (
    ArtifactPort,
    StepDocument,
    artifact_ports,
    output_digest,
    parameter_ports,
)
from headrace.pipelines.artifact import digest_of
from headrace.pipelines.errors import PipelineError, Problem
from headrace.pipelines.plan import Parameter, Plan, Step

KINDS = ("Workflow", "WorkflowTemplate", "CronWorkflow")
LABEL = "headrace/pipeline"


def compile_argo(
    plan: Plan,
    deployment: Deployment,
    *,
    kind: str = "Workflow",
    parameters: Mapping[str, Any] | None = None,
    argo_version: Version = DEFAULT,
    memoize: bool = False,
) -> str:
    """Compiles a pipeline to Argo Workflows.

    Args:
        plan: The pipeline.
        deployment: Where it runs.
        kind: ``"Workflow"``, ``"WorkflowTemplate"`` or ``"CronWorkflow"``; the last needs ``deployment.schedule``.
        parameters: Values of the pipeline's parameters, in place of their defaults.
        argo_version: Version of the server.
        memoize: Whether Argo skips the pods of steps whose result it knows. Its controller must then be allowed to
            create and update config maps; where it is not, as in a stock installation, steps that succeeded end in
            error. Without, each step starts its pod, which finds an earlier result in the pipeline root within seconds.

    Returns:
        YAML; equal arguments give equal bytes.

    Raises:
        PipelineError: With every setting, construct, name and value that Argo cannot express.

    >>> compile_argo(plan, Deployment(image="repo/flights:1", root="s3://bucket/root"))  # doctest: +SKIP
    """
    given = arguments.checked(plan, parameters or {})
    found = [
        *_usage(deployment, kind, argo_version),
        *problems(plan, target(argo_version), deployment),
        *given.problems,
        *legal.problems(plan, deployment),
    ]
    if kind == "CronWorkflow":
        found += given.missing(plan)
    if found:
        raise PipelineError(found)
    return to_yaml(_document(plan, deployment, kind, given.texts, argo_version, memoize))


def _usage(deployment: Deployment, kind: str, version: Version) -> list[Problem]:
    found = []
    if kind not in KINDS:
        found.append(Problem(f"kind: expected one of {', '.join(KINDS)}, received {kind!r}", "correct it", code="kind"))
    if kind == "CronWorkflow" and deployment.schedule is None:
        fix = "give --cron '0 6 * * *', or write schedule: {cron: '0 6 * * *'} in the deployment file"
        found.append(Problem("a CronWorkflow needs a schedule, and the deployment has none", fix, code="schedule"))
    if version < OLDEST:
        what = f"expected Argo {'.'.join(map(str, OLDEST))} or newer, received {'.'.join(map(str, version))}"
        found.append(Problem(what, "upgrade the server", code="version"))
    return found


def _document(
    plan: Plan, deployment: Deployment, kind: str, texts: Mapping[str, str], version: Version, memoize: bool
) -> dict[str, Any]:
    name = pipeline_name(plan)
    labels = {LABEL: name}
    annotations = {LABEL: plan.name, "headrace/plan": _portable_digest(plan)}
    metadata = {"generateName": f"{name}-"} if kind == "Workflow" else {"name": name}
    if deployment.namespace is not None:
        metadata["namespace"] = deployment.namespace
    spec = _spec(plan, deployment, texts, memoize)
    if kind != "Workflow":
        # What is on the template itself is not on the workflows that are made from it.
        spec = {"workflowMetadata": {"labels": labels, "annotations": annotations}, **spec}
    if kind == "CronWorkflow":
        spec = _scheduled(deployment, spec, version)
    head = {"apiVersion": "argoproj.io/v1alpha1", "kind": kind}
    return {**head, "metadata": {**metadata, "labels": labels, "annotations": annotations}, "spec": spec}


def _portable_digest(plan: Plan) -> str:
    """Digest of the Plan without what depends on the machine that compiles."""
    parameters = [parameter.to_json() | {"name": parameter.name} for parameter in plan.parameters]
    return digest_of([parameters, *(StepDocument.of(plan, step).to_json() for step in plan.steps)])


def _scheduled(deployment: Deployment, spec: dict[str, Any], version: Version) -> dict[str, Any]:
    schedule = deployment.schedule
    assert schedule is not None
    cron: dict[str, Any] = {"schedules": [schedule.cron]} if version >= SCHEDULES else {"schedule": schedule.cron}
    cron |= {"timezone": schedule.timezone, "concurrencyPolicy": schedule.concurrency}
    metadata = spec.pop("workflowMetadata")
    return {**cron, "workflowMetadata": metadata, "workflowSpec": spec}


def _spec(plan: Plan, deployment: Deployment, texts: Mapping[str, str], memoize: bool) -> dict[str, Any]:
    names = task_names(plan)
    entrypoint = "dag"
    while entrypoint in names.values():
        entrypoint += "-dag"
    spec: dict[str, Any] = {"entrypoint": entrypoint}
    if plan.parameters:
        spec["arguments"] = {"parameters": [arguments.declared(p, texts.get(p.name)) for p in plan.parameters]}
    if deployment.service_account is not None:
        spec["serviceAccountName"] = deployment.service_account
    if deployment.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in deployment.image_pull_secrets]
    if deployment.parallelism is not None:
        spec["parallelism"] = deployment.parallelism
    if deployment.ttl is not None:
        spec["ttlStrategy"] = {"secondsAfterCompletion": deployment.ttl}
    if deployment.pod_gc is not None:
        spec["podGC"] = {"strategy": deployment.pod_gc}
    if deployment.fs_group is not None:
        spec["securityContext"] = {"fsGroup": deployment.fs_group}
    # What does not depend on a failed step is done all the same, as in a local run.
    dag = {"failFast": False, "tasks": [_task(step, names) for step in plan.steps]}
    steps = [StepTemplate(plan, step, deployment, names[step.id], memoize).document() for step in plan.steps]
    return {**spec, "templates": [{"name": entrypoint, "dag": dag}, *steps]}


def _task(step: Step, names: Mapping[str, str]) -> dict[str, Any]:
    task: dict[str, Any] = {"name": names[step.id], "template": names[step.id]}
    if upstream := step.upstream():
        task["dependencies"] = sorted(names[id_] for id_ in upstream)
    ports = artifact_ports(step)
    parameters = [{"name": port, "value": _argument(value, names)} for port, value in parameter_ports(step).items()] + [
        {"name": port.digest, "value": _digest(port, names)} for port in ports
    ]
    artifacts = [{"name": port.name, "from": _artifact(port, names)} for port in ports]
    given = {"parameters": parameters, "artifacts": artifacts}
    if filled := {part: items for part, items in given.items() if items}:
        task["arguments"] = filled
    return task


def _argument(value: Any, names: Mapping[str, str]) -> str:
    if isinstance(value, Parameter):
        return expressions.pipeline_parameter(value.name)
    return f"{{{{tasks.{names[value.step]}.outputs.parameters.{value.output}}}}}"


def _digest(port: ArtifactPort, names: Mapping[str, str]) -> str:
    channel = port.channel
    return f"{{{{tasks.{names[channel.step]}.outputs.parameters.{output_digest(channel.output)}}}}}"


def _artifact(port: ArtifactPort, names: Mapping[str, str]) -> str:
    return f"{{{{tasks.{names[port.channel.step]}.outputs.artifacts.{port.channel.output}}}}}"
