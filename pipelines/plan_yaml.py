"""The third notation: a Plan written as YAML, by `plan.to_yaml()` or by hand.

    headrace_plan: 1
    name: flights
    parameters: {data: {type: str, default: data/}}
    nodes:
    - id: CsvExampleGen
      component: CsvExampleGen                      # a standard one; or package.module:name
      arguments: {input_base: {parameter: data}}
    - id: StatisticsGen
      component: StatisticsGen
      inputs: {examples: CsvExampleGen.examples}

What `to_yaml` writes and a person leaves out (interface, digests, defaults) is filled in, so that the Plans are equal.
A digest that is there must be that of the code that is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml
from headrace.pipelines import plan
from headrace.pipelines.component import Component, OutputChannel, PipelineParameter, RecordedStep
from headrace.pipelines.errors import Location, PipelineError, Problem
from headrace.pipelines.function_ref import FunctionRef, project_root
from headrace.pipelines.pipeline import build

VALUE_KINDS = {"const", "parameter", "channel", "function", "property", "compare", "one_of", "collect", "list", "map"}
STANDARD = "headrace.components"


def read_plan(text: str, *, file: str = "<yaml>", root: str | None = None) -> plan.Plan:
    """Reads a Plan from YAML; see `Plan.from_yaml`."""
    root = root or str(project_root(file if file != "<yaml>" else "."))
    document, lines = _load(text, file)
    if any(node.get("kind", "step") != "step" for node in document["nodes"]):
        return replace(plan.Plan.from_document(document), root=root)
    problems: list[Problem] = []
    steps = [_recorded(node, Location(file, line), root, problems) for node, line in zip(document["nodes"], lines)]
    found = {step.id: step for step in steps if step is not None}
    parameters = {
        name: PipelineParameter(name, _Kind(entry["type"]), entry.get("default", ...))
        for name, entry in document.get("parameters", {}).items()
    }
    for node in document["nodes"]:
        step = found.get(node.get("id", _name(node)))
        if step is not None:
            _bind(step, node, found, parameters)
    listed = [step for step in steps if step is not None]
    built = build(document["name"], listed, Location(file, 1), root, parameters.values(), problems)
    _compare_digests(built, document["nodes"])
    return built


class _Kind:
    """A parameter's kind as text, where the other notations have a type."""

    def __init__(self, kind: str) -> None:
        self.__name__ = kind


def _load(text: str, file: str) -> tuple[dict[str, Any], list[int]]:
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        document = loader.construct_document(root) if root is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = Location(file, mark.line + 1 if mark else 1)
        raise PipelineError(
            Problem(f"not YAML: {getattr(error, 'problem', error)}", "mend the line", where, "yaml")
        ) from None
    if not isinstance(document, dict) or document.get("headrace_plan") != plan.VERSION:
        found = document.get("headrace_plan") if isinstance(document, dict) else type(document).__name__
        what = f"expected a Plan that begins with headrace_plan: {plan.VERSION}, received {found!r}"
        raise PipelineError(Problem(what, "see docs/plan.md", Location(file, 1), "yaml"))
    for key in ("name", "nodes"):
        if key not in document:
            raise PipelineError(Problem(f"the Plan has no {key!r}", f"add {key}:", Location(file, 1), "yaml"))
    by_key = {key.value: value for key, value in root.value}
    return document, [node.start_mark.line + 1 for node in by_key["nodes"].value]


def _name(node: Mapping[str, Any]) -> str:
    component = node.get("component", "")
    return component["qualname"] if isinstance(component, Mapping) else str(component).rpartition(":")[2]


