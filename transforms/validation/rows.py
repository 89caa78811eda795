"""The rows behind an anomaly: which values of a batch contradict the schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.transforms.feature_model import is_list, kind_of, plain_values
from headrace.transforms.schema.tags import is_sensitive
from headrace.transforms.validation.columns import categories_of, domain_bounds
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

Types = anomalies_pb2.AnomalyInfo
Mask = np.ndarray[Any, Any]

_LONGEST_SHOWN = 100


class OffendingValue(NamedTuple):
    """One value that contradicts the schema.

    Args:
        column: Name of the column.
        row: Row in the batch, from 0.
        value: The value as text; "" for a missing one, and not shown for a sensitive column.
        reason: Name of the anomaly's type, such as "ENUM_TYPE_UNEXPECTED_STRING_VALUES".
    """

    column: str
    row: int
    value: str
    reason: str


def find_rows(
    batch: pa.RecordBatch,
    anomalies: anomalies_pb2.Anomalies,
    *,
    limit: int = 20,
    schema: schema_pb2.Schema | None = None,
) -> list[OffendingValue]:
    """The values of a batch behind the anomalies, at most `limit` of each reason of each column.

    Anomalies of the data as a whole (drift, skew, a missing or new column, a number of rows) have no rows.

    Args:
        batch: Rows of the data that the anomalies are of.
        anomalies: From `validate`.
        limit: How many values to give at most of each column and reason.
        schema: The schema that was validated against; the anomalies' own `baseline` when None.

    Example:
        >>> schema = schema_pb2.Schema()
        >>> feature = schema.feature.add(name="age", type=schema_pb2.INT)
        >>> feature.int_domain.max = 120
        >>> anomalies = anomalies_pb2.Anomalies(baseline=schema)
        >>> _ = anomalies.anomaly_info["age"].reason.add(type=anomalies_pb2.AnomalyInfo.INT_TYPE_BIG_INT)
        >>> find_rows(pa.record_batch({"age": [30, 400]}), anomalies)
        [OffendingValue(column='age', row=1, value='400', reason='INT_TYPE_BIG_INT')]
    """
    expected = anomalies.baseline if schema is None else schema
    features = {feature.name: feature for feature in expected.feature}
    found: list[OffendingValue] = []
    for column, info in sorted(anomalies.anomaly_info.items()):
        if column not in features or column not in batch.schema.names:
            continue
        for reason in dict.fromkeys(reason.type for reason in info.reason):
            found += list(_offending(batch[column], features[column], expected, reason, limit))
    return found


def _offending(
    array: pa.Array, feature: schema_pb2.Feature, schema: schema_pb2.Schema, reason: int, limit: int
) -> Iterator[OffendingValue]:
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    rows = _rows_of(array, feature, schema, reason)[:limit]
    for row in rows.tolist():
        value = array[row].as_py()
        text = "" if value is None else str(value)[:_LONGEST_SHOWN]
        shown = "(not shown: the column is sensitive)" if is_sensitive(feature) and text else text
        yield OffendingValue(feature.name, row, shown, Types.Type.Name(reason))


def _rows_of(array: pa.Array, feature: schema_pb2.Feature, schema: schema_pb2.Schema, reason: int) -> Mask:
    """Indices of the rows with a value that the reason is about, ascending and distinct."""
    if reason in (Types.FEATURE_TYPE_LOW_FRACTION_PRESENT, Types.FEATURE_TYPE_LOW_NUMBER_PRESENT):
        return np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))
    valency = _valency_test(feature, reason)
    if valency is not None:
        lengths = pc.list_value_length(array) if is_list(array.type) else pc.if_else(array.is_valid(), 1, None)
        return np.flatnonzero(pc.fill_null(valency(lengths), False).to_numpy(zero_copy_only=False))
    if reason == Types.UNEXPECTED_DATA_TYPE:
        return np.flatnonzero(_of_other_type(array, feature))
    test = _value_test(feature, schema, reason)
    if test is None:
        return np.empty(0, np.int64)
    parents = None
    if is_list(array.type):
        parents = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
        array = pc.list_flatten(array)
    numeric = kind_of(array.type).feature_type != "BYTES"
    values = plain_values(array) if numeric else array
    hits = np.flatnonzero(pc.fill_null(test(values), False).to_numpy(zero_copy_only=False))
    return hits if parents is None else np.unique(parents[hits])


def _valency_test(feature: schema_pb2.Feature, reason: int) -> Callable[[pa.Array], pa.Array] | None:
    if reason == Types.INVALID_FEATURE_SHAPE:
        size = int(np.prod([dim.size for dim in feature.shape.dim], dtype=np.int64))
        return lambda lengths: pc.not_equal(lengths, size)
    if reason == Types.FEATURE_TYPE_LOW_NUMBER_VALUES:
        return lambda lengths: pc.less(lengths, feature.value_count.min)
    if reason == Types.FEATURE_TYPE_HIGH_NUMBER_VALUES:
        return lambda lengths: pc.greater(lengths, feature.value_count.max)
    return None


def _value_test(
    feature: schema_pb2.Feature, schema: schema_pb2.Schema, reason: int
) -> Callable[[pa.Array], pa.Array] | None:
    """Whether each of an array's values is what the reason is about; null for null."""
    if reason == Types.ENUM_TYPE_UNEXPECTED_STRING_VALUES:
        categories = pa.array(sorted(categories_of(feature, schema) or ()), pa.string())
        # is_in is false for null, which is no unseen category.
        return lambda values: pc.and_(values.is_valid(), pc.invert(pc.is_in(values.cast(pa.string()), categories)))
    least, most = domain_bounds(feature) or (None, None)
    if reason in (Types.INT_TYPE_SMALL_INT, Types.BOOL_TYPE_SMALL_INT, Types.FLOAT_TYPE_SMALL_FLOAT):
        return None if least is None else lambda values: pc.less(_numbers(values), least)
    if reason in (Types.INT_TYPE_BIG_INT, Types.BOOL_TYPE_BIG_INT, Types.FLOAT_TYPE_BIG_FLOAT):
        return None if most is None else lambda values: pc.greater(_numbers(values), most)
    if reason == Types.FLOAT_TYPE_HAS_NAN:
        return lambda values: pc.is_nan(values)
    if reason == Types.FLOAT_TYPE_HAS_INF:
        return lambda values: pc.is_inf(values)
    return None


def _numbers(values: pa.Array) -> pa.Array:
    return values.cast(pa.int64()) if pa.types.is_boolean(values.type) else values


def _of_other_type(array: pa.Array, feature: schema_pb2.Feature) -> Mask:
    """Present values that are not of the schema's type: among strings, those that are no number."""
    present: Mask = array.is_valid().to_numpy(zero_copy_only=False)
    if is_list(array.type) or kind_of(array.type).name != "string" or feature.type == schema_pb2.BYTES:
        return present
    number = r"^\s*[-+]?\d+\s*$" if feature.type == schema_pb2.INT else r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"
    matches: Mask = pc.fill_null(pc.match_substring_regex(array, number), True).to_numpy(zero_copy_only=False)
    # Where every string reads as a number the type itself is what changed, in every row.
    return present if matches.all() else np.logical_not(matches)
