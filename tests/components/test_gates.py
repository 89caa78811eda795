"""The gates that a Pusher gets when its pipeline is built: which steps, bound to what, and what is said without one."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from headrace.components import (
    CsvExampleGen,
    Importer,
    InfraValidator,
    Pusher,
    SchemaGen,
    SkewValidator,
    StatisticsGen,
    Trainer,
    Transform,
)
from headrace.components.gates import LEFT_OUT
from headrace.components.pusher import RECEIPT, Filesystem
from headrace.pipelines import (
    Blessing,
    Examples,
    InfraBlessing,
    Input,
    Model,
    Output,
    Pipeline,
    PipelineError,
    PipelineParameter,
    component,
)
from headrace.pipelines.author_file import load_plan
from headrace.pipelines.plan import Plan, Step
from headrace.pipelines.recorded_step import RecordedStep


@component
def OwnTrainer(examples: Input[Examples], model: Output[Model]) -> None: ...


@component
def Shuffled(examples: Input[Examples], shuffled: Output[Examples]) -> None: ...


def data() -> list[RecordedStep]:
    example_gen = CsvExampleGen(input_base="data")
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = SchemaGen(statistics=statistics_gen.outputs["statistics"])
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="tests.small_chain:preprocessing_fn",
        labels=["late"],
    )
    return [example_gen, statistics_gen, schema_gen, transform]


def trainer(transform: RecordedStep, **more: Any) -> RecordedStep:
    given = {
        "examples": transform.outputs["transformed_examples"],
        "transform_graph": transform.outputs["transform_graph"],
        "build_model": "tests.small_chain:build_model",
        "label": "late",
    }
    return Trainer(**given | more)


def pusher(model: RecordedStep, output: str = "model", **more: Any) -> RecordedStep:
    return Pusher(model=model.outputs[output], without_blessing=True, push_destination=Filesystem("serving"), **more)


def plan_of(*steps: RecordedStep) -> Plan:
    return Pipeline("p", steps).plan


def read(step: Step) -> dict[str, str]:
    """What a step reads: its inputs by name, as `step.output`."""
    return {name: f"{value.step}.{value.output}" for name, value in step.inputs}


def argument(step: Step, name: str) -> Any:
    return dict(step.arguments)[name].value


def added(plan: Plan) -> set[str]:
    return {step.id for step in plan.steps if step.component.qualname in ("SkewValidator", "InfraValidator")}


def test_a_pusher_gets_both_bound_to_what_its_model_was_trained_on():
    *steps, transform = data()
    made = trainer(transform)
    plan = plan_of(*steps, transform, made, pusher(made))
    assert read(plan.step("SkewValidator")) == {"model": "Trainer.model", "examples": "CsvExampleGen.examples"}
    assert read(plan.step("InfraValidator")) == {
        "model": "Trainer.model",
        "examples": "CsvExampleGen.examples",
        "schema": "SchemaGen.schema",
    }
    assert read(plan.step("Pusher")) == {
        "model": "Trainer.model",
        "infra_blessing": "InfraValidator.blessing",
        "skew_blessing": "SkewValidator.blessing",
    }
    assert argument(plan.step("Pusher"), LEFT_OUT) is None and not plan.notes
    # A message about an added step is about the Pusher's line.
    assert plan.locations["SkewValidator"] == plan.locations["Pusher"]


def test_a_model_trained_on_raw_rows_is_compared_with_those():
    example_gen, statistics_gen, schema_gen, _ = data()
    schema = schema_gen.outputs["schema"]
    made = trainer(_, examples=example_gen.outputs["examples"], transform_graph=None, schema=schema)
    plan = plan_of(example_gen, statistics_gen, schema_gen, made, pusher(made))
    assert read(plan.step("SkewValidator"))["examples"] == "CsvExampleGen.examples"
    assert read(plan.step("InfraValidator"))["schema"] == "SchemaGen.schema"


def test_those_that_are_given_stay_and_the_others_come():
    *steps, transform = data()
    made = trainer(transform)
    infra = InfraValidator(model=made.outputs["model"], latency_p99_ms=20).with_id("Latency")
    given = pusher(made, infra_blessing=infra.outputs["blessing"])
    plan = plan_of(*steps, transform, made, infra, given)
    assert added(plan) == {"Latency", "SkewValidator"}
    assert read(plan.step("Pusher"))["infra_blessing"] == "Latency.blessing"


def test_a_gate_of_the_same_model_that_is_there_is_taken():
    """Its author set it; a second one beside it would be asked the same."""
    *steps, transform = data()
    made = trainer(transform)
    infra = InfraValidator(model=made.outputs["model"], memory_mb=900)
    plan = plan_of(*steps, transform, made, infra, pusher(made))
    assert added(plan) == {"InfraValidator", "SkewValidator"}
    assert argument(plan.step("InfraValidator"), "memory_mb") == 900
    assert read(plan.step("Pusher"))["infra_blessing"] == "InfraValidator.blessing"


def test_two_pushers_of_one_model_share_and_two_models_do_not():
    *steps, transform = data()
    one, other = trainer(transform), trainer(transform, epochs=2).with_id("Longer")
    pushers = [pusher(one).with_id("Staging"), pusher(one).with_id("Production"), pusher(other).with_id("ALonger")]
    plan = plan_of(*steps, transform, one, other, *pushers)
    assert plan.to_json() == plan_of(*reversed([*steps, transform, one, other, *pushers])).to_json()
    assert added(plan) == {
        "InfraValidator",
        "SkewValidator",
        "InfraValidator_Trainer",
        "SkewValidator_Trainer",
    }
    assert read(plan.step("ALonger"))["skew_blessing"] == "SkewValidator.blessing"
    assert read(plan.step("SkewValidator"))["model"] == "Longer.model"
    for name in ("Staging", "Production"):
        assert read(plan.step(name))["skew_blessing"] == "SkewValidator_Trainer.blessing"


def test_steps_may_be_in_two_pipelines():
    """Building leaves the author's steps as they are."""
    *steps, transform = data()
    made = trainer(transform)
    listed = [*steps, transform, made, pusher(made)]
    assert plan_of(*listed).to_json() == plan_of(*listed).to_json()


