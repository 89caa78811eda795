"""A component's interface, read once from its function's signature."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from headrace.pipelines.artifact import Artifact, Direction
from headrace.pipelines.errors import Location, PipelineError, Problem
from headrace.pipelines.parameter_kinds import Kind
from headrace.pipelines.plan import ArtifactSlot

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class UserFunction:
    """Marks a parameter that takes a function of the user's: itself, or as ``"package.module:name"``."""


@dataclass(frozen=True)
class DataFiles:
    """Marks a parameter that names files to read; their contents belong to the cache key.

    The component receives `headrace.pipelines.file_patterns.ResolvedFiles`.
    """


Function = Annotated[Callable[..., Any], UserFunction()]
InputFiles = Annotated[Any, DataFiles()]


@dataclass(frozen=True)
class ParameterSpec:
    """A plain argument: its annotation, default and kind.

    `kind` is a short name that goes into the Plan, such as ``"int"``, ``"list[str]"``, ``"function"`` or ``"files"``.
    """

    name: str
    annotation: Any
    kind: str
    default: Any = REQUIRED

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    @property
    def optional(self) -> bool:
        return self.kind.endswith("?") or self.default is None


@dataclass(frozen=True)
class OutputSpec:
    name: str
    type: str
    same_as: str | None = None


@dataclass(frozen=True)
class ComponentSpec:
    """Everything about a component's interface.

    Args:
        name: The component's name, which is its step's id unless another is given.
        inputs: Artifact inputs in the order of the signature.
        outputs: Artifact outputs; `same_as` names the input or parameter that decides the type of a generic one.
        parameters: Plain arguments.
        results: Output parameters: name -> kind.
        doc: The function's docstring.
    """

    name: str
    inputs: Mapping[str, ArtifactSlot]
    generic_inputs: Mapping[str, str]
    outputs: Mapping[str, OutputSpec]
    parameters: Mapping[str, ParameterSpec]
    results: Mapping[str, str]
    doc: str = ""


def parse(function: Callable[..., Any], name: str | None = None) -> ComponentSpec:
    """Reads a component's signature.

    Raises:
        PipelineError: With every argument that has no annotation, or one that cannot be an interface.
    """
    where = Location(inspect.getsourcefile(function) or "<unknown>", function.__code__.co_firstlineno)
    try:
        hints = typing.get_type_hints(function, include_extras=True, localns=_closure(function))
    except NameError as error:
        fix = "import the type at the top of the module, not under TYPE_CHECKING"
        raise PipelineError(
            Problem(f"an annotation of {function.__name__} names what is not defined: {error}", fix, where)
        ) from None
    problems: list[Problem] = []
    inputs: dict[str, ArtifactSlot] = {}
    generic: dict[str, str] = {}
    outputs: dict[str, OutputSpec] = {}
    parameters: dict[str, ParameterSpec] = {}
    for argument in inspect.signature(function).parameters.values():
        hint = hints.get(argument.name)
        problem = _argument_problem(function, argument, hint)
        if problem:
            problems.append(Problem(*problem, where, "signature"))
            continue
        direction, inner, optional = _direction(hint)
        if direction is None:
            parameters[argument.name] = ParameterSpec(argument.name, hint, kind_of(hint), argument.default)
        elif direction.out:
            same_as = inner.__name__ if isinstance(inner, TypeVar) else None
            outputs[argument.name] = OutputSpec(argument.name, "Artifact" if same_as else inner.type_name(), same_as)
        else:
            is_list = typing.get_origin(inner) is list
            element = typing.get_args(inner)[0] if is_list else inner
            if isinstance(element, TypeVar):
                generic[argument.name] = element.__name__
                element = element.__bound__ or Artifact
            inputs[argument.name] = ArtifactSlot(element.type_name(), is_list, optional or argument.default is None)
    if problems:
        raise PipelineError(problems)
    results = _results(function, hints.get("return"), where)
    if both := sorted(results.keys() & outputs.keys()):
        what = f"component {function.__name__} has an output artifact and an output parameter called {both[0]!r}"
        raise PipelineError(Problem(what, "rename one: .outputs[...] could mean either", where, "signature"))
    doc = inspect.getdoc(function) or ""
    return ComponentSpec(
        name or function.__name__,
        inputs,
        generic,
        _bind_generics(outputs, generic, parameters),
        parameters,
        results,
        doc,
    )


