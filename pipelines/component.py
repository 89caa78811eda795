"""`@component`: a typed function becomes a component. Calling it records a step; `.call(..., out_dir=)` runs it."""

from __future__ import annotations

import contextvars
import dataclasses
import difflib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from headrace.pipelines import plan
from headrace.pipelines.artifact_types import artifact_class
from headrace.pipelines.component_spec import ComponentSpec, OutputSpec, ParameterSpec, kind_of, parse
from headrace.pipelines.errors import Location, PipelineError, Problem
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.input_files import encode_files
from headrace.pipelines.parameter_values import NotAllowed, encode

RECORDING: contextvars.ContextVar[list[RecordedStep] | None] = contextvars.ContextVar(
    "headrace_recording", default=None
)
Check = Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]]
_OURS = str(Path(__file__).parent)


def author_location() -> Location:
    """The innermost line that is not Headrace's own."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return Location(frame.f_code.co_filename, frame.f_lineno)


@dataclass(frozen=True, eq=False)
class OutputChannel:
    """What a step will produce, as another step's argument."""

    producer: RecordedStep
    name: str
    type: str
    is_result: bool = False
    broken: bool = False

    def __bool__(self) -> bool:
        what = f"{self} has no value while the pipeline is written: it cannot decide an `if`, `and`, `or` or `not`"
        raise PipelineError(Problem(what, "decide inside a component", author_location(), "bool"))

    def __format__(self, spec: str) -> str:
        what = f"{self} has no value while the pipeline is written: it cannot be put into a string"
        raise PipelineError(
            Problem(what, "pass it as an argument and format inside a component", author_location(), "format")
        )

    def __iter__(self) -> Iterator[Any]:
        what = f"{self} has no value while the pipeline is written: it cannot be looped over"
        raise PipelineError(Problem(what, "loop inside a component", author_location(), "iterate"))

    def __str__(self) -> str:
        return f"{self.producer.id}.{self.name}"

    def value(self) -> plan.Channel:
        return plan.Channel(self.producer.id, self.name)


@dataclass(frozen=True, eq=False)
class PipelineParameter:
    """A run-time parameter of a pipeline, as a step's argument.

    In the notation `Pipeline(components=[...])` make one by hand; a `@pipeline` function's arguments are made into
    them.

    Args:
        name: The name that `-p name=value` sets.
        type: Its type.
        default: Its default; without one the run must give it.
    """

    name: str
    type: Any = str
    default: Any = ...

    def __bool__(self) -> bool:
        what = f"parameter {self.name!r} has no value while the pipeline is written: it cannot decide an `if`"
        raise PipelineError(Problem(what, "decide inside a component", author_location(), "bool"))

    def __format__(self, spec: str) -> str:
        what = f"parameter {self.name!r} has no value while the pipeline is written: it cannot be put into a string"
        raise PipelineError(
            Problem(what, "pass it as an argument and format inside a component", author_location(), "format")
        )


