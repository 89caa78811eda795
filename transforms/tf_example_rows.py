"""Rows as `tf.Example`s: every column a list of int64, float or bytes, as TFX's record batches have them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.transforms.feature_model import is_list, plain_values

_FEATURE = b"headrace.feature"


def serialized(batch: pa.RecordBatch) -> list[bytes]:
    """Each row as a serialized `tf.Example`, by TFX's encoder.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    try:
        from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
    except ModuleNotFoundError as error:
        what = "tfx_bsl, which writes tf.Examples, is not installed: pip install 'headrace[tft]'"
        raise ModuleNotFoundError(what, name=error.name) from error
    encoded: list[bytes] = RecordBatchToExamplesEncoder().encode(as_lists(batch))
    return encoded


def as_lists(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Every column as lists; a missing value is null. What is stored as indices becomes the vector that a model gets.

    Example:
        >>> as_lists(pa.record_batch({"x": [1.5, None], "day": [True, False]})).to_pylist()
        [{'x': [1.5], 'day': [1]}, {'x': None, 'day': [0]}]
    """
    columns = [_lists(column, field) for column, field in zip(batch.columns, batch.schema)]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _lists(column: pa.Array, field: pa.Field) -> pa.Array:
    encoded = json.loads((field.metadata or {}).get(_FEATURE, b"{}"))
    if encoded.get("encoding", "dense") != "dense":
        column = _vectors(column, field.name, encoded)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    missing = column.is_null() if column.null_count else None
    if is_list(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        flat = plain_values(column.flatten())
    else:
        present = column.is_valid().to_numpy(zero_copy_only=False)
        lengths, flat = present.astype(np.int64), plain_values(column.drop_null())
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]))
    return pa.LargeListArray.from_arrays(offsets, _values(flat), mask=missing)


def _values(flat: pa.Array) -> pa.Array:
    if pa.types.is_string(flat.type) or pa.types.is_large_string(flat.type) or pa.types.is_string_view(flat.type):
        return flat.cast(pa.large_string()).cast(pa.large_binary())
    if pa.types.is_integer(flat.type) or pa.types.is_boolean(flat.type):
        return flat.cast(pa.int64())
    return flat.cast(pa.float32() if pa.types.is_floating(flat.type) else pa.large_binary(), safe=False)


def _vectors(column: pa.Array, name: str, encoded: dict[str, Any]) -> pa.Array:
    from headrace.transforms.keras_graph.feature_specs import FeatureSpec
    from headrace.transforms.keras_graph.stored_features import column_to_array

    spec = FeatureSpec(name, encoded["dtype"], tuple(encoded["shape"]), (), encoded["encoding"])
    values = column_to_array(column, spec).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(values), spec.values)
