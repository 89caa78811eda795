"""What does not survive in a SavedModel, found in the code of a Lambda layer before it is saved.

A Lambda's function runs once, when it is traced; the graph that it leaves is all that a client has. What the function
does in Python, and not by operations on tensors, happens at that moment only: its result is frozen into the graph, or
it needs an object that no other process has. `docs/lambda-rules.md` has a section for each rule.
"""

from __future__ import annotations

import ast
import datetime
import io
import logging
import random
import socket
import sqlite3
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import keras
import numpy as np
from headrace.transforms.keras_graph.lambda_source import (
    FunctionNode,
    Names,
    function_node,
    parameters,
    statements,
    unknown,
)

T = TypeVar("T")
RULES = {
    "python-on-tensor": "Python, NumPy or datetime works on a tensor",
    "python-branch": "a Python branch depends on a tensor",
    "frozen-clock": "the time of the trace is frozen into the graph",
    "frozen-random": "randomness without a seed, or frozen into the graph",
    "side-effect": "a side effect happens at the trace only",
    "open-resource": "a file or connection that no other process has",
    "untracked-variable": "a variable that no layer owns",
    "untracked-table": "a lookup table that no layer owns",
    "no-output-shape": "Keras cannot tell the output's shape",
}
_CLOCKS = {"now", "today", "utcnow", "time", "time_ns", "monotonic", "perf_counter", "localtime", "gmtime"}
# Python's own that a tensor cannot answer, or answers with its name.
_BUILTINS = (int, float, str, bool, complex, bytes, repr, format, ord, hash)
_PYTHON_MODULES = {"numpy", "pandas", "math", "re", "json", "datetime", "statistics", "decimal"}
_MUTATORS = {"append", "extend", "insert", "add", "update", "setdefault", "pop", "clear", "remove", "write", "put"}


@dataclass(frozen=True, order=True)
class Finding:
    """One thing in a Lambda that would not survive.

    Args:
        file: The author's file.
        line: Counted from 1.
        rule: A key of `RULES`.
        what: What was found, with the layer's name.
        fix: What to do.
    """

    file: str
    line: int
    rule: str
    what: str
    fix: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: [{self.rule}] {self.what}; {self.fix}"


