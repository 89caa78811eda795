"""A step's container in KFP's IR: image, command line, environment and resources."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from headrace.kubeflow.deployment import Deployment
from headrace.kubeflow.step_document import StepDocument
from headrace.pipelines.plan import Plan, Step
from headrace.pipelines.step_settings import Settings

# The run's id: the API server puts it in the place of this text when it makes the run. In the environment, because
# arguments belong to the key of KFP's cache, and the environment does not.
RUN_VARIABLE, RUN_ID = "HEADRACE_RUN", "{{workflow.uid}}"
EXECUTOR_INPUT = "--executor-input={{$}}"
# Seconds between the signal that asks a step to end and the one that ends it, as Kubernetes has.
_GRACE = 30
_SUFFIXES = {
    **{
        suffix: Decimal(1000) ** power
        for power, suffix in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"), -3)
    },
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}


def container_spec(plan: Plan, step: Step, deployment: Deployment) -> dict[str, Any]:
    """The `container` of an executor.

    Args:
        plan: The pipeline.
        step: A step of it, with the settings that it has in the deployment.
        deployment: Where it runs.
    """
    settings = step.settings
    container: dict[str, Any] = {
        "image": settings.image or deployment.image,
        "command": command(settings),
        "args": arguments(plan, step, deployment),
        "env": [{"name": RUN_VARIABLE, "value": RUN_ID}]
        + [{"name": name, "value": literal(value)} for name, value in settings.env],
    }
    if resources := resource_spec(settings):
        container["resources"] = resources
    return container


def command(settings: Settings) -> list[str]:
    """The program; with a timeout, under coreutils' `timeout`: KFP has none for one attempt in every version.

    So the launcher sees the step fail and reports it, where a pod that Kubernetes ends leaves it running in KFP.
    """
    if settings.timeout is None:
        return ["headrace-step"]
    return ["timeout", f"--kill-after={_GRACE}", f"{settings.timeout:g}", "headrace-step"]


def arguments(plan: Plan, step: Step, deployment: Deployment) -> list[str]:
    """The arguments of `headrace-step`."""
    given = ["--target=kfp", f"--step={StepDocument.of(plan, step).to_json()}", f"--root={deployment.root}"]
    given.append(f"--project={deployment.project}")
    if deployment.store is not None:
        given.append(f"--store={deployment.store}")
    if not deployment.log_prefix:
        given.append("--no-log-prefix")
    if deployment.fail_if_not_blessed:
        given.append("--fail-if-not-blessed")
    return [*given, EXECUTOR_INPUT]


def literal(value: str) -> str:
    """An environment variable's text as Kubernetes leaves it: `$$` is a dollar twice over.

    The executor's specification is first an argument of the driver's pod, then the environment of the step's.

    >>> literal("5$"), literal("$(HOME)")
    ('5$', '$$$$(HOME)')
    """
    return value.replace("$", "$$$$") if "$(" in value or "$$" in value else value


def resource_spec(settings: Settings) -> dict[str, Any]:
    """Cores and memory that are asked for; more memory than that is not given, as a node could not keep the promise."""
    spec: dict[str, Any] = {}
    if settings.cpu is not None:
        spec["cpuRequest"] = _number(quantity(settings.cpu))
    if settings.memory is not None:
        spec["memoryRequest"] = spec["memoryLimit"] = _number(quantity(settings.memory) / 10**9)
    if settings.gpu:
        spec["accelerator"] = {"type": settings.gpu_type, "count": str(settings.gpu)}
    return spec


def quantity(text: str) -> Decimal:
    """A quantity of Kubernetes as a number.

    >>> quantity("500m"), quantity("4Gi"), quantity("1.5")
    (Decimal('0.500'), Decimal('4294967296'), Decimal('1.5'))
    """
    number, suffix = re.fullmatch(r"([\d.]+)(.*)", text).groups()  # type: ignore[union-attr]
    return Decimal(number) * _SUFFIXES[suffix]


def _number(value: Decimal) -> float | int:
    return int(value) if value == value.to_integral_value() else float(value)
