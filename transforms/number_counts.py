"""The distribution of numbers: exact counts of distinct values up to a bound, then sketches, from one sort a batch.

Counting, moments and quantiles are those of Transform's layers (`weighted_values`, `moments`). What is for statistics
alone: ints stay int64 and floats keep their width, as a schema must know the true extremes, where a layer sees float32;
NaN and infinities are counted apart, so that one bad value does not hide the mean of the others, where a layer takes
NaN for missing and refuses infinities in a mean; and the bound is low, because every number column has one of these.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from headrace.transforms.distinct import DistinctSketch, hash_numbers
from headrace.transforms.moments import Moments
from headrace.transforms.quantiles import QuantileSketch
from headrace.transforms.weighted_values import add_up, count_numbers, weighted_quantiles

Array = np.ndarray[Any, Any]

# Distinct values up to which everything is exact. Below the rows of a row group: a column of mostly distinct numbers
# becomes a sketch in the worker that read it, and merging stays cheap.
EXACT_VALUES = 32_768


class NumberCounts:
    """Numbers of one dtype (int64, float32 or float64): how many, their moments, extremes, zeros and distribution.

    NaN and infinities are counted apart; moments, extremes and distribution are of the finite numbers.

    Example:
        >>> numbers = NumberCounts.of(np.array([3, 1, 3]))
        >>> numbers.merge(NumberCounts.of(np.array([0])))
        >>> numbers.minimum, numbers.zeros, numbers.unique(), numbers.quantiles(np.array([0.5])).tolist()
        (0, 1, 3, [2.0])
    """

    __slots__ = (
        *("_counts", "_distinct", "_moments", "_quantiles", "_values"),
        *("maximum", "minimum", "nan", "negative_inf", "positive_inf", "zeros"),
    )

    def __init__(self) -> None:
        self._values: Array | None = None
        self._counts: Array = np.empty(0, np.int64)
        self._quantiles: QuantileSketch | None = None
        self._distinct: DistinctSketch | None = None
        self._moments = Moments()
        self.minimum: float = math.inf
        self.maximum: float = -math.inf
        self.zeros = self.nan = self.positive_inf = self.negative_inf = 0

    @classmethod
    def of(cls, values: Array) -> NumberCounts:
        """Counts numbers, shape `(n,)`."""
        numbers = cls()
        if len(values):
            numbers._fill(*count_numbers(values))
        return numbers

    @classmethod
    def counted(cls, values: Array, counts: Array) -> NumberCounts:
        """Counts numbers that occur `counts` times each, shapes `(n,)`; a value may be listed more than once."""
        numbers = cls()
        present = counts > 0
        if present.any():
            numbers._fill(*add_up(values[present], counts[present]), None)
        return numbers

    def _fill(self, distinct: Array, counts: Array, present: Array | None) -> None:
        if distinct.dtype.kind == "f":
            distinct, counts, present = self._set_apart(distinct, counts, present)
        if not len(distinct):
            return
        self.minimum, self.maximum = distinct[0].item(), distinct[-1].item()
        zero = int(np.searchsorted(distinct, 0))
        self.zeros = int(counts[zero]) if zero < len(distinct) and distinct[zero] == 0 else 0
        if len(distinct) <= EXACT_VALUES:
            self._values, self._counts = distinct, counts
            return
        # Here most values are distinct, so the batch was sorted; the sum of a sorted array is as exact as of any other.
        self._moments = Moments.of(present) if present is not None else Moments.of(distinct, counts)
        self._distinct = DistinctSketch()
        self._distinct.update(hash_numbers(distinct))
        self._quantiles = QuantileSketch()
        if present is not None:
            self._quantiles.update(present, is_sorted=True)
        else:
            self._quantiles.update_counted(distinct, counts)

    def _set_apart(self, distinct: Array, counts: Array, present: Array | None) -> tuple[Array, Array, Array | None]:
        """Counts NaN and infinities, which stand at the ends, and leaves the finite numbers."""
        start = int(np.searchsorted(distinct, -np.inf, side="right"))
        end = int(np.searchsorted(distinct, np.inf, side="left"))
        stop = int(np.searchsorted(distinct, np.inf, side="right"))
        self.negative_inf = int(counts[:start].sum())
        self.positive_inf = int(counts[end:stop].sum())
        self.nan = int(counts[stop:].sum())
        if present is not None:
            above = self.positive_inf + self.nan
            present = present[self.negative_inf : len(present) - above]
        # + 0.0 makes -0.0, which equals 0.0, one and the same.
        return distinct[start:end] + distinct.dtype.type(0), counts[start:end], present

    def merge(self, other: NumberCounts) -> None:
        """Adds all that `other` counted; changes `self` alone."""
        self.nan += other.nan
        self.positive_inf += other.positive_inf
        self.negative_inf += other.negative_inf
        if not other.count:
            return
        if not self.count:
            for name in ("_values", "_counts", "_quantiles", "_distinct", "_moments", "minimum", "maximum", "zeros"):
                setattr(self, name, getattr(other, name))
            return
        self.zeros += other.zeros
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)
        if self._values is not None and other._values is not None:
            values = np.concatenate([self._values, other._values])
            self._values, self._counts = add_up(values, np.concatenate([self._counts, other._counts]))
            if len(self._values) > EXACT_VALUES:
                self._to_sketches()
            return
        self._to_sketches()
        assert self._quantiles is not None and self._distinct is not None
        if other._values is not None:
            self._quantiles.update_counted(other._values, other._counts)
            self._distinct.update(hash_numbers(other._values))
            self._moments = self._moments.merge(Moments.of(other._values, other._counts))
        else:
            assert other._quantiles is not None and other._distinct is not None
            self._quantiles.merge(other._quantiles)
            self._distinct.merge(other._distinct)
            self._moments = self._moments.merge(other._moments)

    def _to_sketches(self) -> None:
        if self._values is None:
            return
        self._moments = Moments.of(self._values, self._counts)
        self._quantiles = QuantileSketch()
        self._quantiles.update_counted(self._values, self._counts)
        self._distinct = DistinctSketch()
        self._distinct.update(hash_numbers(self._values))
        self._values, self._counts = None, np.empty(0, np.int64)

    @property
    def exact(self) -> bool:
        """Whether the whole distribution is exact."""
        return self._quantiles is None

    @property
    def count(self) -> int:
        """How many finite numbers there are."""
        return int(self._counts.sum()) if self._quantiles is None else self._quantiles.count

    @property
    def moments(self) -> Moments:
        """Moments of the finite numbers; from the exact counts, whatever the order of the data, where there are."""
        if self._quantiles is not None:
            return self._moments
        return Moments() if self._values is None else Moments.of(self._values, self._counts)

    @property
    def rank_error(self) -> float:
        """The bound on a quantile's error in rank, as a fraction of the count; 0 while exact."""
        return 0.0 if self._quantiles is None else self._quantiles.rank_error

    def unique(self) -> int:
        """How many distinct finite numbers there are; within about 2 % when not exact."""
        return len(self._counts) if self._distinct is None else self._distinct.estimate()

    def weighted(self) -> tuple[Array, Array]:
        """Ascending values and how many numbers each stands for: all distinct ones, or the sketch's samples."""
        if self._quantiles is not None:
            return self._quantiles.items()
        return (np.empty(0) if self._values is None else self._values), self._counts

    def quantiles(self, probabilities: Array) -> Array:
        """Values at the probabilities, interpolated as NumPy's default does, float64; the ends are exact."""
        found = weighted_quantiles(*self.weighted(), probabilities)
        found = np.where(np.asarray(probabilities) <= 0, self.minimum, found)
        return np.where(np.asarray(probabilities) >= 1, self.maximum, found)

    def histogram(self, bins: int) -> tuple[Array, Array]:
        """Counts in equal-width bins from the smallest to the largest number: `(bins,)` counts, `(bins + 1,)` edges."""
        low, high = float(self.minimum), float(self.maximum)
        if low == high:
            return np.array([float(self.count)]), np.array([low, high])
        values, counts = self.weighted()
        edges = np.linspace(low, high, bins + 1) if math.isfinite(high - low) else _wide_edges(low, high, bins)
        ends = np.searchsorted(values, edges[1:-1].astype(np.float64), side="left")
        sums = np.concatenate([[0], np.cumsum(counts)])
        return np.diff(np.concatenate([[0], sums[ends], sums[-1:]])).astype(np.float64), edges


def _wide_edges(low: float, high: float, bins: int) -> Array:
    """Edges of a range wider than the largest float."""
    steps = np.arange(bins + 1) / bins
    return low * (1 - steps) + high * steps
