"""Count, mean and variance that merge exactly enough: one pass, float64, no cancellation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Moments:
    """Count, mean and sum of squared deviations from the mean of finite numbers.

    Merged by Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances"
    (1979), so that a large mean beside a small spread loses nothing.

    Example:
        >>> left, right = Moments.of(np.array([1.0, 2.0])), Moments.of(np.array([3.0, 6.0]))
        >>> left.merge(right)
        Moments(count=4, mean=3.0, m2=14.0)
    """

    count: int = 0
    mean: float = 0.0
    m2: float = 0.0

    @classmethod
    def of(cls, values: Array, counts: Array | None = None) -> Moments:
        """Moments of `values`, shape `(n,)`, each occurring `counts` times (once when None)."""
        # Sums, not np.dot: BLAS brings threads of its own, which fight with those of a pass.
        with np.errstate(over="ignore", invalid="ignore"):
            if counts is None:
                if not len(values):
                    return cls()
                mean = float(np.mean(values, dtype=np.float64))
                spread = values - np.float64(mean)
                return cls(len(values), mean, float(np.square(spread, out=spread).sum()))
            total = int(counts.sum())
            if not total:
                return cls()
            weights = counts.astype(np.float64)
            mean = float((values * weights).sum()) / total
            spread = values - np.float64(mean)
            return cls(total, mean, float((spread * spread * weights).sum()))

    def merge(self, other: Moments) -> Moments:
        """The moments of both together."""
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * other.count / count
        m2 = self.m2 + other.m2 + delta * delta * self.count * other.count / count
        return Moments(count, mean, m2)

    @property
    def variance(self) -> float:
        """Population variance (divided by `count`); 0 of no values."""
        return self.m2 / self.count if self.count else 0.0

    @property
    def std(self) -> float:
        """Population standard deviation; 0 of no values."""
        return math.sqrt(self.variance) if self.m2 == self.m2 else math.nan
