"""What is known of each feature: dtype, static shape, categories and how its rows are stored; and that as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import keras
import numpy as np
from headrace.transforms.keras_graph import symbolic_graph

Encoding = Literal["dense", "one_hot", "multi_hot", "sparse"]

WIDE = 8
"""A one-hot, multi-hot or count wider than this is stored as indices; a narrower one costs no more as it is."""

_LOOKUPS = (keras.layers.StringLookup, keras.layers.IntegerLookup)
_BINS = (keras.layers.Hashing, keras.layers.HashedCrossing)
_TEXT = keras.layers.TextVectorization
_HOT = (*_LOOKUPS, *_BINS, keras.layers.CategoryEncoding, keras.layers.Discretization, _TEXT)


@dataclass(frozen=True)
class FeatureSpec:
    """One output of `preprocessing_fn`.

    Args:
        name: Its key in the returned dict.
        dtype: Keras dtype of the tensor that the model gets.
        shape: Shape of one row, without the batch: (1,) for a scalar column that went through.
        columns: The raw columns it depends on, sorted.
        encoding: How a row is stored: the values ("dense"), the index of the one ("one_hot"; null for none), the
            indices of the ones ("multi_hot"), or those of what is not 0, each with its value ("sparse": a count, or
            tf-idf).
        size: How many categories there are, special ones included; None if it is not categorical.
        vocabulary: The token of each category by index, special tokens included, where there is a vocabulary.
        boundaries: The bin boundaries of a Discretization.
        is_column: Whether it is a raw column as it is, such as a label that only passes through.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    columns: tuple[str, ...]
    encoding: Encoding = "dense"
    size: int | None = None
    vocabulary: tuple[str | int, ...] | None = None
    boundaries: tuple[float, ...] | None = None
    is_column: bool = False

    @property
    def categorical(self) -> bool:
        """Whether the values are categories, or one-, multi-hot or count encodings of them."""
        return self.size is not None

    @property
    def values(self) -> int:
        """How many numbers one row has in the model."""
        return int(np.prod(self.shape, dtype=np.int64))


def to_json(specs: Mapping[str, FeatureSpec]) -> dict[str, Any]:
    """The specs as JSON-able objects, in order."""
    return {name: asdict(spec) for name, spec in specs.items()}


def from_json(document: Mapping[str, Any]) -> dict[str, FeatureSpec]:
    """The specs that `to_json` wrote."""
    return {name: FeatureSpec(**{k: _frozen(v) for k, v in one.items()}) for name, one in document.items()}


def dumps(specs: Mapping[str, FeatureSpec]) -> str:
    """The specs as JSON text."""
    return json.dumps(to_json(specs), ensure_ascii=False)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def describe(outputs: Any) -> dict[str, FeatureSpec]:
    """The spec of each output, in the order of the dict.

    Raises:
        TypeError: Not a dict of names to KerasTensors.
        ValueError: An output that depends on no column, or has an unknown size beyond the batch.
    """
    if not isinstance(outputs, dict) or not outputs:
        raise TypeError(
            f"preprocessing_fn returns a dict of feature names to tensors, at least one; got {_shown(outputs)}: "
            'return {"name": tensor, ...}'
        )
    return {name: _describe(name, tensor) for name, tensor in outputs.items()}


def _shown(value: Any) -> str:
    return "an empty dict" if isinstance(value, dict) else f"{type(value).__name__} {value!r:.80}"


def _describe(name: Any, tensor: Any) -> FeatureSpec:
    if not isinstance(name, str) or not name or "/" in name:
        raise TypeError(f"a feature's name is a string that is not empty and has no '/'; got {name!r}")
    if not symbolic_graph.is_symbolic(tensor):
        raise TypeError(
            f"feature {name!r}: expected a tensor computed from the inputs, got {_shown(tensor)}: a constant "
            "is no feature"
        )
    columns = symbolic_graph.columns(tensor)
    if not columns:
        raise ValueError(f"feature {name!r} depends on no raw column: leave it out")
    shape = tuple(tensor.shape)
    if not shape or shape[0] is not None or None in shape[1:]:
        raise ValueError(
            f"feature {name!r} has the shape {shape}: expected (None, ...), the rows first and every other size known: "
            "reshape it, or pad it to a fixed length"
        )
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    spec = FeatureSpec(name, dtype, shape[1:], columns, is_column=symbolic_graph.is_input(tensor))
    return replace(_categories(spec, tensor), encoding=_encoding(tensor))


def _encoding(tensor: Any) -> Encoding:
    layer, node = symbolic_graph.producer(tensor)
    # A subclass may do anything with its indices.
    if type(layer) not in _HOT or len(tensor.shape) != 2 or tensor.shape[1] <= WIDE:
        return "dense"
    mode = layer._output_mode if isinstance(layer, _TEXT) else layer.output_mode
    one_value = not isinstance(layer, _TEXT) or layer._split is None
    if mode == "multi_hot" and one_value and all(tuple(one.shape[1:]) == (1,) for one in node.input_tensors):
        mode = "one_hot"
    weighted = isinstance(layer, keras.layers.CategoryEncoding) and (
        len(node.arguments.args) > 1 or node.arguments.kwargs.get("count_weights") is not None
    )
    if mode in ("count", "tf_idf") and not weighted:
        return "sparse"
    return mode if mode in ("one_hot", "multi_hot") else "dense"


def _categories(spec: FeatureSpec, tensor: Any) -> FeatureSpec:
    layer, node = symbolic_graph.producer(tensor)
    if isinstance(layer, _TEXT):
        layer = layer._lookup_layer
    if isinstance(layer, _LOOKUPS) and not layer.invert:
        size = layer.vocabulary_size()
        if layer.pad_to_max_tokens and layer.output_mode != "int":
            size = layer.max_tokens
        # A padded one-hot has columns that no token has.
        tokens = (str(one) if isinstance(one, str) else int(one) for one in layer.get_vocabulary())
        return replace(spec, size=int(size), vocabulary=tuple(tokens))
    if isinstance(layer, keras.layers.Discretization):
        boundaries = tuple(float(one) for one in layer.bin_boundaries)
        return replace(spec, size=len(boundaries) + 1, boundaries=boundaries)
    if isinstance(layer, _BINS):
        return replace(spec, size=layer.num_bins)
    if isinstance(layer, keras.layers.CategoryEncoding):
        inner = _categories(spec, node.input_tensors[0]) if not symbolic_graph.is_input(node.input_tensors[0]) else spec
        return replace(inner, size=layer.num_tokens)
    return spec
