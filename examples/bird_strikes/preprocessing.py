"""Raw columns of a report -> features, in stock Keras layers and `Present`.

The remarks are there three times: as a bag of words and word pairs, as a sequence of words for an embedding, and as
their length. What is missing is 0 after it is scaled, with a feature beside it that says so.
"""

from __future__ import annotations

from typing import Any

from headrace.transforms.layers import Present
from keras import layers, ops

from examples.bird_strikes.reports import CATEGORIES, LABEL, NUMBERS, TABLE, TEXT

Tensors = dict[str, Any]

WORDS = 40
"""Words of a report that the embedding sees; nine in ten reports have no more."""


def preprocessing_fn(inputs: Tensors) -> Tensors:
    """Makes the features of a report.

    Args:
        inputs: Raw column -> tensor of shape (rows, 1).

    Returns:
        Feature -> tensor: `text_...` of the remarks, `table_...` of the columns, `has_text` and `has_table`, and the
        label.
    """
    return {
        **_text(inputs["remarks"]),
        **_table(inputs),
        "has_text": Present()([inputs[name] for name in TEXT]),
        "has_table": Present()([inputs[name] for name in TABLE]),
        LABEL: inputs[LABEL],
    }


def _text(remarks: Any) -> Tensors:
    length = layers.Lambda(_letters, output_shape=(1,), dtype="float32")(remarks)
    return {
        "text_bag": layers.TextVectorization(max_tokens=3000, ngrams=2, output_mode="multi_hot")(remarks),
        "text_words": layers.TextVectorization(max_tokens=4000, output_sequence_length=WORDS)(remarks),
        "text_length": layers.Normalization(axis=None)(layers.Lambda(lambda x: ops.log1p(x))(length)),
    }


def _letters(text: Any) -> Any:
    import tensorflow as tf

    return tf.cast(tf.strings.length(text), tf.float32)


def _table(inputs: Tensors) -> Tensors:
    features: Tensors = {}
    for name in CATEGORIES:
        features[f"table_{name}"] = layers.StringLookup(max_tokens=100, output_mode="one_hot")(inputs[name])
    features["table_month"] = layers.IntegerLookup(output_mode="one_hot")(
        layers.Lambda(lambda x: ops.cast(x, "int64"))(inputs["month"])
    )
    for name in (name for name in NUMBERS if name != "month"):
        number = inputs[name]
        if name == "height":
            number = layers.Lambda(lambda x: ops.log1p(x))(number)
        scaled = layers.Normalization(axis=None)(number)
        features[f"table_{name}"] = layers.Lambda(lambda x: ops.where(ops.isnan(x), 0.0, x))(scaled)
        features[f"table_{name}_missing"] = layers.Lambda(lambda x: ops.cast(ops.isnan(x), "float32"))(number)
    return features
