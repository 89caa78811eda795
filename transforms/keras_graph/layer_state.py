"""What a data-dependent layer needs to be computed by Transform, and the one place where such layers are registered.

A `LayerState` is the thin adapter between a Keras layer and pure functions. Its `Analyzer` is what travels to the
workers: it must be picklable, and its methods are the pure create, summarize, merge and finish of a pass.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa


class Analyzer(Protocol):
    """A mergeable summary of one layer's input."""

    def create(self) -> Any:
        """The neutral element of `merge`."""
        ...

    def summarize(self, values: pa.Array | np.ndarray) -> Any:
        """The summary of a batch.

        Args:
            values: What the layer is called on, `(rows, ...)`, NaN or `""` where a value is missing. Where
                `LayerState.reads_arrow` is true and the layer is called on a raw column: the column itself, with nulls.
        """
        ...

    def merge(self, left: Any, right: Any) -> Any:
        """The summary of both together, whatever the order."""
        ...

    def finish(self, summary: Any) -> Any:
        """The state, once everything is merged."""
        ...


@runtime_checkable
class SpillingAnalyzer(Analyzer, Protocol):
    """An analyzer whose summary may be larger than memory, and which can leave the most of it in files."""

    def spilling(self, folder: str) -> Analyzer:
        """The same analyzer, which may write files.

        Args:
            folder: A folder that every worker of the pass sees, deleted after `finish`.
        """
        ...


class LayerState:
    """How Transform computes and sets the state of one class of Keras layers. Subclass and `register_layer` it.

    Example:
        A third-party layer that divides by the largest value seen:

        >>> import numpy as np
        >>> class LargestState(LayerState):
        ...     def is_given(self, layer): return layer.largest is not None
        ...     def analyzer(self, layer, shape, dtype): return Largest()
        ...     def set(self, layer, state, shape): layer.largest = state
        >>> class Largest:
        ...     def create(self): return float("-inf")
        ...     def summarize(self, values): return float(np.nanmax(values, initial=float("-inf")))
        ...     def merge(self, left, right): return max(left, right)
        ...     def finish(self, summary): return summary
    """

    reads_arrow = False
    """Whether the analyzer takes the Arrow array of a raw column, so that no tensor is made of it."""

    early_reads: tuple[str, ...] = ()
    """Methods of the layer that a `preprocessing_fn` may call before it calls the layer, such as `vocabulary_size`."""

    keeps_shape = False
    """Whether what the layer gives has the same shape and dtype before it has its state, unless `provisional` says
    otherwise: a graph that was traced without the state is then right with it."""

    def is_given(self, layer: Any) -> bool:
        """Whether the author gave the layer its state (`vocabulary=`, `mean=`, `bin_boundaries=`, `adapt`)."""
        raise NotImplementedError

    def identity(self, layer: Any) -> Any:
        """What tells the layer from others of its class: its configuration without its name and state."""
        return layer.get_config()

    def provisional(self, layer: Any) -> bool:
        """Makes a layer without state callable on a symbolic tensor; gives whether its output's shape is a guess."""
        return False

    def analyzer(self, layer: Any, shape: tuple[int | None, ...], dtype: str) -> Analyzer:
        """The analyzer for the layer's input of this shape, rows included, and Keras dtype."""
        raise NotImplementedError

    def set(self, layer: Any, state: Any, shape: tuple[int | None, ...]) -> None:
        """Gives the layer its state; called before the layer is called, also on a layer that has an earlier state."""
        raise NotImplementedError

    def loses(self, layer: Any) -> str | None:
        """Why this engine cannot compute the layer, or None."""
        return None


_REGISTERED: dict[type, LayerState] = {}


def register_layer(layer_class: type, state: LayerState) -> None:
    """Lets Transform compute the state of a layer class and of its subclasses.

    Args:
        layer_class: A `keras.layers.Layer`.
        state: How to; the last registered one for a class wins.
    """
    _REGISTERED[layer_class] = state


def registered() -> dict[type, LayerState]:
    """The registered classes; the stock layers of Keras among them."""
    from headrace.transforms.keras_graph import stock_layers

    return {**stock_layers.STOCK, **_REGISTERED}


def state_of(layer: Any) -> LayerState | None:
    """The adapter for a layer by its most specific registered class, or None where it needs no data."""
    known = registered()
    for kind in type(layer).__mro__:
        if kind in known:
            return known[kind]
    return None
