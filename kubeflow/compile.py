"""Plans to files for a cluster, one or many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from headrace.kubeflow.deployment import Deployment
from headrace.kubeflow.portability import Target
from headrace.kubeflow.portability import problems as problems_of
from headrace.pipelines.errors import PipelineError, Problem
from headrace.pipelines.parameter_values import NotAllowed, parse_text
from headrace.pipelines.plan import Plan


def compile_plan(
    plan: Plan,
    deployment: Deployment,
    *,
    target: str,
    kind: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    version: str | None = None,
    memoize: bool = False,
) -> str:
    """Compiles a pipeline for a target.

    Args:
        plan: The pipeline.
        deployment: Where it is to run.
        target: ``"kfp"`` or ``"argo"``.
        kind: Argo's kind of object: ``"Workflow"``, ``"WorkflowTemplate"`` or ``"CronWorkflow"``; by default the last
            for a deployment with a schedule, and else the first.
        parameters: Values that become the defaults of the pipeline's parameters.
        version: Of the target's server; by default the oldest that Headrace compiles for.
        memoize: Argo: whether its controller skips the pods of steps whose result it knows; see `compile_argo`.

    Returns:
        The file's text: equal Plans and deployments give equal bytes.

    Raises:
        PipelineError: The target cannot express something; with every such problem.
    """
    parameters = _read(plan, parameters or {})
    if target == "kfp":
        if kind is not None:
            what = f"Kubeflow Pipelines has no kinds of objects, received {kind}"
            raise PipelineError(Problem(what, "leave --kind out, or use --target argo", code="command"))
        if memoize:
            what = "memoize is of Argo; Kubeflow Pipelines has a cache of its own"
            raise PipelineError(Problem(what, "leave --memoize out, or use --target argo", code="command"))
        from headrace.kubeflow.kfp.compile import compile_kfp

        more = {} if version is None else {"kfp_version": version}
        return compile_kfp(plan, deployment, parameters=parameters, **more)
    from headrace.kubeflow.argo.compile import compile_argo
    from headrace.kubeflow.argo.target import DEFAULT

    kind = kind or ("CronWorkflow" if deployment.schedule is not None else "Workflow")
    server = DEFAULT if version is None else version_of(version, "argo")
    return compile_argo(plan, deployment, kind=kind, parameters=parameters, argo_version=server, memoize=memoize)


def compile_all(
    plans: Iterable[Plan],
    deployment: Deployment,
    *,
    target: str,
    kind: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    version: str | None = None,
    memoize: bool = False,
) -> dict[str, str]:
    """Compiles many pipelines for a target.

    Args:
        plans: The pipelines.
        parameters: Values that become the defaults of the parameters of those pipelines that have them.
        deployment, target, kind, version, memoize: See `compile_plan`.

    Returns:
        Each file's text by the pipeline's name.

    Raises:
        PipelineError: With the problems of all pipelines; a name that two of them have; a parameter that none has.
    """
    plans, given = list(plans), dict(parameters or {})
    problems, texts = [], {}
    known = {parameter.name for plan in plans for parameter in plan.parameters}
    for name in sorted(given.keys() - known):
        fix = f"there are {', '.join(sorted(known)) or 'none'}"
        problems.append(Problem(f"no pipeline has a parameter {name!r}", fix, code="parameter"))
    for plan in plans:
        if plan.name in texts:
            what = f"two pipelines are called {plan.name!r}, as their files would be"
            problems.append(Problem(what, "rename one", plan.locations.get(""), "pipeline-name"))
        values = {parameter.name: given[parameter.name] for parameter in plan.parameters if parameter.name in given}
        try:
            texts[plan.name] = compile_plan(
                plan, deployment, target=target, kind=kind, parameters=values, version=version, memoize=memoize
            )
        except PipelineError as error:
            problems += error.problems
            texts[plan.name] = ""
    if problems:
        raise PipelineError(problems)
    return texts


def _read(plan: Plan, given: Mapping[str, Any]) -> dict[str, Any]:
    """Values of parameters, with texts of a command line read as their kind."""
    kinds = {parameter.name: parameter.kind for parameter in plan.parameters}
    problems, values = [], {}
    for name, value in given.items():
        try:
            values[name] = parse_text(value, kinds[name]) if isinstance(value, str) and name in kinds else value
        except NotAllowed as error:
            what = f"parameter {name!r}: {error}"
            problems.append(Problem(what, f"-p {name}=...", plan.locations.get(""), "parameter"))
    if problems:
        raise PipelineError(problems)
    return values


def target_of(name: str, version: str | None = None) -> Target:
    """What a target can express.

    Args:
        name: ``"kfp"`` or ``"argo"``.
        version: Of its server; by default the oldest that Headrace compiles for.

    Raises:
        PipelineError: It is no version, or one that is too old.
    """
    if name == "kfp":
        from headrace.kubeflow.kfp.target import target as kfp_target

        return kfp_target() if version is None else kfp_target(version)
    from headrace.kubeflow.argo.target import target as argo_target

    return argo_target() if version is None else argo_target(version_of(version, "argo"))


def refusals(plan: Plan, name: str, version: str | None = None, deployment: Deployment | None = None) -> list[Problem]:
    """All for which a pipeline would not be compiled, as far as that is known without a deployment.

    Args:
        plan: The pipeline.
        name: ``"kfp"`` or ``"argo"``.
        version: Of its server; by default the oldest that Headrace compiles for.
        deployment: Where it is to run.
    """
    if name == "kfp":
        from headrace.kubeflow.kfp.refusals import refusals as kfp_refusals

        return kfp_refusals(plan, target_of(name, version), deployment)
    found = problems_of(plan, target_of(name, version), deployment)
    if deployment is not None:
        from headrace.kubeflow.argo import legal

        found += legal.problems(plan, deployment)
    return found


def version_of(text: str, target: str) -> tuple[int, ...]:
    """Reads a server's version.

    >>> version_of("v3.6.2", "argo")
    (3, 6, 2)

    Raises:
        PipelineError: It is none.
    """
    parts = text.removeprefix("v").split(".")
    if not all(part.isdecimal() for part in parts):
        what = f"expected a version such as 3.7, received {text!r}"
        raise PipelineError(Problem(what, f"--{target}-version 3.7", code="command"))
    return tuple(map(int, parts))
