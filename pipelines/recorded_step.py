"""One call of a component, and how it becomes a step of the Plan."""

from __future__ import annotations

import contextvars
import copy
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headrace.pipelines import plan
from headrace.pipelines.arguments import argument_value, input_value
from headrace.pipelines.channels import NoValueYet, OutputChannel, Outputs, author_location, channels_within
from headrace.pipelines.component_spec import ComponentSpec, OutputSpec
from headrace.pipelines.errors import Location, PipelineError, Problem
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.own_process import process_of
from headrace.pipelines.parameter_values import NotAllowed

if TYPE_CHECKING:
    from headrace.pipelines.component import Component

RECORDING: contextvars.ContextVar[list[RecordedStep] | None] = contextvars.ContextVar(
    "headrace_recording", default=None
)


class RecordedStep:
    """One call of a component, not yet in a Plan.

    Attributes:
        id: The step's name: the component's, unless `with_id` gives another.
        outputs: Its output channels by name.
        problems: What is wrong with the call; the pipeline that contains it reports them.
    """

    def __init__(self, component: Component, bound: dict[str, Any], location: Location) -> None:
        self.component, self.bound, self.location = component, bound, location
        self.id = component.spec.name
        self.settings = plan.Settings()
        self.problems: list[Problem] = []
        self.outputs = Outputs(self)

    def with_id(self, id_: str) -> RecordedStep:
        """Gives the step another name."""
        if not id_ or not all(letter.isalnum() or letter in "_-" for letter in id_):
            what = f"step id {id_!r}: expected letters, digits, '_' and '-'"
            self.problems.append(Problem(what, "choose another name", author_location(), "id"))
        self.id = id_
        return self

    def with_settings(self, **settings: Any) -> RecordedStep:
        """Sets how the step is run, by the names of `Settings`: ``with_settings(retries=2, cpu="4", memory="8Gi")``."""
        try:
            self.settings = plan.Settings.from_json(self.settings.to_json() | settings)
        except ValueError as error:
            self.problems.append(Problem(f"{self.id}: {error}", "", author_location(), "setting"))
        return self

    def with_bound(self, arguments: Mapping[str, Any]) -> RecordedStep:
        """The same step with more arguments; this one is left as it is."""
        other = copy.copy(self)
        other.bound = {**self.bound, **arguments}
        return other

    def output_type(self, spec: OutputSpec) -> str:
        """The type of an output; a generic one takes that of the input or parameter it follows."""
        if spec.same_as is None:
            return spec.type
        given = self.bound.get(spec.same_as)
        if isinstance(given, OutputChannel):
            return given.type
        if isinstance(given, list | tuple) and given and isinstance(given[0], OutputChannel):
            return given[0].type
        if isinstance(given, str):
            # As a YAML Plan names it.
            return given
        return given.type_name() if isinstance(given, type) and hasattr(given, "type_name") else spec.type

    def lower(
        self, root: str | None, refs: dict[Component, FunctionRef] | None = None
    ) -> tuple[plan.Step | None, list[Problem]]:
        """Gives the Plan's step, or what is wrong with the call.

        Args:
            root: The project root.
            refs: References of components that were made for other steps of the same pipeline; added to.
        """
        refs = {} if refs is None else refs
        problems = list(self.problems)
        if any(problem.code == "placeholder" for problem in problems):
            return None, problems
        problems += [channel.problem for channel in channels_within(self.bound) if channel.problem is not None]
        inputs, arguments, wrong = self._values(root)
        problems += wrong
        problems += _unknown_and_missing(self.component.spec, self.bound, self.id, self.location, arguments)
        if not problems:
            problems += self._checked()
        try:
            if self.component not in refs:
                refs[self.component] = self.component.ref(root)
        except PipelineError as error:
            return None, [*problems, *error.problems]
        step = plan.Step(
            self.id,
            refs[self.component],
            self._interface(),
            tuple(sorted(inputs.items())),
            tuple(sorted(arguments.items())),
            self.settings,
            self._imports(arguments, root),
            self.component.place,
        )
        return step, problems

    def _imports(self, arguments: Mapping[str, plan.Value], root: str | None) -> tuple[str, ...]:
        """What its worker is to have imported: nothing, where the step is handed to a process of its own."""
        functions = [value.ref for value in arguments.values() if isinstance(value, plan.Function)]
        return self.component.imports if process_of(self.component, functions, root) is None else ()

    def _values(self, root: str | None) -> tuple[dict[str, plan.Value], dict[str, plan.Value], list[Problem]]:
        spec = self.component.spec
        problems: list[Problem] = []
        inputs: dict[str, plan.Value] = {}
        arguments: dict[str, plan.Value] = {}
        for name, given in _with_defaults(spec, self.bound, root, problems, self.location).items():
            try:
                if name in spec.inputs and given is not None:
                    inputs[name] = input_value(spec, name, given)
                elif name in spec.parameters:
                    arguments[name] = argument_value(spec.parameters[name], given, root)
            except NotAllowed as error:
                problems.append(Problem(f"{self.id}.{name}: {error}", error.fix, self.location, "argument"))
            except PipelineError as error:
                problems += [
                    replace(p, what=f"{self.id}.{name}: {p.what}", where=self._nearest(p)) for p in error.problems
                ]
        return inputs, arguments, problems

    def _nearest(self, problem: Problem) -> Location:
        """The problem's own line when it is in the author's file, such as a lambda's; else that of the call."""
        here = problem.where is not None and problem.where.file == self.location.file
        return problem.where if here and problem.where is not None else self.location

    def _checked(self) -> Iterator[Problem]:
        """What the component itself says of arguments that do not go together."""
        spec = self.component.spec
        if self.component.check is None:
            return
        given = {name: parameter.default for name, parameter in spec.parameters.items()} | self.bound
        try:
            for what, fix in self.component.check(given):
                yield Problem(f"{self.id}: {what}", fix, self.location, "argument")
        except NoValueYet:
            # An argument is known only at run time: the component says then what is wrong with it.
            return

    def _interface(self) -> plan.Interface:
        spec = self.component.spec
        return plan.Interface(
            tuple(sorted(spec.inputs.items())),
            tuple(sorted((name, self.output_type(output)) for name, output in spec.outputs.items())),
            tuple(sorted(spec.results.items())),
            tuple(sorted((name, parameter.kind) for name, parameter in spec.parameters.items())),
        )

    def producers(self) -> list[RecordedStep]:
        """The steps whose channels this one takes."""
        return list(dict.fromkeys(channel.producer for channel in channels_within(self.bound)))


