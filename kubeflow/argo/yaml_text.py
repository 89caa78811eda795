"""YAML that every reader takes for the same: block style, and a string in double quotes unless it can be nothing else.

Kubernetes reads YAML with Go's sigs.k8s.io/yaml, which follows YAML 1.1 here and 1.2 there: of `no`, `0o17`, `1e3` and
`12:30` neither the type nor the text is sure unless they are quoted. A JSON string is a YAML string in double quotes;
only what YAML calls not printable must be escaped in it beside what JSON escapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# A word that cannot be a number, a time, or a symbol of YAML's.
_PLAIN = re.compile(r"/?[A-Za-z][A-Za-z0-9._/-]*")
_SPECIAL = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])
_NOT_PRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufdd0-\ufdef\ufeff\ufffe\uffff]")


def to_yaml(document: Mapping[str, Any]) -> str:
    """Writes mappings, lists, strings, whole numbers and booleans as YAML; equal documents give equal bytes.

    >>> print(to_yaml({"a": [{"b": "no", "c": {}}, "x"], "d": 3}), end="")
    a:
    - b: "no"
      c: {}
    - x
    d: 3

    Raises:
        ValueError: A string has a half of a surrogate pair, which is no character.
        TypeError: A value is of another type.
    """
    return "\n".join(_mapping(document, "")) + "\n"


def _mapping(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, item in value.items():
        label = f"{indent}{scalar(key)}:"
        if isinstance(item, Mapping) and item:
            yield label
            yield from _mapping(item, indent + "  ")
        elif _is_list(item) and item:
            yield label
            yield from _sequence(item, indent)
        else:
            yield f"{label} {_leaf(item)}"


def _sequence(value: Sequence[Any], indent: str) -> Iterator[str]:
    for item in value:
        if isinstance(item, Mapping) and item:
            lines = _mapping(item, indent + "  ")
            yield f"{indent}- {next(lines)[len(indent) + 2 :]}"
            yield from lines
        elif _is_list(item) and item:
            raise TypeError(f"expected no list within a list, received {item!r}")
        else:
            yield f"{indent}- {_leaf(item)}"


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _leaf(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, Mapping):
        return "{}"
    if _is_list(value):
        return "[]"
    raise TypeError(f"expected a string, a whole number, a boolean, a list or a mapping, received {value!r}")


def scalar(text: str) -> str:
    """Writes a string, in double quotes unless every reader takes it for a string without them."""
    if _PLAIN.fullmatch(text) and text.lower() not in _SPECIAL:
        return text
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"expected characters, received half of a surrogate pair in {text!r}")
    quoted = json.dumps(text, ensure_ascii=False)
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)
