"""Metrics of a probability against a label of 0 or 1: log loss, calibration, and decisions at a threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from headrace.transforms.metrics import intervals
from headrace.transforms.metrics.intervals import ratio
from headrace.transforms.metrics.metric import (
    Array,
    Codes,
    Estimates,
    Metric,
    Quantity,
    Scored,
    Sums,
    grown,
    merged,
    summed,
)

# Keras' epsilon: a probability of exactly 0 or 1 that is wrong costs 16.1 rather than infinity.
EPSILON = 1e-7
MOST_LOG_LOSS = float(-np.log(EPSILON))


class LogLoss(Sums):
    """Binary cross-entropy, and that of the best constant: the entropy of the label's mean.

    The interval of the log loss is a normal one of a mean; that of the constant's follows from the mean label's Wilson
    interval.
    """

    name = "log_loss"
    quantities = (
        Quantity("log_loss", 0, MOST_LOG_LOSS, False, "log_loss_constant"),
        Quantity("log_loss_constant", 0, float(np.log(2))),
    )
    columns = 6

    def rows(self, batch: Scored) -> list[Array | None]:
        w, y = batch.weights, batch.labels
        p = np.clip(np.asarray(batch.predictions, np.float64), EPSILON, 1 - EPSILON)
        loss = -np.log(np.abs(p + y - 1)) if _is_hard(y) else -(y * np.log(p) + (1 - y) * np.log1p(-p))
        if w is None:
            return [None, None, loss, loss, loss**2, y]
        return [w, w**2, w * loss, w**2 * loss, (w * loss) ** 2, w * y]

    def result(self, state: Array, groups: int, confidence: float) -> dict[str, Estimates]:
        weight, squared, wl, w2l, w2l2, wy = grown(state, groups).T
        mean = ratio(wl, weight)
        lower, upper = intervals.normal(mean, intervals.mean_variance(weight, squared, wl, w2l, w2l2), confidence)
        share = ratio(wy, weight)
        share_low, share_high = intervals.wilson(share, intervals.effective_rows(weight, squared), confidence)
        ends = _entropy(share_low), _entropy(share_high)
        low = np.minimum(*ends)
        high = np.where((share_low < 0.5) & (share_high > 0.5), np.log(2), np.maximum(*ends))
        return {
            "log_loss": Estimates(mean, np.maximum(lower, 0), upper),
            "log_loss_constant": Estimates(_entropy(share), low, high),
        }


def _is_hard(labels: Array) -> bool:
    return bool(np.all((labels == 0) | (labels == 1)))


def _entropy(share: Array) -> Array:
    inside = (share > 0) & (share < 1)
    safe = np.where(inside, share, 0.5)
    entropy = -(safe * np.log(safe) + (1 - safe) * np.log1p(-safe))
    return np.where(inside, entropy, np.where(np.isnan(share), np.nan, 0.0))


class Calibration(Sums):
    """Mean prediction, mean label and their ratio; the ratio's interval is linearised (Cochran 1977, section 6.3)."""

    name = "calibration"
    quantities = (
        Quantity("prediction_mean"),
        Quantity("label_mean"),
        Quantity("calibration"),
    )
    columns = 9

    def rows(self, batch: Scored) -> list[Array | None]:
        p, y = np.asarray(batch.predictions, np.float64), batch.labels
        if batch.weights is None:
            return [None, None, p, y, p, y, p**2, y**2, p * y]
        w = batch.weights
        w2 = w**2
        return [w, w2, w * p, w * y, w2 * p, w2 * y, w2 * p**2, w2 * y**2, w2 * p * y]

    def result(self, state: Array, groups: int, confidence: float) -> dict[str, Estimates]:
        weight, squared, wp, wy, w2p, w2y, w2p2, w2y2, w2py = grown(state, groups).T
        prediction, label, calibration = ratio(wp, weight), ratio(wy, weight), ratio(wp, wy)
        spread = w2p2 - 2 * calibration * w2py + calibration**2 * w2y2
        return {
            "prediction_mean": Estimates(
                prediction,
                *intervals.normal(prediction, intervals.mean_variance(weight, squared, wp, w2p, w2p2), confidence),
            ),
            "label_mean": Estimates(
                label, *intervals.normal(label, intervals.mean_variance(weight, squared, wy, w2y, w2y2), confidence)
            ),
            "calibration": Estimates(calibration, *intervals.normal(calibration, ratio(spread, wy**2), confidence)),
        }


