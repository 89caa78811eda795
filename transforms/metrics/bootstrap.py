"""How far predictions of the same rows differ in a metric, with intervals by the paired bootstrap.

Rows are drawn with replacement, the same rows for every model, and each metric is computed of each draw; the interval
is that of the percentiles (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3). Two models that
err on the same rows differ by far less than the intervals of the two would suggest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from headrace.transforms.metrics.keras_metric import KerasMetric
from headrace.transforms.metrics.metric import Array, Scored
from headrace.transforms.metrics.registry import Selection
from numpy.typing import NDArray

REPLICATES = 400
# Draws that one update takes, as groups of rows; the areas under curves are exact up to so many points.
_DRAWN_ROWS = 1 << 17
_GROUPS = 64


@dataclass(frozen=True)
class Compared:
    """One metric of one model.

    Args:
        value: Its value and interval.
        change: How much it is above the complete model's, and the interval of that; None for the complete model.
    """

    value: tuple[float, float, float]
    change: tuple[float, float, float] | None = None


def compare(
    selection: Selection,
    labels: Array,
    predictions: Mapping[str, NDArray[Any]],
    complete: str,
    *,
    weights: Array | None = None,
    confidence: float = 0.95,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, dict[str, Compared]]:
    """Compares models on the same rows.

    Args:
        selection: The metrics. Those of Keras are left out: they would be computed anew for every draw; and so are
            numbers that are neither better high nor low.
        labels: Shape `(rows,)`, none missing.
        predictions: Model -> shape `(rows,)` or `(rows, classes)`, all finite.
        complete: The model that the others are compared with.
        weights: Shape `(rows,)`.
        confidence: Of the intervals.
        replicates: How many draws.
        seed: Of the draws.

    Returns:
        Model -> metric, by its name in the evaluation -> what was found. NaN where a metric is not defined.

    >>> from headrace.transforms.metrics.registry import select
    >>> labels = np.array([0.0, 1.0] * 50)
    >>> good, blind = np.where(labels > 0, 0.8, 0.3), np.full(100, 0.5)
    >>> found = compare(select(["accuracy"], "binary"), labels, {"all": good, "blind": blind}, "all")
    >>> found["all"]["accuracy"].value
    (1.0, 1.0, 1.0)
    >>> value, lower, upper = found["blind"]["accuracy"].change
    >>> value, -0.65 < lower < -0.5 < upper < -0.35
    (-0.5, True)
    """
    whole = {model: _values(selection, Scored(labels, given, weights)) for model, given in predictions.items()}
    drawn = _drawn(selection, labels, predictions, weights, replicates, seed)
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]

    def estimate(value: float, draws: Array) -> tuple[float, float, float]:
        draws = draws[np.isfinite(draws)]
        # A metric that many draws leave undefined, such as the AUC of 3 positives, has no interval.
        lower, upper = np.quantile(draws, ends) if 2 * len(draws) > replicates else (np.nan, np.nan)
        return float(value), float(lower), float(upper)

    return {
        model: {
            name: Compared(
                estimate(values[0], drawn[model][name]),
                None
                if model == complete
                else estimate(values[0] - whole[complete][name][0], drawn[model][name] - drawn[complete][name]),
            )
            for name, values in by_name.items()
        }
        for model, by_name in whole.items()
    }


def _drawn(
    selection: Selection,
    labels: Array,
    predictions: Mapping[str, NDArray[Any]],
    weights: Array | None,
    replicates: int,
    seed: int,
) -> dict[str, dict[str, Array]]:
    """Of each model and metric its values over the draws."""
    rows, generator = len(labels), np.random.default_rng(seed)
    at_once = max(1, min(_GROUPS, _DRAWN_ROWS // max(1, rows)))
    found: dict[str, list[dict[str, Array]]] = {model: [] for model in predictions}
    for first in range(0, replicates, at_once):
        groups = min(at_once, replicates - first)
        chosen = generator.integers(0, rows, groups * rows)
        codes = np.repeat(np.arange(groups), rows)
        drawn = None if weights is None else weights[chosen]
        for model, given in predictions.items():
            scored = Scored(labels[chosen], given[chosen], drawn)
            found[model].append(_values(selection, scored, codes, groups))
    return {
        model: {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        for model, pieces in found.items()
    }


def _values(selection: Selection, scored: Scored, codes: Any = None, groups: int = 1) -> dict[str, Array]:
    codes = np.zeros(scored.rows, np.int64) if codes is None else codes
    values: dict[str, Array] = {}
    for metric in selection.metrics:
        if isinstance(metric, KerasMetric):
            continue
        state = metric.update(metric.create(), metric.prepare(scored), codes, groups)
        estimates = metric.result(state, groups, 0.95)
        for quantity in metric.quantities:
            shown = selection.names.get((metric.name, quantity.name))
            if shown is not None and quantity.higher_is_better is not None and not _is_count(quantity.name):
                values[shown] = estimates[quantity.name].value
    return {name: values[name] for name in selection.names.values() if name in values}


def _is_count(name: str) -> bool:
    return name.startswith(("true_", "false_"))