def _bind_generics(
    outputs: dict[str, OutputSpec], generic: Mapping[str, str], parameters: Mapping[str, ParameterSpec]
) -> dict[str, OutputSpec]:
    """Replaces a type variable's name by the input, or the `type[T]` parameter, that decides it."""

    def decided_by(variable: str) -> str:
        for name, other in generic.items():
            if other == variable:
                return name
        return next(name for name, spec in parameters.items() if spec.kind.startswith("artifact_type"))

    return {
        name: dataclasses.replace(spec, same_as=decided_by(spec.same_as)) if spec.same_as else spec
        for name, spec in outputs.items()
    }


def _closure(function: Callable[..., Any]) -> dict[str, Any]:
    """Names of an enclosing function, for annotations of a component defined inside it."""
    frame = inspect.currentframe()
    names: dict[str, Any] = {}
    while frame is not None:
        if frame.f_globals is getattr(function, "__globals__", None) and frame.f_code.co_name != "<module>":
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


def _direction(hint: Any) -> tuple[Direction | None, Any, bool]:
    """Splits `Input[T]`, `Output[T]`, `Input[T] | None` into (direction, T, optional)."""
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        if len(members) == 1:
            hint, optional = members[0], True
    if typing.get_origin(hint) is Annotated:
        inner, *marks = typing.get_args(hint)
        for mark in marks:
            if isinstance(mark, Direction):
                return mark, inner, optional
    return None, hint, optional


def _argument_problem(function: Callable[..., Any], argument: inspect.Parameter, hint: Any) -> tuple[str, str] | None:
    said = f"argument {argument.name!r} of component {function.__name__}"
    if argument.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        return f"{said} collects a variable number of arguments", "name each argument, or take one dict"
    if hint is None:
        return f"{said} has no annotation", "write Input[Type], Output[Type], or a plain type such as int"
    if isinstance(hint, type) and issubclass(hint, Artifact):
        return f"{said} is an artifact without a direction", f"write Input[{hint.__name__}] or Output[{hint.__name__}]"
    direction, inner, _ = _direction(hint)
    if direction is not None:
        element = typing.get_args(inner)[0] if typing.get_origin(inner) is list else inner
        if not isinstance(element, TypeVar) and not (isinstance(element, type) and issubclass(element, Artifact)):
            return f"{said} is declared as {inner!r}, which is no artifact type", "subclass headrace.pipelines.Artifact"
        if direction.out and typing.get_origin(inner) is list:
            return f"{said} is a list of outputs", "declare each output, or write a folder of files into one"
    return None


def _results(function: Callable[..., Any], hint: Any, where: Location) -> dict[str, str]:
    if hint is None or hint is type(None):
        return {}
    if dataclasses.is_dataclass(hint):
        return {name: kind_of(kind) for name, kind in typing.get_type_hints(hint).items()}
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        return {name: kind_of(typing.get_type_hints(hint).get(name, str)) for name in hint._fields}
    what = f"component {function.__name__} returns {hint!r}"
    raise PipelineError(
        Problem(what, "return None, or a NamedTuple or dataclass whose fields are the output parameters", where)
    )


def kind_of(annotation: Any) -> str:
    """Names a parameter's annotation for the Plan.

    >>> kind_of(int), kind_of(list[str]), kind_of(dict[str, float] | None)
    ('int', 'list[str]', 'dict[str, float]?')
    """
    if isinstance(annotation, Kind):
        return str(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        for mark in args[1:]:
            if isinstance(mark, UserFunction):
                return "function"
            if isinstance(mark, DataFiles):
                return "files"
        return kind_of(args[0])
    if origin in (typing.Union, types.UnionType):
        members = [kind_of(member) for member in args if member is not type(None)]
        return "|".join(members) + ("?" if type(None) in args else "")
    if origin is typing.Literal:
        return "|".join(repr(choice) for choice in args)
    if origin is type:
        return "artifact_type"
    if origin is not None:
        return f"{origin.__name__}[{', '.join(kind_of(member) for member in args)}]"
    return "any" if annotation is Any else getattr(annotation, "__name__", str(annotation))
