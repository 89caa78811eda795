"""The raw columns as a model takes them: `ModelInput`s made from a schema, and TensorFlow tensors made from Arrow."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.transforms import feature_model
from headrace.transforms.feature_model import ModelInput
from tensorflow_metadata.proto.v0 import schema_pb2

_DEFAULT_TAG = "default="
# Above this share of distinct values, sending each one to TensorFlow is cheaper than sending an index to each.
_WORTH_A_DICTIONARY = 0.5


def model_inputs(schema: schema_pb2.Schema, arrow_schema: pa.Schema | None = None) -> dict[str, ModelInput]:
    """Each column of the schema as the model takes it.

    Args:
        schema: Its features in order. A column is optional unless its presence asks for every row.
        arrow_schema: The Arrow types of the Examples, where they are at hand: they tell a float32 list from a float,
            and a bool from an int, also for a schema written by hand.

    Raises:
        ValueError: Columns whose missing values nothing can stand for, all of them, each with the line to paste.

    Example:
        >>> from google.protobuf import text_format
        >>> schema = text_format.Parse('feature { name: "x" type: FLOAT }', schema_pb2.Schema())
        >>> model_inputs(schema)["x"].dtype, model_inputs(schema)["x"].shape
        ('float32', ())
    """
    inputs: dict[str, ModelInput] = {}
    homeless: list[str] = []
    for feature in schema.feature:
        field = None
        if arrow_schema is not None and feature.name in arrow_schema.names:
            field = arrow_schema.field(feature.name).type
        one = _model_input(feature, _arrow_type(feature, field), listed=_is_list(feature, field))
        if one is None:
            homeless.append(feature.name)
        else:
            inputs[feature.name] = one
    if homeless:
        lines = "\n".join(f'    feature {{ name: "{name}" annotation {{ tag: "default=0" }} }}' for name in homeless)
        raise ValueError(
            f"{len(homeless)} integer columns have missing values and values beyond ±{feature_model.FLOAT32_EXACT:,}, "
            "which float32 with NaN cannot hold: state in the schema what stands for a missing value:\n" + lines
        )
    return inputs


def _arrow_type(feature: schema_pb2.Feature, given: pa.DataType | None) -> pa.DataType:
    if given is not None:
        return feature_model.element_type(given)
    if feature.HasField("bool_domain"):
        return pa.bool_()
    by_type = {schema_pb2.INT: pa.int64(), schema_pb2.FLOAT: pa.float32(), schema_pb2.BYTES: pa.string()}
    return by_type[feature.type]


def _is_list(feature: schema_pb2.Feature, given: pa.DataType | None) -> bool:
    if given is not None:
        return feature_model.is_list(given)
    if feature.HasField("shape"):
        return len(feature.shape.dim) > 0
    return feature.value_count.max > 1


def _model_input(feature: schema_pb2.Feature, arrow_type: pa.DataType, listed: bool) -> ModelInput | None:
    nullable = not feature.presence.min_fraction >= 1.0
    default = default_of(feature)
    dtype = feature_model.keras_dtype(arrow_type, nullable=nullable and not listed, default=default)
    if nullable and not listed and default is None and feature_model.keras_dtype(arrow_type) == "int64":
        domain = feature.int_domain
        known = domain.HasField("min") and domain.HasField("max")
        if known and not feature_model.is_exact_in_float32(domain.min, domain.max):
            return None
    missing = default if default is not None else (None if dtype in ("int64", "bool") else _missing(dtype))
    return ModelInput(feature.name, dtype, _shape(feature) if listed else (), nullable, missing)


def _missing(dtype: str) -> float | str:
    return feature_model.missing_value(dtype)


def _shape(feature: schema_pb2.Feature) -> tuple[int | None, ...]:
    if feature.HasField("shape") and len(feature.shape.dim) == 1 and feature.shape.dim[0].size > 0:
        return (feature.shape.dim[0].size,)
    if feature.value_count.min == feature.value_count.max > 0:
        return (feature.value_count.min,)
    return (None,)


def default_of(feature: schema_pb2.Feature) -> Any:
    """The value that the schema states for a missing one (`annotation { tag: "default=0" }`), or None."""
    for tag in feature.annotation.tag:
        if tag.startswith(_DEFAULT_TAG):
            text = tag.removeprefix(_DEFAULT_TAG)
            if feature.HasField("bool_domain"):
                return text.strip().lower() in ("true", "1")
            return {schema_pb2.INT: int, schema_pb2.FLOAT: float, schema_pb2.BYTES: str}[feature.type](text)
    return None


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

    lacking = [name for name in inputs if name not in batch.schema.names]
    if lacking:
        near = difflib.get_close_matches(lacking[0], batch.schema.names, 1)
        raise KeyError(
            f"the batch lacks the raw columns {lacking}; it has {batch.schema.names}"
            + (f"; did you mean {near[0]!r}?" if near else "")
        )
    tensors = {}
    for name, one in inputs.items():
        column = batch.column(name)
        tensor = _gathered(column, one) if one.dtype == "string" and not one.shape else None
        if tensor is None:
            check_exact(column, one)
            tensor = tf.convert_to_tensor(feature_model.to_numpy(column, one), one.dtype)
        tensors[name] = tensor
    return tensors


def _gathered(column: pa.Array, one: ModelInput) -> Any:
    import tensorflow as tf

    if feature_model.is_list(column.type):
        return None
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = encoded.dictionary
    if len(values) > _WORTH_A_DICTIONARY * len(column) or not len(values) or one.missing is None:
        return None
    missing = one.missing.encode() if isinstance(one.missing, str) else one.missing
    distinct = np.asarray([*values.cast(pa.binary()).to_pylist(), missing], dtype=object)
    indices = pc.fill_null(encoded.indices.cast(pa.int32()), len(values))
    return tf.gather(tf.convert_to_tensor(distinct, tf.string), indices.to_numpy())


def check_exact(column: pa.Array, one: ModelInput) -> None:
    """Raises ValueError if float32 cannot hold an integer of the column exactly."""
    if one.dtype != "float32" or feature_model.is_list(column.type) or not pa.types.is_integer(column.type):
        return
    bounds = pc.min_max(column).as_py()
    if bounds["min"] is not None and not feature_model.is_exact_in_float32(bounds["min"], bounds["max"]):
        raise ValueError(
            f"column {one.name!r} is float32 with NaN for missing values, and has integers up to "
            f"{max(abs(bounds['min']), bounds['max']):,} which float32 cannot hold: state in the schema what stands "
            f'for a missing value: feature {{ name: "{one.name}" annotation {{ tag: "default=0" }} }}'
        )
