"""Quantiles: mergeable counts of distinct values, exact while there are at most `CAPACITY` of them.

Exact quantiles do not depend on order or sharding, so two runs give the same graph, which no randomised sketch does.
Above `CAPACITY` distinct values the counts are thinned to half of it at equal steps of weight. One thinning of weight W
moves a rank by at most W / CAPACITY, and the next is due only after CAPACITY / 2 more values: n rows that are all
different move a rank by less than n / CAPACITY ** 2, relative to n. That is 0.00001 at 10 million rows and stays below
0.001 up to 1,000 million; memory is 12 MB at most.

>>> import numpy as np
>>> finish(merge(summarize(np.arange(5.0)), summarize(np.array([5.0, np.nan]))), 2)
array([2.5])
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CAPACITY = 1 << 20


class WeightedValues(NamedTuple):
    """Distinct values in ascending order, and how many rows each stands for."""

    values: np.ndarray
    weights: np.ndarray


def create() -> WeightedValues:
    """The neutral element of `merge`."""
    return WeightedValues(np.zeros(0, np.float32), np.zeros(0, np.int64))


def summarize(values: np.ndarray, capacity: int = CAPACITY) -> WeightedValues:
    """Counts the values of a batch, of any shape, as float32 (what Discretization sees); NaN is missing."""
    flat = np.asarray(values).astype(np.float32, copy=False).ravel()
    return thin(WeightedValues(*np.unique(flat[~np.isnan(flat)], return_counts=True)), capacity)


def merge(left: WeightedValues, right: WeightedValues, capacity: int = CAPACITY) -> WeightedValues:
    """The counts of both together."""
    if not len(left.values) or not len(right.values):
        return left if len(left.values) else right
    values = np.concatenate([left.values, right.values])
    order = np.argsort(values, kind="stable")
    values, weights = values[order], np.concatenate([left.weights, right.weights])[order]
    first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    return thin(WeightedValues(values[first], np.add.reduceat(weights, first)), capacity)


def thin(counted: WeightedValues, capacity: int) -> WeightedValues:
    """Keeps `capacity` / 2 of the values, at equal steps of weight, if there are more than `capacity`."""
    if len(counted.values) <= capacity:
        return counted
    kept = capacity // 2
    upto = np.cumsum(counted.weights)
    edges = np.round(np.linspace(0, upto[-1], kept + 1)).astype(np.int64)
    middle = (edges[:-1] + edges[1:]) // 2
    values = counted.values[np.searchsorted(upto, middle, side="right").clip(max=len(upto) - 1)]
    first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    return WeightedValues(values[first], np.add.reduceat(np.diff(edges), first))


def finish(counted: WeightedValues, bins: int) -> np.ndarray:
    """The `bins` - 1 inner boundaries: `np.quantile`'s linear ones; zeros where no value was present."""
    if not len(counted.values):
        return np.zeros(bins - 1)
    upto = np.cumsum(counted.weights)
    position = np.arange(1, bins) / bins * (upto[-1] - 1)
    below = np.floor(position).astype(np.int64)
    values = counted.values.astype(np.float64)
    lower = values[np.searchsorted(upto, below, side="right")]
    upper = values[np.searchsorted(upto, np.minimum(below + 1, upto[-1] - 1), side="right")]
    # Not lower + (upper - lower) * share, which is NaN between equal infinities.
    share = position - below
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(lower == upper, lower, lower * (1 - share) + upper * share))
