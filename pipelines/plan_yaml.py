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

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from headrace.pipelines import plan
from headrace.pipelines.channels import OutputChannel, PipelineParameter
from headrace.pipelines.component import Component
from headrace.pipelines.errors import HeadraceError, PipelineError, Problem
from headrace.pipelines.function_ref import FunctionRef, project_root
from headrace.pipelines.parameter_kinds import Kind
from headrace.pipelines.pipeline import build
from headrace.pipelines.recorded_step import RecordedStep
from headrace.pipelines.yaml_lines import YamlDocument, load_yaml

VALUE_KINDS = {"const", "parameter", "channel", "function", "property", "compare", "one_of", "collect", "list", "map"}
NODE_KEYS = {"kind", "id", "component", "interface", "inputs", "arguments", "settings", "imports", "place"}
STANDARD = "headrace.components"


def read_plan(text: str, *, file: str = "<yaml>", root: str | None = None) -> plan.Plan:
    """Reads a Plan from YAML; see `Plan.from_yaml`."""
    root = root or str(project_root(file if file != "<yaml>" else "."))
    document = load_yaml(text, file)
    _check_shape(document)
    if any(node.get("kind", "step") != "step" for node in document.value["nodes"]):
        return _read_groups(document, root)
    return _Reader(document, root).read()


def _read_groups(document: YamlDocument, root: str) -> plan.Plan:
    """Reads control flow as it is written: what acts on it checks it."""
    try:
        return replace(plan.Plan.from_document(document.value), root=root)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)
        what = f"a node cannot be read: {said}"
        raise PipelineError(Problem(what, "see docs/plan.md", document.at("nodes"), "yaml")) from error


def _check_shape(document: YamlDocument) -> None:
    """Checks that the document has the parts of a Plan, each a list or a mapping where it must be."""
    problems = list(document.duplicates)
    found = document.value.get("headrace_plan") if isinstance(document.value, dict) else type(document.value).__name__
    if found != plan.VERSION:
        what = f"expected a Plan that begins with headrace_plan: {plan.VERSION}, received {found!r}"
        raise PipelineError(Problem(what, "see docs/plan.md", document.at(), "yaml"))
    problems += [
        Problem(f"the Plan has no {key!r}", f"add {key}:", document.at(), "yaml")
        for key in ("name", "nodes")
        if key not in document.value
    ]
    problems += document.unknown_keys((), {"headrace_plan", "name", "parameters", "nodes"})
    problems += document.expect(dict, "parameters")
    problems += document.expect(list, "nodes")
    for number, node in enumerate(document.value.get("nodes", ()) if not problems else ()):
        place = ("nodes", number)
        problems += document.expect(dict, *place)
        if isinstance(node, dict):
            for key in ("inputs", "arguments", "settings", "interface"):
                problems += document.expect(dict, *place, key)
    for name, entry in (document.value.get("parameters") or {}).items() if not problems else ():
        if not isinstance(entry, dict) or "type" not in entry:
            what = f"parameter {name!r}: expected {{type: ..., default: ...}}, received {entry!r}"
            problems.append(
                Problem(what, "write its type, such as {type: int, default: 1}", document.at("parameters", name))
            )
    if problems:
        raise PipelineError(problems)


