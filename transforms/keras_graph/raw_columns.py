"""The raw columns as a model takes them: checked against the schema, as symbolic inputs, and as TensorFlow tensors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.transforms import feature_model
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.schema.tags import default_line
from tensorflow_metadata.proto.v0 import schema_pb2

# Above this share of distinct values, sending each one to TensorFlow is cheaper than sending an index to each.
_WORTH_A_DICTIONARY = 0.5


def check_types(schema: schema_pb2.Schema, arrow_schema: pa.Schema) -> None:
    """Raises TypeError, naming all of them, for columns whose Arrow type is not what the schema says."""
    problems = []
    for feature in schema.feature:
        if feature.name in arrow_schema.names:
            arrow = arrow_schema.field(feature.name).type
            stated = schema_pb2.FeatureType.Name(feature.type)
            if feature_model.feature_type(arrow) != stated and not pa.types.is_null(arrow):
                problems.append(f"column {feature.name!r}: the schema says {stated}, the Examples have {arrow}")
    if problems:
        raise TypeError("; ".join(problems) + ": change the schema, or the type that ExampleGen gives the column")


def symbolic_inputs(inputs: Iterable[ModelInput]) -> dict[str, Any]:
    """A `keras.Input` for each column: `(None, 1)` for a scalar, `(None, n)` for a list."""
    import keras

    return {one.name: keras.Input(one.shape or (1,), name=one.name, dtype=one.dtype) for one in inputs}


def tensor_specs(inputs: Iterable[ModelInput]) -> dict[str, Any]:
    """The `tf.TensorSpec` of each column as a client sends it: rank 1 for a scalar."""
    import tensorflow as tf

    return {one.name: tf.TensorSpec((None, *one.shape), one.dtype, name=one.name) for one in inputs}


def raw_tensors(batch: pa.RecordBatch, inputs: Mapping[str, ModelInput]) -> dict[str, Any]:
    """The columns of `inputs` as TensorFlow tensors, `(rows,)` for a scalar.

    Strings go as their distinct values and an index for each row, gathered by TensorFlow: making a Python object of
    each row is the slowest part of a naive conversion.

    Raises:
        KeyError: The batch lacks a column.
        ValueError: As `feature_model.to_numpy`, or an integer that its float32 cannot hold.
    """
    import tensorflow as tf

    tensors = {}
    for name, values in _columns(batch, inputs):
        if isinstance(values, _Repeated):
            tensors[name] = tf.gather(tf.convert_to_tensor(values.distinct, tf.string), values.indices)
        else:
            tensors[name] = tf.convert_to_tensor(values, inputs[name].dtype)
    return tensors


def raw_arrays(batch: pa.RecordBatch, inputs: Mapping[str, ModelInput]) -> dict[str, np.ndarray]:
    """Like `raw_tensors`, as arrays: strings are objects, of which rows of equal value share one."""
    return {
        name: values.distinct[values.indices] if isinstance(values, _Repeated) else values
        for name, values in _columns(batch, inputs)
    }


class _Repeated(NamedTuple):
    distinct: np.ndarray
    indices: np.ndarray


def _columns(batch: pa.RecordBatch, inputs: Mapping[str, ModelInput]) -> Iterator[tuple[str, np.ndarray | _Repeated]]:
    lacking = [name for name in inputs if name not in batch.schema.names]
    if lacking:
        near = difflib.get_close_matches(lacking[0], batch.schema.names, 1)
        raise KeyError(
            f"the batch lacks the raw columns {lacking}; it has {batch.schema.names}"
            + (f"; did you mean {near[0]!r}?" if near else "")
        )
    for name, one in inputs.items():
        column = batch.column(name)
        repeated = _repeated(column, one) if one.dtype == "string" and not one.shape else None
        if repeated is None:
            check_exact(column, one)
        yield name, feature_model.to_numpy(column, one) if repeated is None else repeated


def _repeated(column: pa.Array, one: ModelInput) -> _Repeated | None:
    if feature_model.is_list(column.type):
        return None
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = encoded.dictionary
    if len(values) > _WORTH_A_DICTIONARY * len(column) or not len(values) or one.missing is None:
        return None
    missing = one.missing.encode() if isinstance(one.missing, str) else one.missing
    distinct = np.asarray([*values.cast(pa.binary()).to_pylist(), missing], dtype=object)
    return _Repeated(distinct, pc.fill_null(encoded.indices.cast(pa.int32()), len(values)).to_numpy())


def check_exact(column: pa.Array, one: ModelInput) -> None:
    """Raises ValueError if float32 cannot hold an integer of the column exactly."""
    if one.dtype != "float32" or feature_model.is_list(column.type) or not pa.types.is_integer(column.type):
        return
    bounds = pc.min_max(column).as_py()
    if bounds["min"] is not None and not feature_model.is_exact_in_float32(bounds["min"], bounds["max"]):
        raise ValueError(
            f"column {one.name!r} is float32 with NaN for missing values, and has integers up to "
            f"{max(abs(bounds['min']), bounds['max']):,} which float32 cannot hold: state in the schema what stands "
            f"for a missing value: {default_line(one.name, 0)}"
        )


def as_array(tensor: Any) -> np.ndarray:
    """The tensor's values, without a copy where its dtype has a buffer."""
    try:
        return np.asarray(memoryview(tensor))
    except (TypeError, ValueError, BufferError):
        return np.asarray(tensor.numpy())
