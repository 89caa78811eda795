"""Any `keras.metrics.Metric` as a mergeable metric by group."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from headrace.transforms.metrics import intervals
from headrace.transforms.metrics.metric import Array, Codes, Estimates, Metric, Quantity, Scored

BLOCKS = 20
# Keras metrics that compare distributions: several classes are given to them as one-hot labels.
_ONE_HOT = frozenset(
    {
        *("CategoricalAccuracy", "CategoricalCrossentropy", "TopKCategoricalAccuracy", "CategoricalHinge"),
        *("Precision", "Recall", "AUC", "F1Score", "FBetaScore", "OneHotIoU", "OneHotMeanIoU"),
        *("KLDivergence", "CosineSimilarity", "MeanSquaredError", "MeanAbsoluteError"),
    }
)


@dataclass
class KerasState:
    """The values of the metric's variables for each cell, and one row, from which a metric makes its variables."""

    cells: dict[int, list[Array]] = field(default_factory=dict)
    row: tuple[Any, Any] | None = None


class NotMergeable(ValueError):
    """The metric's state over all rows is not the sum of its states over parts of them."""


class KerasMetric(Metric):
    """A Keras metric, one state for each group of rows.

    Keras metrics keep sums and counts, so states merge by addition. That this is so is checked once, on the first rows:
    a metric for which it is not, such as a running maximum, is refused rather than merged wrongly.

    Args:
        name: Its name in the evaluation.
        make: Gives a new metric.
        with_intervals: Whether to keep 20 states a group for a jackknife interval; 20 times the calls of Keras.
        one_hot: Whether class numbers become one-hot rows. None: as the metric's class asks for.

    >>> import keras
    >>> metric = KerasMetric("mae", keras.metrics.MeanAbsoluteError)
    >>> batch = Scored(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    >>> state = metric.update(metric.create(), metric.prepare(batch), np.zeros(2, np.int64), 1)
    >>> metric.result(state, 1, 0.95)["mae"].value.tolist()
    [1.0]
    """

    def __init__(
        self, name: str, make: Callable[[], Any], *, with_intervals: bool = False, one_hot: bool | None = None
    ) -> None:
        self.name, self._make, self._one_hot = name, make, one_hot
        self.blocks = BLOCKS if with_intervals else 1
        better = {"up": True, "down": False}.get(getattr(make(), "_direction", None) or "")
        self.quantities = (Quantity(name, higher_is_better=better),)
        self._start()

    def _start(self) -> None:
        self._metric: Any = None
        self._initial: list[Array] = []
        self._checked = False
        self._lock = threading.Lock()  # a pass summarizes on several threads, and a Keras metric is one mutable object

    def __getstate__(self) -> dict[str, Any]:
        return {
            key: value for key, value in vars(self).items() if key not in ("_metric", "_initial", "_checked", "_lock")
        }

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    def create(self) -> KerasState:
        return KerasState()

    def prepare(self, batch: Scored) -> tuple[Any, Any, Array | None]:
        labels, predictions = batch.labels, np.asarray(batch.predictions)
        if predictions.ndim == 1:
            return labels[:, None], predictions[:, None], batch.weights
        one_hot = self._one_hot
        if one_hot is None:
            one_hot = type(self._make()).__name__ in _ONE_HOT
        if one_hot:
            return np.eye(predictions.shape[1])[labels.astype(np.int64)], predictions, batch.weights
        return labels[:, None], predictions, batch.weights

    def update(
        self, state: KerasState, prepared: tuple[Any, Any, Array | None], codes: Codes, groups: int
    ) -> KerasState:
        labels, predictions, weights = prepared
        if not len(codes):
            return state
        state.row = (labels[:1], predictions[:1])
        cells = codes * self.blocks + np.arange(len(codes)) % self.blocks
        order = np.argsort(cells, kind="stable")
        present, starts = np.unique(cells[order], return_index=True)
        with self._lock:
            self._open(state.row)
            self._check_mergeable(labels, predictions, weights)
            for cell, rows in zip(present.tolist(), np.split(order, starts[1:])):
                chosen = labels[rows], predictions[rows], None if weights is None else weights[rows]
                added = self._of_rows(*chosen)
                state.cells[cell] = self._add(state.cells[cell], added) if cell in state.cells else added
        return state

    def merge(self, state: KerasState, other: KerasState, codes: Codes, groups: int) -> KerasState:
        state.row = state.row or other.row
        with self._lock:
            self._open(state.row)
            for cell, values in other.cells.items():
                moved = int(codes[cell // self.blocks]) * self.blocks + cell % self.blocks
                state.cells[moved] = self._add(state.cells[moved], values) if moved in state.cells else values
        return state

    def result(self, state: KerasState, groups: int, confidence: float) -> dict[str, Estimates]:
        value = np.full(groups, np.nan)
        left_out = np.full((groups, self.blocks), np.nan)
        with self._lock:
            self._open(state.row)
            for group in sorted({cell // self.blocks for cell in state.cells}):
                cells = [state.cells.get(group * self.blocks + block) for block in range(self.blocks)]
                present = [cell for cell in cells if cell is not None]
                value[group] = self._value(present)
                for number, cell in enumerate(cells if len(present) > 1 else []):
                    if cell is not None:
                        left_out[group, number] = self._value([other for other in present if other is not cell])
        if self.blocks == 1:
            return {self.name: Estimates.exact(value)}
        return {self.name: Estimates(value, *intervals.jackknife(value, left_out, confidence))}

    def _open(self, row: tuple[Any, Any] | None) -> None:
        """Makes the metric, and its variables, which some metrics make in their first update."""
        if self._metric is None and row is not None:
            self._metric = self._make()
            self._metric.update_state(*row)
            self._metric.reset_state()
            self._initial = _variables(self._metric)

    def _of_rows(self, labels: Any, predictions: Any, weights: Array | None) -> list[Array]:
        self._metric.reset_state()
        if weights is None:
            self._metric.update_state(labels, predictions)
        else:
            self._metric.update_state(labels, predictions, sample_weight=weights)
        return _variables(self._metric)

    def _check_mergeable(self, labels: Any, predictions: Any, weights: Array | None) -> None:
        rows = min(len(labels), 4096)
        if self._checked or rows < 2:
            return
        whole, *parts = (
            self._of_rows(labels[cut], predictions[cut], None if weights is None else weights[cut])
            for cut in (slice(rows), slice(rows // 2), slice(rows // 2, rows))
        )
        if not all(np.allclose(a, b, rtol=1e-3, atol=1e-3, equal_nan=True) for a, b in zip(self._add(*parts), whole)):
            raise NotMergeable(
                f"the metric {self.name} ({type(self._metric).__name__}) over all rows is not the sum of its states "
                "over parts of them, so it cannot be computed by slice and in parallel: keep sums and counts in its "
                "variables"
            )
        self._checked = True

    def _add(self, left: list[Array], right: list[Array]) -> list[Array]:
        """Adds states; what a variable starts from counts once."""
        return [a + b - start for a, b, start in zip(left, right, self._initial)]

    def _value(self, parts: list[list[Array]]) -> float:
        total = functools.reduce(self._add, parts)
        for variable, state in zip(self._metric.variables, total):
            variable.assign(state)
        result = np.asarray(self._metric.result(), np.float64)
        if result.size != 1:
            raise ValueError(
                f"the metric {self.name} gives {result.size} numbers, expected one: give it an average= or a class of "
                "its own"
            )
        return float(result.reshape(()))


def _variables(metric: Any) -> list[Array]:
    return [np.asarray(variable, np.float64) for variable in metric.variables]
