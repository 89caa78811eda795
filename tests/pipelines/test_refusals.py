"""What is refused when a pipeline is built: where, what was expected, what was received, what to do; all at once."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

import pytest
from headrace.pipelines import Pipeline, PipelineError, PipelineParameter, Plan, pipeline

COMPONENTS = """
from typing import NamedTuple

from headrace.pipelines import (
    Examples, Function, Input, Model, Output, Pipeline, PipelineParameter, Statistics, component,
)

class Found(NamedTuple):
    rows: int
    name: str

@component
def Gen(examples: Output[Examples], *, number: int = 1, options: dict[str, float] | None = None) -> Found: ...

@component
def Stats(examples: Input[Examples], statistics: Output[Statistics]) -> None: ...

@component
def Train(examples: Input[Examples], statistics: Input[Statistics], model: Output[Model], *,
          build: Function, epochs: int = 1, rate: float = 0.1, baseline: Input[Model] | None = None) -> None: ...

@component
def Merge(models: Input[list[Model]], model: Output[Model]) -> None: ...

def build_model(features): ...
"""


@pytest.fixture(autouse=True, scope="module")
def c(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refused")
    (folder / "pyproject.toml").write_text("")
    (folder / "refusal_components.py").write_text(COMPONENTS)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def outer():
    def inner(features): ...

    return inner


# Each: what follows in the file, then for each problem its line, what it says, what its fix says.
CASES = {
    "a wrong artifact type": (
        "g = Gen()\nt = Stats(examples=Stats(examples=g.outputs['examples']).with_id('S').outputs['statistics'])",
        [(2, "Stats.examples: expected Examples, received Statistics from S.statistics", "a step that makes Examples")],
    ),
    "a step instead of its channel": (
        "g = Gen()\ns = Stats(examples=g)",
        [(2, "Stats.examples: expected a channel of type Examples, received the step Gen", 'Gen.outputs["examples"]')],
    ),
    "a value instead of a channel": (
        "s = Stats(examples='data/')",
        [(1, "Stats.examples: expected a channel of type Examples, received str 'data/'", "Importer")],
    ),
    "an output parameter instead of an artifact": (
        "g = Gen()\ns = Stats(examples=g.outputs['rows'])",
        [(2, "expected an artifact of type Examples, received the output parameter Gen.rows", "")],
    ),
    "an artifact instead of a plain argument": (
        "g = Gen()\nh = Gen(number=g.outputs['examples']).with_id('H')",
        [(2, "H.number: expected int, received the artifact Gen.examples", "output parameter")],
    ),
    "one channel where a list is wanted": (
        "g = Gen()\ns = Merge(models=g.outputs['examples'])",
        [(2, "Merge.models: expected a list of channels of type Model", "[channel, ...]")],
    ),
    "a list with a wrong member": (
        "g = Gen()\ns = Merge(models=[g.outputs['examples']])",
        [(2, "Merge.models: expected Model, received Examples from Gen.examples", "makes Model")],
    ),
    "an unknown argument": ("g = Gen(numbr=3)", [(1, "Gen: unknown argument 'numbr'", "use 'number'")]),
    "missing arguments": (
        "t = Train()",
        [
            (1, "Train: missing argument 'build' (function)", "pass build="),
            (1, "Train: missing input 'examples' (an artifact of type Examples)", "outputs[...] of type Examples"),
            (1, "Train: missing input 'statistics' (an artifact of type Statistics)", "of type Statistics"),
        ],
    ),
    "a wrong parameter type": ("g = Gen(number='3')", [(1, "Gen.number: expected int, received str '3'", "")]),
    "a bool is no int": ("g = Gen(number=True)", [(1, "Gen.number: expected int, received bool True", "")]),
    "a wrong member of a dict": (
        "g = Gen(options={'a': 'b'})",
        [(1, "Gen.options: expected float at ['a'], received str 'b'", "")],
    ),
    "not JSON-able": (
        "g = Gen(options={'a': float('nan')})",
        [(1, "Gen.options: expected a finite number at ['a'], received nan", "")],
    ),
    "an output nobody declares": (
        "g = Gen()\ns = Stats(\n    examples=g.outputs['example'],\n)",
        [(3, "Gen declares no output 'example'; it has examples, rows, name", "use 'examples'")],
    ),
    "a run-time parameter of another type": (
        "g = Gen(number=PipelineParameter('n', str))",
        [(1, "Gen.number: expected int, received parameter 'n' of type str", "declare it as int")],
    ),
    "an optional run-time parameter where a value is wanted": (
        "g = Gen(number=PipelineParameter('n', int | None, None))",
        [(1, "Gen.number: expected int, received parameter 'n' of type int?", "declare it as int")],
    ),
    "an output parameter of another type": (
        "g = Gen()\nh = Gen(number=g.outputs['name']).with_id('H')",
        [(2, "H.number: expected int, received Gen.name of type str", "")],
    ),
    "a parameter of another type inside a dict": (
        "g = Gen(options={'a': PipelineParameter('n', str)})",
        [(1, "Gen.options: expected float at a, received parameter 'n' of type str", "")],
    ),
    "a wrong default": (
        "g = Gen(number=PipelineParameter('n', int, 'x'))",
        [("list", "default of parameter 'n': expected int, received str 'x'", "")],
    ),
    "a lambda": (
        "g = Gen()\nt = Train(examples=g.outputs['examples'],\n  statistics=Stats(examples=g.outputs['examples'])"
        ".outputs['statistics'], build=lambda f: f)",
        [(3, "Train.build: expected a function that a worker can import by name, received a lambda", "def")],
    ),
    "a function named wrongly": (
        "g = Gen()\ns = Stats(examples=g.outputs['examples'])\n"
        "t = Train(examples=g.outputs['examples'], statistics=s.outputs['statistics'], "
        "build='refusal_components:build')",
        [(3, "Train.build: expected a function of refusal_components, received 'build'", "build_model?")],
    ),
    "no function": (
        "g = Gen()\ns = Stats(examples=g.outputs['examples'])\n"
        "t = Train(examples=g.outputs['examples'], statistics=s.outputs['statistics'], build=3)",
        [(3, "Train.build: expected a function or 'package.module:name', received int 3", "")],
    ),
    "two steps of one name": (
        "a = Gen()\nb = Gen(number=2)",
        [(2, "2 steps are called 'Gen'", 'with_id("Gen_2")')],
    ),
    "an id that is no name": ("a = Gen().with_id('a b')", [(1, "step id 'a b': expected letters", "another name")]),
    "an unknown setting": ("a = Gen().with_settings(retry=2)", [(1, "Gen: unknown setting 'retry'", "")]),
    "a wrong setting": (
        "a = Gen().with_settings(retries='2')",
        [(1, "Gen: setting 'retries': expected int, received str '2'", "")],
    ),
    "a negative setting": (
        "a = Gen().with_settings(timeout=-1)",
        [(1, "Gen: setting 'timeout': expected no negative number, received -1", "")],
    ),
    "arguments by position": ("a = Gen(3)", [(1, "Gen takes arguments by name only", "number=")]),
    "one parameter declared twice": (
        "a = Gen(number=PipelineParameter('n', int, 1))\nb = Gen(number=PipelineParameter('n', int, 2)).with_id('B')",
        [(2, "parameter 'n' is declared twice", "make one")],
    ),
    "all at once": (
        "g = Gen(number='3')\ns = Stats(example=g.outputs['examples'])\n"
        "t = Train(examples=s.outputs['statistics'], statistics=s.outputs['statistic'], build='nowhere:f', epochs=1.5)",
        [
            (1, "Gen.number: expected int, received str '3'", ""),
            (2, "Stats: unknown argument 'example'", "use 'examples'"),
            (2, "Stats: missing input 'examples'", ""),
            (3, "Stats declares no output 'statistic'", "use 'statistics'"),
            (3, "Train.build: expected an importable module, received 'nowhere'", ""),
            (3, "Train.epochs: expected int, received float 1.5", ""),
            (
                3,
                "Train.examples: expected Examples, received Statistics from Stats.statistics",
                "a step that makes Examples",
            ),
        ],
    ),
}


def problems_of(folder: Path, text: str, name: str):
    """Executes a file in the list notation, with every step of it listed."""
    steps = ", ".join(dict.fromkeys(re.findall(r"^(\w) = ", text, re.M)))
    path = folder / f"{name}.py"
    lines = ["from refusal_components import *"] * 4 + [text, f"flow = Pipeline(name='p', components=[{steps}])", ""]
    path.write_text("\n".join(lines))
    with pytest.raises(PipelineError) as refused:
        exec(compile(path.read_text(), str(path), "exec"), {"__name__": name})
    return path, refused.value


@pytest.mark.parametrize("case", CASES, ids=list(CASES))
def test_refused_with_line_expected_received_and_repair(c, case):
    text, expected = CASES[case]
    path, error = problems_of(c, text, "refused_" + re.sub(r"\W", "_", case))
    # Steps made inside another's call are in no list.
    found = [problem for problem in error.problems if problem.code != "not-listed"]
    assert len(found) == len(expected), str(error)
    for line, what, fix in expected:
        [problem] = [problem for problem in found if what in problem.what]
        assert problem.where is not None
        last = len(path.read_text().splitlines())
        assert problem.where.line == (last if line == "list" else line + 4), str(problem)
        assert problem.where.file == str(path)
        assert fix in problem.fix, str(problem)
    assert [p.where.line for p in error.problems] == sorted(p.where.line for p in error.problems)


def test_a_producer_that_is_not_listed():
    from refusal_components import Gen, Stats

    generator = Gen()
    statistics = Stats(examples=generator.outputs["examples"])
    with pytest.raises(PipelineError) as refused:
        Pipeline(components=[statistics])
    [problem] = refused.value.problems
    assert problem.what == "generator is used by Stats but not in components"
    assert problem.fix == "add generator to components"
    assert problem.where.line == test_a_producer_that_is_not_listed.__code__.co_firstlineno + 3


@pytest.mark.parametrize(
    ("name", "components", "says"),
    [
        ("a b", ["Gen()"], "expected a pipeline's name"),
        ("../x", ["Gen()"], "expected a pipeline's name"),
        ("p", [], "the pipeline has no steps"),
        ("p", ["Gen"], "components holds the component Gen itself, which is no step"),
        ("p", ["3"], "components holds 3, which is no step"),
    ],
)
def test_a_pipeline_that_is_none(name, components, says):
    import refusal_components

    listed = [eval(text, vars(refusal_components)) for text in components]
    with pytest.raises(PipelineError, match=re.escape(says)):
        Pipeline(name=name, components=listed)


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda x: bool(x), "it cannot decide an `if`"),
        (lambda x: x and 1, "it cannot decide an `if`"),
        (lambda x: not x, "it cannot decide an `if`"),
        (lambda x: f"{x}", "it cannot be put into a string"),
        (lambda x: "{:>3}".format(x), "it cannot be put into a string"),  # noqa: UP032
        (lambda x: "%s" % x, "it cannot be put into a string"),  # noqa: UP031
        (lambda x: str(x), "it cannot be put into a string"),
        (lambda x: list(x), "it cannot be looped over"),
        (lambda x: x == 3, "it cannot be compared"),
        (lambda x: x != 3, "it cannot be compared"),
        (lambda x: x in [1, 2], "it cannot be compared"),
        (lambda x: x + "/part", "it cannot be computed with"),
        (lambda x: 2 * x, "it cannot be computed with"),
        (lambda x: x < 3, "it cannot be computed with"),
        (lambda x: x[0], "it cannot be computed with"),
        (lambda x: int(x), "it cannot be computed with"),
        (lambda x: Path(x), "it cannot be computed with"),
        (lambda x: range(x), "it cannot be computed with"),
    ],
)
def test_a_value_that_is_not_there_yet_cannot_be_used(use, says):
    from refusal_components import Gen

    def artifact():
        use(Gen().outputs["examples"])

    def result():
        use(Gen().outputs["rows"])

    @pipeline
    def parameter(n: int = 1):
        use(n)

    for call in (artifact, result, lambda: parameter.plan):
        with pytest.raises(PipelineError, match=re.escape(says)) as refused:
            call()
        [problem] = refused.value.problems
        assert problem.fix and problem.where.file == __file__


def test_a_channel_has_a_name_for_its_author_to_see():
    from refusal_components import Gen

    assert repr(Gen().outputs["examples"]) == "<channel Gen.examples: Examples>"
    assert "rows" in Gen().outputs and "nothing" not in Gen().outputs


YAML = """\
headrace_plan: 1
name: p
nodes:
- component: refusal_components:Gen
  arguments:
    number: "3"