class Outputs(Mapping[str, OutputChannel]):
    """A recorded step's outputs by name."""

    def __init__(self, step: RecordedStep) -> None:
        self._step = step

    def __getitem__(self, name: str) -> OutputChannel:
        step = self._step
        spec = step.component.spec
        if name in spec.outputs:
            return OutputChannel(step, name, step.output_type(spec.outputs[name]))
        if name in spec.results:
            return OutputChannel(step, name, spec.results[name], is_result=True)
        declared = [*spec.outputs, *spec.results]
        near = difflib.get_close_matches(name, declared, 1, 0.5)
        fix = f"use {near[0]!r}" if near else "declare it as an Output[...] argument of the component"
        what = f"{spec.name} declares no output {name!r}; it has {', '.join(declared) or 'none'}"
        step.problems.append(Problem(what, fix, author_location(), "output"))
        return OutputChannel(step, name, "Artifact", broken=True)

    def __iter__(self) -> Iterator[str]:
        return iter([*self._step.component.spec.outputs, *self._step.component.spec.results])

    def __len__(self) -> int:
        return len(self._step.component.spec.outputs) + len(self._step.component.spec.results)


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
        """Sets how the step is run: retries, timeout (seconds), cpu, memory, gpu, cache, env, secrets."""
        try:
            self.settings = plan.Settings.from_json(self.settings.to_json() | settings)
        except ValueError as error:
            self.problems.append(Problem(f"{self.id}: {error}", "", author_location(), "setting"))
        return self

    def output_type(self, spec: OutputSpec) -> str:
        """The type of an output; a generic one takes that of the input or parameter it follows."""
        if spec.same_as is None:
            return spec.type
        given = self.bound.get(spec.same_as)
        if isinstance(given, OutputChannel):
            return given.type
        if isinstance(given, list | tuple) and given and isinstance(given[0], OutputChannel):
            return given[0].type
        return given.type_name() if isinstance(given, type) and hasattr(given, "type_name") else spec.type

    def lower(self, root: str | None) -> tuple[plan.Step | None, list[Problem]]:
        """Gives the Plan's step, or what is wrong with the call."""
        problems = list(self.problems)
        spec = self.component.spec
        if any(problem.code == "placeholder" for problem in problems):
            return None, problems
        inputs: dict[str, plan.Value] = {}
        arguments: dict[str, plan.Value] = {}
        for name, given in _with_defaults(spec, self.bound, root, problems, self.location).items():
            try:
                if name in spec.inputs:
                    if given is not None:
                        inputs[name] = _input_value(spec, name, given)
                elif name in spec.parameters:
                    arguments[name] = argument_value(spec.parameters[name], given, root)
            except NotAllowed as error:
                problems.append(
                    Problem(
                        f"{self.id}.{name}: {error.args[0]}", *error.args[1:2], where=self.location, code="argument"
                    )
                )
            except PipelineError as error:
                problems += [
                    replace(p, what=f"{self.id}.{name}: {p.what}", where=p.where or self.location)
                    for p in error.problems
                ]
        problems += _unknown_and_missing(spec, self.bound, self.id, self.location, arguments)
        if self.component.check is not None:
            given = {name: parameter.default for name, parameter in spec.parameters.items()} | self.bound
            problems += [
                Problem(f"{self.id}: {what}", fix, self.location, "argument")
                for what, fix in self.component.check(given)
            ]
        try:
            ref = self.component.ref(root)
        except PipelineError as error:
            return None, [*problems, *error.problems]
        interface = plan.Interface(
            tuple(sorted(spec.inputs.items())),
            tuple(sorted((name, self.output_type(output)) for name, output in spec.outputs.items())),
            tuple(sorted(spec.results.items())),
            tuple(sorted((name, parameter.kind) for name, parameter in spec.parameters.items())),
        )
        step = plan.Step(
            self.id,
            ref,
            interface,
            tuple(sorted(inputs.items())),
            tuple(sorted(arguments.items())),
            self.settings,
            self.component.imports,
            self.component.place,
        )
        return step, problems

    def producers(self) -> list[RecordedStep]:
        """The steps whose channels this one takes."""

        def within(value: Any) -> Iterator[RecordedStep]:
            if isinstance(value, OutputChannel):
                yield value.producer
            elif isinstance(value, Mapping):
                for item in value.values():
                    yield from within(item)
            elif isinstance(value, list | tuple):
                for item in value:
                    yield from within(item)

        return list(dict.fromkeys(within(self.bound)))


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
        near = difflib.get_close_matches(name, known, 1, 0.5)
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


def _input_value(spec: ComponentSpec, name: str, given: Any) -> plan.Value:
    slot = spec.inputs[name]
    if slot.list and isinstance(given, list | tuple):
        return plan.ListOf(tuple(_channel_value(item, slot, f"{name}[{number}]") for number, item in enumerate(given)))
    if slot.list:
        raise NotAllowed(
            f"expected a list of channels of type {slot.type}, received {_said(given)}", "write [channel, ...]"
        )
    return _channel_value(given, slot, name)


def _channel_value(given: Any, slot: plan.ArtifactSlot, name: str) -> plan.Channel:
    if isinstance(given, RecordedStep):
        fits = [output for output in given.outputs if given.outputs[output].type == slot.type]
        shown = fits[0] if fits else "..."
        raise NotAllowed(
            f"expected a channel of type {slot.type}, received the step {given.id}",
            f'pass {given.id}.outputs["{shown}"]',
        )
    if not isinstance(given, OutputChannel):
        fix = "pass another step's .outputs[...], or Importer(...).outputs['result'] for what lies in a folder"
        raise NotAllowed(f"expected a channel of type {slot.type}, received {_said(given)}", fix)
    if given.is_result:
        raise NotAllowed(f"expected an artifact of type {slot.type}, received the output parameter {given}")
    if not given.broken and not issubclass(artifact_class(given.type), artifact_class(slot.type)):
        outputs = given.producer.outputs
        fits = [other for other in outputs if outputs[other].type == slot.type]
        fix = f'use {given.producer.id}.outputs["{fits[0]}"]' if fits else f"take it from a step that makes {slot.type}"
        raise NotAllowed(f"expected {slot.type}, received {given.type} from {given}", fix)
    return given.value()


def argument_value(parameter: ParameterSpec, given: Any, root: str | None) -> plan.Value:
    """Gives a plain argument as a value of the Plan.

    Raises:
        NotAllowed: It does not fit the parameter's annotation.
    """
    if parameter.kind.rstrip("?") == "function" and given is not None:
        if isinstance(given, FunctionRef):
            return plan.Function(given)
        if not callable(given) and not isinstance(given, str):
            raise NotAllowed(f"expected a function or 'package.module:name', received {_said(given)}")
        return plan.Function(FunctionRef.of(given, root=root))
    if isinstance(given, OutputChannel) and not given.is_result:
        fix = "declare the argument as Input[...], or pass an output parameter"
        raise NotAllowed(f"expected {parameter.kind}, received the artifact {given}", fix)
    if isinstance(given, OutputChannel | PipelineParameter):
        kind = given.type if isinstance(given, OutputChannel) else kind_of(given.type)
        if not _kinds_fit(kind, parameter.kind):
            said = given if isinstance(given, OutputChannel) else repr(given.name)
            raise NotAllowed(f"expected {parameter.kind}, received {said} of type {kind}")
        return given.value() if isinstance(given, OutputChannel) else plan.Parameter(given.name)
    if _holds_channels(given):
        return _nested(given)
    if parameter.kind.startswith("files"):
        try:
            return plan.Const(encode_files(given))
        except TypeError as error:
            raise NotAllowed(str(error)) from None
    return plan.Const(encode(given, parameter.annotation))


