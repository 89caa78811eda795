"""Metrics of a distribution over classes against a class's number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from headrace.transforms.metrics import intervals
from headrace.transforms.metrics.binary import EPSILON, MOST_LOG_LOSS
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

BLOCKS = 20
MOST_CELLS = 50_000_000
"""Most numbers that a state by class may hold: 400 MB."""


class CrossEntropy(Sums):
    """Categorical cross-entropy, the mean of -log of the true class's probability; a normal interval of a mean."""

    name = "crossentropy"
    quantities = (Quantity("crossentropy", 0, MOST_LOG_LOSS, False, "crossentropy_constant"),)
    columns = 5

    def rows(self, batch: Scored) -> list[Array | None]:
        p, total = _of_true_class(batch), np.asarray(batch.predictions, np.float64).sum(axis=1)
        loss = -np.log(np.clip(ratio(p, total), EPSILON, 1 - EPSILON))
        if batch.weights is None:
            return [None, None, loss, loss, loss**2]
        w = batch.weights
        return [w, w**2, w * loss, w**2 * loss, (w * loss) ** 2]

    def result(self, state: Array, groups: int, confidence: float) -> dict[str, Estimates]:
        weight, squared, wl, w2l, w2l2 = grown(state, groups).T
        mean = ratio(wl, weight)
        lower, upper = intervals.normal(mean, intervals.mean_variance(weight, squared, wl, w2l, w2l2), confidence)
        return {"crossentropy": Estimates(mean, np.maximum(lower, 0), upper)}


class TopK(Sums):
    """The share of rows whose true class is among the k most probable; Wilson intervals. Ties count against the model.

    Args:
        k: One or several; the quantities are named such as ``top_3_accuracy``.
    """

    name = "top_k"

    def __init__(self, k: Sequence[int] = (3,)) -> None:
        if not k or any(one < 1 for one in k):
            raise ValueError(f"top_k takes numbers from 1, received {list(k)!r}")
        self.k = tuple(sorted(set(k)))
        self.quantities = tuple(Quantity(f"top_{one}_accuracy", 0, 1, True) for one in self.k)
        self.columns = 2 + len(self.k)  # type: ignore[misc]

    def rows(self, batch: Scored) -> list[Array | None]:
        w, p = batch.weights, np.asarray(batch.predictions)
        at_least = (p >= _of_true_class(batch)[:, None]).sum(axis=1)
        hits = [(at_least <= one).astype(np.float64) for one in self.k]
        return [None, None, *hits] if w is None else [w, w**2, *(w * hit for hit in hits)]

    def result(self, state: Array, groups: int, confidence: float) -> dict[str, Estimates]:
        weight, squared, *hits = grown(state, groups).T
        rows = intervals.effective_rows(weight, squared)
        shares = {f"top_{one}_accuracy": ratio(hit, weight) for one, hit in zip(self.k, hits)}
        return {name: Estimates(share, *intervals.wilson(share, rows, confidence)) for name, share in shares.items()}


