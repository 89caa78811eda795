"""Reading the graph behind KerasTensors: who made a tensor, from which raw columns, and how.

Keras keeps it in `KerasTensor._keras_history` and `Operation._inbound_nodes`, which `keras.Function` walks too. This is
the only module here that looks at them.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import types
from collections.abc import Iterator
from typing import Any

import keras

# Of int64 and float64; a string takes more, and there are few of them in a row.
_VALUE_BYTES = 8


def is_symbolic(value: Any) -> bool:
    """Whether the value is a KerasTensor."""
    return isinstance(value, keras.KerasTensor)


def symbolic_leaves(structure: Any) -> list[Any]:
    """The KerasTensors in arguments of a call, in order."""
    return [leaf for leaf in keras.tree.flatten(structure) if is_symbolic(leaf)]


def producer(tensor: Any) -> tuple[Any, Any]:
    """The operation that made the tensor, and the node of that call; the node of an input has no input tensors."""
    operation, node_index, _ = tensor._keras_history
    return operation, operation._inbound_nodes[node_index]


def is_input(tensor: Any) -> bool:
    """Whether the tensor is a `keras.Input`."""
    return isinstance(producer(tensor)[0], keras.layers.InputLayer)


def upstream(tensor: Any) -> Iterator[Any]:
    """The tensor and every tensor it is computed from, each once."""
    seen: set[int] = set()
    waiting = [tensor]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting.extend(producer(one)[1].input_tensors)


def columns(tensor: Any) -> tuple[str, ...]:
    """The names of the inputs that the tensor depends on, sorted."""
    return tuple(sorted(producer(one)[0].name for one in upstream(tensor) if is_input(one)))


def row_bytes(tensors: list[Any]) -> int:
    """An upper bound of the memory that one row takes while the tensors are computed: all that they come from."""
    known = {id(one): one for tensor in tensors for one in upstream(tensor)}
    return sum(_VALUE_BYTES * math.prod(size or 1 for size in one.shape[1:]) for one in known.values())


def operations(tensors: list[Any]) -> list[Any]:
    """The operations that compute the tensors, inputs left out, each once."""
    found: dict[int, Any] = {}
    for tensor in tensors:
        for one in upstream(tensor):
            operation = producer(one)[0]
            if not isinstance(operation, keras.layers.InputLayer):
                found[id(operation)] = operation
    return list(found.values())


class Fingerprints:
    """A digest of how a tensor is computed from the raw columns, equal in two traces of one function.

    It covers class and configuration of every operation, without generated names and without what data decided.
    """

    def __init__(self, identity: Any) -> None:
        self._identity = identity
        self._known: dict[int, str] = {}
        self._kept: list[Any] = []

    def of(self, tensor: Any) -> str:
        """The digest of a tensor; deep graphs are walked without recursion."""
        waiting = [tensor]
        while waiting:
            one = waiting[-1]
            operation, node = producer(one)
            missing = [other for other in node.input_tensors if id(other) not in self._known]
            if missing:
                waiting.extend(missing)
                continue
            waiting.pop()
            if id(one) not in self._known:
                self._known[id(one)] = self._digest(one, operation, node)
                self._kept.append(one)
        return self._known[id(tensor)]

    def _digest(self, tensor: Any, operation: Any, node: Any) -> str:
        if isinstance(operation, keras.layers.InputLayer):
            return f"column:{operation.name}"
        position = next(i for i, output in enumerate(node.outputs) if output is tensor)
        arguments = keras.tree.map_structure(
            lambda leaf: self._known[id(leaf)] if is_symbolic(leaf) else _described(leaf),
            (list(node.arguments.args), dict(node.arguments.kwargs)),
        )
        text = f"{self.operation(operation)}|{position}|{arguments!r}"
        return hashlib.sha256(text.encode()).hexdigest()

    def operation(self, operation: Any) -> str:
        """Class and configuration of an operation in one string."""
        kind = type(operation)
        identity = self._identity(operation)
        if identity is None:
            if isinstance(operation, keras.layers.Lambda):
                identity = _described(operation.function)
            else:
                try:
                    identity = operation.get_config()
                except Exception:  # a layer of the user's without a config is known by its class
                    identity = {}
        return f"{kind.__module__}.{kind.__qualname__}|{_described(identity)}"


def _described(value: Any, depth: int = 0) -> str:
    if depth > 8:
        return type(value).__qualname__
    if isinstance(value, dict):
        items = sorted((str(key), _described(one, depth + 1)) for key, one in value.items() if key != "name")
        return repr(items)
    if isinstance(value, list | tuple | set | frozenset):
        return repr([_described(one, depth + 1) for one in value])
    if isinstance(value, types.FunctionType):
        cells = sorted(_described(one, depth + 1) for one in inspect.getclosurevars(value).nonlocals.items())
        return repr([_code(value.__code__), cells, _described(value.__defaults__, depth + 1)])
    if isinstance(value, str | bytes | int | float | bool | complex | type(None)):
        return repr(value)
    shown = repr(value)
    # An address in a repr differs from trace to trace and tells nothing.
    return type(value).__qualname__ if " at 0x" in shown else f"{type(value).__qualname__}:{shown}"


def _code(code: types.CodeType) -> str:
    constants = [_code(one) if isinstance(one, types.CodeType) else repr(one) for one in code.co_consts]
    return repr((code.co_code, constants, code.co_names))