class LambdaError(ValueError):
    """Lambda layers would not survive in a SavedModel; carries every finding."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = sorted(set(findings))
        super().__init__("\n".join(map(str, self.findings)))


def findings(layer: Any) -> list[Finding]:
    """What would not survive of a Lambda layer.

    Args:
        layer: A `keras.layers.Lambda`.

    >>> layer = keras.layers.Lambda(lambda x: (x + 78) / 8, name="scaled_longitude")
    >>> findings(layer)
    []
    """
    function = layer.function
    return list(_of_function(function, f"Lambda layer {layer.name!r}", set()))


def checked_call(layer: Any, call: Callable[[], T], found: list[Finding]) -> T:
    """Calls a Lambda layer, after what would not survive of it was added to `found`."""
    mine = findings(layer)
    found += mine
    try:
        return call()
    except NotImplementedError as error:
        # What is found in its code is why Keras cannot call it.
        if "output_shape" in str(error) and not mine:
            found.append(no_output_shape(layer, error))
        raise


@contextmanager
def lambdas_checked() -> Iterator[None]:
    """Looks at every Lambda layer that this thread calls in the block.

    Raises:
        LambdaError: Some would not survive. What the block raised itself is its cause: often it comes of them.
    """
    found: list[Finding] = []
    thread = threading.get_ident()

    def watched(layer: Any, *args: Any, **kwargs: Any) -> Any:
        def call() -> Any:
            return keras.layers.Layer.__call__(layer, *args, **kwargs)

        return checked_call(layer, call, found) if threading.get_ident() == thread else call()

    # Lambda has no __call__ of its own: taking it away again leaves Keras as it was.
    keras.layers.Lambda.__call__ = watched
    try:
        yield
    except Exception as error:
        if found:
            raise LambdaError(found) from error
        raise
    finally:
        del keras.layers.Lambda.__call__
    if found:
        raise LambdaError(found)


def no_output_shape(layer: Any, why: BaseException | None = None) -> Finding:
    """The finding for a Lambda on which Keras cannot compute the output's shape.

    Args:
        layer: The layer.
        why: What Keras raised, for want of what the function raised.
    """
    while why is not None and isinstance(why, NotImplementedError):
        why = why.__context__
    code = getattr(layer.function, "__code__", None)
    file, line = (code.co_filename, code.co_firstlineno) if code else ("<unknown>", 0)
    said = "" if why is None else f" ({type(why).__name__}: {(str(why).splitlines() or [''])[0][:120]})"
    what = f"Lambda layer {layer.name!r}: Keras cannot tell the shape of its output{said}"
    fix = "give output_shape=(n,), of one row, and dtype= where it is not float32"
    return Finding(file, line, "no-output-shape", what, fix)


def _of_function(function: Any, who: str, seen: set[types.CodeType]) -> Iterator[Finding]:
    if not isinstance(function, types.FunctionType) or function.__code__ in seen:
        return
    seen.add(function.__code__)
    file, first = function.__code__.co_filename, function.__code__.co_firstlineno
    names = Names(function)
    for name, value in sorted(names.captured.items()):
        for rule, what, fix in _captured(name, value):
            yield Finding(file, first, rule, f"{who} {what}", fix)
    node = function_node(function)
    if node is None:
        return
    reader = _Reader(node, names)
    for at, rule, what, fix in reader.findings():
        yield Finding(file, at.lineno, rule, f"{who} {what}", fix)
    for called in reader.called:
        if _is_authors(called):
            yield from _of_function(called, who, seen)


def _is_authors(function: types.FunctionType) -> bool:
    file = function.__code__.co_filename
    return "site-packages" not in file and "dist-packages" not in file and "/lib/python" not in file


def _captured(name: str, value: Any) -> Iterator[tuple[str, str, str]]:
    import tensorflow as tf
    from tensorflow.python.ops.lookup_ops import LookupInterface

    if isinstance(value, io.IOBase | socket.socket | sqlite3.Connection) or _is_connection(value):
        what = f"uses {name!r}, an open {type(value).__name__}"
        yield "open-resource", what, "read what it needs before, and pass it as a constant"
    elif isinstance(value, LookupInterface):
        what = f"uses {name!r}, a table that no layer owns"
        yield "untracked-table", what, "use StringLookup or IntegerLookup with vocabulary="
    elif isinstance(value, tf.Variable | keras.Variable) or (isinstance(value, keras.layers.Layer) and value.variables):
        what = f"uses {name!r}, a {type(value).__name__} whose state no layer of the graph owns"
        yield (
            "untracked-variable",
            what,
            "write a keras.layers.Layer that has it as an attribute, or call the layer itself",
        )


def _is_connection(value: Any) -> bool:
    return not isinstance(value, type | types.ModuleType) and all(
        callable(getattr(value, name, None)) for name in ("cursor", "commit", "close")
    )


class _Reader:
    """Reads one function: which names hold what is computed from its tensors, and what is done with them."""

    def __init__(self, node: FunctionNode, names: Names) -> None:
        self._node, self._names = node, names
        self._tensors = parameters(node)
        self._local = {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)} | {
            one.id for one in statements(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)
        }
        self.called: list[types.FunctionType] = []
        self._spread()

    def _spread(self) -> None:
        """Marks every name that is assigned something computed from a tensor."""
        known = -1
        while known != len(self._tensors):
            known = len(self._tensors)
            for one in statements(self._node):
                if isinstance(one, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.NamedExpr):
                    targets = one.targets if isinstance(one, ast.Assign) else [one.target]
                    if one.value is not None and self._is_tensor(one.value):
                        self._tensors |= {
                            name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
                        }
                elif isinstance(one, ast.For | ast.comprehension) and self._is_tensor(one.iter):
                    self._tensors |= {name.id for name in ast.walk(one.target) if isinstance(name, ast.Name)}

    def _is_tensor(self, node: ast.AST) -> bool:
        """Whether an expression is computed from a tensor; its shape and dtype are known when it is traced."""
        if isinstance(node, ast.Attribute) and node.attr in ("shape", "dtype", "ndim"):
            return False
        if isinstance(node, ast.Call) and self._names.value(node.func, self._local) is len:
            return False
        if isinstance(node, ast.Compare) and all(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            return False
        if isinstance(node, ast.Name):
            return node.id in self._tensors
        return any(self._is_tensor(child) for child in ast.iter_child_nodes(node))

    def findings(self) -> Iterator[tuple[Any, str, str, str]]:
        for one in statements(self._node):
            if isinstance(one, ast.Call):
                yield from self._call(one)
            elif isinstance(one, ast.If | ast.While | ast.IfExp | ast.Assert):
                if self._is_tensor(one.test):
                    yield one.test, "python-branch", "branches on a tensor in Python", "use keras.ops.where"
            elif isinstance(one, ast.BoolOp) and any(self._is_tensor(value) for value in one.values):
                fix = "use keras.ops.logical_and and logical_or, or & and |"
                yield one, "python-branch", "joins tensors by 'and' or 'or'", fix
            elif isinstance(one, ast.Global | ast.Nonlocal):
                what = f"assigns to {', '.join(one.names)} outside of it"
                yield one, "side-effect", what, "return what it computes, and do the rest elsewhere"
            elif isinstance(one, ast.FormattedValue) and self._is_tensor(one.value):
                what = "puts a tensor into an f-string, which then has the tensor's name"
                yield one, "python-on-tensor", what, "use tf.strings.join and tf.strings.as_string"

    def _call(self, call: ast.Call) -> Iterator[tuple[Any, str, str, str]]:
        value = self._names.value(call.func, self._local)
        shown = ast.unparse(call.func)
        on_tensor = any(self._is_tensor(one) for one in [*call.args, *(keyword.value for keyword in call.keywords)])
        if isinstance(call.func, ast.Attribute):
            yield from self._method(call, call.func, value)
        if unknown(value):
            return
        if isinstance(value, types.FunctionType) and on_tensor:
            self.called.append(value)
        if _is_random(value):
            fix = "use keras.random with seed=, in build_model and not in a transform"
            yield call, "frozen-random", f"calls {shown}, whose number is frozen when it is traced", fix
        elif _is_graph_random(value) and not _has_seed(call):
            yield call, "frozen-random", f"calls {shown} without a seed", "give seed="
        elif _is_clock(value):
            fix = "make it a column of the examples, which a client then sends"
            yield call, "frozen-clock", f"calls {shown}, whose moment is frozen when it is traced", fix
        elif value is print:
            yield call, "side-effect", "calls print, which prints at the trace only", "use tf.print, or leave it out"
        elif value is open:
            yield call, "open-resource", "opens a file", "read it before, and pass what is in it as a constant"
        elif on_tensor and _is_python(value):
            fix = "use keras.ops or TensorFlow operations on the tensor"
            yield call, "python-on-tensor", f"calls {shown} on a tensor", fix

    def _method(self, call: ast.Call, method: ast.Attribute, value: Any) -> Iterator[tuple[Any, str, str, str]]:
        if method.attr == "numpy" and self._is_tensor(method.value):
            yield call, "python-on-tensor", "calls .numpy() on a tensor", "use keras.ops or TensorFlow operations on it"
        owner = self._names.value(method.value, self._local)
        if unknown(owner):
            return
        name = ast.unparse(method.value)
        if isinstance(owner, logging.Logger):
            yield call, "side-effect", f"logs by {name}, at the trace only", "use tf.print, or leave it out"
        elif method.attr in _MUTATORS and isinstance(owner, list | dict | set | io.IOBase):
            fix = "return what it computes, and do the rest elsewhere"
            yield call, "side-effect", f"changes {name}, at the trace only", fix


def _module(value: Any) -> str:
    return str(getattr(value, "__module__", None) or getattr(type(value), "__module__", ""))


def _is_random(value: Any) -> bool:
    owner = getattr(value, "__self__", None)
    return isinstance(owner, random.Random | np.random.RandomState | np.random.Generator) or _module(value).startswith(
        ("random", "numpy.random", "secrets", "uuid")
    )


def _is_graph_random(value: Any) -> bool:
    name = _module(value)
    return (
        callable(value)
        and (name.startswith("keras.src.random") or "tensorflow.python.ops.random_ops" in name)
        and getattr(value, "__name__", "") != "SeedGenerator"
    )


def _has_seed(call: ast.Call) -> bool:
    return any(
        keyword.arg == "seed" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is None)
        for keyword in call.keywords
    )


def _is_clock(value: Any) -> bool:
    name = getattr(value, "__name__", "")
    owner = getattr(value, "__self__", None)
    of_time = owner is time or _module(value) == "time"
    of_date = isinstance(owner, type) and issubclass(owner, datetime.date)
    return name in _CLOCKS and (of_time or of_date)


def _is_python(value: Any) -> bool:
    """Whether a call of it works on Python values: a tensor would fail in it, or be frozen by it."""
    owner = getattr(value, "__self__", None)
    if isinstance(owner, type) and issubclass(owner, datetime.date):
        return True
    return isinstance(value, np.ufunc) or value in _BUILTINS or _module(value).partition(".")[0] in _PYTHON_MODULES
