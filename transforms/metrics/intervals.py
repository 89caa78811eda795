"""Confidence intervals, vectorised over groups.

Each takes arrays of shape `(groups,)` and gives `(lower, upper)` of that shape, NaN where the interval is not defined.
Weighted rows count by their effective number, `(sum w)^2 / sum w^2` (Kish, Survey Sampling, 1965, section 8.2).
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Interval = tuple[Array, Array]


def normal_quantile(confidence: float) -> float:
    """The z of a two-sided interval.

    >>> round(normal_quantile(0.95), 3)
    1.96
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is a share between 0 and 1, such as 0.95; received {confidence!r}")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def student_quantile(confidence: float, degrees: int) -> float:
    """Student's t of a two-sided interval, by the expansion in 1/degrees (Abramowitz and Stegun, 26.7.5).

    >>> round(student_quantile(0.95, 19), 3)
    2.093
    """
    z = normal_quantile(confidence)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(z + sum(term / degrees ** (power + 1) for power, term in enumerate(terms)))


def effective_rows(weight: Array, squared: Array) -> Array:
    """Kish's effective number of rows from the sums of weights and of squared weights."""
    return ratio(weight**2, squared)


def ratio(numerator: Array, denominator: Array) -> Array:
    """`numerator / denominator`, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    result: Array = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


def wilson(share: Array, rows: Array, confidence: float) -> Interval:
    """Interval of a proportion (Wilson 1927; recommended by Brown, Cai and DasGupta, Statistical Science 16(2), 2001).

    Args:
        share: The observed proportion.
        rows: Of how many rows, or effective rows.
        confidence: Such as 0.95.

    >>> lower, upper = wilson(np.array([0.0]), np.array([10.0]), 0.95)
    >>> float(lower[0]), round(float(upper[0]), 3)
    (0.0, 0.278)
    """
    z2 = normal_quantile(confidence) ** 2
    centre = ratio(share * rows + z2 / 2, rows + z2)
    spread = ratio(np.sqrt(z2 * np.maximum(rows * share * (1 - share), 0) + z2**2 / 4), rows + z2)
    undefined = ~((rows > 0) & np.isfinite(share))
    lower = np.clip(np.minimum(centre - spread, share), 0, 1)
    upper = np.clip(np.maximum(centre + spread, share), 0, 1)
    return np.where(undefined, np.nan, lower), np.where(undefined, np.nan, upper)


def normal(value: Array, variance: Array, confidence: float) -> Interval:
    """Interval of an estimate that is about normal, from its variance."""
    spread = normal_quantile(confidence) * np.sqrt(np.maximum(variance, 0))
    return value - spread, value + spread


def logit(value: Array, variance: Array, confidence: float) -> Interval:
    """Normal interval on the logit scale, for an estimate between 0 and 1: it never leaves that range.

    For AUC see Pepe, The Statistical Evaluation of Medical Tests, 2003, section 5.2.4. At 0 and 1, where the logit is
    not finite, the interval is the point itself when the variance is 0, otherwise that of `normal`, cut to [0, 1].
    """
    inside = (value > 0) & (value < 1)
    safe = np.where(inside, value, 0.5)
    centre = np.log(safe / (1 - safe))
    spread = normal_quantile(confidence) * np.sqrt(np.maximum(variance, 0)) / (safe * (1 - safe))
    lower, upper = normal(value, variance, confidence)
    with np.errstate(over="ignore"):
        low, high = 1 / (1 + np.exp(spread - centre)), 1 / (1 + np.exp(-spread - centre))
    return np.where(inside, low, np.clip(lower, 0, 1)), np.where(inside, high, np.clip(upper, 0, 1))


def mean_variance(weight: Array, squared: Array, wx: Array, w2x: Array, w2x2: Array) -> Array:
    """Variance of a weighted mean, linearised (Cochran, Sampling Techniques, 1977, section 6.3).

    `sum w^2 (x - m)^2 / (sum w)^2`, times `n / (n - 1)` with the effective number of rows n.

    Args:
        weight, squared: Sums of w and of w^2.
        wx, w2x, w2x2: Sums of w x, w^2 x and w^2 x^2.
    """
    mean = ratio(wx, weight)
    rows = effective_rows(weight, squared)
    spread = np.maximum(w2x2 - 2 * mean * w2x + mean**2 * squared, 0)
    return ratio(spread, weight**2) * ratio(rows, np.where(rows > 1, rows - 1, 0))


def jackknife(whole: Array, left_out: Array, confidence: float) -> Interval:
    """Interval by the delete-a-group jackknife (Kott, Journal of Official Statistics 17(4), 2001).

    Args:
        whole: The statistic of all rows, shape `(groups,)`.
        left_out: The statistic without each block of rows, shape `(groups, blocks)`. A block that is empty, or without
            which the statistic is not defined, is left out of the count.
        confidence: Such as 0.95.
    """
    usable = np.isfinite(left_out)
    blocks = usable.sum(axis=1)
    deviations = np.where(usable, left_out - whole[:, None], 0.0)
    variance = np.where(blocks > 1, (blocks - 1) / np.maximum(blocks, 1) * (deviations**2).sum(axis=1), np.nan)
    spread = student_quantile(confidence, left_out.shape[1] - 1) * np.sqrt(variance)
    return whole - spread, whole + spread
