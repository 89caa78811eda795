"""Bin boundaries: mergeable counts of distinct values, exact while there are at most `CAPACITY` of them.

Statistics bound every number column at 32,768 distinct values and then keep a sketch (`transforms.quantiles`), which is
several times cheaper and depends, within its bound, on how the rows lie in files. Boundaries are part of the saved
graph: rows that lie otherwise would be another graph, and everything behind Transform would run again. So the few
layers that need them count up to a million distinct values, in float32, which is what Discretization compares in.
NaN is missing; infinities are values, as `np.quantile` takes them (statistics count both apart).

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
from headrace.transforms.weighted_values import add_up, count_numbers, weighted_quantiles

CAPACITY = 1 << 20


class WeightedValues(NamedTuple):
    """Distinct values in ascending order, and how many rows each stands for."""

    values: np.ndarray
    weights: np.ndarray


def create() -> WeightedValues:
    """The neutral element of `merge`."""
    return WeightedValues(np.zeros(0, np.float32), np.zeros(0, np.int64))


def summarize(values: np.ndarray, capacity: int = CAPACITY) -> WeightedValues:
    """Counts the numbers of a batch, of any shape, as float32; NaN is missing."""
    flat = np.asarray(values).ravel()
    if not len(flat):
        return create()
    if flat.dtype.kind in "iu":
        # Counted as ints, which is cheaper; those that are one float32 are added up.
        distinct, counts, _ = count_numbers(flat.astype(np.int64, copy=False))
        return thin(WeightedValues(*add_up(distinct.astype(np.float32), counts)), capacity)
    distinct, counts, _ = count_numbers(flat.astype(np.float32, copy=False))
    present = np.searchsorted(distinct, np.inf, side="right")
    return thin(WeightedValues(distinct[:present], counts[:present]), capacity)


def merge(left: WeightedValues, right: WeightedValues, capacity: int = CAPACITY) -> WeightedValues:
    """The counts of both together."""
    if not len(left.values) or not len(right.values):
        return left if len(left.values) else right
    values = np.concatenate([left.values, right.values])
    return thin(WeightedValues(*add_up(values, np.concatenate([left.weights, right.weights]))), capacity)


def thin(counted: WeightedValues, capacity: int) -> WeightedValues:
    """Keeps `capacity` / 2 of the values, at equal steps of weight, if there are more than `capacity`."""
    if len(counted.values) <= capacity:
        return counted
    kept = capacity // 2
    upto = np.cumsum(counted.weights)
    edges = np.round(np.linspace(0, upto[-1], kept + 1)).astype(np.int64)
    middle = (edges[:-1] + edges[1:]) // 2
    values = counted.values[np.searchsorted(upto, middle, side="right").clip(max=len(upto) - 1)]
    return WeightedValues(*add_up(values, np.diff(edges)))


def finish(counted: WeightedValues, bins: int) -> np.ndarray:
    """The `bins` - 1 inner boundaries: `np.quantile`'s linear ones; zeros where no value was present."""
    if not len(counted.values):
        return np.zeros(bins - 1)
    return weighted_quantiles(counted.values, counted.weights, np.arange(1, bins) / bins)
