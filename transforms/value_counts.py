"""How often each string occurs: exact up to a bound, then the frequent ones, in bounded memory.

A lookup's vocabulary (`keras_graph.vocabulary`) counts by the same `count_values`, and keeps every value: one that is
dropped here is at most a number that is slightly off in a table, there it would be another model. Ties stand in
ascending order, as people read a table; Keras' order is its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.transforms.distinct import DistinctSketch, hash_strings

Array = np.ndarray[Any, Any]

# Distinct values, and bytes of them, up to which counts are exact.
EXACT_VALUES = 32_768
EXACT_BYTES = 8 << 20


class ValueCounts:
    """Distinct strings (or bytes) with how often each occurs.

    Above `EXACT_VALUES` distinct values or `EXACT_BYTES` of them, all counts are lowered by that of the first value
    that does not fit, and what falls to zero is dropped. A count is then too low by at most `error`, which is at most
    `total / (values kept + 1)`; a value that is dropped occurred at most `error` times.

    Source: Misra and Gries, "Finding repeated elements" (1982); merged as in Agarwal et al., "Mergeable summaries"
    (PODS 2012).

    Example:
        >>> counts = ValueCounts.of(pa.array(["a", "b", "a"]))
        >>> counts.merge(ValueCounts.of(pa.array(["b", "b"])))
        >>> counts.top(1)
        [('b', 3)]
    """

    __slots__ = ("_counts", "_distinct", "_values", "error", "total")

    def __init__(self) -> None:
        self._values: pa.Array | None = None
        self._counts: Array = np.empty(0, np.int64)
        self._distinct: DistinctSketch | None = None
        self.total = 0
        self.error = 0

    @classmethod
    def of(cls, array: pa.Array) -> ValueCounts:
        """Counts the values of an array; nulls are left out."""
        counts = cls()
        values, counts._counts = count_values(array)
        counts._values = _wide(values)
        counts.total = int(counts._counts.sum())
        counts._bound()
        return counts

    def merge(self, other: ValueCounts) -> None:
        """Adds all that `other` counted."""
        if other._values is None:
            return
        if self._values is None:
            for name in self.__slots__:
                setattr(self, name, getattr(other, name))
            return
        if self._distinct is not None or other._distinct is not None:
            self._start_sketch()
            other._start_sketch()
            assert self._distinct is not None and other._distinct is not None
            self._distinct.merge(other._distinct)
        encoded = pa.concat_arrays([self._values, other._values]).dictionary_encode()
        weights = np.concatenate([self._counts, other._counts])
        self._values = encoded.dictionary
        # bincount adds in float64: exact below 2**53 rows.
        self._counts = np.bincount(encoded.indices, weights=weights, minlength=len(self._values)).astype(np.int64)
        self.total += other.total
        self.error += other.error
        self._bound()

    @property
    def exact(self) -> bool:
        """Whether every distinct value is here with its true count."""
        return self._distinct is None

    def unique(self) -> int:
        """How many distinct values there were: exact, or within about 2 % (two standard errors)."""
        return len(self._counts) if self._distinct is None else self._distinct.estimate()

    def top(self, number: int | None = None) -> list[tuple[Any, int]]:
        """The most frequent values with their counts: by count, then by value; all that are kept when None."""
        if self._values is None or not len(self._counts):
            return []
        candidates = np.arange(len(self._counts))
        if number is not None and number < len(candidates):
            least = np.partition(self._counts, -number)[-number]
            candidates = np.flatnonzero(self._counts >= least)
        # Byte order, not the locale's, breaks ties: the same everywhere, whatever the order of the data.
        table = pa.table(
            {
                "value": self._values.take(pa.array(candidates)),
                "count": self._counts[candidates],
            }
        ).sort_by([("count", "descending"), ("value", "ascending")])
        if number is not None:
            table = table.slice(0, number)
        return list(zip(table["value"].to_pylist(), table["count"].to_pylist()))

    def weighted(self) -> tuple[pa.Array, Array]:
        """The values kept and their counts, in no particular order."""
        return (pa.array([], pa.large_string()) if self._values is None else self._values), self._counts

    def _start_sketch(self) -> None:
        if self._distinct is None:
            self._distinct = DistinctSketch()
            self._distinct.update(hash_strings(self._values))

    def _bound(self) -> None:
        assert self._values is not None
        if len(self._counts) <= EXACT_VALUES and self._values.nbytes <= EXACT_BYTES:
            return
        self._start_sketch()
        order = np.argsort(-self._counts, kind="stable")
        sizes = pc.binary_length(self._values).to_numpy(zero_copy_only=False)[order] + 8
        fit = min(int(np.searchsorted(np.cumsum(sizes), EXACT_BYTES, side="right")), EXACT_VALUES)
        if fit >= len(order):
            return
        lowered = int(self._counts[order[fit]])
        kept = np.flatnonzero(self._counts > lowered)
        self._values = self._values.take(pa.array(kept))
        self._counts = self._counts[kept] - lowered
        self.error += lowered


def count_values(array: pa.Array) -> tuple[pa.Array, Array]:
    """Counts strings, bytes or ints; nulls are left out.

    Args:
        array: The values, plain or encoded by a dictionary without repeats.

    Returns:
        Distinct values, and how often each occurs, int64.
    """
    if pa.types.is_dictionary(array.type):
        # Codes are counted without looking at a string.
        codes = array.indices.drop_null().to_numpy(zero_copy_only=False)
        counts = np.bincount(codes, minlength=len(array.dictionary))
        present = np.flatnonzero(counts)
        return array.dictionary.take(pa.array(present)), counts[present].astype(np.int64, copy=False)
    counted = pc.value_counts(array.drop_null() if array.null_count else array)
    return counted.field(0), counted.field(1).to_numpy()


def _wide(values: pa.Array) -> pa.Array:
    """With 64-bit offsets, so that batches of any size can be concatenated."""
    text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    text = text or pa.types.is_string_view(values.type)
    return values.cast(pa.large_string() if text else pa.large_binary())