def test_each_is_switched_off_in_the_code():
    *steps, transform = data()
    made = trainer(transform)
    without = plan_of(*steps, transform, made, pusher(made, skew_gate=False, infra_gate=False))
    assert not added(without) and read(without.step("Pusher")) == {"model": "Trainer.model"}
    assert added(plan_of(*steps, transform, made, pusher(made, skew_gate=False))) == {"InfraValidator"}


def test_a_switch_is_no_parameter_of_a_run():
    *steps, transform = data()
    made = trainer(transform)
    with pytest.raises(PipelineError, match="expected skew_gate of True or False, received"):
        plan_of(*steps, transform, made, pusher(made, skew_gate=PipelineParameter("gate", bool, True)))
    gate = SkewValidator(model=made.outputs["model"], examples=steps[0].outputs["examples"])
    with pytest.raises(PipelineError, match="skew_gate=False, and yet skew_blessing is given"):
        both = pusher(made, skew_gate=False, skew_blessing=gate.outputs["blessing"])
        plan_of(*steps, transform, made, gate, both)


def imported_model() -> list[RecordedStep]:
    return [Importer(source_uri="model", artifact_type=Model)]


def own_trainer() -> list[RecordedStep]:
    *steps, transform = data()
    return [*steps, transform, OwnTrainer(examples=transform.outputs["transformed_examples"])]


def imported_features() -> list[RecordedStep]:
    *steps, transform = data()
    rows = Importer(source_uri="rows", artifact_type=Examples)
    return [*steps, transform, rows, trainer(transform, examples=rows.outputs["result"])]


def shuffled_features() -> list[RecordedStep]:
    *steps, transform = data()
    rows = Shuffled(examples=transform.outputs["transformed_examples"])
    return [*steps, transform, rows, trainer(transform, examples=rows.outputs["shuffled"])]


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        (imported_model, "its model comes of Importer, which is no Trainer"),
        (own_trainer, "its model comes of OwnTrainer, which is no Trainer"),
        (imported_features, "Importer brings the features of Trainer"),
        (shuffled_features, "Shuffled changes the features between Transform and Trainer"),
    ],
)
def test_where_the_rows_are_not_found_the_skew_gate_is_left_out_and_that_is_said(steps, why):
    made = steps()
    plan = plan_of(*made, pusher(made[-1], next(iter(made[-1].outputs))))
    assert added(plan) == {"InfraValidator"}
    assert set(read(plan.step("InfraValidator"))) == {"model"}, "a row of what the model's inputs say will do"
    assert list(argument(plan.step("Pusher"), LEFT_OUT)) == ["skew"]
    assert why in argument(plan.step("Pusher"), LEFT_OUT)["skew"]
    [note] = plan.notes
    assert re.search(r"test_gates.py:\d+: ", note) and "Pusher pushes without the skew gate: " in note and why in note
    assert len(note.splitlines()) == 1


def test_a_gate_is_where_its_pusher_is_but_takes_what_it_needs():
    *steps, transform = data()
    made = trainer(transform)
    where = {"image": "repo/serving:1", "secrets": {"TOKEN": "s/key"}, "node_selector": {"pool": "a"}}
    plan = plan_of(*steps, transform, made, pusher(made).with_settings(**where, memory="64Mi", retries=3, cache=False))
    assert plan.step("SkewValidator").settings.to_json() == where == plan.step("InfraValidator").settings.to_json()


