"""Parameters as JSON: what may be passed, how it is written into a Plan, and how a component gets it back."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from headrace.pipelines.artifact import Artifact, artifact_classes
from headrace.pipelines.parameter_kinds import annotation_of


class NotAllowed(TypeError):
    """A value does not fit its annotation, or is not JSON-able; the message has what was expected and received."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.fix = fix


def encode(value: Any, annotation: Any, place: str = "") -> Any:
    """Checks a value against an annotation and gives its JSON form.

    >>> encode((1, 2), list[int])
    [1, 2]

    Raises:
        NotAllowed: The value is of another type, or is not JSON-able.
    """
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return encode(value, args[0], place)
    if annotation is Any or isinstance(annotation, typing.TypeVar):
        return _json(value, place)
    if origin in (typing.Union, types.UnionType):
        return _encode_union(value, annotation, args, place)
    if annotation is None or annotation is type(None):
        return _only(value is None, value, value, "None", place)
    if origin is typing.Literal:
        return _only(value in args and type(value) in {type(a) for a in args}, value, value, f"one of {args}", place)
    if origin is type:
        if isinstance(value, str) and value in artifact_classes():
            return value
        fits = isinstance(value, type) and issubclass(value, Artifact)
        return _only(fits, value.type_name() if fits else None, value, "an artifact type", place)
    if origin in (list, tuple) or annotation in (list, tuple):
        _only(isinstance(value, list | tuple), None, value, _name(annotation), place)
        element = args[0] if args else Any
        return [encode(item, element, f"{place}[{number}]") for number, item in enumerate(value)]
    if origin is dict or annotation is dict:
        _only(isinstance(value, Mapping), None, value, _name(annotation), place)
        if odd := [key for key in value if not isinstance(key, str)]:
            raise NotAllowed(f"expected keys that are strings{_at(place)}, received {odd[0]!r}")
        element = args[1] if len(args) == 2 else Any
        return {key: encode(item, element, f"{place}[{key!r}]") for key, item in value.items()}
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return _encode_record(value, annotation, place)
    if annotation is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        return _only(fits, _json(float(value), place) if fits else None, value, "float", place)
    if annotation is int:
        return _only(isinstance(value, int) and not isinstance(value, bool), value, value, "int", place)
    if annotation in (str, bool):
        return _only(isinstance(value, annotation), value, value, annotation.__name__, place)
    raise NotAllowed(
        f"parameters of type {_name(annotation)} are not JSON-able{_at(place)};"
        " take str, int, float, bool, list, dict or a dataclass"
    )


def decode(document: Any, annotation: Any) -> Any:
    """The inverse of `encode`: gives a component the value its annotation promises."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return decode(document, args[0])
    if document is None:
        return None
    if origin in (typing.Union, types.UnionType):
        for member in args:
            try:
                if member is not type(None):
                    decoded = decode(document, member)
                    encode(decoded, member)
                    return decoded
            except (NotAllowed, TypeError, KeyError):
                continue
        return document
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        hints = typing.get_type_hints(annotation)
        return annotation(**{key: decode(item, hints.get(key, Any)) for key, item in document.items()})
    if origin is type:
        from headrace.pipelines.artifact_types import artifact_class

        return artifact_class(document)
    if origin is tuple or annotation is tuple:
        return tuple(decode(item, args[0] if args else Any) for item in document)
    if origin is list:
        return [decode(item, args[0]) for item in document]
    if origin is dict:
        return {key: decode(item, args[1]) for key, item in document.items()}
    return float(document) if annotation is float else document


def parse_text(text: str, kind: str) -> Any:
    """Reads a parameter given on a command line as `name=text`.

    >>> parse_text("3", "int"), parse_text("a", "str"), parse_text("[1, 2]", "list[int]")
    (3, 'a', [1, 2])

    Raises:
        NotAllowed: The text does not read as the kind.
    """
    annotation = annotation_of(kind)
    for candidate in _readings(text, annotation):
        with contextlib.suppress(NotAllowed):
            return encode(candidate, annotation)
    raise NotAllowed(f"expected {kind}, received {text!r}", f"write {_example(annotation)}")


def _readings(text: str, annotation: Any) -> Iterator[Any]:
    """What a text may mean, most particular first."""
    members = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    if type(None) in members and text.lower() in ("none", "null", ""):
        yield None
    if bool in members and text.lower() in _TRUE | _FALSE:
        yield text.lower() in _TRUE
    with contextlib.suppress(ValueError):
        value = json.loads(text)
        # A number is a number where one is wanted; where a string is, it stays as it was written.
        if not (str in members and isinstance(value, int | float | bool | None)):
            yield value
    for number in (int, float):
        with contextlib.suppress(ValueError):
            yield number(text)
    yield text


_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _example(annotation: Any) -> str:
    examples = {bool: "true or false", int: "a whole number", float: "a number", list: "[1, 2]", dict: '{"a": 1}'}
    origin = typing.get_origin(annotation) or annotation
    return examples.get(origin, f"one of {typing.get_args(annotation)}" if origin is typing.Literal else "JSON")


def _encode_union(value: Any, annotation: Any, args: tuple[Any, ...], place: str) -> Any:
    reasons = []
    for member in sorted(args, key=lambda member: not (isinstance(member, type) and type(value) is member)):
        try:
            return encode(value, member, place)
        except NotAllowed as error:
            reasons.append(error)
    members = [member for member in args if member is not type(None)]
    if len(members) == 1 and value is not None:
        raise next(reason for member, reason in zip(args, reasons) if reason and "None" not in str(reason)) from None
    raise NotAllowed(f"expected {_name(annotation)}{_at(place)}, received {_said(value)}")


def _encode_record(value: Any, annotation: type, place: str) -> Any:
    if isinstance(value, Mapping):
        # As a YAML Plan writes it.
        known = {f.name for f in dataclasses.fields(annotation)}
        odd = sorted(set(value) - known)
        _only(not odd, None, value, f"{annotation.__name__} with the fields {', '.join(sorted(known))}", place)
        with contextlib.suppress(TypeError):
            value = decode(value, annotation)
    _only(isinstance(value, annotation), None, value, annotation.__name__, place)
    hints = typing.get_type_hints(annotation)
    return {
        f.name: encode(getattr(value, f.name), hints[f.name], f"{place}.{f.name}")
        for f in dataclasses.fields(annotation)
    }


def _json(value: Any, place: str) -> Any:
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotAllowed(f"expected a finite number{_at(place)}, received {value}: JSON has no such number")
        return value
    if isinstance(value, list | tuple):
        return [_json(item, f"{place}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _json(item, f"{place}[{key!r}]") for key, item in value.items()}
    raise NotAllowed(f"expected a value that JSON can hold{_at(place)}, received {_said(value)}")


def _only(fits: bool, result: Any, received: Any, expected: str, place: str) -> Any:
    if not fits:
        raise NotAllowed(f"expected {expected}{_at(place)}, received {_said(received)}")
    return result


def _at(place: str) -> str:
    return f" at {place.lstrip('.')}" if place else ""


def _said(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _name(annotation: Any) -> str:
    return (
        getattr(annotation, "__name__", str(annotation))
        if not typing.get_args(annotation)
        else str(annotation).replace("typing.", "")
    )