class ClassCounts(Metric):
    """Accuracy, micro and macro F1, from counts by class; the class predicted is the most probable.

    Accuracy (with one class a row also micro F1) has a Wilson interval, macro F1 one by the jackknife over 20 blocks of
    rows. Macro F1 is over the classes that are among labels or predictions, as scikit-learn's.
    """

    name = "classes"
    quantities = (
        Quantity("accuracy", 0, 1, True, "accuracy_constant"),
        Quantity("accuracy_constant", 0, 1),
        Quantity("micro_f1", 0, 1, True),
        Quantity("macro_f1", 0, 1, True),
        Quantity("crossentropy_constant", 0, np.inf),
    )

    def create(self) -> tuple[Array, Array]:
        return np.zeros((0, BLOCKS, 3, 0)), np.zeros(0)

    def prepare(self, batch: Scored) -> tuple[int, Codes, Codes, Array]:
        classes = batch.predictions.shape[1]
        predicted = np.argmax(batch.predictions, axis=1)
        labels = batch.labels.astype(np.int64)
        if len(labels) and (labels.min() < 0 or labels.max() >= classes):
            worst = labels.max() if labels.max() >= classes else labels.min()
            raise ValueError(
                f"expected labels from 0 to {classes - 1}, one for each output of the model, received {worst}"
            )
        return classes, labels, predicted, batch.weight

    def update(
        self, state: tuple[Array, Array], prepared: tuple[int, Codes, Codes, Array], codes: Codes, groups: int
    ) -> tuple[Array, Array]:
        counts, squared = state
        classes, labels, predicted, weight = prepared
        if groups * BLOCKS * 3 * classes > MOST_CELLS:
            raise ValueError(
                f"{groups:,} slices of {classes:,} classes are too many to count by class: leave accuracy, micro_f1 "
                "and macro_f1 out of metrics=, or slice by a column with fewer values"
            )
        counts = grown(counts if counts.shape[3] == classes else np.zeros((len(counts), BLOCKS, 3, classes)), groups)
        blocks = codes * BLOCKS + np.arange(len(codes)) % BLOCKS
        hit = labels == predicted
        for row, (of, w) in enumerate(((labels[hit], weight[hit]), (labels, weight), (predicted, weight))):
            cells = (blocks[hit] if row == 0 else blocks) * classes + of
            added = summed(cells, w, groups * BLOCKS * classes)
            counts[:, :, row, :] += added.reshape(groups, BLOCKS, classes)
        squared = grown(squared, groups)
        squared += summed(codes, weight**2, groups)
        return counts, squared

    def merge(
        self, state: tuple[Array, Array], other: tuple[Array, Array], codes: Codes, groups: int
    ) -> tuple[Array, Array]:
        (counts, squared), (more, more_squared) = state, other
        if not counts.shape[3]:
            counts = np.zeros((len(counts), *more.shape[1:]))
        if not more.shape[3]:
            more = np.zeros((len(more), *counts.shape[1:]))
        return merged(counts, more, codes, groups), merged(squared, more_squared, codes, groups)

    def result(self, state: tuple[Array, Array], groups: int, confidence: float) -> dict[str, Estimates]:
        counts, squared = grown(state[0], groups), grown(state[1], groups)
        whole = counts.sum(axis=1)
        hits, labels = whole[:, 0].sum(axis=1), whole[:, 1]
        total = labels.sum(axis=1)
        accuracy = ratio(hits, total)
        rows = intervals.effective_rows(total, squared)
        correct = Estimates(accuracy, *intervals.wilson(accuracy, rows, confidence))
        macro = _macro_f1(whole)
        without = np.stack([_macro_f1(whole - counts[:, block]) for block in range(BLOCKS)], axis=1)
        lower, upper = intervals.jackknife(macro, without, confidence)
        shares = ratio(labels, total[:, None])
        entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)
        return {
            "accuracy": correct,
            "accuracy_constant": Estimates.exact(shares.max(axis=1, initial=0) if shares.size else total * np.nan),
            "micro_f1": correct,
            "macro_f1": Estimates(macro, np.clip(lower, 0, 1), np.clip(upper, 0, 1)),
            "crossentropy_constant": Estimates.exact(entropy),
        }


class Confusion(Metric):
    """The weight of each (label, predicted class), as a table for the report; it gives no number of its own."""

    name = "confusion"
    quantities = ()

    def create(self) -> Array:
        return np.zeros((0, 0, 0))

    def prepare(self, batch: Scored) -> tuple[int, Codes, Array]:
        classes = batch.predictions.shape[1]
        return classes, batch.labels.astype(np.int64) * classes + np.argmax(batch.predictions, axis=1), batch.weight

    def update(self, state: Array, prepared: tuple[int, Codes, Array], codes: Codes, groups: int) -> Array:
        classes, cell, weight = prepared
        if groups * classes**2 > MOST_CELLS:
            raise ValueError(
                f"{groups:,} slices of {classes:,} x {classes:,} classes are too many: leave confusion out of metrics="
            )
        state = grown(state if state.shape[1] == classes else np.zeros((len(state), classes, classes)), groups)
        added = summed(codes * classes**2 + cell, weight, groups * classes**2)
        return np.asarray(state + added.reshape(groups, classes, classes))

    def merge(self, state: Array, other: Array, codes: Codes, groups: int) -> Array:
        if not state.shape[1]:
            state = np.zeros((len(state), *other.shape[1:]))
        if not other.shape[1]:
            return grown(state, groups)
        return merged(state, other, codes, groups)

    def result(self, state: Array, groups: int, confidence: float) -> dict[str, Estimates]:
        return {}

    def plot(self, state: Array, group: int) -> Mapping[str, Any]:
        return {"confusion": state[group].tolist()} if group < len(state) else {}


def _of_true_class(batch: Scored) -> Array:
    labels = batch.labels.astype(np.int64)
    return np.take_along_axis(np.asarray(batch.predictions, np.float64), labels[:, None], axis=1)[:, 0]


def _macro_f1(counts: Array) -> Array:
    """From counts of shape `(groups, 3, classes)`: hits, labels and predictions of each class."""
    hits, labels, predicted = np.moveaxis(counts, 1, 0)
    seen = labels + predicted > 0
    f1 = np.where(seen, ratio(2 * hits, labels + predicted), 0.0)
    return ratio(f1.sum(axis=1), seen.sum(axis=1))
