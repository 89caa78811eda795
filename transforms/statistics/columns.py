"""The summary of one column: what is missing, how many values a row has, and the values' distribution by kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.transforms.feature_model import element_type, is_list, kind_of, plain_values
from headrace.transforms.number_counts import NumberCounts
from headrace.transforms.value_counts import ValueCounts

Values = NumberCounts | ValueCounts

_IMAGE_BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # PNG, JPEG


class ColumnSummary:
    """One column's summary.

    Args:
        arrow_type: The column's type.

    Attributes:
        rows: All rows; `missing` of them are null.
        null_elements: Nulls inside lists; they are left out of the values.
        lengths: How many values a present row has, for a list.
        values: The distribution of the values: numbers, or strings and bytes.
        sizes: The distribution of the strings' lengths in characters (of bytes in bytes).
        images: How many values of bytes begin as a PNG or JPEG does.
    """

    __slots__ = ("arrow_type", "images", "lengths", "missing", "null_elements", "rows", "sizes", "values")

    def __init__(self, arrow_type: pa.DataType) -> None:
        self.arrow_type = arrow_type
        self.rows = self.missing = self.null_elements = self.images = 0
        self.lengths = NumberCounts()
        text = kind_of(arrow_type).feature_type == "BYTES"
        self.values: Values = ValueCounts() if text else NumberCounts()
        self.sizes = NumberCounts()

    @classmethod
    def of(cls, array: pa.Array) -> ColumnSummary:
        """Summarizes a column of one batch."""
        summary = cls(array.type)
        summary.rows, summary.missing = len(array), array.null_count
        if is_list(array.type):
            present = array.drop_null()
            summary.lengths = NumberCounts.of(_lengths(present))
            array = present.flatten()
            summary.null_elements = array.null_count
        if isinstance(summary.values, ValueCounts):
            counts = ValueCounts.of(array)
            summary.values, summary.sizes = counts, _sizes(array, counts)
            summary.images = _images(array) if kind_of(array.type).name == "bytes" else 0
        else:
            summary.values = _numbers(array)
        return summary

    def merge(self, other: ColumnSummary) -> None:
        """Adds all that `other` saw."""
        self.rows += other.rows
        self.missing += other.missing
        self.null_elements += other.null_elements
        self.images += other.images
        self.lengths.merge(other.lengths)
        self.sizes.merge(other.sizes)
        self.values.merge(other.values)  # type: ignore[arg-type]  # of one arrow type, so of one class


def _lengths(lists: pa.Array) -> np.ndarray[Any, Any]:
    return np.asarray(pc.list_value_length(lists).to_numpy(zero_copy_only=False), np.int64)


def _numbers(array: pa.Array) -> NumberCounts:
    if array.null_count == len(array):
        return NumberCounts()
    if array.null_count:
        array = array.drop_null()
    if pa.types.is_boolean(element_type(array.type)):
        true = array.true_count if isinstance(array, pa.BooleanArray) else pc.sum(array.cast(pa.bool_())).as_py()
        return NumberCounts.counted(np.array([0, 1]), np.array([len(array) - true, true]))
    return NumberCounts.of(plain_values(array).to_numpy(zero_copy_only=False))


def _sizes(array: pa.Array, counts: ValueCounts) -> NumberCounts:
    """Lengths of all values: of the few distinct ones where they are all kept, otherwise of each."""
    if counts.exact:
        values, repeats = counts.weighted()
        return NumberCounts.counted(_size(values), repeats)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    return NumberCounts.of(_size(array.drop_null()))


def _images(array: pa.Array) -> int:
    values = array.cast(pa.large_binary())
    found = [pc.sum(pc.starts_with(values, begin)).as_py() or 0 for begin in _IMAGE_BEGINNINGS]
    return int(sum(found))


def _size(values: pa.Array) -> np.ndarray[Any, Any]:
    text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    text = text or pa.types.is_string_view(values.type)
    measured = pc.utf8_length(values) if text else pc.binary_length(values)
    return np.asarray(measured.to_numpy(zero_copy_only=False), np.int64)
