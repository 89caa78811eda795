"""The contract that every component keeps: what a test file of a new component runs to see that it does.

    from tests.contract import CHECKS, Case

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(check, tmp_path):
        check(Case(CountLabels, {"examples": examples, "label": "species"}), tmp_path)

`arguments` are those of `.call`: artifacts that exist for the inputs, plain values for the parameters. A check raises
AssertionError and says what the contract is.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.components import Importer
from headrace.pipelines import Artifact, Pipeline, Plan
from headrace.pipelines.component import Component, RecordedStep
from headrace.pipelines.component_doc import ComponentDoc, parse_doc
from headrace.pipelines.component_spec import parse
from headrace.pipelines.runs import Run

HEAVY = ("pyarrow", "apache_beam", "tensorflow", "keras", "duckdb", "sqlalchemy", "pandas", "datasketches")


@dataclass(frozen=True)
class Case:
    """A component, and arguments of a small call of it.

    Args:
        component: The component.
        arguments: As for `.call`.
        project: The folder under which the functions among the arguments are found.
        before: Makes a call possible again, such as by removing what the last one pushed.
    """

    component: Component
    arguments: Mapping[str, Any] = field(default_factory=dict)
    project: Path = Path(__file__).parents[1]
    before: Callable[[], None] = lambda: None

    def __str__(self) -> str:
        return self.component.spec.name

    def step(self) -> list[RecordedStep]:
        """The steps of a pipeline with the component in it; its inputs are imported."""
        given: dict[str, Any] = {}
        steps: list[RecordedStep] = []

        def imported(artifact: Artifact) -> Any:
            step = Importer(source_uri=artifact.uri, artifact_type=type(artifact)).with_id(f"given_{len(steps)}")
            steps.append(step)
            return step.outputs["result"]

        for name, value in self.arguments.items():
            if name in self.component.spec.inputs:
                given[name] = [imported(one) for one in value] if isinstance(value, list) else imported(value)
            else:
                given[name] = value
        return [*steps, self.component(**given)]

    def run(self, root: Path, **options: Any) -> Run:
        """Runs that pipeline in this process."""
        pipeline = Pipeline("contract", self.step(), root=str(self.project))
        return pipeline.run(root=root, debug=True, report=False, **options)

    def doc(self) -> ComponentDoc:
        return parse_doc(self.component.spec.doc)


def check_interface(case: Case, tmp_path: Path) -> None:
    """The signature parses, all its parameters can be given by name only, and parsing again gives the same."""
    spec = case.component.spec
    assert parse(case.component.function, spec.name) == spec
    assert spec.inputs or spec.parameters, f"{spec.name} takes nothing"
    assert spec.outputs or spec.results, f"{spec.name} makes nothing"
    positional = [
        name
        for name, argument in inspect.signature(case.component.function).parameters.items()
        if name in spec.parameters and argument.kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    assert not positional, f"{spec.name}: put a `*` before {positional[0]}: parameters are given by name"


def check_documentation(case: Case, tmp_path: Path) -> None:
    """The docstring has a summary, says something of every argument and of what is raised, and shows a call."""
    spec, doc = case.component.spec, case.doc()
    assert doc.summary.endswith("."), f"{spec.name}: the summary is a sentence in the first line"
    declared = [*spec.inputs, *spec.outputs, *spec.parameters]
    assert sorted(doc.args) == sorted(declared), f"{spec.name}: Args: differ from the signature's"
    assert all(doc.args.values()), f"{spec.name}: an argument has no description"
    assert doc.raises, f"{spec.name}: the docstring has no Raises:"
    assert not spec.results or doc.returns or case.component.function.__annotations__["return"], spec.name
    assert doc.example, f"{spec.name}: the docstring shows no call (>>> {spec.name}(...))"


def check_example(case: Case, tmp_path: Path) -> None:
    """The example's call of the component fits the signature."""
    spec, doc = case.component.spec, case.doc()
    calls = [
        node
        for node in ast.walk(ast.parse(doc.example))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == spec.name
    ]
    assert calls, f"{spec.name}: the example does not call it"
    for call in calls:
        named = {keyword.arg for keyword in call.keywords}
        known = {*spec.inputs, *spec.parameters}
        assert not call.args, f"{spec.name}: the example passes an argument by position"
        assert named <= known, f"{spec.name}: the example passes {sorted(named - known)}, which it does not take"
        required = {name for name, slot in spec.inputs.items() if not slot.optional}
        required |= {name for name, parameter in spec.parameters.items() if parameter.required}
        assert required <= named, f"{spec.name}: the example leaves out {sorted(required - named)}"


def check_plan_round_trip(case: Case, tmp_path: Path) -> None:
    """A Plan with a step of it survives JSON and YAML, byte for byte."""
    plan = Pipeline("contract", case.step(), root=str(case.project)).plan
    assert Plan.from_json(plan.to_json()).to_json() == plan.to_json()
    assert Plan.from_yaml(plan.to_yaml(), root=str(case.project)).to_json() == plan.to_json()


def check_imports(case: Case, tmp_path: Path) -> None:
    """What its worker is to import is there; importing its module imports nothing heavy."""
    for name in case.component.imports:
        assert importlib.util.find_spec(name), f"{case}: imports= names {name}, which is not installed"
    function = case.component.function
    code = f"import json, sys; import {function.__module__}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=case.project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = sorted(set(json.loads(done.stdout)) & set(HEAVY))
    assert not loaded, f"importing {function.__module__} imports {loaded[0]}: import it inside the function"


def check_determinism(case: Case, tmp_path: Path) -> None:
    """Two calls with the same arguments make artifacts of the same meaning and the same output parameters."""
    if case.component.place == "driver":
        return
    found = []
    for turn in ("first", "second"):
        case.before()
        result = case.component.call(**case.arguments, out_dir=tmp_path / turn)
        assert {*result.outputs} <= {*case.component.spec.outputs}
        found.append(({name: artifact.digest for name, artifact in result.outputs.items()}, dict(result.results)))
    assert found[0] == found[1], f"{case}: two calls with the same arguments differ"
    assert found[0][0] or found[0][1], f"{case}: the call made nothing"


def check_caching(case: Case, tmp_path: Path) -> None:
    """A second run takes it from the cache, with the same artifacts; one that only asks the store asks again."""
    case.before()
    first, second = (case.run(tmp_path / "root")[case.component.spec.name] for _ in range(2))
    assert first.state.value == "succeeded", first.error
    assert second.state.value == ("succeeded" if case.component.place == "driver" else "cached"), second.cache_reason
    assert {name: artifact.digest for name, artifact in first.outputs.items()} == {
        name: artifact.digest for name, artifact in second.outputs.items()
    }
    assert first.results == second.results


# Cheap ones first: they say what is wrong with a component that does not run.
CHECKS = (
    check_interface,
    check_documentation,
    check_example,
    check_plan_round_trip,
    check_imports,
    check_determinism,
    check_caching,
)