def test_a_gate_that_refuses_says_why_in_one_line_and_does_so_again(tmp_path, run, exported, verdict):
    """A model that no TensorFlow can load; its Evaluator liked it."""
    taken = Importer(source_uri=exported(tmp_path / "model", "no graph"), artifact_type=Model)
    blessing = Importer(source_uri=verdict(tmp_path / "yes", True, "auc is 0.8"), artifact_type=Blessing).with_id(
        "Liked"
    )
    steps = (
        taken,
        blessing,
        Pusher(
            model=taken.outputs["result"],
            model_blessing=blessing.outputs["result"],
            push_destination=Filesystem(str(tmp_path / "serving")),
        ),
    )
    for state in ("not_blessed", "cached"):
        found = run(*steps, report=True)
        assert found.exit_code == 3 and found["InfraValidator"].state.value == state
        reason = found["InfraValidator"].refusal
        assert reason.startswith("infrastructure: ") and "a file that cannot be parsed" in reason
        assert found["Pusher"].refusal == reason == found["Pusher"].results["verdict"]
        assert len(reason.splitlines()) == 1 and not (tmp_path / "serving").exists()
        assert Path(found.report).read_text().count("a file that cannot be parsed") >= 1


def test_what_was_pushed_says_what_its_gates_said(tmp_path, run, exported, verdict):
    def pushed(name: str, **options: Any) -> dict[str, Any]:
        model = Importer(source_uri=exported(tmp_path / name, name), artifact_type=Model)
        serving = tmp_path / "serving" / name
        steps = [
            model,
            Pusher(
                model=model.outputs["result"],
                without_blessing=True,
                **options,
                push_destination=Filesystem(str(serving)),
            ),
        ]
        if "infra_blessing" in options:
            steps.append(options["infra_blessing"].producer)
        found = run(*steps)
        assert found.exit_code == 0, found["Pusher"].error
        gates = json.loads((serving / "1" / RECEIPT).read_text())["gates"]
        assert found["Pusher"].outputs["pushed_model"].read()["gates"] == gates
        said = [
            f"pushed without the {gate} gate: " for gate, one in gates.items() if one["reason"].startswith("left out")
        ]
        assert sum(warning.startswith(tuple(said)) for warning in found["Pusher"].warnings) == len(said)
        return gates

    off = {"passed": False, "reason": "switched off in the pipeline's code"}
    assert pushed("off", skew_gate=False, infra_gate=False) == {"infra": off, "skew": off}
    agrees = Importer(source_uri=verdict(tmp_path / "v", True, "answers", InfraBlessing), artifact_type=InfraBlessing)
    gates = pushed("given", infra_blessing=agrees.with_id("Agrees").outputs["result"])
    assert gates["infra"] == {"passed": True, "reason": "answers"}
    assert not gates["skew"]["passed"] and gates["skew"]["reason"].startswith("left out: its model comes of Importer")


FUNCTION = """
from headrace.components import *
from headrace.pipelines import pipeline

@pipeline(name="flow")
def flow(serving: str = "serving"):
    gen = CsvExampleGen(input_base="data")
    stats = StatisticsGen(examples=gen.outputs["examples"])
    schema = SchemaGen(statistics=stats.outputs["statistics"]).outputs["schema"]
    made = Trainer(examples=gen.outputs["examples"], schema=schema, run_fn="author:run_fn")
    Pusher(model=made.outputs["model"], without_blessing=True, push_destination=Filesystem(serving))
"""
LIST = """
from headrace.components import *
from headrace.pipelines import Pipeline, PipelineParameter

gen = CsvExampleGen(input_base="data")
stats = StatisticsGen(examples=gen.outputs["examples"])
schema = SchemaGen(statistics=stats.outputs["statistics"])
made = Trainer(examples=gen.outputs["examples"], schema=schema.outputs["schema"], run_fn="author:run_fn")
pusher = Pusher(model=made.outputs["model"], without_blessing=True,
                push_destination=Filesystem(PipelineParameter("serving", str, "serving")))
flow = Pipeline("flow", [pusher, made, schema, stats, gen])
"""
YAML = """
headrace_plan: 1
name: flow
parameters: {serving: {type: str, default: serving}}
nodes:
- {component: CsvExampleGen, arguments: {input_base: data}}
- {component: StatisticsGen, inputs: {examples: CsvExampleGen.examples}}
- {component: SchemaGen, inputs: {statistics: StatisticsGen.statistics}}
- component: Trainer
  inputs: {examples: CsvExampleGen.examples, schema: SchemaGen.schema}
  arguments: {run_fn: "author:run_fn"}
- component: Pusher
  inputs: {model: Trainer.model}
  arguments: {without_blessing: true, push_destination: {map: {base_directory: {parameter: serving}}}}
"""


def test_three_notations_are_completed_alike(tmp_path: Path):
    texts = {
        "pyproject.toml": "",
        "author.py": "def run_fn(fn_args): ...\n",
        "a.py": FUNCTION,
        "b.py": LIST,
        "c.yaml": YAML,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(textwrap.dedent(text))
    plans = [load_plan(str(tmp_path / name)) for name in ("a.py", "b.py", "c.yaml")]
    assert len({plan.to_json() for plan in plans}) == 1
    assert added(plans[0]) == {"InfraValidator", "SkewValidator"}
    assert Plan.from_yaml(plans[0].to_yaml(), root=str(tmp_path)).to_json() == plans[0].to_json(), (
        "nothing is added twice"
    )
    assert Plan.from_json(plans[0].to_json()) == plans[0]
