"""Means and variances: mergeable, in float64, skipping missing values.

Merging is Chan, Golub and LeVeque's pairwise update ("Updating formulae and a pairwise algorithm for computing sample
variances", 1979), which does not cancel where sums of squares do.

>>> import numpy as np
>>> moments = merge(summarize(np.array([[1.0], [2.0]]), (0,)), summarize(np.array([[3.0], [np.nan]]), (0,)))
>>> finish(moments).mean, moments.rows
(array([2.]), array([3]))
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Rows present, mean and sum of squared deviations, each of the shape of the axes that are kept."""

    rows: np.ndarray
    mean: np.ndarray
    squares: np.ndarray


class MeanVariance(NamedTuple):
    """The finished moments; the variance is the population's, as `np.var` and Keras give it."""

    mean: np.ndarray
    variance: np.ndarray
    rows: np.ndarray


def create() -> Moments:
    """The neutral element of `merge`: it takes the shape of what it is merged with."""
    return Moments(np.zeros((), np.int64), np.zeros(()), np.zeros(()))


def summarize(values: np.ndarray, axes: tuple[int, ...]) -> Moments:
    """The moments of a batch.

    Args:
        values: Numbers of shape (rows, ...); NaN is a missing value.
        axes: The axes to reduce; 0, the rows, is among them.
    """
    # An infinite value gives an infinite mean here, which `finish` reports: not a warning from every batch.
    with np.errstate(invalid="ignore", over="ignore"):
        total = values.sum(axis=axes, dtype=np.float64)
        kept_shape = total.shape
        rows = math.prod(values.shape[axis] for axis in axes)
        if not np.isnan(total).any():
            count = np.full(kept_shape, rows, np.int64)
            away = np.subtract(values, np.expand_dims(total / max(rows, 1), axes), dtype=np.float64)
            return Moments(count, total / max(rows, 1), np.square(away, out=away).sum(axis=axes))
        present = ~np.isnan(values)
        count = present.sum(axis=axes, dtype=np.int64)
        mean = values.sum(axis=axes, where=present, dtype=np.float64) / np.maximum(count, 1)
        away = np.subtract(values, np.expand_dims(mean, axes), dtype=np.float64)
        return Moments(count, mean, np.square(away, out=away).sum(axis=axes, where=present))


def merge(left: Moments, right: Moments) -> Moments:
    """The moments of both together."""
    count = left.rows + right.rows
    share = right.rows / np.maximum(count, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = right.mean - left.mean
        mean = left.mean + apart * share
        return Moments(count, mean, left.squares + right.squares + apart * apart * left.rows * share)


def finish(moments: Moments) -> MeanVariance:
    """Mean and variance; (0, 1), which changes nothing, where no value was present."""
    none = moments.rows == 0
    return MeanVariance(
        np.where(none, 0.0, moments.mean),
        np.where(none, 1.0, moments.squares / np.maximum(moments.rows, 1)),
        moments.rows,
    )