class CalibrationError(Metric):
    """Expected calibration error over equal-width bins of the prediction (Naeini, Cooper and Hauskrecht, AAAI 2015).

    `sum over bins |sum w (p - y)| / sum w`. The interval is the delta method's with the signs of the bins held; for a
    model that is calibrated it lies too high, as the error itself does.

    Args:
        bins: How many bins of [0, 1].
    """

    name = "calibration_error"
    quantities = (Quantity("calibration_error", 0, 1, False),)

    def __init__(self, bins: int = 20) -> None:
        if bins < 1:
            raise ValueError(f"calibration_error takes 1 bin or more, received bins={bins}")
        self.bins = bins

    def create(self) -> Array:
        return np.zeros((0, self.bins, 4))

    def prepare(self, batch: Scored) -> tuple[Codes, list[Array]]:
        p, w = np.asarray(batch.predictions, np.float64), batch.weight
        bins = np.clip(p * self.bins, 0, self.bins - 1).astype(np.int64)
        gap = w * (p - batch.labels)
        return bins, [w, w * p, w * batch.labels, gap**2]

    def update(self, state: Array, prepared: tuple[Codes, list[Array]], codes: Codes, groups: int) -> Array:
        state = grown(state, groups)
        bins, columns = prepared
        cells = codes * self.bins + bins
        for column, values in enumerate(columns):
            added = summed(cells, values, groups * self.bins)
            state[:, :, column] += added.reshape(groups, self.bins)
        return state

    def merge(self, state: Array, other: Array, codes: Codes, groups: int) -> Array:
        return merged(state, other, codes, groups)

    def result(self, state: Array, groups: int, confidence: float) -> dict[str, Estimates]:
        w, wp, wy, spread = np.moveaxis(grown(state, groups), 2, 0)
        total = w.sum(axis=1)
        value = ratio(np.abs(wp - wy).sum(axis=1), total)
        within = np.maximum(spread - ratio((wp - wy) ** 2, w).clip(0) * (w > 0), 0)
        variance = ratio(np.nansum(within, axis=1), total**2)
        lower, upper = intervals.normal(value, variance, confidence)
        return {"calibration_error": Estimates(value, np.maximum(lower, 0), np.minimum(upper, 1))}

    def plot(self, state: Array, group: int) -> Mapping[str, Any]:
        if group >= len(state):
            return {}
        w, wp, wy, _ = state[group].T
        edges = np.linspace(0, 1, self.bins + 1)
        rows = [
            {"from": edges[i], "to": edges[i + 1], "weight": w[i], "prediction": wp[i] / w[i], "label": wy[i] / w[i]}
            for i in np.flatnonzero(w > 0)
        ]
        return {"calibration": [{key: float(value) for key, value in row.items()} for row in rows]}


