"""One trace of `preprocessing_fn`, observed: which layers need data, what they are called on, which have their state.

A trace makes new layer objects, unless they are made at module level or cached, so a layer is recognised in the next
trace by what it is and what it is first called on: class, configuration and a fingerprint of its input's graph down to
the raw columns (`Fingerprints`). Two layers that agree in all of it, two unnamed ones on one column for example, are
told apart by the order of their first calls. Objects that live through several traces are recognised in the same way,
and what an earlier analysis gave them is not taken for the author's.

One layer called on several tensors is adapted on all of them together, as `adapt` on their concatenation.
"""

from __future__ import annotations

import contextvars
import functools
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import keras
from headrace.transforms.keras_graph import lambda_rules, symbolic_graph
from headrace.transforms.keras_graph.layer_state import LayerState, registered, state_of

T = TypeVar("T")

_active: contextvars.ContextVar[Trace | None] = contextvars.ContextVar("keras_graph_trace", default=None)
_patching = threading.Lock()
# Layers whose state is ours: an object at module level has it still when the next analysis begins.
_ours: weakref.WeakSet[Any] = weakref.WeakSet()

Key = tuple[str, int]


@dataclass
class TracedLayer:
    """A layer that needs data, in one trace.

    Args:
        layer: The Keras layer.
        state: Its adapter.
        key: What it is recognised by in another trace.
        pending: Whether its state was not known in this trace.
        inputs: The distinct tensors it is called on.
    """

    layer: Any
    state: LayerState
    key: Key
    pending: bool
    inputs: list[Any] = field(default_factory=list)


class Trace:
    """Observes the layer calls of one trace and gives each layer the state that is known for it.

    Args:
        states: Known states by key.
        created: Keys by order of creation in the trace before, for layers read before they are called.

    Attributes:
        layers: The layers that need data, in the order of their first calls.
        guessed_shapes: Whether an output has a guessed width, because a layer's state was not known.
        was_read: Whether the author asked a layer for a state that was not known.
        findings: What would not survive of its Lambda layers.
    """

    def __init__(self, states: Mapping[Key, Any], created: Mapping[tuple[str, int], Key]) -> None:
        self._states = states
        self._guessed = created
        self._seen: Counter[str] = Counter()
        self._creations: Counter[str] = Counter()
        self._made: list[tuple[Any, tuple[str, int]]] = []
        self._by_id: dict[int, TracedLayer] = {}
        self._read_early: dict[int, Key] = {}
        self._depth = 0
        self.fingerprints = symbolic_graph.Fingerprints(_identity)
        self.layers: list[TracedLayer] = []
        self.guessed_shapes = False
        self.was_read = False
        self.kept: list[Any] = []
        self.findings: list[lambda_rules.Finding] = []

    def creation_order(self) -> dict[tuple[str, int], Key]:
        """The key of each layer by class and order of creation."""
        return {order: self._by_id[id(layer)].key for layer, order in self._made if id(layer) in self._by_id}

    def created(self, layer: Any) -> None:
        """Notes that the trace makes a layer, which is not initialised yet."""
        name = type(layer).__qualname__
        self._made.append((layer, (name, self._creations[name])))
        self._creations[name] += 1

    def read_early(self, layer: Any) -> None:
        """Gives a layer its state when the author reads it before the first call."""
        known = self._by_id.get(id(layer))
        # Within a call it is Keras that asks.
        self.was_read |= not self._depth and (known is None or known.pending)
        if id(layer) in self._by_id or id(layer) in self._read_early:
            return
        order = next((order for made, order in self._made if made is layer), ("", -1))
        key = self._guessed.get(order)
        if key is not None and key in self._states:
            state = state_of(layer)
            assert state is not None
            if layer not in _ours and state.is_given(layer):
                return
            _ours.add(layer)
            self._read_early[id(layer)] = key
            state.set(layer, self._states[key], (None, 1))

    def complete(self, states: Mapping[Key, Any]) -> bool:
        """Gives the layers the state that they lack, if the graph as it was traced is right with it.

        Args:
            states: By key.

        Returns:
            Whether it is; otherwise the function is to be traced again, and nothing was changed.
        """
        pending = [one for one in self.layers if one.pending]
        fixed = all(one.key in states and one.state.keeps_shape for one in pending)
        if not fixed or self.guessed_shapes or self.was_read:
            return False
        for one in pending:
            one.state.set(one.layer, states[one.key], tuple(one.inputs[0].shape))
        return True

    def call(self, layer: Any, call: Callable[[], T], arguments: Any) -> T:
        """Makes one layer call of the author's, with the layer's state set before."""
        tensors = symbolic_graph.symbolic_leaves(arguments)
        if self._depth or not tensors:
            return call()
        self._depth += 1
        try:
            traced = self._observe(layer, tensors)
            is_lambda = isinstance(layer, keras.layers.Lambda)
            outputs = lambda_rules.checked_call(layer, call, self.findings) if is_lambda else call()
        finally:
            self._depth -= 1
        self.kept.append(outputs)
        if traced is not None:
            made = symbolic_graph.symbolic_leaves(outputs)
            called_on = symbolic_graph.producer(made[0])[1].input_tensors[0]
            if all(called_on is not one for one in traced.inputs):
                traced.inputs.append(called_on)
        elif layer.trainable_weights:
            raise ValueError(
                f"{_name(layer)} has trainable weights, which Transform does not train: call it in build_model, or set "
                "trainable=False if its weights are given"
            )
        return outputs

    def _observe(self, layer: Any, tensors: list[Any]) -> TracedLayer | None:
        state = state_of(layer)
        if state is None:
            _check_needs_no_data(layer)
            return None
        known = self._by_id.get(id(layer))
        if known is not None:
            return known
        if layer not in _ours and state.is_given(layer):
            return None
        refused = state.loses(layer)
        if refused:
            raise ValueError(f"{refused}, which Transform does not support: remove that option")
        _ours.add(layer)
        what = f"{self.fingerprints.operation(layer)}|{self.fingerprints.of(tensors[0])}"
        key = (what, self._seen[what])
        self._seen[what] += 1
        early = self._read_early.get(id(layer))
        if early is not None and early != key:
            raise ValueError(
                f"{_name(layer)} was read before it was called, and preprocessing_fn makes its layers in another order "
                "each time: call the layer first, then read its vocabulary"
            )
        traced = TracedLayer(layer, state, key, pending=key not in self._states)
        self._by_id[id(layer)] = traced
        self.layers.append(traced)
        if traced.pending:
            self.guessed_shapes |= state.provisional(layer)
        else:
            state.set(layer, self._states[key], tuple(tensors[0].shape))
        return traced


