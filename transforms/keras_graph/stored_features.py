"""How rows of features are stored: tensors to Arrow and back, without TensorFlow.

A feature of shape (1,) or () is a plain column, a vector a fixed-size list, a wide one-hot the index of its one (null
for none), a wide multi-hot the list of its indices, a wide count or tf-idf the list of its indices and values that are
not 0. Field metadata has the shape and the encoding, so that a file can be read without `features.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from headrace.transforms.keras_graph.feature_specs import FeatureSpec

_KEY = b"headrace.feature"
_ARROW = {"string": pa.string(), "bool": pa.bool_(), "float16": pa.float16(), "bfloat16": pa.float32()}


def arrow_type(spec: FeatureSpec) -> pa.DataType:
    """The Arrow type of the feature's column."""
    if spec.encoding == "one_hot":
        return pa.int32()
    if spec.encoding == "multi_hot":
        return pa.list_(pa.int32())
    value = _ARROW[spec.dtype] if spec.dtype in _ARROW else pa.from_numpy_dtype(np.dtype(spec.dtype))
    if spec.encoding == "sparse":
        return pa.list_(pa.struct([("index", pa.int32()), ("value", value)]))
    return value if spec.shape in ((), (1,)) else pa.list_(value, spec.values)


def arrow_schema(specs: Mapping[str, FeatureSpec]) -> pa.Schema:
    """The schema of stored features, with shape, dtype, encoding and width of each in its field's metadata."""
    return pa.schema([pa.field(name, arrow_type(spec), metadata=_metadata(spec)) for name, spec in specs.items()])


def _metadata(spec: FeatureSpec) -> dict[bytes, bytes]:
    described: dict[str, Any] = {"dtype": spec.dtype, "shape": list(spec.shape), "encoding": spec.encoding}
    if spec.encoding != "dense":
        described["width"] = spec.shape[-1]
    return {_KEY: json.dumps(described).encode()}


