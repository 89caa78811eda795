"""The state of our layers that learn, as mergeable pure functions that need neither Keras nor TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from headrace.transforms.keras_graph import bin_boundaries
from headrace.transforms.keras_graph.analyzers import BoundariesAnalyzer
from headrace.transforms.keras_graph.bin_boundaries import WeightedValues
from headrace.transforms.moments import Moments
from headrace.transforms.weighted_values import weighted_quantiles

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class MeansAnalyzer:
    """The mean of each column; 0 where no value is present.

    Args:
        layer: The layer, for messages.

    Example:
        >>> means = MeansAnalyzer("Impute layer 'age'")
        >>> means.finish(means.summarize(np.array([[1.0, np.nan], [4.0, np.nan]])))
        (2.5, 0.0)
    """

    layer: str

    def create(self) -> Moments:
        return Moments()

    def summarize(self, values: np.ndarray) -> Moments:
        return Moments.along(values.astype(np.float64), (0,))

    def merge(self, left: Moments, right: Moments) -> Moments:
        return left.merge(right)

    def finish(self, summary: Moments) -> tuple[float, ...]:
        return _finite(np.where(np.asarray(summary.count) > 0, summary.mean, 0.0), self.layer)


@dataclass(frozen=True)
class MediansAnalyzer:
    """The median of each column, exact up to `bin_boundaries.CAPACITY` distinct values; 0 where none is present.

    Args:
        layer: The layer, for messages.
        columns: How many columns there are.
    """

    layer: str
    columns: int

    def create(self) -> tuple[WeightedValues, ...]:
        return tuple(bin_boundaries.create() for _ in range(self.columns))

    def summarize(self, values: np.ndarray) -> tuple[WeightedValues, ...]:
        return tuple(bin_boundaries.summarize(values[:, column]) for column in range(self.columns))

    def merge(self, left: tuple[WeightedValues, ...], right: tuple[WeightedValues, ...]) -> tuple[WeightedValues, ...]:
        return tuple(bin_boundaries.merge(one, other) for one, other in zip(left, right))

    def finish(self, summary: tuple[WeightedValues, ...]) -> tuple[float, ...]:
        return _finite(np.array([bin_boundaries.finish(one, 2)[0] for one in summary]), self.layer)


@dataclass(frozen=True)
class TailAnalyzer(BoundariesAnalyzer):
    """The boundaries of a TailBuckets.

    Args:
        probabilities: Of the quantiles, ascending.
    """

    probabilities: tuple[float, ...] = ()

    def finish(self, summary: WeightedValues) -> list[float]:
        return tail_boundaries(summary, self.probabilities)


def tail_probabilities(depth: int, tail: str) -> tuple[float, ...]:
    """Those of the boundaries: the median and `depth` - 1 more into each tail, each of half the rows that are left.

    >>> tail_probabilities(3, "both")
    (0.125, 0.25, 0.5, 0.75, 0.875)
    """
    lower = [2.0**-k for k in range(depth, 1, -1)] if tail in ("lower", "both") else []
    upper = [1 - 2.0**-k for k in range(2, depth + 1)] if tail in ("upper", "both") else []
    return (*lower, 0.5, *upper)


def tail_boundaries(counted: WeightedValues, probabilities: tuple[float, ...]) -> list[float]:
    """Distinct quantiles, ascending, filled up with the largest float32, which is also the last of them.

    >>> tail_boundaries(bin_boundaries.summarize(np.array([1.0, 1, 1, 5])), (0.25, 0.5, 1.0))[:2]
    [1.0, 5.0]
    """
    if len(counted.values):
        quantiles = weighted_quantiles(counted.values, counted.weights, np.asarray(probabilities)).astype(np.float32)
        distinct = [float(one) for one in np.unique(quantiles) if -LARGEST <= one < LARGEST]
    else:
        distinct = []
    return distinct + [LARGEST] * (len(probabilities) + 1 - len(distinct))


def _finite(values: np.ndarray, layer: str) -> tuple[float, ...]:
    with np.errstate(over="ignore"):
        stored = np.atleast_1d(values).astype(np.float32)
    if not np.isfinite(stored).all():
        raise ValueError(
            f"{layer}: expected finite values to put for missing ones, got {values}: its input has infinite or huge "
            "values in the train split; clip them before (keras.ops.clip), or take strategy='median' or 'constant'"
        )
    return tuple(float(one) for one in np.atleast_1d(values))
