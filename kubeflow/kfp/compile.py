"""A Plan as Kubeflow Pipelines' IR: one component, one executor and one task for each step.

A component of KFP is declared for each step and not for each component of ours: what a step reads decides its ports,
and its document is part of its command line, so that KFP's own cache sees code and constants. Contents it sees by the
parameters `digest-...`, which each step hands on beside its artifacts. Our Importer is no importer of KFP's either:
that one names a URI without its digest, and hands on no parameters.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from headrace.kubeflow.deployment import Deployment
from headrace.kubeflow.kfp.artifact_schemas import CURVES, artifact_schema, curves_of
from headrace.kubeflow.kfp.container_spec import container_spec
from headrace.kubeflow.kfp.parameter_types import RESULT, parameter_to_kfp, parameter_type
from headrace.kubeflow.kfp.platform_spec import executor_config
from headrace.kubeflow.kfp.protos import pipeline_spec_pb2
from headrace.kubeflow.kfp.refusals import defaults, refusals
from headrace.kubeflow.kfp.target import DEFAULT, target
from headrace.kubeflow.kfp.yaml_text import yaml_text
from headrace.kubeflow.step_document import (
    VERDICT,
    artifact_ports,
    may_be_cached,
    output_digest,
    parameter_ports,
    task_name,
)
from headrace.pipelines.errors import PipelineError, Problem
from headrace.pipelines.plan import Parameter, Plan, Step

# Until 2.2, KFP's server writes `implementations-NAME` as the name of an annotation, of which Kubernetes takes 63.
_LONGEST_COMPONENT = 63 - len("implementations-")
# Linux takes no longer argument of a process.
_ARGUMENT = 131_071
# How long KFP waits at most between two tries, in seconds.
_LONGEST_WAIT = 3600


def compile_kfp(
    plan: Plan,
    deployment: Deployment,
    *,
    parameters: Mapping[str, Any] | None = None,
    kfp_version: str = DEFAULT,
) -> str:
    """Compiles a pipeline to the YAML that Kubeflow Pipelines takes.

    Args:
        plan: The pipeline.
        deployment: Where it runs.
        parameters: Values that replace the defaults of the pipeline's parameters.
        kfp_version: The version of the API server that it is for.

    Returns:
        A `PipelineSpec`, and as a second document the Kubernetes platform spec, if its settings need one.

    Raises:
        PipelineError: With every setting, construct and value that KFP of this version cannot express.
    """
    target_ = target(kfp_version)
    given = dict(parameters or {})
    if found := refusals(plan, target_, deployment, given):
        raise PipelineError(found)
    steps = [deployment.deployed(step) for step in plan.steps]
    spec = _pipeline_spec(plan, steps, deployment, given)
    if found := _too_long(plan, spec):
        raise PipelineError(found)
    documents = [spec]
    if platform := _platform_spec(steps, deployment):
        documents.append(platform)
    return yaml_text(*documents)


def _too_long(plan: Plan, spec: Mapping[str, Any]) -> list[Problem]:
    """Steps whose container is longer than one argument of a process may be, as which the driver gets it."""
    found = []
    for step in plan.steps:
        container = spec["deploymentSpec"]["executors"][_executor(task_name(step.id))]["container"]
        if sum(map(len, container["args"])) > _ARGUMENT // 2 and (size := len(json.dumps(container))) > _ARGUMENT:
            what = f"{step.id}: its container has {size:,} bytes, and KFP's driver takes {_ARGUMENT:,}"
            found.append(Problem(what, "pass what is long as a file", plan.locations.get(step.id), "too-long"))
    return found


def component_name(task: str) -> str:
    """The name of a task's component.

    >>> component_name("statistics-gen")
    'comp-statistics-gen'
    """
    name = f"comp-{task}"
    if len(name) <= _LONGEST_COMPONENT:
        return name
    return f"{name[: _LONGEST_COMPONENT - 7]}-{hashlib.sha256(task.encode()).hexdigest()[:6]}"


def _executor(task: str) -> str:
    return f"exec-{task}"


def _pipeline_spec(
    plan: Plan, steps: list[Step], deployment: Deployment, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    kinds = {parameter.name: parameter.kind for parameter in plan.parameters}
    by_id = {step.id: step for step in steps}
    names = {step.id: task_name(step.id) for step in steps}
    components, executors, tasks = {}, {}, {}
    for step in steps:
        name = names[step.id]
        components[component_name(name)] = _component(step, name, by_id, kinds)
        executors[_executor(name)] = {"container": container_spec(plan, step, deployment)}
        tasks[name] = _task(step, names)
    root: dict[str, Any] = {"dag": {"tasks": tasks}}
    if declared := _root_parameters(plan, parameters):
        root["inputDefinitions"] = {"parameters": declared}
    spec = {
        "pipelineInfo": {"name": task_name(plan.name)},
        "schemaVersion": "2.1.0",
        "sdkVersion": "headrace",
        "deploymentSpec": {"executors": executors},
        "components": components,
        "root": root,
    }
    _require_fits(spec, executors)
    return spec


def _require_fits(spec: Mapping[str, Any], executors: Mapping[str, Any]) -> None:
    """Reads the specification with the official messages, as KFP's server does: an unknown field is an error."""
    from google.protobuf import json_format

    messages = pipeline_spec_pb2()
    json_format.ParseDict(spec, messages.PipelineSpec())
    json_format.ParseDict({"executors": executors}, messages.PipelineDeploymentConfig())


