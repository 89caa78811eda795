"""Adapters from Keras' own data-dependent layers to the pure functions: lookups, Normalization, Discretization."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from headrace.transforms.keras_graph import vocabulary
from headrace.transforms.keras_graph.analyzers import (
    BoundariesAnalyzer,
    MeanVariance,
    MomentsAnalyzer,
    TextAnalyzer,
    VocabularyAnalyzer,
)
from headrace.transforms.keras_graph.layer_state import LayerState
from headrace.transforms.keras_graph.text_tokens import ArrowTokenizer, GraphTokenizer

PROVISIONAL_WIDTH = 2


class NormalizationState(LayerState):
    """Normalization: mean and variance over all axes but `axis`."""

    reads_arrow = True
    keeps_shape = True

    def is_given(self, layer: Any) -> bool:
        return layer.input_mean is not None or layer.mean is not None

    def identity(self, layer: Any) -> Any:
        return {"axis": layer.axis, "invert": layer.invert, "dtype": str(layer.dtype_policy.name)}

    def analyzer(self, layer: Any, shape: tuple[int | None, ...], dtype: str) -> MomentsAnalyzer:
        if dtype == "string":
            raise TypeError(f"Normalization layer {layer.name!r} is called on strings; it normalizes numbers")
        kept = {axis % len(shape) for axis in layer.axis}
        if 0 in kept:
            raise ValueError(f"Normalization layer {layer.name!r}: axis={layer.axis} keeps axis 0, the rows")
        return MomentsAnalyzer(shape, tuple(axis for axis in range(len(shape)) if axis not in kept), layer.name)

    def set(self, layer: Any, state: MeanVariance, shape: tuple[int | None, ...]) -> None:
        if not layer.built or layer._build_input_shape != shape:
            layer.built = False
            layer.build(shape)
        layer.adapt_mean.assign(np.broadcast_to(state.mean, layer.adapt_mean.shape))
        layer.adapt_variance.assign(np.broadcast_to(state.variance, layer.adapt_variance.shape))
        layer.finalize_state()


class DiscretizationState(LayerState):
    """Discretization: always `num_bins` - 1 boundaries, so that the width of the output is `num_bins`."""

    reads_arrow = True
    keeps_shape = True

    def is_given(self, layer: Any) -> bool:
        if isinstance(layer.bin_boundaries, int):
            raise ValueError(
                f"Discretization layer {layer.name!r}: bin_boundaries is a list, not {layer.bin_boundaries}: "
                f"write Discretization(num_bins={layer.bin_boundaries})"
            )
        return layer.bin_boundaries is not None

    def identity(self, layer: Any) -> Any:
        return {**layer.get_config(), "bin_boundaries": None, "epsilon": None}

    def analyzer(self, layer: Any, shape: tuple[int | None, ...], dtype: str) -> BoundariesAnalyzer:
        if dtype == "string":
            raise TypeError(f"Discretization layer {layer.name!r} is called on strings; it bins numbers")
        if layer.num_bins < 2:
            raise ValueError(f"Discretization layer {layer.name!r}: expected num_bins >= 2, got {layer.num_bins}")
        return BoundariesAnalyzer(layer.num_bins)

    def set(self, layer: Any, state: list[float], shape: tuple[int | None, ...]) -> None:
        layer.bin_boundaries = list(state)


class _EmptyTable:
    """A lookup table without keys, which TensorFlow has none of: every value is out of vocabulary."""

    def __init__(self, default_value: int) -> None:
        self._default_value = default_value

    def lookup(self, keys: Any) -> Any:
        import tensorflow as tf

        return tf.zeros_like(keys, dtype="int64") + self._default_value

    def size(self) -> Any:
        import tensorflow as tf

        return tf.constant(0, "int64")


class LookupState(LayerState):
    """StringLookup and IntegerLookup, in every output mode."""

    reads_arrow = True
    keeps_shape = True
    early_reads = ("vocabulary_size", "get_vocabulary")

    def is_given(self, layer: Any) -> bool:
        return layer._frozen_vocab_size is not None

    def identity(self, layer: Any) -> Any:
        return {**layer.get_config(), "vocabulary": None, "vocabulary_size": None, "idf_weights": None}

    def provisional(self, layer: Any) -> bool:
        layer._frozen_vocab_size = layer._token_start_index() + PROVISIONAL_WIDTH
        return layer.output_mode != "int" and not layer.pad_to_max_tokens

    def loses(self, layer: Any) -> str | None:
        return f"{type(layer).__name__} layer {layer.name!r} gives a sparse tensor" if layer.sparse else None

    def analyzer(self, layer: Any, shape: tuple[int | None, ...], dtype: str) -> VocabularyAnalyzer:
        name = f"{type(layer).__name__} layer {layer.name!r}"
        integers = layer.vocabulary_dtype != "string"
        if integers and dtype == "string":
            raise TypeError(f"{name} is called on strings: use StringLookup")
        if not integers and dtype != "string":
            raise TypeError(f"{name} is called on {dtype}: use IntegerLookup")
        sizes = [size for size in shape[1:] if size is not None]
        length = math.prod(sizes) if layer.output_mode == "tf_idf" and len(sizes) == len(shape) - 1 else 1
        size = layer.max_tokens - layer._token_start_index() if layer.max_tokens else None
        drop = (layer.mask_token, layer.oov_token)
        return VocabularyAnalyzer(name, length, integers, drop, size, getattr(layer, "encoding", "utf-8"))

    def set(self, layer: Any, state: vocabulary.Vocabulary, shape: tuple[int | None, ...]) -> None:
        layer._frozen_vocab_size = None
        if state.tokens:
            # An array of objects: NumPy's fixed-width strings would drop a token's trailing NULs.
            tokens = np.array(state.tokens, dtype=object if isinstance(state.tokens[0], str) else np.int64)
            layer.set_vocabulary(tokens, state.idf if layer.output_mode == "tf_idf" else None)
            return
        if layer._token_start_index() == 0 and layer.output_mode != "int":
            raise ValueError(
                f"{type(layer).__name__} layer {layer.name!r} with num_oov_indices=0 has an empty vocabulary: its "
                "input is missing in every row of the train split; drop the feature, or give num_oov_indices=1"
            )
        import tensorflow as tf

        layer.lookup_table = _EmptyTable(layer._default_value)
        if layer.output_mode == "tf_idf":
            width = layer.max_tokens if layer.pad_to_max_tokens else layer._token_start_index()
            layer.idf_weights = tf.Variable(np.zeros(width, np.float32), trainable=False)
            layer.idf_weights_const = layer.idf_weights.value()
        layer._record_vocabulary_size()


class TextState(LayerState):
    """TextVectorization: the vocabulary of the StringLookup inside it."""

    reads_arrow = True
    keeps_shape = True
    early_reads = ("vocabulary_size", "get_vocabulary")

    def is_given(self, layer: Any) -> bool:
        return _LOOKUP.is_given(layer._lookup_layer)

    def identity(self, layer: Any) -> Any:
        lookup = layer._lookup_layer
        return {
            "tokens": (layer._standardize, layer._split, layer._ngrams),
            "output": (layer._output_mode, layer._output_sequence_length),
            "vocabulary": (lookup.max_tokens, lookup.pad_to_max_tokens, lookup.encoding),
        }

    def provisional(self, layer: Any) -> bool:
        return _LOOKUP.provisional(layer._lookup_layer)

    def loses(self, layer: Any) -> str | None:
        name = f"TextVectorization layer {layer.name!r}"
        if layer._ragged:
            return f"{name} gives a ragged tensor"
        if layer._output_mode == "int" and layer._output_sequence_length is None:
            raise ValueError(
                f"{name} with output_mode='int' gives each row as many tokens as the longest row beside it has: give "
                "output_sequence_length=, to which it is cut or padded"
            )
        return f"{name} gives a sparse tensor" if layer._lookup_layer.sparse else None

    def analyzer(self, layer: Any, shape: tuple[int | None, ...], dtype: str) -> TextAnalyzer:
        name = f"TextVectorization layer {layer.name!r}"
        if dtype != "string":
            raise TypeError(f"{name} is called on {dtype}; it splits strings")
        if tuple(shape[1:]) not in ((), (1,)):
            raise ValueError(f"{name} is called on {shape[1:]} strings a row; it takes one: join or index them before")
        lookup = layer._lookup_layer
        size = lookup.max_tokens - lookup._token_start_index() if lookup.max_tokens else None
        counts = VocabularyAnalyzer(name, 1, False, (lookup.mask_token, lookup.oov_token), size, lookup.encoding)
        if callable(layer._standardize) or callable(layer._split):
            return TextAnalyzer(GraphTokenizer(layer._preprocess), counts)
        return TextAnalyzer(ArrowTokenizer(layer._standardize, layer._split, layer._ngrams), counts)

    def set(self, layer: Any, state: vocabulary.Vocabulary, shape: tuple[int | None, ...]) -> None:
        _LOOKUP.set(layer._lookup_layer, state, shape)


_LOOKUP = LookupState()
STOCK: dict[type, LayerState] = {
    keras.layers.Normalization: NormalizationState(),
    keras.layers.Discretization: DiscretizationState(),
    keras.layers.StringLookup: _LOOKUP,
    keras.layers.IntegerLookup: _LOOKUP,
    keras.layers.TextVectorization: TextState(),
}