def to_batch(arrays: Mapping[str, Any], specs: Mapping[str, FeatureSpec], schema: pa.Schema) -> pa.RecordBatch:
    """Tensors' values as a RecordBatch.

    Args:
        arrays: By feature: `(rows, *shape)` for "dense"; otherwise indices, those out of range being none, as
            `hot_indices` has them.
        specs: The features.
        schema: `arrow_schema(specs)`.
    """
    columns = []
    for name, spec in specs.items():
        if spec.encoding == "one_hot":
            columns.append(_one_hot(np.asarray(arrays[name]).reshape(-1), spec.shape[-1]))
        elif spec.encoding == "multi_hot":
            offsets, indices, _ = _occurrences(arrays[name], spec.shape[-1])
            columns.append(pa.ListArray.from_arrays(offsets, pa.array(indices)))
        elif spec.encoding == "sparse":
            columns.append(_sparse(arrays[name], spec.shape[-1], schema.field(name).type))
        else:
            columns.append(_dense(np.asarray(arrays[name]), schema.field(name).type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _one_hot(indices: np.ndarray, width: int) -> pa.Array:
    outside = (indices < 0) | (indices >= width)
    return pa.array(indices.astype(np.int32), mask=outside if outside.any() else None)


def _sparse(found: Any, width: int, to: pa.DataType) -> pa.Array:
    offsets, indices, values = _occurrences(found, width)
    if isinstance(found, Mapping) and "weights" in found:
        # As Keras: counts in float32, times the weight.
        values = values.astype(np.float32) * found["weights"][indices]
        kept = values != 0
        offsets = np.concatenate([[0], np.cumsum(kept)])[offsets].astype(np.int32)
        indices, values = indices[kept], values[kept]
    value = to.value_type.field("value").type
    numbers = pa.array(values.astype(_numpy_type(value), copy=False), value)
    pairs = pa.StructArray.from_arrays([pa.array(indices), numbers], fields=list(to.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets), pairs, type=to)


def _occurrences(found: Any, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each row begins, then each index of a row, ascending, and how often it is there."""
    parts = found if isinstance(found, Mapping) else {"flat": found}
    flat = np.asarray(parts["flat"])
    lengths = parts.get("lengths")
    if lengths is None:
        lengths = np.full(len(flat), int(np.prod(flat.shape[1:], dtype=np.int64)))
    rows, flat = np.repeat(np.arange(len(lengths)), lengths), flat.reshape(-1)
    inside = (flat >= 0) & (flat < width)
    keys, counts = np.unique(rows[inside] * width + flat[inside], return_counts=True)
    of_row, indices = np.divmod(keys, width)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(of_row, minlength=len(lengths)))])
    return offsets.astype(np.int32), indices.astype(np.int32), counts


def _dense(array: np.ndarray, to: pa.DataType) -> pa.Array:
    value = to.value_type if pa.types.is_fixed_size_list(to) else to
    if pa.types.is_string(value):
        flat = pa.array(array.reshape(-1), pa.binary())
        try:
            flat = flat.cast(value)
        except pa.ArrowInvalid as error:
            raise ValueError(f"a string feature has bytes that are not UTF-8 text: {error}") from error
    else:
        flat = pa.array(np.ascontiguousarray(array).reshape(-1).astype(_numpy_type(value), copy=False), value)
    return pa.FixedSizeListArray.from_arrays(flat, to.list_size) if to is not value else flat


def _numpy_type(value: pa.DataType) -> np.dtype[Any]:
    # Not `to_pandas_dtype`, which wants pandas.
    name = str(value)
    return np.dtype({"halffloat": "float16", "float": "float32", "double": "float64"}.get(name, name))


def feature_batch_to_tensors(
    batch: pa.RecordBatch | pa.Table, specs: Mapping[str, FeatureSpec]
) -> dict[str, np.ndarray]:
    """Stored rows as the arrays that the model takes: the inverse of storing.

    Args:
        batch: Rows of features; columns without a spec are left out.
        specs: The features wanted.

    Returns:
        By feature, `(rows, *shape)` of its dtype; strings are objects (bytes, as TensorFlow has them).

    Example:
        >>> from headrace.transforms.keras_graph import FeatureSpec
        >>> spec = FeatureSpec("x", "float32", (9,), ("x",), "one_hot", 9)
        >>> batch = pa.record_batch([pa.array([2, None], pa.int32())], ["x"])
        >>> feature_batch_to_tensors(batch, {"x": spec})["x"].sum(axis=1)
        array([1., 0.], dtype=float32)
    """
    return {name: column_to_array(batch.column(name), spec) for name, spec in specs.items()}


def column_to_array(column: pa.Array | pa.ChunkedArray, spec: FeatureSpec) -> np.ndarray:
    """One stored column as `(rows, *shape)`."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    rows = len(column)
    if spec.encoding == "dense":
        flat = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
        if spec.dtype == "string":
            flat = flat.cast(pa.binary())
        dense = flat.to_numpy(zero_copy_only=False)
        return np.asarray(dense.astype(_numpy_dtype(spec.dtype), copy=False).reshape(rows, *spec.shape))
    hot = np.zeros((rows, *spec.shape), _numpy_dtype(spec.dtype))
    if spec.encoding == "one_hot":
        present = column.is_valid().to_numpy(zero_copy_only=False)
        hot[np.flatnonzero(present), column.drop_null().to_numpy()] = 1
    else:
        lengths, found = np.diff(column.offsets.to_numpy()), column.flatten()
        indices, values = found, 1
        if spec.encoding == "sparse":
            indices, values = found.field("index"), found.field("value").to_numpy(zero_copy_only=False)
        hot[np.repeat(np.arange(rows), lengths), indices.to_numpy()] = values
    return hot


def _numpy_dtype(dtype: str) -> Any:
    if dtype == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return object if dtype == "string" else np.dtype(dtype)