def _root_parameters(plan: Plan, given: Mapping[str, Any]) -> dict[str, Any]:
    declared: dict[str, Any] = {}
    for parameter, has_default, value in defaults(plan, given):
        entry: dict[str, Any] = {"parameterType": parameter_type(parameter.kind)}
        if has_default:
            entry |= {"defaultValue": parameter_to_kfp(value, parameter.kind), "isOptional": True}
        declared[parameter.name] = entry
    return declared


def _component(step: Step, name: str, by_id: Mapping[str, Step], kinds: Mapping[str, str]) -> dict[str, Any]:
    """A component with the ports that its one step has."""
    artifacts: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    for input_, slot in step.interface.inputs:
        if slot.optional and not slot.list and input_ not in dict(step.inputs):
            artifacts[input_] = {"artifactType": artifact_schema(slot.type), "isOptional": True}
    for port in artifact_ports(step):
        # The producer's type, which may be a subclass of the slot's: KFP knows no subclasses.
        type_ = dict(by_id[port.channel.step].interface.outputs)[port.channel.output]
        artifacts[port.name] = {"artifactType": artifact_schema(type_)}
        if port.slot.optional:
            artifacts[port.name]["isOptional"] = True
        parameters[port.digest] = {"parameterType": "STRING"}
    for port_name, value in parameter_ports(step).items():
        type_ = parameter_type(kinds[value.name]) if isinstance(value, Parameter) else RESULT
        parameters[port_name] = {"parameterType": type_}
    component: dict[str, Any] = {"executorLabel": _executor(name), "outputDefinitions": _outputs(step)}
    if inputs := {part: ports for part, ports in (("artifacts", artifacts), ("parameters", parameters)) if ports}:
        component["inputDefinitions"] = inputs
    return component


def _outputs(step: Step) -> dict[str, Any]:
    artifacts: dict[str, Any] = {}
    parameters: dict[str, Any] = {VERDICT: {"parameterType": "STRING"}}
    for output, type_ in step.interface.outputs:
        artifacts[output] = {"artifactType": artifact_schema(type_), "metadata": {"headrace_type": type_}}
        parameters[output_digest(output)] = {"parameterType": "STRING"}
        if curves := curves_of(output, type_):
            artifacts[curves] = {"artifactType": CURVES}
    for result, _ in step.interface.results:
        parameters[result] = {"parameterType": RESULT}
    return {"parameters": parameters} | ({"artifacts": artifacts} if artifacts else {})


def _task(step: Step, names: Mapping[str, str]) -> dict[str, Any]:
    name = names[step.id]
    parameters: dict[str, Any] = {}
    artifacts: dict[str, Any] = {}
    for port in artifact_ports(step):
        producer = names[port.channel.step]
        artifacts[port.name] = {
            "taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": port.channel.output}
        }
        parameters[port.digest] = _from_task(producer, output_digest(port.channel.output))
    for port_name, value in parameter_ports(step).items():
        if isinstance(value, Parameter):
            parameters[port_name] = {"componentInputParameter": value.name}
        else:
            parameters[port_name] = _from_task(names[value.step], value.output)
    task: dict[str, Any] = {
        "taskInfo": {"name": name},
        "componentRef": {"name": component_name(name)},
        "cachingOptions": {"enableCache": may_be_cached(step)},
    }
    if inputs := {part: ports for part, ports in (("artifacts", artifacts), ("parameters", parameters)) if ports}:
        task["inputs"] = inputs
    if upstream := step.upstream():
        task["dependentTasks"] = sorted(names[id_] for id_ in upstream)
    if step.settings.retries:
        task["retryPolicy"] = _retry_policy(step.settings.retries, step.settings.retry_wait)
    return task


def _from_task(task: str, output: str) -> dict[str, Any]:
    return {"taskOutputParameter": {"producerTask": task, "outputParameterKey": output}}


def _retry_policy(retries: int, wait: float | None) -> dict[str, Any]:
    policy: dict[str, Any] = {"maxRetryCount": retries}
    if wait is not None:
        seconds = math.ceil(wait)
        policy |= {
            "backoffDuration": f"{seconds}s",
            "backoffFactor": 2,
            "backoffMaxDuration": f"{max(_LONGEST_WAIT, seconds)}s",
        }
    return policy


def _platform_spec(steps: list[Step], deployment: Deployment) -> dict[str, Any]:
    executors = {
        _executor(task_name(step.id)): config
        for step in steps
        if (config := executor_config(step.settings, deployment.image_pull_secrets))
    }
    kubernetes: dict[str, Any] = {"deploymentSpec": {"executors": executors}} if executors else {}
    if deployment.ttl is not None:
        kubernetes["pipelineConfig"] = {"resourceTtlOnCompletion": deployment.ttl}
    return {"platforms": {"kubernetes": kubernetes}} if kubernetes else {}