- component: refusal_components:Stats
  inputs: {examples: Gen.exampels}
- id: T
  component: refusal_components:Train
  inputs:
    examples: Gen.examples
    statistics: Stat.statistics
    baseline: T.model
  arguments:
    build: refusal_components:buildmodel
    epochs: {parameter: epochs}
    rate: {compare: {op: "<", left: {const: 1}, right: {const: 2}}}
    extra: 1
- component: refusal_components:Nothing
- component: StatisticGen
  nmae: x
"""


def test_a_yaml_plan_gives_every_problem_with_its_line(c):
    with pytest.raises(PipelineError) as refused:
        Plan.from_yaml(YAML, file="plan.yaml", root=str(c))
    found = [
        (problem.where.line, problem.what) for problem in refused.value.problems if "plan.yaml" in problem.where.file
    ]
    expected = [
        (4, "Gen.number: expected int, received str '3'"),
        (8, "Gen declares no output 'exampels'"),
        (9, "a cycle: T <- T"),
        (13, "T.statistics: reads Stat.statistics, but no step is called 'Stat'"),
        (17, "T.epochs: reads parameter 'epochs', which the pipeline does not have"),
        (18, "T.rate: a value of kind Comparison has no place in a plain step"),
        (9, "T: unknown argument 'extra'"),
        (21, "expected a standard component, received 'StatisticGen'"),
        (22, "unknown key 'nmae' in nodes.4"),
    ]
    for line, what in expected:
        assert any(at == line and what in said for at, said in found), (line, what, str(refused.value))
    others = "\n".join(str(problem) for problem in refused.value.problems)
    assert "T.build: expected a function of refusal_components, received 'buildmodel'" in others
    assert "did you mean refusal_components:build_model?" in others
    assert "received 'Nothing'" in others and "did you mean StatisticsGen?" in others


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("name: x\na: [", 2, "not YAML"),
        ("", 1, "expected a Plan that begins with headrace_plan: 1"),
        ("headrace_plan: 2\nname: x\nnodes: []", 1, "received 2"),
        ("headrace_plan: 1\nnodes: []", 1, "the Plan has no 'name'"),
        ("headrace_plan: 1\nname: x\nnodes: {}", 3, "expected a list at nodes"),
        ("headrace_plan: 1\nname: x\nnodes: [3]", 3, "expected a mapping at nodes.0"),
        ("headrace_plan: 1\nname: x\nnodes:\n- component: a:b\n  inputs: 3", 5, "expected a mapping at nodes.0.inputs"),
        ("headrace_plan: 1\nname: x\nname: y\nnodes: []", 3, "name is written twice, first in line 2"),
        ("headrace_plan: 1\nname: x\nnodes: []\nparameters:\n  a: 3", 5, "parameter 'a': expected {type:"),
        ("headrace_plan: 1\nname: x\nnodes: []", 1, "the pipeline has no steps"),
        ("headrace_plan: 1\nname: x\nnodes:\n- {kind: loops, id: x}", 3, "unknown kind of node 'loops'"),
        ("headrace_plan: 1\nname: x\nnode: []\nnodes: []", 3, "unknown key 'node'"),
    ],
)
def test_a_yaml_that_is_no_plan(text, line, says):
    with pytest.raises(PipelineError, match=re.escape(says)) as refused:
        Plan.from_yaml(textwrap.dedent(text), file="plan.yaml")
    problem = next(problem for problem in refused.value.problems if says in problem.what)
    assert (problem.where.file, problem.where.line) == ("plan.yaml", line)


def test_a_cycle_is_named_once(c):
    text = """
    headrace_plan: 1
    name: p
    nodes:
    - {id: A, component: "refusal_components:Merge", inputs: {models: [B.model]}}
    - {id: B, component: "refusal_components:Merge", inputs: {models: [C.model, A.model]}}
    - {id: C, component: "refusal_components:Merge", inputs: {models: [A.model]}}
    """
    with pytest.raises(PipelineError) as refused:
        Plan.from_yaml(textwrap.dedent(text).lstrip("\n"), file="plan.yaml", root=str(c))
    [problem] = refused.value.problems
    assert problem.what == "a cycle: A <- B <- A" and problem.where.line == 4


def test_a_yaml_plan_of_other_code_is_refused(c):
    from refusal_components import Gen

    text = Pipeline(name="p", components=[Gen()], root=str(c)).plan.to_yaml()
    digest = re.search(r"code_digest: (\w+)", text)[1]
    changed = text.replace(digest, "0" * len(digest))
    with pytest.raises(PipelineError, match="refusal_components:Gen has changed since this Plan was written"):
        Plan.from_yaml(changed, root=str(c))
    with pytest.raises(PipelineError, match="its interface is not that of refusal_components:Gen here"):
        Plan.from_yaml(text.replace("number: int", "number: str"), root=str(c))


def test_a_parameter_of_a_pipeline_function_needs_a_type():
    from refusal_components import Gen

    @pipeline
    def flow(n=1):
        Gen(number=3)

    with pytest.raises(PipelineError, match="parameter 'n' of pipeline flow has no type"):
        _ = flow.plan
    with pytest.raises(PipelineError, match="pipeline flow has no parameter 'm'"):
        flow(m=2)


def test_the_parameter_class_is_public():
    assert PipelineParameter("n", int, 1).default == 1


def test_an_output_artifact_and_an_output_parameter_have_different_names(project):
    project.write(
        flow="""
        from typing import NamedTuple

        from headrace.pipelines import HyperParameters, Output, component, pipeline


        class Result(NamedTuple):
            found: int


        @component
        def Find(found: Output[HyperParameters]) -> Result:
            return Result(1)


        @pipeline
        def flow():
            Find()
        """
    )
    done = project.headrace("check", "flow.py")
    assert done.code == 2
    assert "component Find has an output artifact and an output parameter called 'found'" in done.err
    assert "flow.py:" in done.err and "fix: rename one" in done.err
