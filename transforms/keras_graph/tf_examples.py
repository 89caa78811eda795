"""Raw columns out of serialized `tf.Example`s, in the graph, as clients of TensorFlow Serving's other API send them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.transforms.feature_model import ModelInput


def parse_examples(serialized: Any, inputs: Sequence[ModelInput]) -> dict[str, Any]:
    """The columns of serialized examples, as `serving_default` takes them.

    A bool is 0 or 1 in an int64 list, as in TFRecords of TensorFlow Data Validation's. A list that is shorter than its
    column is padded at the end; one that is longer is cut.

    Args:
        serialized: A string tensor `(rows,)`.
        inputs: The columns. One that has a value for missing ones may be absent from an example.

    Returns:
        By name, `(rows, *shape)`.
    """
    import tensorflow as tf

    columns = tf.io.parse_example(serialized, {one.name: _parsing(one) for one in inputs})
    return {one.name: tf.cast(_sized(columns[one.name], one), one.dtype) for one in inputs}


def _parsing(one: ModelInput) -> Any:
    import tensorflow as tf

    dtype = tf.int64 if one.dtype == "bool" else tf.as_dtype(one.dtype)
    missing = one.missing
    if isinstance(missing, bool):
        missing = int(missing)
    if one.shape:
        return tf.io.FixedLenSequenceFeature([], dtype, allow_missing=True, default_value=missing)
    return tf.io.FixedLenFeature([], dtype, default_value=missing)


def _sized(value: Any, one: ModelInput) -> Any:
    import tensorflow as tf

    if not one.shape or one.shape[0] is None:
        return value
    width = one.shape[0]
    short = tf.maximum(width - tf.shape(value)[1], 0)
    missing = one.missing if one.missing is not None else ("" if one.dtype == "string" else 0)
    padded = tf.pad(value, [[0, 0], [0, short]], constant_values=tf.cast(missing, value.dtype))
    return tf.ensure_shape(padded[:, :width], (None, width))
