"""One pipeline in three notations gives one Plan, byte for byte; its order follows from the channels alone."""

from __future__ import annotations

import json
import random
import re
import textwrap
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from headrace.pipelines import Pipeline, Plan, pipeline
from headrace.pipelines.author_file import load_plan
from hypothesis import given, settings
from hypothesis import strategies as st

COMPONENTS = """
from typing import Any, Literal, NamedTuple

from headrace.pipelines import *
from headrace.pipelines.step_context import step_context

class Split(NamedTuple):
    rows: int
    share: float

@component
def Source(made: Output[HyperParameters], *, number: int = 1, options: dict[str, Any] | None = None) -> Split: ...

@component
def Join(parts: Input[list[HyperParameters]], joined: Output[HyperParameters],
         baseline: Input[HyperParameters] | None = None, *, rows: int = 0,
         mode: Literal["all", "any"] = "all", scale: Function | None = None) -> None: ...

@component
def Use(joined: Input[HyperParameters], used: Output[HyperParameters], *, fn: Function, epochs: int, rate: float = 0.5,
        label: str | None = None) -> None: ...

def double(x):
    return 2 * x
"""
FUNCTION = """
from notation_own import *
import notation_own as own

@pipeline(name="flow")
def flow(epochs: int, rate: float = 0.1, label: str = "late"):
    a = Source(number=2, options={{"rate": rate, "list": [1, rate]}}).with_id("A")
    b = Source().with_settings(retries=2, timeout=5, env={{"X": "1"}}, cpu="2")
    j = Join(parts=[a.outputs["made"], b.outputs["made"]], rows=a.outputs["rows"])
    k = Join(parts=[a.outputs["made"]], baseline=j.outputs["joined"], mode="any").with_id("Joined")
    Use(joined=k.outputs["joined"], epochs=epochs, label=label, {functions})
"""
LIST = """
from notation_own import *
import notation_own as own

rate = PipelineParameter("rate", float, 0.1)
a = Source(number=2, options={{"rate": rate, "list": [1, rate]}}).with_id("A")
b = Source().with_settings(retries=2, timeout=5, env={{"X": "1"}}, cpu="2")
j = Join(parts=[a.outputs["made"], b.outputs["made"]], rows=a.outputs["rows"])
k = Join(parts=[a.outputs["made"]], baseline=j.outputs["joined"], mode="any").with_id("Joined")
u = Use(joined=k.outputs["joined"], epochs=PipelineParameter("epochs", int),
        label=PipelineParameter("label", str, "late"), {functions})
flow = Pipeline(name="flow", components=[u, k, b, j, a])
"""
YAML = """
headrace_plan: 1
name: flow
parameters:
  epochs: {{type: int}}
  rate: {{type: float, default: 0.1}}
  label: {{type: str, default: late}}
nodes:
- {{component: "notation_own:Use", inputs: {{joined: Joined.joined}},
   arguments: {{epochs: {{parameter: epochs}}, label: {{parameter: label}}, {functions}}}}}
- component: notation_own:Join
  inputs: {{parts: [A.made, Source.made]}}
  arguments: {{rows: {{channel: A.rows}}}}
- id: A
  component: notation_own:Source
  arguments:
    number: 2
    options: {{map: {{rate: {{parameter: rate}}, list: {{list: [{{const: 1}}, {{parameter: rate}}]}}}}}}
- {{component: "notation_own:Source", settings: {{retries: 2, timeout: 5, env: {{X: "1"}}, cpu: "2"}}}}
- id: Joined
  component: notation_own:Join
  inputs: {{parts: [A.made], baseline: Join.joined}}
  arguments: {{mode: any}}
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A project whose components all three notations use."""
    folder = tmp_path_factory.mktemp("own")
    write(folder, notation_own_dot_py=COMPONENTS, named_dot_py="def fn(x):\n    return x\n")
    return folder


def write(folder: Path, **files: str) -> None:
    (folder / "pyproject.toml").write_text("")
    for name, text in files.items():
        (folder / name.replace("_dot_", ".")).write_text(textwrap.dedent(text))


@pytest.mark.parametrize(
    "in_python",
    ["fn=own.double", "fn='notation_own:double'", "module_file='{folder}/named.py'"],
    ids=["object", "name", "file"],
)
def test_three_notations_give_equal_bytes(own, in_python):
    by_file = "module_file" in in_python
    functions = in_python.format(folder=own)
    in_yaml = "fn: named:fn" if by_file else "fn: notation_own:double"
    write(
        own,
        a_dot_py=FUNCTION.format(functions=functions),
        b_dot_py=LIST.format(functions=functions),
        c_dot_yaml=YAML.format(functions=in_yaml),
    )
    plans = [load_plan(str(own / name)) for name in ("a.py", "b.py", "c.yaml")]
    texts = {plan.to_json() for plan in plans}
    assert len(texts) == 1, "\n".join(sorted(texts))
    again = Plan.from_yaml(plans[0].to_yaml(), root=str(own))
    assert again == plans[0] and again.to_json() in texts
    assert Plan.from_json(plans[0].to_json()).to_json() in texts
    assert [step.id for step in plans[0].steps] == ["A", "Source", "Join", "Joined", "Use"]


