"""Metrics of a number against a number."""

from __future__ import annotations

import numpy as np
from headrace.transforms.metrics import intervals
from headrace.transforms.metrics.intervals import ratio
from headrace.transforms.metrics.metric import Array, Codes, Estimates, Metric, Quantity, Scored, Sums, grown, summed

BLOCKS = 20


class Errors(Sums):
    """Root mean squared error, mean absolute error and bias, the mean of prediction less label.

    Each mean has a normal interval; that of the root is the mean squared error's, its ends' roots taken.
    """

    name = "errors"
    quantities = (
        Quantity("rmse", 0, np.inf, False, "rmse_constant"),
        Quantity("mae", 0, np.inf, False),
        Quantity("bias"),
    )
    columns = 11

    def rows(self, batch: Scored) -> list[Array | None]:
        error = np.asarray(batch.predictions, np.float64) - batch.labels
        kinds = (error**2, np.abs(error), error)
        if batch.weights is None:
            return [None, None, *(column for x in kinds for column in (x, x, x**2))]
        w = batch.weights
        return [w, w**2, *(column for x in kinds for column in (w * x, w**2 * x, (w * x) ** 2))]

    def result(self, state: Array, groups: int, confidence: float) -> dict[str, Estimates]:
        weight, squared, *sums = grown(state, groups).T
        found = []
        for wx, w2x, w2x2 in zip(sums[::3], sums[1::3], sums[2::3]):
            mean = ratio(wx, weight)
            variance = intervals.mean_variance(weight, squared, wx, w2x, w2x2)
            found.append((mean, *intervals.normal(mean, variance, confidence)))
        mse, mae, bias = found
        return {
            "rmse": Estimates(*(np.sqrt(np.maximum(end, 0)) for end in mse)),
            "mae": Estimates(mae[0], np.maximum(mae[1], 0), mae[2]),
            "bias": Estimates(*bias),
        }


class Explained(Metric):
    """R2, its interval by jackknife over 20 blocks of rows, and the error of the best constant, the label's deviation.

    The state is weight, label mean, label's squared deviations and squared errors of each block, merged by Chan, Golub
    and LeVeque's formula (1979), so that labels far from 0 lose no digits.
    """

    name = "explained"
    quantities = (Quantity("r2", -np.inf, 1, True, 0.0), Quantity("rmse_constant", 0, np.inf))

    def create(self) -> Array:
        return np.zeros((0, BLOCKS, 4))

    def prepare(self, batch: Scored) -> tuple[Array, Array, Array]:
        return (
            batch.weight,
            batch.labels,
            batch.weight * (np.asarray(batch.predictions, np.float64) - batch.labels) ** 2,
        )

    def update(self, state: Array, prepared: tuple[Array, Array, Array], codes: Codes, groups: int) -> Array:
        w, y, squared_error = prepared
        cells = codes * BLOCKS + np.arange(len(codes)) % BLOCKS
        weight = summed(cells, w, groups * BLOCKS)
        mean = np.nan_to_num(ratio(summed(cells, w * y, groups * BLOCKS), weight))
        # A long sum's mean is off by its rounding; the deviations' own mean corrects it (corrected two-pass form).
        left = summed(cells, w * (y - mean[cells]), groups * BLOCKS)
        correction = np.nan_to_num(ratio(left, weight))
        deviations = summed(cells, w * (y - mean[cells]) ** 2, groups * BLOCKS) - left * correction
        mean += correction
        errors = summed(cells, squared_error, groups * BLOCKS)
        added = np.stack([weight, mean, deviations, errors], axis=1).reshape(groups, BLOCKS, 4)
        return _chan(grown(state, groups), added)

    def merge(self, state: Array, other: Array, codes: Codes, groups: int) -> Array:
        state = grown(state, groups)
        moved = codes[: len(other)]
        state[moved] = _chan(state[moved], other)
        return state

    def result(self, state: Array, groups: int, confidence: float) -> dict[str, Estimates]:
        state = grown(state, groups)
        whole = _all_blocks(state)
        without = np.stack([_r2(_all_blocks(np.delete(state, block, axis=1))) for block in range(BLOCKS)], axis=1)
        lower, upper = intervals.jackknife(_r2(whole), without, confidence)
        constant = np.sqrt(ratio(whole[:, 2], whole[:, 0]))
        return {
            "r2": Estimates(_r2(whole), lower, np.minimum(upper, 1)),
            "rmse_constant": Estimates.exact(constant),
        }


def _chan(left: Array, right: Array) -> Array:
    """Merges states whose last axis is weight, mean, squared deviations, squared errors."""
    (w1, m1, d1, e1), (w2, m2, d2, e2) = np.moveaxis(left, -1, 0), np.moveaxis(right, -1, 0)
    weight = w1 + w2
    share = np.nan_to_num(ratio(w2, weight))
    return np.stack([weight, m1 + (m2 - m1) * share, d1 + d2 + (m2 - m1) ** 2 * w1 * share, e1 + e2], axis=-1)


def _all_blocks(state: Array) -> Array:
    whole = np.zeros((len(state), 4))
    for block in range(state.shape[1]):
        whole = _chan(whole, state[:, block])
    return whole


def _r2(whole: Array) -> Array:
    return 1 - ratio(whole[:, 3], whole[:, 2])