def _with_defaults(
    spec: ComponentSpec, bound: Mapping[str, Any], root: str | None, problems: list[Problem], where: Location
) -> dict[str, Any]:
    """Adds defaults, and the functions that a `module_file=` in the style of TFX defines."""
    given = {name: value for name, value in bound.items() if name != "module_file" or name in spec.parameters}
    if "module_file" in bound and "module_file" not in spec.parameters:
        try:
            given |= {
                name: ref
                for name, ref in FunctionRef.from_module_file(bound["module_file"], root=root).items()
                if name in spec.parameters and spec.parameters[name].kind.startswith("function") and name not in given
            }
        except PipelineError as error:
            problems += [replace(problem, where=problem.where or where) for problem in error.problems]
    defaults = {name: parameter.default for name, parameter in spec.parameters.items() if not parameter.required}
    return defaults | given


def _unknown_and_missing(
    spec: ComponentSpec, bound: Mapping[str, Any], id_: str, where: Location, arguments: Mapping[str, Any]
) -> Iterator[Problem]:
    known = [*spec.inputs, *spec.parameters]
    takes_functions = any(parameter.kind.startswith("function") for parameter in spec.parameters.values())
    for name in bound:
        if name in known or (name == "module_file" and takes_functions):
            continue
        near = difflib.get_close_matches(name, known, 1, 0.7)
        hint = f"use {near[0]!r}" if near else f"it takes {', '.join(known)}"
        yield Problem(f"{id_}: unknown argument {name!r}", hint, where, "unknown-argument")
    for name, slot in spec.inputs.items():
        if name not in bound and not slot.optional:
            fix = f"pass {name}=<step>.outputs[...] of type {slot.type}"
            yield Problem(
                f"{id_}: missing input {name!r} (an artifact of type {slot.type})", fix, where, "missing-argument"
            )
    for name, parameter in spec.parameters.items():
        if parameter.required and name not in bound and name not in arguments:
            yield Problem(
                f"{id_}: missing argument {name!r} ({parameter.kind})", f"pass {name}=", where, "missing-argument"
            )
