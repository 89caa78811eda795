"""A step as a template of Argo's: one container, its inputs and outputs, and its settings."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headrace.kubeflow.argo import expressions
from headrace.kubeflow.argo.names import pipeline_name
from headrace.kubeflow.deployment import Deployment
from headrace.kubeflow.step_document import (
    VERDICT,
    StepDocument,
    artifact_ports,
    may_be_cached,
    output_digest,
    parameter_ports,
)
from headrace.pipelines.plan import Plan, Settings, Step

# Where a container finds references to its inputs, and leaves those to its outputs.
INPUTS = "/headrace/inputs"
OUTPUTS = "/headrace/outputs"
# Folders that may be written to; all else of a container's file system may only be read. Not /headrace itself: Argo
# would then make the folder of the inputs in it, as its own user, and for that user alone.
WRITABLE = {"headrace": OUTPUTS, "tmp": "/tmp"}
SECURITY = {
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
# What a step exits with when it refused and `fail_if_not_blessed` says that this fails the run.
REFUSED = "3"


@dataclass(frozen=True)
class StepTemplate:
    """Lowers one step.

    Args:
        plan: The pipeline.
        step: One of its steps.
        deployment: Where it runs.
        name: The template's name.
        memoize: Whether Argo may take an earlier result.
    """

    plan: Plan
    step: Step
    deployment: Deployment
    name: str
    memoize: bool

    def document(self) -> dict[str, Any]:
        settings = self.deployment.settings_of(self.step)
        template: dict[str, Any] = {"name": self.name, **_metadata(settings)}
        if inputs := self._inputs():
            template["inputs"] = inputs
        template["outputs"] = self._outputs()
        template |= _retries(settings, self.deployment.fail_if_not_blessed)
        if settings.timeout is not None:
            template["activeDeadlineSeconds"] = max(1, math.ceil(settings.timeout))
        if self._is_memoized(settings):
            template["memoize"] = self._memoized()
        template |= _placement(settings)
        template["volumes"] = [volume for _, volume in _volumes(settings)]
        template["container"] = self._container(settings)
        return template

    def _inputs(self) -> dict[str, Any]:
        ports = artifact_ports(self.step)
        # Argo writes the files as its own user, and for that user alone if it is not told otherwise.
        artifacts = [{"name": port.name, "path": f"{INPUTS}/{port.name}.json", "mode": 0o444} for port in ports]
        inputs = {"parameters": [{"name": name} for name in self._parameters()], "artifacts": artifacts}
        return {part: items for part, items in inputs.items() if items}

    def _parameters(self) -> list[str]:
        return [*parameter_ports(self.step), *(port.digest for port in artifact_ports(self.step))]

    def _outputs(self) -> dict[str, Any]:
        interface = self.step.interface
        names = [VERDICT, *(name for name, _ in interface.results), *(output_digest(n) for n, _ in interface.outputs)]
        parameters = [{"name": n, "valueFrom": {"path": f"{OUTPUTS}/parameters/{n}"}} for n in names]
        artifacts = [
            # A reference is one small file: as it is, and not as an archive.
            {"name": name, "path": f"{OUTPUTS}/artifacts/{name}.json", "archive": {"none": {}}}
            for name, _ in interface.outputs
        ]
        return {"parameters": parameters} | ({"artifacts": artifacts} if artifacts else {})

    def _container(self, settings: Settings) -> dict[str, Any]:
        container: dict[str, Any] = {
            "image": self.deployment.image_of(self.step),
            "command": ["headrace-step"],
            "args": [*self._constant_arguments(), *self._varying_arguments(settings)],
        }
        if env := list(_environment(settings)):
            container["env"] = env
        if resources := _resources(settings):
            container["resources"] = resources
        container["volumeMounts"] = [mount for mount, _ in _volumes(settings)]
        container["securityContext"] = SECURITY
        return container

    def _constant_arguments(self) -> list[str]:
        """What is known when the pipeline is compiled, and counts for the cache."""
        deployment, step = self.deployment, self.deployment.deployed(self.step)
        arguments = [
            f"--step={StepDocument.of(self.plan, step).to_json()}",
            f"--root={_unexpanded(deployment.root)}",
            f"--project={_unexpanded(deployment.project)}",
        ]
        if deployment.store is not None:
            arguments.append(f"--store={_unexpanded(deployment.store)}")
        if deployment.fail_if_not_blessed:
            arguments.append("--fail-if-not-blessed")
        return arguments

    def _varying_arguments(self, settings: Settings) -> list[str]:
        arguments = ["--target=argo", "--run={{workflow.uid}}"]
        if settings.retries:
            arguments.append("--attempt={{retries}}")
        if not self.deployment.log_prefix:
            arguments.append("--no-log-prefix")
        if self._parameters():
            value = expressions.parameters(parameter_ports(self.step), artifact_ports(self.step))
            arguments.append(f"--parameters={value}")
        return arguments

    def _is_memoized(self, settings: Settings) -> bool:
        # In Argo 3.7, a DAG in which a task with a retry strategy was taken from the cache never ends.
        return self.memoize and may_be_cached(self.deployment.deployed(self.step)) and not settings.retries

    def _memoized(self) -> dict[str, Any]:
        static = json.dumps([self.deployment.image_of(self.step), *self._constant_arguments()])
        key = hashlib.sha256(static.encode()).hexdigest()[:32]
        if ports := self._parameters():
            key += f"-{expressions.inputs_digest(ports)}"
        # A config map holds a megabyte, which is some 800 results, and a result that finds no place fails its step. So
        # there is one for each step and month; what an older one knows, the step itself finds in the pipeline root.
        month = "{{workflow.creationTimestamp.Y}}-{{workflow.creationTimestamp.m}}"
        config_map = f"headrace-{pipeline_name(self.plan)}-{self.name}-{month}"
        return {"key": key, "maxAge": "", "cache": {"configMap": {"name": config_map, "key": ""}}}


def _metadata(settings: Settings) -> dict[str, Any]:
    parts = {"labels": dict(settings.labels), "annotations": dict(settings.annotations)}
    metadata = {part: content for part, content in parts.items() if content}
    return {"metadata": metadata} if metadata else {}


def _retries(settings: Settings, fail_if_not_blessed: bool) -> dict[str, Any]:
    if not settings.retries:
        return {}
    strategy: dict[str, Any] = {"limit": settings.retries, "retryPolicy": "Always"}
    if settings.retry_wait:
        strategy["backoff"] = {"duration": f"{math.ceil(settings.retry_wait * 1000)}ms", "factor": 2}
    if fail_if_not_blessed:
        # A refusal is no accident: a further try would refuse again.
        strategy["expression"] = f'lastRetry.exitCode != "{REFUSED}"'
    return {"retryStrategy": strategy}


def _placement(settings: Settings) -> dict[str, Any]:
    tolerations = [
        {name: int(value) if name == "tolerationSeconds" else value for name, value in toleration}
        for toleration in settings.tolerations
    ]
    placement = {"nodeSelector": dict(settings.node_selector), "tolerations": tolerations}
    return {name: content for name, content in placement.items() if content}


def _resources(settings: Settings) -> dict[str, Any]:
    """What is asked for is also the limit, but of cores: a step that finds idle ones may use them."""
    bounded = {"memory": settings.memory, "ephemeral-storage": settings.storage}
    limits = {name: amount for name, amount in bounded.items() if amount is not None}
    if settings.gpu:
        limits[settings.gpu_type] = str(settings.gpu)
    requests = ({"cpu": settings.cpu} if settings.cpu is not None else {}) | limits
    return {name: amounts for name, amounts in (("requests", requests), ("limits", limits)) if amounts}


def _environment(settings: Settings) -> Iterator[dict[str, Any]]:
    for name, value in sorted(settings.env):
        yield {"name": name, "value": _unexpanded(value)}
    for name, source in sorted(settings.secrets):
        yield {"name": name, "valueFrom": {"secretKeyRef": _key_of(source)}}
    for name, source in sorted(settings.config_maps):
        yield {"name": name, "valueFrom": {"configMapKeyRef": _key_of(source)}}
    for name, path in sorted(settings.pod_fields):
        yield {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _key_of(source: str) -> dict[str, str]:
    name, _, key = source.partition("/")
    return {"name": name, "key": key}


def _volumes(settings: Settings) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yields (mount, volume): the folders that may be written to, and the user's."""
    given = dict(settings.volumes)
    for name, path in WRITABLE.items():
        if path not in given:
            yield {"name": name, "mountPath": path}, {"name": name, "emptyDir": {}}
    for number, (path, source) in enumerate(sorted(settings.volumes)):
        kind, _, what = source.partition(":")
        name = f"volume-{number}"
        mount: dict[str, Any] = {"name": name, "mountPath": path}
        match kind:
            case "pvc":
                yield mount, {"name": name, "persistentVolumeClaim": {"claimName": what}}
            case "secret":
                yield mount | {"readOnly": True}, {"name": name, "secret": {"secretName": what}}
            case "config_map":
                yield mount | {"readOnly": True}, {"name": name, "configMap": {"name": what}}
            case "scratch":
                yield mount, {"name": name, "emptyDir": {"sizeLimit": what}}


def _unexpanded(text: str) -> str:
    """A text in which Kubernetes finds no `$(NAME)`."""
    return text.replace("$", "$$")