class Decisions(Metric):
    """The confusion counts at a decision threshold, and their ratios: `prediction > threshold` means 1, as in Keras.

    Accuracy, precision, recall and specificity have Wilson intervals. F1 = 2 J / (1 + J) where J = tp / (tp + fp + fn)
    is a proportion, so its interval is J's, transformed.

    Args:
        thresholds: One or several; the quantities at another than 0.5 are named such as ``recall@0.3``.
    """

    name = "decisions"

    def __init__(self, thresholds: Sequence[float] = (0.5,)) -> None:
        if not thresholds or not all(np.isfinite(thresholds)):
            raise ValueError(f"expected one finite threshold or more, received {list(thresholds)!r}")
        self.thresholds = tuple(sorted({float(threshold) for threshold in thresholds}))
        self.quantities = tuple(
            Quantity(
                name + self._suffix(threshold), lowest, highest, better, constant and constant + self._suffix(threshold)
            )
            for threshold in self.thresholds
            for name, lowest, highest, better, constant in (
                ("accuracy", 0, 1, True, "accuracy_constant"),
                ("accuracy_constant", 0.5, 1, None, None),
                ("precision", 0, 1, True, None),
                ("recall", 0, 1, True, None),
                ("specificity", 0, 1, True, None),
                ("f1", 0, 1, True, None),
                ("true_positives", 0, np.inf, True, None),
                ("false_positives", 0, np.inf, False, None),
                ("true_negatives", 0, np.inf, True, None),
                ("false_negatives", 0, np.inf, False, None),
            )
        )

    @staticmethod
    def _suffix(threshold: float) -> str:
        return "" if threshold == 0.5 else f"@{threshold:g}"

    def create(self) -> Array:
        return np.zeros((0, len(self.thresholds) + 1, 2, 2))

    def prepare(self, batch: Scored) -> tuple[Codes, list[Array | None]]:
        above = np.searchsorted(np.asarray(self.thresholds), np.asarray(batch.predictions, np.float64), side="left")
        positive = (batch.labels > 0.5).astype(np.int64)
        w = batch.weights
        return above * 2 + positive, [w, None if w is None else w**2]

    def update(self, state: Array, prepared: tuple[Codes, list[Array | None]], codes: Codes, groups: int) -> Array:
        state = grown(state, groups)
        cell, columns = prepared
        cells = 2 * (len(self.thresholds) + 1)
        for column, values in enumerate(columns):
            added = summed(codes * cells + cell, values, groups * cells)
            state[..., column] += added.reshape(groups, len(self.thresholds) + 1, 2)
        return state

    def merge(self, state: Array, other: Array, codes: Codes, groups: int) -> Array:
        return merged(state, other, codes, groups)

    def result(self, state: Array, groups: int, confidence: float) -> dict[str, Estimates]:
        state = grown(state, groups)
        rows_per_weight = ratio(state[..., 0].sum(axis=(1, 2)), state[..., 1].sum(axis=(1, 2)))
        found: dict[str, Estimates] = {}
        for number, threshold in enumerate(self.thresholds):
            negatives, positives = np.moveaxis(state[:, : number + 1, :, 0].sum(axis=1), 1, 0)
            fp, tp = np.moveaxis(state[:, number + 1 :, :, 0].sum(axis=1), 1, 0)
            estimates = _decided(tp, fp, negatives, positives, rows_per_weight, confidence)
            found |= {name + self._suffix(threshold): estimate for name, estimate in estimates.items()}
        return found


def _decided(
    tp: Array, fp: Array, tn: Array, fn: Array, rows_per_weight: Array, confidence: float
) -> dict[str, Estimates]:
    def share(part: Array, whole: Array) -> Estimates:
        value = ratio(part, whole)
        return Estimates(value, *intervals.wilson(value, whole * rows_per_weight, confidence))

    everything = tp + fp + tn + fn
    jaccard = share(tp, tp + fp + fn)
    accuracy_constant = ratio(np.maximum(tp + fn, fp + tn), everything)
    return {
        "accuracy": share(tp + tn, everything),
        "accuracy_constant": Estimates.exact(accuracy_constant),
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
        "specificity": share(tn, tn + fp),
        "f1": Estimates(*(2 * end / (1 + end) for end in (jaccard.value, jaccard.lower, jaccard.upper))),
        "true_positives": Estimates.exact(tp),
        "false_positives": Estimates.exact(fp),
        "true_negatives": Estimates.exact(tn),
        "false_negatives": Estimates.exact(fn),
    }
