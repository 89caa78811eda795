"""Coverage of the confidence intervals, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from headrace.transforms.metrics.intervals import student_quantile
from headrace.transforms.metrics.metric import Scored
from headrace.transforms.metrics.registry import select
from scipy import stats

DRAWS = 600


def draw(rng, rows):
    x = rng.normal(size=(rows * DRAWS))
    p = 1 / (1 + np.exp(-x))
    y = (rng.random(rows * DRAWS) < p).astype(float)
    return y, p


def coverage(metrics, truth, batch, rows):
    """The share of draws, each a group of its own, whose interval holds the truth."""
    codes = np.repeat(np.arange(DRAWS), rows)
    shares = {}
    for metric in metrics:
        found = metric.result(metric.update(metric.create(), metric.prepare(batch), codes, DRAWS), DRAWS, 0.95)
        for name, estimate in found.items():
            if name in truth:
                shares[name] = float(np.mean((estimate.lower <= truth[name]) & (truth[name] <= estimate.upper)))
    return shares


@pytest.mark.parametrize(("rows", "weighted"), [(100, False), (1000, False), (1000, True)])
def test_intervals_of_binary_metrics_hold_the_truth_as_often_as_they_say(rows, weighted):
    rng = np.random.default_rng(rows)
    metrics = select(None, "binary").metrics
    y, p = draw(rng, 2000)
    truth = {}
    for metric in metrics:
        state = metric.update(metric.create(), metric.prepare(Scored(y, p)), np.zeros(len(y), np.int64), 1)
        truth |= {name: one.value[0] for name, one in metric.result(state, 1, 0.95).items()}
    y, p = draw(rng, rows)
    weights = rng.exponential(size=len(y)) if weighted else None
    shares = coverage(metrics, truth, Scored(y, p, weights), rows)
    for name in ("log_loss", "auc", "pr_auc", "accuracy", "precision", "recall", "specificity", "f1", "label_mean",
                 "prediction_mean", "calibration"):  # fmt: skip
        # 600 draws: the standard error of a coverage of 0.95 is 0.009.
        assert 0.92 <= shares[name] <= (0.995 if name in ("pr_auc", "f1", "recall") else 0.98), (name, shares[name])


def test_intervals_by_jackknife_and_of_means_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(5)
    rows = 1000
    x, noise = rng.normal(size=rows * DRAWS), rng.normal(size=rows * DRAWS)
    truth = {"r2": 0.5, "rmse": 1.0, "mae": np.sqrt(2 / np.pi), "bias": 0.0}
    shares = coverage(select(None, "regression").metrics, truth, Scored(x + noise, x), rows)
    for name in truth:
        assert 0.92 <= shares[name] <= 0.98, (name, shares[name])


def test_interval_of_macro_f1_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(6)
    rows, classes = 600, 3
    y = rng.choice(classes, rows * DRAWS, p=[0.6, 0.3, 0.1])
    said = np.where(rng.random(len(y)) < 0.7, y, rng.integers(0, classes, len(y)))
    batch = Scored(y.astype(float), np.eye(classes)[said] * 0.9 + 0.03)
    metrics = select(["macro_f1", "accuracy"], "multiclass").metrics
    truth = {}
    for metric in metrics:
        state = metric.update(metric.create(), metric.prepare(batch), np.zeros(len(y), np.int64), 1)
        truth |= {name: one.value[0] for name, one in metric.result(state, 1, 0.95).items()}
    shares = coverage(metrics, {name: truth[name] for name in ("macro_f1", "accuracy")}, batch, rows)
    assert 0.92 <= shares["macro_f1"] <= 0.98 and 0.92 <= shares["accuracy"] <= 0.98


@pytest.mark.parametrize("degrees", [5, 19, 100])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_students_quantile(degrees, confidence):
    assert student_quantile(confidence, degrees) == pytest.approx(stats.t.ppf(0.5 + confidence / 2, degrees), rel=1e-2)
