"""Numbers as their distinct values in ascending order, with how many rows each stands for.

Statistics (`number_counts`) and a Discretization's boundaries (`keras_graph.bin_boundaries`) count, add up and read
quantiles by these functions. What they do with too many distinct values differs, and each says why.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Array = np.ndarray[Any, Any]

_DENSE_RANGE = 1 << 17
_PROBE = 1024


def count_numbers(values: Array) -> tuple[Array, Array, Array | None]:
    """Counts numbers; NaN, at the end, may be there several times.

    Args:
        values: int64, float32 or float64, shape `(n,)`, n >= 1.

    Returns:
        Distinct values in ascending order, their counts, and all values sorted where that was the way to get them.
    """
    if values.dtype.kind in "iu":
        low, high = int(values.min()), int(values.max())
        if high - low < min(_DENSE_RANGE, 4 * len(values) + 256):
            dense = np.bincount(values - low)
            occurring = np.flatnonzero(dense)
            return occurring + low, dense[occurring], None
    elif _few_distinct(values):
        counted = pc.value_counts(pa.array(values))
        numbers, counts = (counted.field(i).to_numpy(zero_copy_only=False) for i in (0, 1))
        return *add_up(numbers, counts), None
    ordered = np.sort(values)
    starts = _run_starts(ordered)
    return ordered[starts], np.diff(starts, append=len(ordered)), ordered


def add_up(values: Array, counts: Array) -> tuple[Array, Array]:
    """Sorts counted values and adds up the counts of equal ones; shapes `(n,)`, n >= 1."""
    order = np.argsort(values, kind="stable")
    ordered, counts = values[order], counts[order].astype(np.int64, copy=False)
    starts = _run_starts(ordered)
    if len(starts) == len(ordered):
        return ordered, counts
    return ordered[starts], np.add.reduceat(counts, starts)


def weighted_quantiles(values: Array, weights: Array, probabilities: Array) -> Array:
    """Quantiles of sorted values that occur `weights` times, equal to `np.quantile` of the values spelled out.

    Args:
        values: Ascending, shape `(m,)`, m >= 1; infinities at the ends are values like others.
        weights: Whole numbers >= 1, shape `(m,)`.
        probabilities: Between 0 and 1, shape `(q,)`.

    Returns:
        float64, shape `(q,)`.
    """
    ends = np.cumsum(weights)
    positions = np.asarray(probabilities, np.float64) * (ends[-1] - 1)
    below = np.floor(positions).astype(np.int64)
    low = values[np.searchsorted(ends, below, side="right")].astype(np.float64)
    high = values[np.searchsorted(ends, np.minimum(below + 1, ends[-1] - 1), side="right")].astype(np.float64)
    fraction = positions - below
    with np.errstate(invalid="ignore", over="ignore"):
        gap = high - low
        # Beside an infinity, or in a gap wider than the largest float, the difference is of no use.
        between = np.where(np.isfinite(gap), low + gap * fraction, low * (1 - fraction) + high * fraction)
    # Where the two are equal or the position is whole nothing is interpolated: 0 * inf would be NaN.
    return np.asarray(np.where((fraction == 0) | (low == high), low, between))


def _few_distinct(values: Array) -> bool:
    """Whether a hash table is cheaper than a sort: judged on a sample; either way gives the same."""
    sample = values[:: max(1, len(values) // _PROBE)][:_PROBE]
    return len(np.unique(sample)) * 2 < len(sample)


def _run_starts(ordered: Array) -> Array:
    """Where the distinct values of a sorted array begin, shape `(n,)`, n >= 1; NaNs, at the end, begin one by one."""
    changes = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=changes[1:])
    return np.flatnonzero(changes)
