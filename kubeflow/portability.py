"""What each target can express; one table for the check, for the compilers, and for docs/targets.md.

Each target describes itself in a `Target`: of every construct it says how it is expressed, or why it cannot be, from
which version of the server on. A compiler never drops a construct: what is not in its table as expressed is refused,
with the author's file and line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from headrace.kubeflow.deployment import Deployment
from headrace.kubeflow.step_document import task_name
from headrace.pipelines.errors import Location, PipelineError, Problem
from headrace.pipelines.plan import (
    Collected,
    Comparison,
    Group,
    ListOf,
    MapOf,
    OneOf,
    Plan,
    PropertyOf,
    Settings,
    Step,
    Value,
)

Version = tuple[int, ...]


@dataclass(frozen=True)
class Support:
    """How a target expresses a construct.

    Args:
        how: The target's own terms for it, such as ``"retryStrategy.limit"``; of what it cannot express, why.
        fix: What an author can do instead; empty when it is expressed.
        since: The server's version that can; () for every one that this Headrace supports.
    """

    how: str
    fix: str = ""
    since: Version = ()

    def refusal(self, server: Version) -> str | None:
        """Why a server of that version cannot, or None."""
        if self.fix and not self.since:
            return self.how
        if self.since and server < self.since:
            return f"a server of version {_dotted(server)} cannot; {_dotted(self.since)} can"
        return None


@dataclass(frozen=True)
class Target:
    """What a target can express.

    Args:
        name: ``"kfp"`` or ``"argo"``.
        server: The version of the server that is compiled for.
        constructs: Of every construct by its name, how it is expressed; see `CONSTRUCTS`.
    """

    name: str
    server: Version
    constructs: Mapping[str, Support]

    def __post_init__(self) -> None:
        missing, unknown = CONSTRUCTS.keys() - self.constructs.keys(), self.constructs.keys() - CONSTRUCTS.keys()
        if missing or unknown:
            raise ValueError(f"target {self.name}: nothing is said of {sorted(missing)}; unknown are {sorted(unknown)}")


_SETTINGS = {f"setting {f.name}": f"a step's setting `{f.name}`" for f in fields(Settings)}
_DEPLOYMENT = {
    f"deployment {f.name}": f"the deployment's `{f.name}`"
    for f in fields(Deployment)
    if f.name not in ("image", "root", "settings", "project", "log_prefix", "fail_if_not_blessed", "store")
}
# Every construct that a target must say something of.
CONSTRUCTS: dict[str, str] = {
    **_SETTINGS,
    **_DEPLOYMENT,
    "node condition": "a branch that runs on a condition",
    "node loop": "a loop over items",
    "node exit_handler": "steps that run whatever came of the others",
    "node sub_pipeline": "a pipeline within a pipeline",
    "value PropertyOf": "a property of an artifact as an argument",
    "value Comparison": "a comparison as an argument",
    "value OneOf": "the first of several values that exists",
    "value Collected": "the values of a loop's rounds as a list",
    "input list": "a list of artifacts as an input",
    "input optional": "an input that may be absent",
    "memory root": "a pipeline root in memory",
}


def problems(plan: Plan, target: Target, deployment: Deployment | None = None) -> list[Problem]:
    """Lists each setting or construct of a Plan that a target cannot express, with file, line and what to do.

    Args:
        plan: The pipeline.
        target: The target.
        deployment: Where it is to run, if that is known already.
    """
    found = [
        _problem(target, construct, f"{who}: ", where)
        for construct, who, where in _constructs(plan, deployment)
        if _refused(target, construct)
    ]
    return [*found, *_names(plan), *_texts(plan, deployment, target)]


def require_portable(plan: Plan, target: Target, deployment: Deployment | None = None) -> None:
    """Refuses a Plan that the target cannot express.

    Raises:
        PipelineError: With every such setting and construct.
    """
    if found := problems(plan, target, deployment):
        raise PipelineError(found)


def _refused(target: Target, construct: str) -> bool:
    return target.constructs[construct].refusal(target.server) is not None


def _problem(target: Target, construct: str, who: str, where: Location | None) -> Problem:
    support = target.constructs[construct]
    what = f"{who}{target.name} cannot express {CONSTRUCTS[construct]}: {support.refusal(target.server)}"
    newer = f"update the server, and say so: --{target.name}-version {_dotted(support.since)}" if support.since else ""
    return Problem(what, support.fix or newer, where, f"not-in-{target.name}")


def _constructs(plan: Plan, deployment: Deployment | None) -> Iterator[tuple[str, str, Location | None]]:
    """Yields (construct, who uses it, where) for everything that a Plan and its deployment use."""
    for node in plan.nodes:
        if isinstance(node, Group):
            yield f"node {node.kind}", node.id, plan.locations.get(node.id)
    for step in plan.steps:
        where = plan.locations.get(step.id)
        settings = deployment.settings_of(step) if deployment else step.settings
        for name in settings.to_json():
            yield f"setting {name}", step.id, where
        for name, slot in step.interface.inputs:
            if slot.list:
                yield "input list", f"{step.id}.{name}", where
            if slot.optional:
                yield "input optional", f"{step.id}.{name}", where
        for name, value in (*step.inputs, *step.arguments):
            for kind in _kinds(value):
                yield f"value {kind}", f"{step.id}.{name}", where
    if deployment is not None:
        for f in fields(Deployment):
            if f"deployment {f.name}" in _DEPLOYMENT and getattr(deployment, f.name) != f.default:
                yield f"deployment {f.name}", f.name, None
        if deployment.root.startswith("memory://"):
            yield "memory root", "root", None


def _kinds(value: Value) -> Iterator[str]:
    match value:
        case PropertyOf() | Comparison() | OneOf() | Collected():
            yield type(value).__name__
        case ListOf():
            for item in value.values:
                yield from _kinds(item)
        case MapOf():
            for _, item in value.items:
                yield from _kinds(item)


def _names(plan: Plan) -> Iterator[Problem]:
    seen: dict[str, Step] = {}
    for step in plan.steps:
        name = task_name(step.id)
        if name in seen:
            what = f"{step.id} and {seen[name].id} are both called {name!r} in a cluster"
            yield Problem(what, "rename one with .with_id(...)", plan.locations.get(step.id), "task-name")
        seen[name] = step


def _texts(plan: Plan, deployment: Deployment | None, target: Target) -> Iterator[Problem]:
    """Texts that stand in the pod's own description, where nothing can make a template inert."""
    for step in plan.steps:
        settings = deployment.settings_of(step) if deployment else step.settings
        for name, value in settings.to_json().items():
            if "{{" in str(value) and name != "beam_args":
                what = f"{step.id}: the setting {name!r} contains '{{{{', which {target.name} takes for a template"
                yield Problem(what, "write it without two braces in a row", plan.locations.get(step.id), "template")


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
