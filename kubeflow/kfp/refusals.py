"""What of a pipeline and its deployment KFP cannot take although it has the construct: values, names, versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.kubeflow.argo.legal import port, wrong_settings
from headrace.kubeflow.deployment import Deployment, Schedule
from headrace.kubeflow.kfp import platform_spec
from headrace.kubeflow.kfp.container_spec import RUN_VARIABLE, quantity
from headrace.kubeflow.kfp.parameter_types import not_stored, parameter_to_kfp, require_safe
from headrace.kubeflow.kfp.target import VOLUMES
from headrace.kubeflow.portability import Target, problems
from headrace.kubeflow.step_document import task_name
from headrace.pipelines.errors import Location, Problem
from headrace.pipelines.parameter_values import NotAllowed
from headrace.pipelines.plan import Plan, PlanParameter, Step
from headrace.pipelines.step_settings import Settings

# KFP's server writes a container's memory in units of 10**9 bytes; smaller parts of one it writes as 1e-05.
_LEAST_MEMORY = 10**5


def refusals(
    plan: Plan, target: Target, deployment: Deployment | None = None, parameters: Mapping[str, Any] | None = None
) -> list[Problem]:
    """Lists all that KFP of a version cannot express of a pipeline.

    Args:
        plan: The pipeline.
        target: KFP, of the server's version.
        deployment: Where it is to run, if that is known already.
        parameters: Values that replace defaults of its parameters.
    """
    return [
        *problems(plan, target, deployment),
        *_names(plan),
        *_settings(plan, target, deployment),
        *_parameters(plan, dict(parameters or {})),
        *(_deployment(deployment) if deployment is not None else ()),
    ]


def defaults(plan: Plan, parameters: Mapping[str, Any]) -> Iterator[tuple[PlanParameter, bool, Any]]:
    """Yields each parameter of a pipeline, whether it has a default, and that default."""
    for parameter in plan.parameters:
        if parameter.name in parameters:
            yield parameter, True, parameters[parameter.name]
        else:
            yield parameter, not parameter.required, parameter.default


def _names(plan: Plan) -> Iterator[Problem]:
    """KFP's server makes of a task `x` the tasks `x` and `x-driver`."""
    names = {task_name(step.id): step for step in plan.steps}
    for name, step in names.items():
        if (other := names.get(f"{name}-driver")) is not None:
            what = f"{step.id} and {other.id}: KFP has a task {name}-driver of its own for {step.id}"
            yield Problem(what, "rename one with .with_id(...)", plan.locations.get(other.id), "task-name")


def _settings(plan: Plan, target: Target, deployment: Deployment | None) -> Iterator[Problem]:
    for step in plan.steps:
        where = plan.locations.get(step.id)
        settings = deployment.settings_of(step) if deployment else step.settings
        wrong = [*_versions(settings, target), *wrong_settings(settings), *platform_spec.wrong(settings)]
        for what, fix in (*wrong, *_values(settings), *_ports(step)):
            yield Problem(f"{step.id}: {what}", fix, where, "setting")


def _versions(settings: Settings, target: Target) -> Iterator[tuple[str, str]]:
    for path, source in settings.volumes:
        since = VOLUMES.get(source.partition(":")[0], ())
        if target.server < since:
            needed, there = (".".join(map(str, version)) for version in (since, target.server))
            yield f"KFP {there} cannot mount {source!r} at {path}; {needed} can", f"--kfp-version {needed}"


def _values(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.memory is not None and quantity(settings.memory) < _LEAST_MEMORY:
        yield f"memory {settings.memory!r} is less than {_LEAST_MEMORY} bytes", "write more, such as '256Mi'"
    if settings.timeout is not None and settings.timeout <= 0:
        yield "a timeout of 0 seconds would end no attempt", "leave it out, or write a positive number"
    for name, value in settings.to_json().items():
        # Arguments for Beam are in the step's document, whose text is ASCII.
        if name != "beam_args" and (character := next(filter(None, map(not_stored, _texts(value))), None)):
            yield f"the setting {name!r} has the character {character!r} in it, which KFP cannot store", "leave it out"
    for pairs in (settings.env, settings.secrets, settings.config_maps, settings.pod_fields):
        if RUN_VARIABLE in dict(pairs):
            yield f"the variable {RUN_VARIABLE} holds the run's id", "give it another name"
    if settings.image is not None:
        yield from _safe("image", settings.image)


def _ports(step: Step) -> Iterator[tuple[str, str]]:
    interface = step.interface
    for part, names in (("input", interface.inputs), ("output", interface.outputs), ("result", interface.results)):
        for name, _ in names:
            if not port(name):
                yield f"{part} {name!r}: a name in KFP has ASCII letters, digits, '_' and '-'", "rename it"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _parameters(plan: Plan, given: Mapping[str, Any]) -> Iterator[Problem]:
    names = {parameter.name for parameter in plan.parameters}
    for name in sorted(given.keys() - names):
        what = f"pipeline {plan.name} has no parameter {name!r}"
        yield Problem(what, f"it has {', '.join(sorted(names)) or 'none'}", code="parameter")
    for parameter, has_default, value in defaults(plan, given):
        if not port(parameter.name):
            what = f"parameter {parameter.name!r}: a name in KFP has ASCII letters, digits, '_' and '-'"
            yield Problem(what, "rename it", code="parameter")
        try:
            if has_default:
                parameter_to_kfp(value, parameter.kind)
        except NotAllowed as error:
            where: Location | None = plan.locations.get(parameter.name)
            yield Problem(f"parameter {parameter.name!r}: {error}", error.fix, where, "parameter")


def _deployment(deployment: Deployment) -> Iterator[Problem]:
    for name in ("image", "root", "store", "project"):
        for what, fix in _safe(name, getattr(deployment, name) or ""):
            yield Problem(what, fix, code="deployment")
    if deployment.schedule is not None:
        for what, fix in schedule_refusals(deployment.schedule):
            yield Problem(what, fix, code="deployment")


def schedule_refusals(schedule: Schedule) -> Iterator[tuple[str, str]]:
    """What of a schedule a recurring run of KFP cannot have, as (what, fix)."""
    if schedule.timezone not in ("UTC", "Etc/UTC"):
        what = f"schedule: KFP has one time zone for all recurring runs of a server, received {schedule.timezone!r}"
        yield (
            what,
            "write the cron expression in UTC, or set CRON_SCHEDULE_TIMEZONE on the server and no timezone here",
        )
    if schedule.concurrency == "Replace":
        yield "schedule: a recurring run of KFP cannot replace a run that is not done", "take Forbid or Allow"


def _safe(name: str, text: str) -> Iterator[tuple[str, str]]:
    try:
        require_safe(text)
    except NotAllowed:
        yield f"{name}: {text!r} has '{{{{', '$(' or '$$' in it, which KFP replaces", "write it without"
