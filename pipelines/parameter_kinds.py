"""Kinds of parameters as the Plan writes them, such as ``"int"`` or ``"list[str]?"``, and which fits which."""

from __future__ import annotations

import ast
import re
import types
from typing import Any, Literal, Union, get_args, get_origin

_SIMPLE: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list,
    "dict": dict,
    "tuple": tuple,
    "None": None,
}
# A question mark outside of quotes.
_OPTIONAL = re.compile(r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|\?""")


class Kind(str):
    """A parameter's kind as text, where a Python notation has a type."""


def annotation_of(kind: str) -> Any:
    """Gives the annotation of a kind; a name that only its component knows is Any.

    >>> annotation_of("list[int]?") == (list[int] | None)
    True
    """
    text = _OPTIONAL.sub(lambda found: found[1] or "|None", kind)
    try:
        return _annotation(ast.parse(text, mode="eval").body)
    except SyntaxError:
        return Any


def _annotation(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant():
            return Literal[node.value]
        case ast.Name():
            return _SIMPLE.get(node.id, Any)
        case ast.Subscript(value=ast.Name(id=name)) if name in ("list", "dict", "tuple"):
            inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return _SIMPLE[name][tuple(_annotation(item) for item in inner)]
        case ast.BinOp(op=ast.BitOr()):
            members = [*_members(_annotation(node.left)), *_members(_annotation(node.right))]
            return Any if Any in members else Union[tuple(members)]  # noqa: UP007 - of members that are known here only
    return Any


def _members(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in (Union, types.UnionType)
    return get_args(annotation) if is_union else (annotation,)


def kinds_fit(given: str, expected: str) -> bool:
    """Tells whether every value of one kind is one of another.

    >>> kinds_fit("int", "float"), kinds_fit("str?", "str"), kinds_fit("'a'", "'a'|'b'")
    (True, False, True)
    """
    if given == expected or expected in ("files", "files?"):
        return True
    return _fits(annotation_of(given), annotation_of(expected))


def _fits(given: Any, expected: Any) -> bool:
    if expected is Any or given is Any or given == expected:
        return True
    if get_origin(given) in (Union, types.UnionType):
        return all(_fits(member, expected) for member in get_args(given))
    if get_origin(given) is Literal:
        return all(_fits_literal(choice, expected) for choice in get_args(given))
    if get_origin(expected) in (Union, types.UnionType):
        return any(_fits(given, member) for member in get_args(expected))
    if given is int and expected is float:
        return True
    origins = get_origin(given) or given, get_origin(expected) or expected
    if origins[0] is not origins[1] or origins[0] not in (list, dict, tuple):
        return False
    inner, wanted = get_args(given), get_args(expected)
    return not inner or not wanted or all(_fits(one, other) for one, other in zip(inner, wanted))


def _fits_literal(choice: Any, expected: Any) -> bool:
    if get_origin(expected) in (Union, types.UnionType):
        return any(_fits_literal(choice, member) for member in get_args(expected))
    if get_origin(expected) is Literal:
        return choice in get_args(expected)
    return _fits(type(choice), expected)
