"""Means and variances: mergeable, in float64, skipping missing values.

Merging is Chan, Golub and LeVeque's pairwise update ("Updating formulae and a pairwise algorithm for computing sample
variances", 1979), which does not cancel where sums of squares do.

>>> import numpy as np
>>> moments = merge(summarize(np.array([[1.0], [2.0]]), (0,)), summarize(np.array([[3.0], [np.nan]]), (0,)))
>>> finish(moments).mean, moments.count
(array([2.]), array([3]))
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Moments(NamedTuple):
    """Count, mean and sum of squared deviations, each of the shape of the axes that are kept."""

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray


class MeanVariance(NamedTuple):
    """The finished moments; the variance is the population's, as `np.var` and Keras give it."""

    mean: np.ndarray
    variance: np.ndarray
    count: np.ndarray


def create() -> Moments:
    """The neutral element of `merge`: it takes the shape of what it is merged with."""
    return Moments(np.zeros((), np.int64), np.zeros(()), np.zeros(()))


def summarize(values: np.ndarray, axes: tuple[int, ...]) -> Moments:
    """The moments of a batch.

    Args:
        values: Numbers of shape (rows, ...); NaN is a missing value.
        axes: The axes to reduce; 0, the rows, is among them.
    """
    values = np.asarray(values, np.float64)
    present = ~np.isnan(values)
    count = present.sum(axis=axes, dtype=np.int64)
    # An infinite value gives an infinite mean here, which `finish` reports: not a warning from every batch.
    with np.errstate(invalid="ignore", over="ignore"):
        everything = bool(present.all())
        total = values.sum(axis=axes) if everything else np.where(present, values, 0.0).sum(axis=axes)
        mean = total / np.maximum(count, 1)
        away = values - np.expand_dims(mean, axes)
        squares = (away * away if everything else np.where(present, away * away, 0.0)).sum(axis=axes)
    return Moments(count, mean, squares)


def merge(left: Moments, right: Moments) -> Moments:
    """The moments of both together."""
    count = left.count + right.count
    share = right.count / np.maximum(count, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        apart = right.mean - left.mean
        mean = left.mean + apart * share
        return Moments(count, mean, left.squares + right.squares + apart * apart * left.count * share)


def finish(moments: Moments) -> MeanVariance:
    """Mean and variance; (0, 1), which changes nothing, where no value was present."""
    none = moments.count == 0
    return MeanVariance(
        np.where(none, 0.0, moments.mean),
        np.where(none, 1.0, moments.squares / np.maximum(moments.count, 1)),
        moments.count,
    )
