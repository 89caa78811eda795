"""Parameters in KFP: the type of each kind, a value as KFP takes it, and back.

A number of KFP is a double, so that whole numbers beyond 2**53 are refused. What KFP has no exact type for travels as
the text of its JSON.

KFP's server, its driver and its launcher replace templates in the values of a pipeline's parameters: Argo what is in
`{{...}}`, the launcher `{{$...}}` in what it has put in place itself, in an order that changes from run to run, and
Kubernetes `$(...)` and `$$` in the arguments of both their pods. Nothing can make a value inert that KFP's user sees,
so that such texts are refused. So are characters that the server cannot store: it writes the pipeline as YAML, and
keeps an empty one where that fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_origin

from headrace.kubeflow.step_document import inert_json
from headrace.pipelines.parameter_kinds import annotation_of
from headrace.pipelines.parameter_values import NotAllowed, encode, parse_text

_SIMPLE = {str: "STRING", int: "NUMBER_INTEGER", float: "NUMBER_DOUBLE", bool: "BOOLEAN"}
_TEMPLATES = ("{{", "$(", "$$")
_NOT_STORED = re.compile("[\x7f-\x9f\u2028\u2029\ufffe\uffff\ud800-\udfff]")
_EXACT = 2**53
# The `parameterType` of an output parameter of a step: its inert JSON. No type of KFP holds every whole number, and
# none says that there is no value, as of a step that was skipped.
RESULT = "STRING"


def parameter_type(kind: str) -> str:
    """The `parameterType` of a pipeline parameter.

    >>> [parameter_type(kind) for kind in ("int", "list[str]", "dict[str, int]", "float?", "'a'|'b'")]
    ['NUMBER_INTEGER', 'LIST', 'STRUCT', 'STRING', 'STRING']
    """
    annotation = annotation_of(kind)
    origin = get_origin(annotation) or annotation
    if origin in (list, tuple):
        return "LIST"
    return "STRUCT" if origin is dict else _SIMPLE.get(annotation, "STRING")


def parameter_to_kfp(value: Any, kind: str) -> Any:
    """A pipeline parameter's value as a run of KFP takes it.

    >>> parameter_to_kfp([1, 2], "list[int]"), parameter_to_kfp("a", "str"), parameter_to_kfp(None, "int?")
    ([1, 2], 'a', 'null')

    Raises:
        NotAllowed: It does not fit the kind, or would not arrive as it was written.
    """
    value = encode(value, annotation_of(kind))
    require_safe(value)
    if kind == "str" or parameter_type(kind) != "STRING":
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def parameter_from_kfp(received: Any, kind: str) -> Any:
    """The JSON value of a pipeline parameter from KFP's executor input.

    >>> parameter_from_kfp("null", "int?"), parameter_from_kfp(3, "float"), parameter_from_kfp("b", "'a'|'b'")
    (None, 3.0, 'b')

    Raises:
        NotAllowed: It does not fit the kind.
    """
    if kind == "str" or parameter_type(kind) != "STRING" or not isinstance(received, str):
        return encode(_whole(received), annotation_of(kind))
    # A person may have typed it into a form, without the quotes of JSON.
    return parse_text(received, kind)


def result_to_kfp(value: Any, kind: str) -> str:
    """An output parameter's value as a step hands it to KFP.

    >>> result_to_kfp(2**60, "int"), result_to_kfp("a", "str")
    ('1152921504606846976', '"a"')

    Raises:
        NotAllowed: It does not fit the kind.
    """
    return inert_json(encode(value, annotation_of(kind)))


def result_from_kfp(received: str) -> Any:
    """The JSON value of an output parameter of an earlier step, from KFP's executor input."""
    return json.loads(received)


def require_safe(value: Any) -> None:
    """Refuses a value of which KFP would make another.

    Raises:
        NotAllowed: It has a template in it, a character that is not stored, or a whole number beyond 2**53.
    """
    for leaf in _leaves(value):
        if not isinstance(leaf, str):
            _require_exact(leaf)
            continue
        if found := next((template for template in _TEMPLATES if template in leaf), None):
            fix = "take it from a constant of a step, which arrives as it is written"
            raise NotAllowed(f"KFP replaces what follows {found!r} in the value of a parameter, received {leaf!r}", fix)
        if character := not_stored(leaf):
            raise NotAllowed(f"KFP cannot store the character {character!r}, received {leaf!r}", "leave it out")


def not_stored(text: str) -> str | None:
    """The first character of a text that KFP's server cannot store, if there is one.

    >>> not_stored("line\u2028line"), not_stored("two\\nlines")
    ('\\u2028', None)
    """
    found = _NOT_STORED.search(text)
    return found[0] if found else None


def _require_exact(value: Any) -> None:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _EXACT:
        what = f"a number of KFP is a double: {value} would become {int(float(value))}"
        raise NotAllowed(what, "pass it as a string")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _whole(value: Any) -> Any:
    """With whole numbers as integers, as which every one of them was written."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return {key: _whole(item) for key, item in value.items()} if isinstance(value, dict) else value
