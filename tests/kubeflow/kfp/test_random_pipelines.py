"""Random pipelines compile to files that our check, KFP's messages and KFP's server take, and say what was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from headrace.kubeflow.deployment import Deployment
from headrace.kubeflow.kfp.check import check_kfp
from headrace.kubeflow.kfp.compile import compile_kfp
from headrace.kubeflow.kfp.container_spec import EXECUTOR_INPUT
from headrace.kubeflow.kfp.parameter_types import (
    not_stored,
    parameter_from_kfp,
    parameter_to_kfp,
    parameter_type,
    result_from_kfp,
    result_to_kfp,
)
from headrace.kubeflow.kfp.refusals import refusals
from headrace.kubeflow.kfp.target import target
from headrace.kubeflow.kfp.yaml_text import yaml_text
from headrace.kubeflow.step_document import StepDocument, task_name
from headrace.pipelines.errors import PipelineError
from headrace.pipelines.parameter_values import NotAllowed
from headrace.pipelines.plan import Plan, PlanParameter
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.kubeflow.argo import plans as random_plans
from tests.kubeflow.kfp.kfp_plans import NEWEST

# A pipeline that fails is not made smaller: that takes minutes, and its problem names the place.
QUICK: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    "phases": [Phase.explicit, Phase.reuse, Phase.generate],
}


def without_refused(plan: Plan, deployment: Deployment, version: str) -> tuple[Plan, Deployment]:
    """The pipeline without what KFP of a version refuses; what that is, other tests say."""
    chosen = target(version)
    deployment = replace(
        deployment, parallelism=None, pod_gc=None, fs_group=None, schedule=None, root="s3://bucket/root"
    )
    if chosen.server < (2, 17):
        deployment = replace(deployment, ttl=None)
    if chosen.server < (2, 1):
        deployment = replace(deployment, image_pull_secrets=())
    defaults = accepted(deployment.settings, chosen, volumes=False)
    # A variable of a default and of a step's own from different sources is refused.
    deployment = replace(deployment, settings=replace(defaults, env=(), secrets=(), config_maps=(), pod_fields=()))
    steps = [replace(step, settings=accepted(step.settings, chosen)) for step in plan.steps]
    parameters = tuple(PlanParameter(p.name, p.kind, p.default, p.required or not safe(p)) for p in plan.parameters)
    return Plan(plan.name, tuple(steps), parameters), deployment


def accepted(given: Any, chosen: Any, volumes: bool = True) -> Any:
    kept = {
        name: value
        for name, value in given.to_json().items()
        if chosen.constructs[f"setting {name}"].refusal(chosen.server) is None
    }
    kinds = {"pvc", "secret", *(("config_map", "scratch") if chosen.server >= (2, 3) else ())}
    mounted: dict[str, str] = {}
    for path, source in kept.pop("volumes", {}).items():
        if volumes and source.partition(":")[0] in kinds and source not in mounted.values():
            mounted[path] = source
    for name in ("env", "annotations"):
        kept[name] = {key: value for key, value in kept.get(name, {}).items() if not not_stored(value)}
    if kept.get("memory") in ("1", "500m", "1.5", "2k"):
        del kept["memory"]
    return type(given).from_json(kept | ({"volumes": mounted} if mounted else {}))


def safe(parameter: PlanParameter) -> bool:
    try:
        parameter_to_kfp(parameter.default, parameter.kind)
    except NotAllowed:
        return False
    return True


def check_says_the_same(plan: Plan, deployment: Deployment, text: str) -> None:
    spec = next(yaml.safe_load_all(text))
    executors = spec["deploymentSpec"]["executors"]
    assert executors.keys() == {f"exec-{task_name(step.id)}" for step in plan.steps}
    for step in plan.steps:
        arguments = executors[f"exec-{task_name(step.id)}"]["container"]["args"]
        [document] = [one.removeprefix("--step=") for one in arguments if one.startswith("--step=")]
        assert StepDocument.from_json(document) == StepDocument.of(plan, deployment.deployed(step))
        assert arguments[-1] == EXECUTOR_INPUT
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for parameter in plan.parameters:
        if not parameter.required:
            received = declared[parameter.name]["defaultValue"]
            assert parameter_from_kfp(received, parameter.kind) == parameter.default


@settings(max_examples=25, **QUICK)
@given(random_plans.plans(most=12), random_plans.deployments(), st.sampled_from(["2.0.5", "2.3.0", NEWEST]))
def test_random_pipelines_compile_to_sound_files(plan: Plan, deployment: Deployment, version: str) -> None:
    plan, deployment = without_refused(plan, deployment, version)
    text = compile_kfp(plan, deployment, kfp_version=version)
    assert check_kfp(text, kfp_version=version) == []
    check_says_the_same(plan, deployment, text)


@settings(max_examples=3, **QUICK)
@given(random_plans.plans(most=60), random_plans.deployments())
def test_large_random_pipelines_compile_to_sound_files(plan: Plan, deployment: Deployment) -> None:
    plan, deployment = without_refused(plan, deployment, NEWEST)
    text = compile_kfp(plan, deployment, kfp_version=NEWEST)
    assert check_kfp(text, kfp_version=NEWEST) == []
    check_says_the_same(plan, deployment, text)


@settings(max_examples=10, **QUICK)
@given(random_plans.plans(most=8), random_plans.deployments())
def test_the_server_takes_random_pipelines(
    kfp_server: Callable[[str], str], plan: Plan, deployment: Deployment
) -> None:
    plan, deployment = without_refused(plan, deployment, "2.0.5")
    assert kfp_server(compile_kfp(plan, deployment)) == ""


@settings(max_examples=25, **QUICK)
@given(random_plans.plans(most=4), random_plans.deployments(), st.sampled_from(["2.0.5", NEWEST]))
def test_what_is_refused_is_refused_whole(plan: Plan, deployment: Deployment, version: str) -> None:
    """Either a file that is sound, or every problem with what to do; never another error."""
    expected = refusals(plan, target(version), deployment)
    try:
        text = compile_kfp(plan, deployment, kfp_version=version)
    except PipelineError as error:
        assert list(error.problems) == expected
        assert all(problem.fix for problem in error.problems), error
    else:
        assert expected == []
        assert check_kfp(text, kfp_version=version) == []


KINDS = sorted(random_plans._VALUES)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_values_of_every_kind_arrive(kind: str, data: st.DataObject) -> None:
    value = data.draw(random_plans._VALUES[kind])
    assert result_from_kfp(result_to_kfp(value, kind)) == value
    try:
        sent = parameter_to_kfp(value, kind)
    except NotAllowed:
        assert not safe(PlanParameter("p", kind, value))
        return
    arrived = parameter_from_kfp(sent, kind)
    assert arrived == value
    # As the number of KFP that it becomes on the way.
    if parameter_type(kind) in ("NUMBER_INTEGER", "NUMBER_DOUBLE"):
        assert parameter_from_kfp(float(sent), kind) == value


texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(random_plans.HOSTILE)
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


@settings(max_examples=60, **QUICK)
@given(trees)
def test_yaml_is_read_as_it_was_written(tree: Any) -> None:
    text = yaml_text({"a": tree})
    for loader in (yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        assert yaml.load(text, Loader=loader) == {"a": tree}
    assert text == yaml_text({"a": tree})
