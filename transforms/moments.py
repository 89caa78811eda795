"""Count, mean and variance that merge: of a column for statistics, of a tensor's axes for Normalization.

One pass in float64, and no cancellation: sums of squared deviations are merged by Chan, Golub and LeVeque, "Updating
formulae and a pairwise algorithm for computing sample variances" (1979), so that a large mean beside a small spread
loses nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Moments:
    """Count, mean and sum of squared deviations from the mean of the values that are not NaN.

    Three numbers, or three arrays of the shape of the axes that are kept. `Moments()` is the neutral element of
    `merge`: it takes the shape of what it is merged with.

    Example:
        >>> left, right = Moments.of(np.array([1.0, 2.0])), Moments.of(np.array([3.0, 6.0, np.nan]))
        >>> left.merge(right)
        Moments(count=4, mean=3.0, m2=14.0)
        >>> Moments.along(np.array([[1.0, 5.0], [3.0, np.nan]]), (0,)).mean
        array([2., 5.])
    """

    count: Any = 0
    mean: Any = 0.0
    m2: Any = 0.0

    @classmethod
    def of(cls, values: Array, counts: Array | None = None) -> Moments:
        """Moments of `values`, shape `(n,)`, each occurring `counts` times; once, and NaN not at all, when None."""
        if counts is None:
            made = cls.along(values, (0,))
            return cls(int(made.count), float(made.mean), float(made.m2))
        total = int(counts.sum())
        if not total:
            return cls()
        # Sums, not np.dot: BLAS brings threads of its own, which fight with those of a pass.
        with np.errstate(over="ignore", invalid="ignore"):
            weights = counts.astype(np.float64)
            mean = float((values * weights).sum()) / total
            spread = values - np.float64(mean)
            return cls(total, mean, float((spread * spread * weights).sum()))

    @classmethod
    def along(cls, values: Array, axes: tuple[int, ...]) -> Moments:
        """Moments of numbers of any shape over `axes`; NaN is a missing value."""
        # An infinite value gives an infinite mean, which whoever finishes reports: no warning from every batch.
        with np.errstate(over="ignore", invalid="ignore"):
            total = values.sum(axis=axes, dtype=np.float64)
            rows = math.prod(values.shape[axis] for axis in axes)
            where: Any = True
            count: Any = np.full(total.shape, rows, np.int64)
            if np.isnan(total).any():
                where = ~np.isnan(values)
                count = where.sum(axis=axes, dtype=np.int64)
                total = values.sum(axis=axes, where=where, dtype=np.float64)
            mean = total / np.maximum(count, 1)
            away = np.subtract(values, np.expand_dims(mean, axes), dtype=np.float64)
            return cls(count, mean, np.square(away, out=away).sum(axis=axes, where=where))

    def merge(self, other: Moments) -> Moments:
        """The moments of both together."""
        if not np.any(other.count):
            return self
        if not np.any(self.count):
            return other
        count = self.count + other.count
        with np.errstate(over="ignore", invalid="ignore"):
            # The second term is 1 where neither has a value, so that nothing is divided by zero.
            share = other.count / (count + (count == 0))
            delta = other.mean - self.mean
            m2 = self.m2 + other.m2 + delta * delta * self.count * share
            return Moments(count, self.mean + delta * share, m2)

    @property
    def variance(self) -> Any:
        """Population variance (divided by `count`), as `np.var` and Keras give it; 0 of no values."""
        return self.m2 / (self.count + (self.count == 0))

    @property
    def std(self) -> Any:
        """Population standard deviation; 0 of no values."""
        return np.sqrt(self.variance)
