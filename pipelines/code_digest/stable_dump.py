"""A text of an AST that is equal whenever the code means the same, in every process and every Python from 3.11 on.

`ast.dump` differs between versions (fields come and go, defaults are printed or not). Here a field that is empty is
left out, and so is everything that does not run: positions, comments, docstrings, `pass`, type comments, string
prefixes, and the annotations of a function's local variables, which Python never evaluates. The annotations of
arguments, returns and class attributes stay: dataclasses and components read them.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Iterable

_SKIPPED_FIELDS = frozenset({"ctx", "type_comment", "kind", "type_ignores"})
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def stable_dump(node: ast.AST) -> str:
    """The normalised text of one node.

    >>> one = ast.parse("def f(a, b=1):\\n    'doc'\\n    return a+b  # sum")
    >>> two = ast.parse("def f(a, b = 1): return (a + b)")
    >>> stable_dump(one) == stable_dump(two)
    True
    """
    pieces: list[str] = []
    _write(node, pieces.append, in_function=False)
    return "".join(pieces)


def digest_nodes(nodes: Iterable[ast.AST], *context: str) -> str:
    """The SHA-256 of the normalised text of several nodes, as 32 hexadecimal digits."""
    text = "\0".join((*context, *(stable_dump(node) for node in nodes)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _write(value: object, write: Callable[[str], object], in_function: bool) -> None:
    if isinstance(value, ast.AST):
        _write_node(value, write, in_function)
    elif isinstance(value, list):
        write("[")
        for item in value:
            if not _does_nothing(item, in_function):
                _write(item, write, in_function)
                write(",")
        write("]")
    else:
        write(_constant(value))


def _write_node(node: ast.AST, write: Callable[[str], object], in_function: bool) -> None:
    if isinstance(node, ast.AnnAssign) and in_function:
        node = ast.Assign(targets=[node.target], value=node.value or ast.Constant(value=None))
    write(type(node).__name__)
    write("(")
    if isinstance(node, ast.Constant | ast.MatchSingleton):
        write(_constant(node.value))
    elif isinstance(node, ast.JoinedStr):
        _write(_joined(node.values), write, in_function)
    else:
        inside_body = True if isinstance(node, _FUNCTIONS) else False if isinstance(node, ast.ClassDef) else in_function
        for field in node._fields:
            item = getattr(node, field, None)
            if item is None or item == [] or field in _SKIPPED_FIELDS:
                continue
            write(field)
            write("=")
            _write(item, write, inside_body if field == "body" else in_function)
            write(",")
    write(")")


def _does_nothing(item: object, in_function: bool) -> bool:
    if isinstance(item, ast.Expr):
        return isinstance(item.value, ast.Constant)
    if isinstance(item, ast.AnnAssign):
        return in_function and item.value is None
    return isinstance(item, ast.Pass)


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    # Versions differ in how they split the literal text of an f-string.
    merged: list[ast.expr] = []
    for value in values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            if not value.value:
                continue
            last = merged[-1] if merged else None
            if isinstance(last, ast.Constant) and isinstance(last.value, str):
                merged[-1] = ast.Constant(value=last.value + value.value)
                continue
        merged.append(value)
    return merged


def _constant(value: object) -> str:
    if type(value) is int and value.bit_length() > 4096:
        return f"int:{value:x}"  # repr refuses very long decimals
    return f"{type(value).__name__}:{value!r}"