class _Reader:
    """Makes what the author of the other notations would have written."""

    def __init__(self, document: YamlDocument, root: str) -> None:
        self._document, self._root = document, root
        self._problems: list[Problem] = []
        self._nodes: list[Mapping[str, Any]] = document.value["nodes"]
        self._parameters = {
            name: PipelineParameter(name, Kind(entry["type"]), entry.get("default", ...))
            for name, entry in (document.value.get("parameters") or {}).items()
        }

    def read(self) -> plan.Plan:
        steps = [self._recorded(number, node) for number, node in enumerate(self._nodes)]
        self._steps = {step.id: step for step in steps if step is not None}
        for number, (node, step) in enumerate(zip(self._nodes, steps)):
            if step is not None:
                self._bind(number, node, step)
        listed = [step for step in steps if step is not None]
        where = self._document.at()
        built = build(
            self._document.value["name"], listed, where, self._root, self._parameters.values(), self._problems
        )
        self._compare(built)
        return built

    def _say(self, what: str, fix: str, code: str, *place: str | int) -> None:
        self._problems.append(Problem(what, fix, self._document.at(*place), code))

    def _recorded(self, number: int, node: Mapping[str, Any]) -> RecordedStep | None:
        """Makes the step of a node, without its arguments: those may be channels of steps further down."""
        place = ("nodes", number)
        self._problems += self._document.unknown_keys(place, NODE_KEYS)
        try:
            component = _component(node.get("component"), self._root)
        except PipelineError as error:
            where = self._document.at(*place, "component")
            self._problems += [replace(problem, where=problem.where or where) for problem in error.problems]
            return None
        step = RecordedStep(component, {}, self._document.at(*place))
        step.with_id(str(node.get("id", component.spec.name)))
        try:
            step.settings = plan.Settings.from_json(node.get("settings") or {})
        except ValueError as error:
            self._say(f"{step.id}: {error}", "correct the setting", "setting", *place, "settings")
        return step

    def _bind(self, number: int, node: Mapping[str, Any], step: RecordedStep) -> None:
        for part in ("inputs", "arguments"):
            for name, written in (node.get(part) or {}).items():
                place = ("nodes", number, part, name)
                try:
                    step.bound[name] = self._argument(written, part == "inputs", place)
                except ValueError as error:
                    self._say(f"{step.id}.{name}: {error}", "write it as docs/plan.md says", "yaml", *place)
                except HeadraceError as error:
                    problems = error.problems if isinstance(error, PipelineError) else (Problem(str(error)),)
                    where = self._document.at(*place)
                    self._problems += [
                        replace(problem, what=f"{step.id}.{name}: {problem.what}", where=problem.where or where)
                        for problem in problems
                    ]

    def _argument(self, written: Any, is_input: bool, place: tuple[str | int, ...]) -> Any:
        if is_input:
            if isinstance(written, list):
                return [self._argument(item, True, place) for item in written]
            written = {"channel": written} if isinstance(written, str) else written
        elif not (isinstance(written, Mapping) and len(written) == 1 and set(written) <= VALUE_KINDS):
            return written
        return self._as_author(plan.value_from_json(written), place)

    def _as_author(self, value: plan.Value, place: tuple[str | int, ...]) -> Any:
        """Gives a Plan's value as an author would have passed it."""
        match value:
            case plan.Const():
                return value.value
            case plan.Parameter():
                return self._parameter(value.name, place)
            case plan.Channel():
                return self._channel(value, place)
            case plan.Function():
                return self._function(value.ref)
            case plan.ListOf():
                return [self._as_author(item, place) for item in value.values]
            case plan.MapOf():
                return {key: self._as_author(item, place) for key, item in value.items}
        raise ValueError(f"a value of kind {type(value).__name__} has no place in a plain step")

    def _parameter(self, name: str, place: tuple[str | int, ...]) -> PipelineParameter:
        if name not in self._parameters:
            what = f"reads parameter {name!r}, which the pipeline does not have"
            fix = f"there are {', '.join(self._parameters) or 'none'}; declare it under parameters:"
            raise PipelineError(Problem(what, fix, self._document.at(*place), "parameter"))
        return self._parameters[name]

    def _channel(self, value: plan.Channel, place: tuple[str | int, ...]) -> OutputChannel:
        if value.step not in self._steps:
            near = difflib.get_close_matches(value.step, self._steps, 1, 0.4)
            fix = f"did you mean {near[0]}?" if near else f"there are {', '.join(self._steps) or 'none'}"
            what = f"reads {value.step}.{value.output}, but no step is called {value.step!r}"
            raise PipelineError(Problem(what, fix, self._document.at(*place), "not-listed"))
        channel = self._steps[value.step].outputs[value.output]
        if channel.problem is None:
            return channel
        return replace(channel, problem=replace(channel.problem, where=self._document.at(*place)))

    def _function(self, ref: FunctionRef) -> FunctionRef | str:
        if not ref.code_digest:
            return str(ref)
        here = FunctionRef(ref.module, ref.qualname, ref.digest(self._root).digest)
        if here.portable() != ref.portable():
            raise PipelineError(_changed(str(ref)))
        return here

    def _compare(self, built: plan.Plan) -> None:
        """What a Plan says of its components must be what they are here: nothing that is written is passed over."""
        problems = []
        for number, node in enumerate(self._nodes):
            step = built.step(str(node.get("id", _name(node))))
            here = step.to_json()
            component = node["component"]
            given = component.get("code_digest") if isinstance(component, Mapping) else None
            if given and given.partition(".")[0] != step.component.code_digest.partition(".")[0]:
                problems.append(replace(_changed(str(step.component)), where=self._document.at("nodes", number)))
            for key in ("interface", "imports", "place"):
                if key in node and node[key] != here.get(key, "worker" if key == "place" else None):
                    what = f"{step.id}: its {key} is not that of {step.component} here"
                    where = self._document.at("nodes", number, key)
                    problems.append(Problem(what, f"leave {key} out, or write the Plan again", where, "code-changed"))
        if problems:
            raise PipelineError(problems)


def _changed(name: str) -> Problem:
    fix = "write the Plan again, or take its code_digest out to use the code that is here"
    return Problem(f"{name} has changed since this Plan was written", fix, code="code-changed")


def _name(node: Mapping[str, Any]) -> str:
    component = node.get("component", "")
    return component["qualname"] if isinstance(component, Mapping) else str(component).rpartition(":")[2]


def _component(written: Any, root: str) -> Component:
    if isinstance(written, Mapping):
        if missing := [key for key in ("module", "qualname") if key not in written]:
            raise PipelineError(
                Problem(f"the component has no {missing[0]!r}", "write package.module:name", code="yaml")
            )
        written = f"{written['module']}:{written['qualname']}"
    name = str(written)
    loaded = _standard(name) if ":" not in name else _load(name, root)
    if not isinstance(loaded, Component):
        fix = "name a standard component, or package.module:name of a function with @component"
        raise PipelineError(Problem(f"expected a component, received {name!r}", fix, code="component"))
    return loaded


def _standard(name: str) -> Any:
    components = importlib.import_module(STANDARD)
    if name not in components.__all__:
        near = difflib.get_close_matches(name, components.__all__, 1, 0.5)
        fix = f"did you mean {near[0]}?" if near else "write package.module:name for a component of your own"
        raise PipelineError(Problem(f"expected a standard component, received {name!r}", fix, code="component"))
    return getattr(components, name)


def _load(name: str, root: str) -> Any:
    try:
        return FunctionRef.of(name, root=root).load(root=root)
    except HeadraceError:
        raise
    except Exception as error:
        what = f"{name.partition(':')[0]} cannot be imported: {type(error).__name__}: {error}"
        raise PipelineError(Problem(what, "correct the module", code="component")) from error
