"""Area under the ROC and the precision-recall curve: exact up to a memory bound, with a known error beyond it.

The state is the weight of positives and negatives at each distinct (group, score). A score is a float32 and stands as
an integer of the same order, so that dropping its lowest bits rounds it down to a coarser float. Bits are dropped only
when a state has more than `MAX_POINTS` distinct (group, score): up to there the areas are exact. Which bits have been
dropped depends on the rows alone, not on their order or on how they were merged, since a part never has more distinct
points than the whole.

Scores that fall together count as tied, half right and half wrong, so the ROC area is off by at most
`sum over points p n / (2 P N)`; with 131,072 points that is about 1e-5 on scores that spread over one group.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from headrace.transforms.metrics import intervals
from headrace.transforms.metrics.intervals import ratio
from headrace.transforms.metrics.metric import Array, Codes, Estimates, Metric, Quantity, Scored, grown, merged, summed
from numpy.typing import NDArray

MAX_POINTS = 1 << 17
_PLOTTED = 200


class _Points(NamedTuple):
    """Distinct (group, score) in order, and the weight of positives and negatives there."""

    group: NDArray[np.int32]
    score: NDArray[np.uint32]
    positive: Array
    negative: Array

    def taken(self, order: Codes) -> _Points:
        """The points in another order."""
        return _Points(self.group[order], self.score[order], self.positive[order], self.negative[order])


@dataclass
class Ranked:
    """The state: points not yet merged, how many low bits of the scores are dropped, and sums by group.

    `sums` has for each group the weight of positives, of negatives, and their squared weights.
    """

    parts: list[_Points] = field(default_factory=list)
    dropped: int = 0
    sums: Array = field(default_factory=lambda: np.zeros((0, 4)))

    def __getstate__(self) -> dict[str, Any]:
        """What travels between workers is as small as it can be."""
        if self.parts:
            _compact(self)
        return dict(vars(self))


class AreaUnderCurve(Metric):
    """ROC AUC, ties counted half, and average precision: the area under the precision-recall steps, as scikit-learn's.

    ROC AUC has DeLong's variance (DeLong, DeLong and Clarke-Pearson, Biometrics 44(3), 1988) and average precision that
    of Boyd, Eng and Page (ECML 2013, eq. 2), both as intervals on the logit scale.
    """

    name = "auc"
    quantities = (
        Quantity("auc", 0, 1, True, 0.5),
        Quantity("pr_auc", 0, 1, True, "label_mean"),
        Quantity("auc_error_bound", 0, 0.5),
    )

    def create(self) -> Ranked:
        return Ranked()

    def prepare(self, batch: Scored) -> tuple[Codes, NDArray[np.uint32], list[Array]]:
        """Sorts by score, once for all slicings."""
        scores = ordered(np.asarray(batch.predictions, np.float32))
        order = np.argsort(scores, kind="stable")
        positive, weight = batch.labels[order] > 0.5, batch.weight[order]
        positives, negatives = np.where(positive, weight, 0.0), np.where(positive, 0.0, weight)
        squares = [positives, negatives] if batch.weights is None else [positives**2, negatives**2]
        return order, scores[order], [positives, negatives, *squares]

    def update(self, state: Ranked, prepared: Any, codes: Codes, groups: int) -> Ranked:
        order, scores, columns = prepared
        codes = codes[order]
        state.sums = grown(state.sums, groups)
        for column, values in enumerate(columns):
            state.sums[:, column] += summed(codes, values, groups)
        points = _Points(codes.astype(np.int32), _coarser(scores, state.dropped), columns[0], columns[1])
        if groups > 1:
            by_group = np.argsort(codes.astype(np.uint16), kind="stable")  # a radix sort; there are at most MAX_SLICES
            points = points.taken(by_group)
        state.parts.append(_distinct(points))
        return _bounded(state)

    def merge(self, state: Ranked, other: Ranked, codes: Codes, groups: int) -> Ranked:
        state.sums = merged(state.sums, other.sums, codes, groups)
        moved = codes.astype(np.int32)
        state.parts += [part._replace(group=moved[part.group]) for part in other.parts]
        state.dropped = max(state.dropped, other.dropped)
        return _bounded(state)

    def result(self, state: Ranked, groups: int, confidence: float) -> dict[str, Estimates]:
        points = _compact(state).parts[0] if state.parts else _none()
        sums = grown(state.sums, groups)
        roc, spread, bound = _roc(points, sums, exact=not state.dropped)
        precision = _average_precision(points, sums)
        positives, negatives = (intervals.effective_rows(sums[:, i], sums[:, i + 2]) for i in (0, 1))
        boyd = ratio(precision * (1 - precision), positives)
        return {
            "auc": Estimates(roc, *_interval(roc, spread, np.fmin(positives, negatives), confidence)),
            "pr_auc": Estimates(precision, *_interval(precision, boyd, positives, confidence)),
            "auc_error_bound": Estimates.exact(bound),
        }

    def plot(self, state: Ranked, group: int) -> Mapping[str, Any]:
        """The ROC and the precision-recall curve, at up to 200 thresholds evenly spread over the rows."""
        if not state.parts:
            return {}
        points = _compact(state).parts[0]
        here = points.group == group
        tp, fp = (np.cumsum(column[here][::-1]) for column in (points.positive, points.negative))
        if not len(tp) or not tp[-1] or not fp[-1]:
            return {}
        scores = as_floats(points.score[here][::-1])
        wanted = np.searchsorted(tp + fp, np.linspace(0, tp[-1] + fp[-1], _PLOTTED))
        chosen = np.unique(np.clip(wanted, 0, len(tp) - 1))
        tpr, fpr, precision = tp[chosen] / tp[-1], fp[chosen] / fp[-1], tp[chosen] / (tp + fp)[chosen]
        finite = np.clip(scores[chosen], -1e30, 1e30)
        return {
            "roc": {"false_positive_rate": [0.0, *fpr.tolist()], "true_positive_rate": [0.0, *tpr.tolist()]},
            "precision_recall": {"recall": tpr.tolist(), "precision": precision.tolist(), "threshold": finite.tolist()},
        }


def ordered(scores: NDArray[np.float32]) -> NDArray[np.uint32]:
    """float32 as unsigned integers of the same order: the sign bit flipped, and all bits of a negative number.

    >>> ordered(np.array([-1.0, 0.0, 0.5], np.float32)).argsort().tolist()
    [0, 1, 2]
    """
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0 makes -0.0 the same as 0.0
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def as_floats(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    """The inverse of `ordered`."""
    return np.where(keys >> 31, keys & np.uint32((1 << 31) - 1), ~keys).astype(np.uint32).view(np.float32)


def _coarser(scores: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    """Sets the lowest bits to 0."""
    return scores & np.uint32((0xFFFFFFFF << bits) & 0xFFFFFFFF)


def _none() -> _Points:
    return _Points(np.zeros(0, np.int32), np.zeros(0, np.uint32), np.zeros(0), np.zeros(0))


def _distinct(points: _Points) -> _Points:
    """Adds up the weights of equal points, which lie side by side."""
    same = (points.group[1:] == points.group[:-1]) & (points.score[1:] == points.score[:-1])
    if not same.any():
        return points
    first = np.flatnonzero(np.concatenate([[True], ~same]))
    sums = [np.add.reduceat(column, first) for column in (points.positive, points.negative)]
    return _Points(points.group[first], points.score[first], *sums)


def _sorted(points: _Points) -> _Points:
    key = (points.group.astype(np.int64) << 32) | points.score
    order = np.argsort(key, kind="stable")  # timsort: fast on the sorted runs that merged parts are
    return points.taken(order)


def _bounded(state: Ranked) -> Ranked:
    """Compacts when enough has come since the last time, so that the cost per row stays flat."""
    return _compact(state) if sum(len(part.group) for part in state.parts) > 2 * MAX_POINTS else state


def _compact(state: Ranked) -> Ranked:
    """One part, sorted and distinct, with no more than `MAX_POINTS` points."""
    points = state.parts[0]
    if len(state.parts) > 1:
        points = _Points(*map(np.concatenate, zip(*state.parts)))
        points = _distinct(_sorted(points._replace(score=_coarser(points.score, state.dropped))))
    if len(points.group) > MAX_POINTS:
        fewest = bisect.bisect_left(range(32), -MAX_POINTS, lo=state.dropped, key=lambda bits: -_count(points, bits))
        state.dropped = min(fewest, 31)
        points = _distinct(points._replace(score=_coarser(points.score, state.dropped)))
    state.parts = [points]
    return state


def _count(points: _Points, bits: int) -> int:
    """How many points are left when bits are dropped."""
    scores = points.score >> np.uint32(bits)
    return 1 + int(np.count_nonzero((points.group[1:] != points.group[:-1]) | (scores[1:] != scores[:-1])))


def _by_group(points: _Points, values: Array, groups: int) -> Array:
    return summed(points.group.astype(np.int64), values, groups)


def _before(points: _Points, values: Array) -> Array:
    """For each point, the sum of `values` at lower scores of its group."""
    running = np.concatenate([[0.0], np.cumsum(values)])
    groups = int(points.group[-1]) + 1 if len(points.group) else 0
    starts = np.searchsorted(points.group, np.arange(groups))
    before: Array = running[:-1] - running[starts][points.group]
    return before


def _roc(points: _Points, sums: Array, exact: bool) -> tuple[Array, Array, Array]:
    """AUC, its variance by DeLong, and the bound of the error that dropped bits make; each by group."""
    groups = len(sums)
    total_p, total_n = sums[:, 0], sums[:, 1]
    p, n = points.positive, points.negative
    below = ratio(_before(points, n) + n / 2, total_n[points.group])
    above = ratio(total_p[points.group] - _before(points, p) - p / 2, total_p[points.group])
    value = ratio(_by_group(points, p * below, groups), total_p)
    value = np.where(total_n > 0, value, np.nan)
    rows_p = intervals.effective_rows(total_p, sums[:, 2])
    rows_n = intervals.effective_rows(total_n, sums[:, 3])
    spread_p = ratio(_by_group(points, p * (below - value[points.group]) ** 2, groups), total_p)
    spread_n = ratio(_by_group(points, n * (above - value[points.group]) ** 2, groups), total_n)
    variance = ratio(spread_p, np.maximum(rows_p - 1, 0)) + ratio(spread_n, np.maximum(rows_n - 1, 0))
    tied = ratio(_by_group(points, p * n, groups), 2 * total_p * total_n)
    return value, variance, np.where(np.isnan(value), np.nan, 0.0 if exact else tied)


def _average_precision(points: _Points, sums: Array) -> Array:
    total_p, total = sums[:, 0], sums[:, 0] + sums[:, 1]
    tp = total_p[points.group] - _before(points, points.positive)
    predicted = total[points.group] - _before(points, points.positive + points.negative)
    return ratio(_by_group(points, points.positive * ratio(tp, predicted), len(sums)), total_p)


def _interval(value: Array, variance: Array, rows: Array, confidence: float) -> intervals.Interval:
    """The logit interval; at exactly 0 or 1, where no variance is seen, that of a proportion of `rows`."""
    inside = (value > 0) & (value < 1)
    ends = zip(intervals.logit(value, variance, confidence), intervals.wilson(value, rows, confidence))
    lower, upper = (np.where(inside, usual, extreme) for usual, extreme in ends)
    return lower, upper
