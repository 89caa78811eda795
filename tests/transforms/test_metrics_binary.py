"""Binary metrics against scikit-learn, and AUC beyond its memory bound."""

from __future__ import annotations

import numpy as np
import pytest
from headrace.transforms.metrics import ranking
from headrace.transforms.metrics.metric import Scored
from headrace.transforms.metrics.ranking import AreaUnderCurve, as_floats, ordered
from headrace.transforms.metrics.registry import select
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk


def estimates(metric, labels, predictions, weights=None, codes=None, groups=1):
    batch = Scored(np.asarray(labels, float), np.asarray(predictions), None if weights is None else np.asarray(weights))
    codes = np.zeros(len(labels), np.int64) if codes is None else codes
    return metric.result(metric.update(metric.create(), metric.prepare(batch), codes, groups), groups, 0.95)


def every_value(labels, predictions, weights=None):
    found = {}
    for metric in select(None, "binary").metrics:
        found |= {name: one.value[0] for name, one in estimates(metric, labels, predictions, weights).items()}
    return found


@pytest.mark.parametrize("weighted", [False, True])
def test_values_equal_scikit_learns(weighted):
    rng = np.random.default_rng(1)
    p = rng.random(5000).astype(np.float32).round(2)  # rounded: many ties
    p = np.clip(p, 0.01, 0.99)
    y = (rng.random(5000) < p**1.5).astype(float)
    w = rng.exponential(size=5000) if weighted else None
    found = every_value(y, p, w)
    decided = p > 0.5
    expected = {
        "log_loss": sk.log_loss(y, p.astype(float), sample_weight=w),
        "auc": sk.roc_auc_score(y, p, sample_weight=w),
        "pr_auc": sk.average_precision_score(y, p, sample_weight=w),
        "accuracy": sk.accuracy_score(y, decided, sample_weight=w),
        "precision": sk.precision_score(y, decided, sample_weight=w),
        "recall": sk.recall_score(y, decided, sample_weight=w),
        "specificity": sk.recall_score(1 - y, ~decided, sample_weight=w),
        "f1": sk.f1_score(y, decided, sample_weight=w),
        "log_loss_constant": sk.log_loss(y, np.full(5000, np.average(y, weights=w)), sample_weight=w),
        "label_mean": np.average(y, weights=w),
        "prediction_mean": np.average(p.astype(float), weights=w),
        "calibration": np.average(p.astype(float), weights=w) / np.average(y, weights=w),
    }
    tn, fp, fn, tp = sk.confusion_matrix(y, decided, sample_weight=w).ravel()
    expected |= {"true_negatives": tn, "false_positives": fp, "false_negatives": fn, "true_positives": tp}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_log_loss_takes_soft_labels():
    y, p = np.array([0.2, 0.9]), np.array([0.3, 0.6])
    [metric] = select(["log_loss"], "binary").metrics
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert estimates(metric, y, p)["log_loss"].value[0] == pytest.approx(expected)


def test_calibration_error_equals_the_sum_over_bins():
    rng = np.random.default_rng(2)
    p = rng.random(3000)
    y = (rng.random(3000) < 0.8 * p).astype(float)
    [metric] = select([{"metric": "calibration_error", "bins": 10}], "binary").metrics
    bins = np.minimum((p * 10).astype(int), 9)
    expected = sum(abs((p[bins == b] - y[bins == b]).sum()) for b in range(10)) / 3000
    assert estimates(metric, y, p)["calibration_error"].value[0] == pytest.approx(expected)


scores = st.lists(st.tuples(st.booleans(), st.integers(-3, 3), st.integers(0, 3)), min_size=1, max_size=30)


@settings(max_examples=150, deadline=None)
@given(scores)
def test_auc_of_any_rows_equals_the_share_of_pairs_in_order(rows):
    y, s, g = (np.asarray(column) for column in zip(*rows))
    value = estimates(AreaUnderCurve(), y, s.astype(np.float32) / 3, codes=g.astype(np.int64), groups=4)["auc"].value
    for group in range(4):
        positive, negative = s[(g == group) & y], s[(g == group) & ~y]
        pairs = np.sign(positive[:, None] - negative[None, :]) / 2 + 0.5
        expected = pairs.mean() if pairs.size else np.nan
        assert value[group] == pytest.approx(expected, nan_ok=True)


def test_ordered_keeps_the_order_of_all_floats():
    floats = np.array([-np.inf, -1e30, -2.5, -1e-40, 0, 1e-40, 1e-3, 0.5, 1, 3e38, np.inf], np.float32)
    assert np.all(np.diff(ordered(floats).astype(np.int64)) > 0)
    np.testing.assert_array_equal(as_floats(ordered(floats)), floats)
    assert ordered(np.float32([-0.0])) == ordered(np.float32([0.0]))


def test_auc_beyond_its_memory_bound_does_not_depend_on_sharding_and_keeps_its_error_bound(monkeypatch):
    rng = np.random.default_rng(3)
    p = rng.beta(1, 4, 60_000).astype(np.float32)
    y = (rng.random(60_000) < p).astype(float)
    codes = rng.integers(0, 3, 60_000)
    exact = estimates(AreaUnderCurve(), y, p, codes=codes, groups=3)
    monkeypatch.setattr(ranking, "MAX_POINTS", 5_000)
    metric = AreaUnderCurve()
    results = []
    for pieces in (1, 7, 40):
        state = metric.create()
        for rows in np.array_split(rng.permutation(60_000), pieces):
            part = metric.update(metric.create(), metric.prepare(Scored(y[rows], p[rows])), codes[rows], 3)
            state = metric.merge(state, part, np.arange(3), 3)
        results.append((metric.result(state, 3, 0.95), state.dropped))
        assert sum(len(part.group) for part in state.parts) <= 5_000
    assert len({dropped for _, dropped in results}) == 1
    for result, dropped in results:
        assert dropped > 0
        np.testing.assert_allclose(result["auc"].value, results[0][0]["auc"].value, rtol=1e-12)
        error = np.abs(result["auc"].value - exact["auc"].value)
        assert np.all(error <= result["auc_error_bound"].value) and np.all(result["auc_error_bound"].value < 1e-3)
    assert np.all(exact["auc_error_bound"].value == 0)


def test_one_class_has_no_auc_and_perfect_scores_have_an_interval():
    found = estimates(
        AreaUnderCurve(), [1, 1, 0, 0, 1], [0.9, 0.8, 0.1, 0.2, 0.5], codes=np.array([0, 0, 0, 0, 1]), groups=3
    )
    assert found["auc"].value[0] == 1 and found["auc"].lower[0] < 0.5 and found["auc"].upper[0] == 1
    assert np.isnan(found["auc"].value[1]) and np.isnan(found["auc"].value[2])


def test_curves_end_where_they_must():
    rng = np.random.default_rng(4)
    p = rng.random(4000)
    y = (rng.random(4000) < p).astype(float)
    metric = AreaUnderCurve()
    plots = metric.plot(metric.update(metric.create(), metric.prepare(Scored(y, p)), np.zeros(4000, np.int64), 1), 0)
    fpr, tpr = plots["roc"]["false_positive_rate"], plots["roc"]["true_positive_rate"]
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1) and len(fpr) <= 202
    assert np.trapezoid(tpr, fpr) == pytest.approx(sk.roc_auc_score(y, p), abs=2e-3)
