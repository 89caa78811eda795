"""The syntax tree of a function object, a def or a lambda among others in a line, and what its names stand for."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import linecache
import types
from collections.abc import Iterator
from typing import Any

FunctionNode = ast.FunctionDef | ast.Lambda
_UNKNOWN = object()


def function_node(function: types.FunctionType) -> FunctionNode | None:
    """The syntax tree of a function, None where its source cannot be found.

    A lambda is told from others of its line by its code.
    """
    code = function.__code__
    tree = _parsed(code.co_filename)
    if tree is None:
        return None
    found: list[FunctionNode] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda) and code.co_name == "<lambda>" and node.lineno <= code.co_firstlineno:
            end = node.end_lineno or node.lineno
            if code.co_firstlineno <= end and _same_code(node, code):
                found.append(node)
        elif isinstance(node, ast.FunctionDef) and node.name == code.co_name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first == code.co_firstlineno:
                found.append(node)
    return found[0] if found else None


@functools.lru_cache(32)
def _parse(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except SyntaxError:
        return None


def _parsed(file: str) -> ast.Module | None:
    linecache.checkcache(file)
    return _parse("".join(linecache.getlines(file)))


def _same_code(node: ast.Lambda, code: types.CodeType) -> bool:
    compiled = compile(ast.fix_missing_locations(ast.Expression(node)), "<lambda>", "eval").co_consts
    return any(isinstance(one, types.CodeType) and _bare(one) == _bare(code) for one in compiled)


def _bare(code: types.CodeType) -> Any:
    """What a lambda computes, without what depends on the scope around it: a captured name is a global out of it."""
    constants = [one for one in code.co_consts if not isinstance(one, types.CodeType)]
    return (constants, code.co_varnames[: code.co_argcount], sorted({*code.co_names, *code.co_freevars}))


class Names:
    """What the names of a function stand for: what it captures, globals, builtins.

    Args:
        function: The function.
    """

    def __init__(self, function: types.FunctionType) -> None:
        captured = inspect.getclosurevars(function)
        self.captured: dict[str, Any] = {**captured.nonlocals, **captured.globals}
        self._scope = {**vars(builtins), **function.__globals__, **captured.nonlocals}

    def value(self, node: ast.AST, local: set[str]) -> Any:
        """What an expression of a name and attributes stands for, or `unknown`; names in `local` are unknown."""
        if isinstance(node, ast.Name):
            return _UNKNOWN if node.id in local else self._scope.get(node.id, _UNKNOWN)
        if isinstance(node, ast.Attribute):
            owner = self.value(node.value, local)
            # Only modules and classes: an instance's attribute may be a property that does something.
            if isinstance(owner, types.ModuleType | type):
                try:
                    return getattr(owner, node.attr, _UNKNOWN)
                except Exception:  # a lazy module's attribute whose import fails
                    return _UNKNOWN
        return _UNKNOWN


def unknown(value: Any) -> bool:
    """Whether `Names.value` did not find it."""
    return value is _UNKNOWN


def parameters(node: FunctionNode) -> set[str]:
    """The parameters that get tensors: those without a default."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = positional[: len(positional) - len(arguments.defaults)]
    rest = [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    named = [one for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults) if default is None]
    return {one.arg for one in [*required, *named, *rest]}


def statements(node: FunctionNode) -> Iterator[ast.AST]:
    """Every node of a function's body, those of functions defined in it included."""
    for part in node.body if isinstance(node.body, list) else [node.body]:
        yield from ast.walk(part)