def _recorded(node: Mapping[str, Any], where: Location, root: str, problems: list[Problem]) -> RecordedStep | None:
    """Makes the step of a node, without its arguments: those may be channels of steps further down."""
    try:
        component = _component(node.get("component"), root)
    except PipelineError as error:
        problems += [replace(problem, where=where) for problem in error.problems]
        return None
    step = RecordedStep(component, {}, where)
    step.id = node.get("id", component.spec.name)
    known = {"kind", "id", "component", "interface", "inputs", "arguments", "settings", "imports", "place"}
    for name in sorted(set(node) - known):
        problems.append(
            Problem(f"{step.id}: unknown key {name!r}", f"it takes {', '.join(sorted(known))}", where, "yaml")
        )
    try:
        step.settings = plan.Settings.from_json(node.get("settings", {}))
    except ValueError as error:
        problems.append(Problem(f"{step.id}: {error}", "", where, "setting"))
    return step


def _component(written: Any, root: str) -> Component:
    if isinstance(written, Mapping):
        written = f"{written['module']}:{written['qualname']}"
    name = str(written)
    if ":" not in name:
        import importlib

        loaded = getattr(importlib.import_module(STANDARD), name, None)
    else:
        loaded = FunctionRef.of(name, root=root).load(root=root)
    if not isinstance(loaded, Component):
        fix = "name a standard component, or package.module:name of a function with @component"
        raise PipelineError(Problem(f"expected a component, received {name!r}", fix, code="component"))
    return loaded


Parameters = Mapping[str, PipelineParameter]


def _bind(
    step: RecordedStep, node: Mapping[str, Any], steps: Mapping[str, RecordedStep], parameters: Parameters
) -> None:
    for name, written in node.get("inputs", {}).items():
        value = plan.value_from_json({"channel": written} if isinstance(written, str) else written)
        step.bound[name] = _author_value(value, steps, step, parameters)
    for name, written in node.get("arguments", {}).items():
        is_value = isinstance(written, Mapping) and len(written) == 1 and set(written) <= VALUE_KINDS
        step.bound[name] = (
            _author_value(plan.value_from_json(written), steps, step, parameters) if is_value else written
        )


def _author_value(
    value: plan.Value, steps: Mapping[str, RecordedStep], step: RecordedStep, parameters: Parameters
) -> Any:
    """Gives a Plan's value as an author would have passed it."""
    match value:
        case plan.Const():
            return value.value
        case plan.Parameter():
            if value.name in parameters:
                return parameters[value.name]
            what = f"{step.id} reads parameter {value.name!r}, which the pipeline does not have"
            step.problems.append(
                Problem(what, f"there are {', '.join(parameters) or 'none'}", step.location, "parameter")
            )
            return None
        case plan.Channel():
            if value.step in steps:
                return steps[value.step].outputs[value.output]
            what = f"{step.id} reads {value.step}.{value.output}, but no step is called {value.step!r}"
            step.problems.append(Problem(what, f"there are {', '.join(steps)}", step.location, "not-listed"))
            return OutputChannel(step, value.output, "Artifact", broken=True)
        case plan.Function():
            return value.ref if value.ref.code_digest else str(value.ref)
        case plan.ListOf():
            return [_author_value(item, steps, step, parameters) for item in value.values]
        case plan.MapOf():
            return {key: _author_value(item, steps, step, parameters) for key, item in value.items}
    step.problems.append(
        Problem(f"{step.id}: {type(value).__name__} has no place in a plain step", "", step.location, "yaml")
    )
    return None


def _compare_digests(built: plan.Plan, nodes: list[Mapping[str, Any]]) -> None:
    problems = []
    for node in nodes:
        step = built.step(node.get("id", _name(node)))
        component = node["component"]
        given = component.get("code_digest") if isinstance(component, Mapping) else None
        if given and given.partition(".")[0] != step.component.code_digest.partition(".")[0]:
            what = f"{step.id}: {step.component} has changed since this Plan was written"
            fix = "write the Plan again, or take its code_digest out to use the code that is here"
            problems.append(Problem(what, fix, built.locations.get(step.id), "code-changed"))
    if problems:
        raise PipelineError(problems)
