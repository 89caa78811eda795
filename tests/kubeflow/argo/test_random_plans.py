"""Pipelines at random: each compiles as each kind, and both linters find nothing."""

from __future__ import annotations

from dataclasses import replace

import yaml
from headrace.kubeflow.argo import KINDS, check_argo, compile_argo
from headrace.kubeflow.deployment import Deployment
from headrace.kubeflow.step_document import StepDocument
from headrace.pipelines.errors import PipelineError
from headrace.pipelines.plan import Channel, Const, Plan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kubeflow.argo.conftest import Lint
from tests.kubeflow.argo.plans import DEPLOYMENT, deployments, make_plan, make_step, plans

QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def compiled(plan: Plan, deployment: Deployment, kind: str) -> str | None:
    """The file; or None, when all that is refused is a value that a schedule lacks, or a variable that is set twice."""
    try:
        return compile_argo(plan, deployment, kind=kind)
    except PipelineError as error:
        for problem in error.problems:
            assert "has no value" in problem.what or "is in the settings" in problem.what, problem
        return None


@QUICK
@given(plans(), deployments(), st.sampled_from(KINDS))
def test_every_step_arrives_whole(plan: Plan, deployment: Deployment, kind: str):
    text = compiled(plan, deployment, kind)
    if text is None:
        return
    assert check_argo(text) == []
    document = yaml.load(text, yaml.CSafeLoader)
    spec = document["spec"].get("workflowSpec", document["spec"])
    _, *templates = spec["templates"]
    arrived = [
        StepDocument.from_json(template["container"]["args"][0].removeprefix("--step=")).step for template in templates
    ]
    for step, found in zip(plan.steps, arrived, strict=True):
        assert found.arguments == step.arguments and found.inputs == step.inputs and found.id == step.id
        assert found.settings == deployment.settings_of(step)


def test_argos_linter_accepts_them(argo_lint: Lint):
    files: dict[str, str] = {}

    @settings(QUICK, database=None, max_examples=20)
    @given(plans(), deployments(), st.sampled_from(KINDS))
    def collect(plan: Plan, deployment: Deployment, kind: str) -> None:
        # The linter takes no two files of one name.
        plan = replace(plan, name=f"{plan.name} {len(files)}")
        if (text := compiled(plan, deployment, kind)) is not None:
            files[f"f{len(files)}"] = text

    collect()
    assert len(files) >= 10
    assert argo_lint(files) == {}


def test_a_thousand_steps_are_compiled_and_checked():
    steps = [make_step("s0", outputs=("x",), results={"n": "int"})]
    for number in range(1, 1000):
        upstream = {"a": Channel(f"s{number - 1}", "x"), "b": Channel(f"s{number // 2}", "x")}
        steps.append(
            make_step(
                f"s{number}",
                inputs=upstream,
                outputs=("x",),
                results={"n": "int"},
                arguments={"n": Channel(f"s{number - 1}", "n"), "text": Const("a" * 100)},
            )
        )
    plan = make_plan(*steps)
    assert check_argo(compile_argo(plan, DEPLOYMENT)) == []