def _kinds_fit(given: str, expected: str) -> bool:
    choices = {kind.rstrip("?") for kind in expected.split("|")} | {expected.rstrip("?")}
    return (
        given.rstrip("?") in choices
        or "any" in choices
        or (given == "int" and "float" in choices)
        or "files" in choices
    )


def _holds_channels(value: Any) -> bool:
    value = fields_of(value)
    if isinstance(value, Mapping):
        return any(_holds_channels(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_channels(item) for item in value)
    return isinstance(value, OutputChannel | PipelineParameter)


def fields_of(value: Any) -> Any:
    """Gives a dataclass argument, such as Filesystem(base_directory=parameter), as a dict of its fields."""
    is_record = dataclasses.is_dataclass(value) and not isinstance(value, type | OutputChannel | PipelineParameter)
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)} if is_record else value


def _nested(value: Any) -> plan.Value:
    value = fields_of(value)
    if isinstance(value, OutputChannel):
        if not value.is_result:
            raise NotAllowed(f"expected a JSON value, received the artifact {value}")
        return value.value()
    if isinstance(value, PipelineParameter):
        return plan.Parameter(value.name)
    if not _holds_channels(value):
        return plan.Const(encode(value, Any))
    if isinstance(value, Mapping):
        return plan.MapOf(tuple(sorted((key, _nested(item)) for key, item in value.items())))
    return plan.ListOf(tuple(_nested(item) for item in value))


def _said(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


class Component:
    """A function made into a component. Calling it records a step.

    Attributes:
        spec: Its interface.
        function: The function itself.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        imports: tuple[str, ...] = (),
        place: str = "worker",
        check: Check | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.spec = parse(function, name)
        self.imports = tuple(imports)
        self.place = place
        self.check = check

    def ref(self, root: str | None = None) -> FunctionRef:
        return FunctionRef.of(self.function, root=root)

    def __call__(self, *args: Any, **kwargs: Any) -> RecordedStep:
        step = RecordedStep(self, dict(kwargs), author_location())
        if any(value is ... for value in (*args, *kwargs.values())):
            what = f"{self.spec.name}(...) still has a placeholder"
            step.problems.append(Problem(what, "write the argument in its place", step.location, "placeholder"))
        elif args:
            names = ", ".join(f"{name}=" for name in [*self.spec.inputs, *self.spec.parameters][: len(args)])
            step.problems.append(
                Problem(f"{self.spec.name} takes arguments by name only", f"write {names}", step.location, "argument")
            )
        recording = RECORDING.get()
        if recording is not None:
            recording.append(step)
        return step

    def call(self, *, out_dir: str | Path, **kwargs: Any) -> Any:
        """Runs the component here and now, for a unit test.

        Args:
            out_dir: Folder under which its outputs are written.
            **kwargs: Artifacts for its inputs, plain values for its parameters.

        Returns:
            An object with one attribute per output and output parameter.

        Raises:
            Whatever the component raises.
        """
        from headrace.pipelines.execution import call_component

        return call_component(self, Path(out_dir), kwargs)

    def __repr__(self) -> str:
        return f"<component {self.spec.name}>"


@overload
def component(function: Callable[..., Any], /) -> Component: ...
@overload
def component(
    *, name: str | None = None, imports: tuple[str, ...] = (), place: str = "worker", check: Check | None = None
) -> Callable[[Callable[..., Any]], Component]: ...
def component(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    imports: tuple[str, ...] = (),
    place: str = "worker",
    check: Check | None = None,
) -> Component | Callable[[Callable[..., Any]], Component]:
    """Makes a typed function into a component.

    Args:
        function: Takes `Input[...]` and `Output[...]` artifacts and plain typed arguments; returns None, or a
            NamedTuple or dataclass of output parameters.
        name: The component's name, if not the function's.
        imports: Modules that its worker is to have imported before it starts, such as ``("keras",)``.
        place: ``"driver"`` for a component that only asks the store.
        check: Called when a pipeline is built with the arguments as given; yields (what is wrong, what to do) for
            arguments that do not go together.

    >>> @component
    ... def Count(examples: Input[Examples], counts: Output[Counts], *, split: str = "train") -> None:
    ...     counts.write({"rows": examples.read(split).num_rows})
    """
    if function is not None:
        return Component(function)
    return lambda decorated: Component(decorated, name=name, imports=imports, place=place, check=check)