def test_the_plan_has_what_was_written(own):
    write(own, a_dot_py=FUNCTION.format(functions="fn=own.double"))
    plan = json.loads(load_plan(str(own / "a.py")).to_json())
    nodes = {node["id"]: node for node in plan["nodes"]}
    assert plan["parameters"] == {
        "epochs": {"type": "int"},
        "rate": {"type": "float", "default": 0.1},
        "label": {"type": "str", "default": "late"},
    }
    assert nodes["A"]["arguments"]["options"] == {
        "map": {"rate": {"parameter": "rate"}, "list": {"list": [{"const": 1}, {"parameter": "rate"}]}}
    }
    assert nodes["Source"]["settings"] == {"retries": 2, "timeout": 5.0, "env": {"X": "1"}, "cpu": "2"}
    assert nodes["Join"]["inputs"] == {"parts": {"list": [{"channel": "A.made"}, {"channel": "Source.made"}]}}
    assert nodes["Join"]["arguments"]["rows"] == {"channel": "A.rows"}
    assert nodes["Use"]["arguments"]["fn"]["function"]["qualname"] == "double"
    assert nodes["Join"]["interface"]["inputs"] == {"parts": "list[HyperParameters]", "baseline": "HyperParameters?"}
    assert nodes["A"]["interface"]["results"] == {"rows": "int", "share": "float"}


def test_places_are_no_part_of_the_plan(own):
    write(own, a_dot_py=FUNCTION.format(functions="fn=own.double"))
    write(own, moved_dot_py="# a comment\n\n\n" + FUNCTION.format(functions="fn=own.double"))
    first, second = load_plan(str(own / "a.py")), load_plan(str(own / "moved.py"))
    assert first.to_json() == second.to_json()
    assert second.locations["A"].line == first.locations["A"].line + 3
    assert str(own) not in first.to_json()


GRAPH = st.integers(2, 9).flatmap(
    lambda n: st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=20).map(
        lambda pairs: (n, sorted({(min(p), max(p)) for p in pairs if p[0] != p[1]}))
    )
)


@settings(max_examples=60, deadline=None)
@given(graph=GRAPH, seed=st.integers(0, 2**32))
def test_order_follows_from_channels_never_from_the_list(graph, seed):
    """A random graph, its steps made and listed in random orders, gives one Plan, in an order that respects it."""
    from order_components import Node

    count, edges = graph
    chance = random.Random(seed)
    names = [f"n{chance.randrange(10**6)}-{i}" for i in range(count)]
    texts = set()
    for _ in range(3):
        made = {}
        for i in range(count):
            ups = [made[a].outputs["out"] for a, b in edges if b == i]
            made[i] = Node(ups=ups).with_id(names[i])
        listed = list(made.values())
        chance.shuffle(listed)
        plan = Pipeline(name="graph", components=listed).plan
        texts.add(plan.to_json())
        position = {step.id: place for place, step in enumerate(plan.steps)}
        assert all(position[names[a]] < position[names[b]] for a, b in edges)
        document = yaml.safe_load(plan.to_yaml())
        chance.shuffle(document["nodes"])
        texts.add(Plan.from_yaml(yaml.safe_dump(document), root=plan.root).to_json())
    assert len(texts) == 1


@pytest.fixture(autouse=True, scope="module")
def order_components(tmp_path_factory):
    import sys

    folder = tmp_path_factory.mktemp("order")
    write(
        folder,
        order_components_dot_py="""
        from headrace.pipelines import HyperParameters, Input, Output, component

        @component
        def Node(ups: Input[list[HyperParameters]], out: Output[HyperParameters]) -> None: ...
        """,
    )
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


CONTROL = {
    "headrace_plan": 1,
    "name": "control",
    "parameters": {},
    "nodes": [
        {
            "kind": kind,
            "id": kind,
            "nodes": [],
            "inputs": {"a": {"channel": "A.made"}},
            "outputs": {"b": {"one_of": [{"channel": "A.made"}, {"collect": "A.made"}]}},
            "control": {
                "when": {"compare": {"op": ">", "left": {"channel": "A.rows"}, "right": {"const": 3}}},
                "what": {"property": {"channel": "A.made", "name": "blessed"}},
            },
        }
        for kind in ("condition", "loop", "exit_handler", "sub_pipeline")
    ],
}