def _identity(operation: Any) -> Any:
    state = state_of(operation) if isinstance(operation, keras.layers.Layer) else None
    return None if state is None else state.identity(operation)


def _name(layer: Any) -> str:
    return f"{type(layer).__name__} layer {layer.name!r}"


def _check_needs_no_data(layer: Any) -> None:
    for inner in layer._flatten_layers(include_self=False):
        state = state_of(inner)
        if state is not None and not state.is_given(inner):
            raise ValueError(
                f"{_name(inner)} inside {_name(layer)} needs data, and Transform sees only the layers that "
                "preprocessing_fn calls itself: call it there, or give it its state"
            )
    if hasattr(layer, "adapt"):
        raise ValueError(
            f"{_name(layer)} has an adapt method and Transform does not know its state: register it with "
            "headrace.transforms.keras_graph.register_layer"
        )


@contextmanager
def observing(trace: Trace) -> Iterator[None]:
    """Sends the layer calls of this thread through the trace; other threads use Keras as before."""
    with _patching, ExitStack() as patches:
        patches.enter_context(_patched(keras.layers.Layer, "__call__", _traced_call))
        patches.enter_context(_patched(keras.layers.Layer, "__new__", _traced_new))
        patches.enter_context(_patched(keras.layers.TextVectorization, "compute_output_shape", _text_output_shape))
        for kind, state in registered().items():
            for name in state.early_reads:
                patches.enter_context(_patched(kind, name, _traced_read))
        token = _active.set(trace)
        try:
            yield
        finally:
            _active.reset(token)


@contextmanager
def _patched(kind: type, name: str, around: Callable[[Any], Any]) -> Iterator[None]:
    own = kind.__dict__.get(name)
    setattr(kind, name, around(getattr(kind, name)))
    try:
        yield
    finally:
        if own is None:
            delattr(kind, name)
        else:
            setattr(kind, name, own)


def _traced_call(original: Any) -> Any:
    @functools.wraps(original)
    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        trace = _active.get()
        if trace is None:
            return original(layer, *args, **kwargs)
        return trace.call(layer, lambda: original(layer, *args, **kwargs), (args, kwargs))

    return call


def _text_output_shape(original: Any) -> Any:
    """Keras says (rows, 1, width) where the layer, called on (rows, 1) texts, drops the 1 before it splits them."""

    @functools.wraps(original)
    def compute_output_shape(layer: Any, input_shape: tuple[int | None, ...]) -> Any:
        dropped = layer._split is not None and len(input_shape) > 1 and input_shape[-1] == 1
        return original(layer, tuple(input_shape[:-1]) if dropped else input_shape)

    return compute_output_shape


def _traced_new(original: Any) -> Any:
    @functools.wraps(original)
    def new(kind: type, *args: Any, **kwargs: Any) -> Any:
        layer = original(kind, *args, **kwargs)
        trace = _active.get()
        if trace is not None and state_of(layer) is not None:
            trace.created(layer)
        return layer

    return staticmethod(new)


def _traced_read(original: Any) -> Any:
    @functools.wraps(original)
    def read(layer: Any, *args: Any, **kwargs: Any) -> Any:
        trace = _active.get()
        if trace is not None:
            trace.read_early(layer)
        return original(layer, *args, **kwargs)

    return read
