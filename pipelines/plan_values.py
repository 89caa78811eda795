"""The values of a Plan: what is known when it is written, and what only when it runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.pipelines.function_ref import FunctionRef


@dataclass(frozen=True)
class Const:
    """A plain JSON value."""

    value: Any


@dataclass(frozen=True)
class Parameter:
    """A parameter of the pipeline, given when it runs."""

    name: str


@dataclass(frozen=True)
class Channel:
    """An output of a step: an artifact, or an output parameter."""

    step: str
    output: str


@dataclass(frozen=True)
class Function:
    """A user's function."""

    ref: FunctionRef


@dataclass(frozen=True)
class PropertyOf:
    """A property of the artifact in a channel."""

    channel: Channel
    name: str


@dataclass(frozen=True)
class Comparison:
    op: str
    left: Value
    right: Value


@dataclass(frozen=True)
class OneOf:
    """The first of several values that exists."""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Collected:
    """The values of a channel over all rounds of a loop."""

    channel: Channel


@dataclass(frozen=True)
class ListOf:
    values: tuple[Value, ...]


@dataclass(frozen=True)
class MapOf:
    items: tuple[tuple[str, Value], ...]


Value = Const | Parameter | Channel | Function | PropertyOf | Comparison | OneOf | Collected | ListOf | MapOf


def value_to_json(value: Value) -> dict[str, Any]:
    match value:
        case Const():
            return {"const": value.value}
        case Parameter():
            return {"parameter": value.name}
        case Channel():
            return {"channel": f"{value.step}.{value.output}"}
        case Function():
            return {"function": value.ref.to_json()}
        case PropertyOf():
            return {"property": {"channel": f"{value.channel.step}.{value.channel.output}", "name": value.name}}
        case Comparison():
            return {"compare": {"op": value.op, "left": value_to_json(value.left), "right": value_to_json(value.right)}}
        case OneOf():
            return {"one_of": [value_to_json(item) for item in value.values]}
        case Collected():
            return {"collect": f"{value.channel.step}.{value.channel.output}"}
        case ListOf():
            return {"list": [value_to_json(item) for item in value.values]}
        case MapOf():
            return {"map": {key: value_to_json(item) for key, item in value.items}}


def value_from_json(document: Any) -> Value:
    if not isinstance(document, Mapping) or len(document) != 1:
        raise ValueError(f"expected a value such as {{const: 1}} or {{channel: Step.output}}, received {document!r}")
    [(kind, content)] = document.items()
    match kind:
        case "const":
            return Const(content)
        case "parameter":
            return Parameter(content)
        case "channel":
            return _channel(content)
        case "function":
            return Function(FunctionRef.from_json(content))
        case "property":
            return PropertyOf(_channel(content["channel"]), content["name"])
        case "compare":
            return Comparison(content["op"], value_from_json(content["left"]), value_from_json(content["right"]))
        case "one_of":
            return OneOf(tuple(value_from_json(item) for item in content))
        case "collect":
            return Collected(_channel(content))
        case "list":
            return ListOf(tuple(value_from_json(item) for item in content))
        case "map":
            return MapOf(tuple(sorted((key, value_from_json(item)) for key, item in content.items())))
    kinds = "const, parameter, channel, function, property, compare, one_of, collect, list, map"
    raise ValueError(f"unknown kind of value {kind!r}; there are {kinds}")


def _channel(text: Any) -> Channel:
    step, dot, output = str(text).rpartition(".")
    if not dot:
        raise ValueError(f"expected a channel written Step.output, received {text!r}")
    return Channel(step, output)


def channels_in(value: Value) -> Iterator[Channel]:
    """Yields every channel that a value reads."""
    match value:
        case Channel():
            yield value
        case PropertyOf() | Collected():
            yield value.channel
        case Comparison():
            yield from channels_in(value.left)
            yield from channels_in(value.right)
        case OneOf() | ListOf():
            for item in value.values:
                yield from channels_in(item)
        case MapOf():
            for _, item in value.items:
                yield from channels_in(item)
        case _:
            pass


def parameters_in(value: Value) -> Iterator[str]:
    """Yields the name of every pipeline parameter that a value reads."""
    match value:
        case Parameter():
            yield value.name
        case Comparison():
            yield from parameters_in(value.left)
            yield from parameters_in(value.right)
        case OneOf() | ListOf():
            for item in value.values:
                yield from parameters_in(item)
        case MapOf():
            for _, item in value.items:
                yield from parameters_in(item)
        case _:
            pass