def test_control_flow_has_its_place_and_is_refused_at_run(tmp_path):
    """It round-trips through JSON and YAML, and a local run names each node that it cannot honour."""
    plan = Plan.from_json(json.dumps(CONTROL))
    assert json.loads(plan.to_json()) == CONTROL
    again = Plan.from_yaml(plan.to_yaml())
    assert again == plan and again.to_json() == plan.to_json()
    from headrace.pipelines import PipelineError
    from headrace.pipelines.runner import run

    with pytest.raises(PipelineError) as refused:
        run(plan, root=tmp_path)
    assert [problem.code for problem in refused.value.problems] == ["unsupported"] * 4
    assert not list(tmp_path.iterdir()), "nothing was begun"


@pytest.mark.parametrize(
    "setting",
    [
        {"secrets": {"HEADRACE_TEST_TOKEN": "name/key"}},
        {"config_maps": {"HEADRACE_TEST_TOKEN": "name/key"}},
        {"pod_fields": {"HEADRACE_TEST_TOKEN": "metadata.name"}},
        {"volumes": {"/headrace-test-data": "pvc:data"}},
    ],
)
def test_what_a_cluster_would_give_must_be_here(tmp_path, monkeypatch, setting):
    from headrace.pipelines import PipelineError
    from order_components import Node

    plan = Pipeline(name="p", components=[Node(ups=[]).with_settings(**setting)]).plan
    assert plan.steps[0].settings.to_json() == setting
    assert Plan.from_yaml(plan.to_yaml(), root=plan.root) == plan
    from headrace.pipelines.runner import run

    with pytest.raises(PipelineError, match=f"the setting '{next(iter(setting))}' gives it") as error:
        run(plan, root=tmp_path)
    [problem] = error.value.problems
    assert problem.where is not None and problem.where.file == __file__
    if "volumes" not in setting:
        monkeypatch.setenv("HEADRACE_TEST_TOKEN", "abc")
        assert run(plan, root=tmp_path, debug=True)["Node"].state.value != "skipped"  # it was begun


SETTINGS = {
    "retries": 2,
    "retry_wait": 1.5,
    "timeout": 60.0,
    "cpu": "500m",
    "memory": "4Gi",
    "storage": "10Gi",
    "gpu": 1,
    "gpu_type": "amd.com/gpu",
    "cache": False,
    "env": {"A": "x"},
    "secrets": {"TOKEN": "vault/key"},
    "config_maps": {"MODE": "map/key"},
    "pod_fields": {"POD": "metadata.name"},
    "volumes": {"/data": "pvc:data", "/tmp/big": "scratch:10Gi"},
    "node_selector": {"pool": "gpu"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "labels": {"team": "a"},
    "annotations": {"note": "b"},
    "image": "repo/image:1",
    "beam_args": ["--runner=FlinkRunner"],
}


def test_every_setting_round_trips(tmp_path):
    from headrace.pipelines.plan import Settings
    from order_components import Node

    plan = Pipeline(name="p", components=[Node(ups=[]).with_settings(**SETTINGS)]).plan
    assert plan.steps[0].settings.to_json() == SETTINGS
    assert set(SETTINGS) == {field.name for field in fields(Settings)}
    assert Plan.from_json(plan.to_json()) == plan and Plan.from_yaml(plan.to_yaml(), root=plan.root) == plan


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"cpu": "two"}, "expected a quantity such as '500m', '2' or '4Gi', received 'two'"),
        ({"retries": -1}, "expected no negative number"),
        ({"secrets": {"TOKEN": "vault"}}, "expected TOKEN: 'name/key', received 'vault'"),
        ({"env": {"A-B": "x"}}, "expected the name of an environment variable, received 'A-B'"),
        ({"volumes": {"data": "pvc:x"}}, "expected an absolute path and one of pvc:..."),
        ({"volumes": {"/data": "scratch:lots"}}, "expected a size such as scratch:10Gi at /data"),
        ({"gpus": 1}, "unknown setting 'gpus'"),
    ],
)
def test_a_wrong_setting_is_said_where_it_is_written(setting, said):
    from headrace.pipelines import PipelineError
    from order_components import Node

    with pytest.raises(PipelineError, match=re.escape(said)) as error:
        Pipeline(name="p", components=[Node(ups=[]).with_settings(**setting)])
    assert error.value.problems[0].where is not None and error.value.problems[0].where.file == __file__


def test_a_pipeline_is_no_step_of_another(tmp_path):
    @pipeline
    def inner():
        from order_components import Node

        Node(ups=[])

    @pipeline
    def outer():
        inner()

    from headrace.pipelines import PipelineError

    with pytest.raises(PipelineError, match="pipeline inner is called while another pipeline is written"):
        _ = outer.plan
