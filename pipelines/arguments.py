"""What a component's call was given, as values of the Plan; or why it does not fit the component's signature."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from headrace.pipelines import plan
from headrace.pipelines.artifact_types import artifact_class
from headrace.pipelines.channels import OutputChannel, Outputs, PipelineParameter, fields_of, unknowns_within
from headrace.pipelines.component_spec import ComponentSpec, ParameterSpec, kind_of
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.input_files import encode_files
from headrace.pipelines.parameter_kinds import kinds_fit
from headrace.pipelines.parameter_values import NotAllowed, encode


def input_value(spec: ComponentSpec, name: str, given: Any) -> plan.Value:
    """Gives what an artifact input was given as a value of the Plan.

    Raises:
        NotAllowed: It is no channel, or one of another type.
    """
    slot = spec.inputs[name]
    if slot.list and isinstance(given, list | tuple):
        return plan.ListOf(tuple(_channel(item, slot) for item in given))
    if slot.list:
        said = f"expected a list of channels of type {slot.type}, received {_said(given)}"
        raise NotAllowed(said, "write [channel, ...]")
    return _channel(given, slot)


def _channel(given: Any, slot: plan.ArtifactSlot) -> plan.Channel:
    if isinstance(getattr(given, "outputs", None), Outputs):
        fits = [output for output in given.outputs if given.outputs[output].type == slot.type]
        said = f"expected a channel of type {slot.type}, received the step {given.id}"
        raise NotAllowed(said, f'pass {given.id}.outputs["{fits[0] if fits else "..."}"]')
    if not isinstance(given, OutputChannel):
        fix = "pass another step's .outputs[...], or Importer(...).outputs['result'] for what lies in a folder"
        raise NotAllowed(f"expected a channel of type {slot.type}, received {_said(given)}", fix)
    if given.is_result:
        said = f"expected an artifact of type {slot.type}, received the output parameter {given.said()}"
        raise NotAllowed(said, "declare the argument as a plain one, or pass an artifact")
    if given.problem is None and not issubclass(artifact_class(given.type), artifact_class(slot.type)):
        outputs = given.producer.outputs
        fits = [other for other in outputs if outputs[other].type == slot.type]
        fix = f'use {given.producer.id}.outputs["{fits[0]}"]' if fits else f"take it from a step that makes {slot.type}"
        raise NotAllowed(f"expected {slot.type}, received {given.type} from {given.said()}", fix)
    return given.value()


def argument_value(parameter: ParameterSpec, given: Any, root: str | None) -> plan.Value:
    """Gives what a plain argument was given as a value of the Plan.

    Raises:
        NotAllowed: It does not fit the parameter's annotation.
        PipelineError: It is a function that a worker cannot import.
    """
    if parameter.kind.rstrip("?") == "function" and given is not None:
        if isinstance(given, FunctionRef):
            return plan.Function(given)
        if not callable(given) and not isinstance(given, str):
            fix = "pass the function itself, or name it"
            raise NotAllowed(f"expected a function or 'package.module:name', received {_said(given)}", fix)
        return plan.Function(FunctionRef.of(given, root=root))
    if parameter.kind.startswith("files") and next(unknowns_within(given), None) is None:
        try:
            return plan.Const(encode_files(given))
        except TypeError as error:
            raise NotAllowed(str(error)) from None
    return _value(given, parameter.annotation, parameter.kind, "")


def _value(given: Any, annotation: Any, kind: str, place: str) -> plan.Value:
    """A constant, or where something in it is known only at run time, a list or map of values."""
    if isinstance(given, OutputChannel | PipelineParameter):
        return _unknown(given, kind, place)
    if next(unknowns_within(given), None) is None:
        return plan.Const(encode(given, annotation, place))
    items = fields_of(given)
    if isinstance(items, Mapping):
        if odd := [key for key in items if not isinstance(key, str)]:
            raise NotAllowed(f"expected keys that are strings{_at(place)}, received {odd[0]!r}")
        inner = {key: _inner(annotation, given, key) for key in items}
        values = {key: _value(item, inner[key], kind_of(inner[key]), f"{place}.{key}") for key, item in items.items()}
        return plan.MapOf(tuple(sorted(values.items())))
    element = _inner(annotation, given, "")
    return plan.ListOf(
        tuple(_value(item, element, kind_of(element), f"{place}[{number}]") for number, item in enumerate(items))
    )


def _unknown(given: OutputChannel | PipelineParameter, kind: str, place: str) -> plan.Value:
    if isinstance(given, OutputChannel):
        if given.problem is not None:
            return given.value()
        if not given.is_result:
            fix = "declare the argument as Input[...], or pass an output parameter"
            raise NotAllowed(f"expected {kind}{_at(place)}, received the artifact {given.said()}", fix)
    its_kind = given.type if isinstance(given, OutputChannel) else kind_of(given.type)
    if not kinds_fit(its_kind, kind):
        said = f"expected {kind}{_at(place)}, received {given.said()} of type {its_kind}"
        raise NotAllowed(said, f"declare it as {kind}, or convert it in a component")
    return given.value() if isinstance(given, OutputChannel) else plan.Parameter(given.name)


def _inner(annotation: Any, given: Any, key: str) -> Any:
    """The annotation of an item of a list, dict or dataclass."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _inner(args[0], given, key)
    if origin in (typing.Union, types.UnionType):
        inside = [_inner(member, given, key) for member in args if member is not type(None)]
        return inside[0] if len(inside) == 1 else Any
    if dataclasses.is_dataclass(given) and not isinstance(given, type):
        return typing.get_type_hints(type(given)).get(key, Any)
    if origin is dict and len(args) == 2:
        return args[1]
    return args[0] if origin in (list, tuple) and args else Any


def _at(place: str) -> str:
    return f" at {place.lstrip('.')}" if place else ""


def _said(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"
