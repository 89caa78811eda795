"""In the graph: raw columns as a client sends them, to the tensors that a `preprocessing_fn` of `tft.*` calls takes.

A client sends dense values, a missing one as NaN, `""` or what the schema states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.tft.raw_examples import RawExamples, is_stated
from tensorflow_metadata.proto.v0 import schema_pb2

_INT32 = schema_pb2.TensorRepresentation.RowPartitionDType.INT32


def as_transform_takes(
    raw: Mapping[str, Any], inputs: Mapping[str, ModelInput], examples: RawExamples
) -> dict[str, Any]:
    """The tensors of raw columns: the same as `RawExamples.lists` and TFX's TensorAdapter make of the rows.

    Args:
        raw: By column: `(rows,)`, or `(rows, values)` of a list.
        inputs: The columns.
        examples: What TensorFlow Transform was given.
    """
    return {name: _tensor(raw[name], one, examples) for name, one in inputs.items()}


def _tensor(value: Any, one: ModelInput, examples: RawExamples) -> Any:
    representation, dtype = examples.representations[one.name], examples.dtypes[one.name]
    kind = representation.WhichOneof("kind")
    if kind == "dense_tensor":
        return _dense(value, one, representation.dense_tensor, dtype)
    column = value if one.shape else tf.expand_dims(value, -1)
    present = _present(column, one)
    values = tf.cast(tf.boolean_mask(column, present), dtype)
    if kind == "ragged_tensor":
        ragged = tf.RaggedTensor.from_row_lengths(values, tf.reduce_sum(tf.cast(present, tf.int64), axis=1))
        is_narrow = representation.ragged_tensor.row_partition_dtype == _INT32
        return ragged.with_row_splits_dtype(tf.int32) if is_narrow else ragged
    # Values begin at column 0, as those of a tf.Example do.
    places = tf.cumsum(tf.cast(present, tf.int64), axis=1, exclusive=True)
    rows = tf.where(present)[:, 0]
    indices = tf.stack([rows, tf.boolean_mask(places, present)], axis=1)
    counts = tf.reduce_sum(tf.cast(present, tf.int64), axis=1)
    widest = tf.reduce_max(tf.concat([counts, tf.zeros([1], tf.int64)], axis=0))
    return tf.SparseTensor(indices, values, tf.stack([tf.shape(column, tf.int64)[0], widest]))


def _dense(value: Any, one: ModelInput, dense: Any, dtype: str) -> Any:
    kind = dense.default_value.WhichOneof("kind")
    if kind is not None and one.optional and not is_stated(one):
        stated = tf.cast(getattr(dense.default_value, kind), dtype)
        present = _present(value, one)
        value = tf.where(present, tf.cast(tf.where(present, value, tf.zeros_like(value)), dtype), stated)
    sizes = [dim.size for dim in dense.shape.dim]
    return tf.reshape(tf.cast(value, dtype), [-1, *sizes])


def _present(value: Any, one: ModelInput) -> Any:
    """Which values are there."""
    if not one.optional or is_stated(one):
        return tf.ones_like(value, tf.bool)
    if value.dtype == tf.string:
        return tf.not_equal(value, "")
    return tf.logical_not(tf.math.is_nan(value))
