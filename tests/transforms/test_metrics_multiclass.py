"""Multi-class and regression metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from headrace.transforms.metrics.metric import Scored
from headrace.transforms.metrics.registry import select
from sklearn import metrics as sk


def computed(written, task, labels, predictions, weights=None):
    metrics = select(written, task).metrics
    found, plots = {}, {}
    for metric in metrics:
        batch = Scored(np.asarray(labels, float), predictions, weights)
        state = metric.update(metric.create(), metric.prepare(batch), np.zeros(len(labels), np.int64), 1)
        found |= metric.result(state, 1, 0.95)
        plots |= metric.plot(state, 0)
    return found, plots


@pytest.mark.parametrize("weighted", [False, True])
def test_multiclass_values_equal_scikit_learns(weighted):
    rng = np.random.default_rng(1)
    y = rng.integers(0, 5, 3000)
    p = rng.dirichlet(np.ones(6), 3000)
    p[np.arange(3000), y] += 0.2
    p /= p.sum(axis=1, keepdims=True)
    w = rng.exponential(size=3000) if weighted else None
    written = ["crossentropy", "accuracy", "micro_f1", "macro_f1", {"metric": "top_k", "k": [2, 3]}, "confusion"]
    found, plots = computed(written, "multiclass", y, p, w)
    predicted = p.argmax(axis=1)
    expected = {
        "crossentropy": sk.log_loss(y, p, labels=range(6), sample_weight=w),
        "accuracy": sk.accuracy_score(y, predicted, sample_weight=w),
        "micro_f1": sk.f1_score(y, predicted, average="micro", sample_weight=w),
        "macro_f1": sk.f1_score(y, predicted, average="macro", sample_weight=w),
        "top_2_accuracy": sk.top_k_accuracy_score(y, p, k=2, labels=range(6), sample_weight=w),
        "top_3_accuracy": sk.top_k_accuracy_score(y, p, k=3, labels=range(6), sample_weight=w),
    }
    for name, value in expected.items():
        assert found[name].value[0] == pytest.approx(value), name
    shares = np.bincount(y, w, minlength=6) / (w.sum() if weighted else 3000)
    assert found["crossentropy_constant"].value[0] == pytest.approx(-sum(s * np.log(s) for s in shares if s))
    np.testing.assert_allclose(plots["confusion"], sk.confusion_matrix(y, predicted, labels=range(6), sample_weight=w))


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match=r"labels from 0 to 2.*received 3"):
        computed(["accuracy"], "multiclass", [0, 3], np.full((2, 3), 1 / 3))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1.7e12], ids=["near 0", "like milliseconds"])
def test_regression_values_equal_scikit_learns(weighted, offset):
    rng = np.random.default_rng(2)
    y = rng.normal(size=4000) * 100 + offset
    p = y + rng.normal(size=4000) * 50 + 5
    w = rng.exponential(size=4000) if weighted else None
    found, _ = computed(None, "regression", y, p, w)
    expected = {
        "rmse": sk.root_mean_squared_error(y, p, sample_weight=w),
        "mae": sk.mean_absolute_error(y, p, sample_weight=w),
        "r2": sk.r2_score(y, p, sample_weight=w),
        "bias": np.average(p - y, weights=w),
        "rmse_constant": np.sqrt(np.cov(y, aweights=w, bias=True)),
    }
    for name, value in expected.items():
        assert found[name].value[0] == pytest.approx(value, rel=1e-6), name
