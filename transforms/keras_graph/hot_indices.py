"""The indices behind a one-hot, multi-hot or count, so that a wide one is stored without ever being made.

Keras' layers compute an index and then encode it: the same layer with `output_mode="int"` gives the index, and a lookup
its own table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras


def indices_of(layer: Any) -> Callable[[Any], Any]:
    """A function from the layer's input to int64 indices; one outside of the width stands for no category.

    Args:
        layer: A StringLookup, IntegerLookup, CategoryEncoding, Hashing, HashedCrossing, Discretization or
            TextVectorization with its state, in output mode "one_hot", "multi_hot", "count" or "tf_idf".

    Returns:
        A function to indices `(rows, n)`; of a text, whose rows have as many tokens as they have, a dict of them:
        "flat", `(tokens,)`, and "lengths", `(rows,)`.
    """
    import tensorflow as tf

    if isinstance(layer, keras.layers.CategoryEncoding):
        return lambda inputs: tf.cast(inputs, tf.int64)
    if isinstance(layer, keras.layers.StringLookup | keras.layers.IntegerLookup):
        # The lookup itself, on the table that the layer has: a second table would hold the vocabulary twice.
        return lambda inputs: layer._lookup_dense(tf.cast(inputs, layer.vocabulary_dtype))
    if isinstance(layer, keras.layers.TextVectorization):
        return lambda inputs: _token_indices(layer, inputs)
    indexing = _indexing(layer)
    return lambda inputs: tf.cast(indexing(inputs), tf.int64)


def weighted_indices_of(layer: Any) -> Callable[[Any], Any]:
    """Like `indices_of` for output mode "tf_idf": a dict, with "weights", `(width,)`, what each index counts."""
    indices = indices_of(layer)
    lookup = getattr(layer, "_lookup_layer", layer)

    def function(inputs: Any) -> dict[str, Any]:
        found = indices(inputs)
        found = found if isinstance(found, dict) else {"flat": found}
        return {**found, "weights": lookup.idf_weights_const}

    return function


def _token_indices(layer: Any, texts: Any) -> Any:
    """The index of each token; padded to the longest text, a batch would be as large as that makes it."""
    import tensorflow as tf

    tokens = layer._preprocess(texts)
    if not isinstance(tokens, tf.RaggedTensor):
        return layer._lookup_layer._lookup_dense(tokens)
    flat = layer._lookup_layer._lookup_dense(tokens.flat_values)
    return {"flat": flat, "lengths": tokens.row_lengths()}


def _indexing(layer: Any) -> Any:
    if isinstance(layer, keras.layers.Discretization):
        return keras.layers.Discretization(bin_boundaries=list(layer.bin_boundaries))
    if isinstance(layer, keras.layers.Hashing):
        return keras.layers.Hashing(layer.num_bins, mask_value=layer.mask_value, salt=layer.salt)
    return keras.layers.HashedCrossing(layer.num_bins)
