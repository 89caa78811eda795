"""The paired bootstrap against NumPy and scikit-learn, draw by draw, and against what is known of its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from headrace.transforms.metrics import bootstrap
from headrace.transforms.metrics.bootstrap import compare
from headrace.transforms.metrics.registry import select
from sklearn import metrics as sk


def _rows(rows: int = 400, seed: int = 0):
    random = np.random.default_rng(seed)
    labels = (random.random(rows) < 0.3).astype(float)
    good = np.clip(0.3 + 0.3 * (labels - 0.3) + random.normal(0, 0.15, rows), 0.01, 0.99)
    worse = np.clip(good + random.normal(0, 0.05, rows), 0.01, 0.99)
    return labels, {"all": good.astype(np.float32), "worse": worse.astype(np.float32)}


@pytest.mark.parametrize("weighted", [False, True])
def test_values_and_intervals_are_scikit_learns_on_the_same_draws(monkeypatch, weighted):
    labels, predictions = _rows()
    weights = np.random.default_rng(5).uniform(0.5, 2, len(labels)) if weighted else None
    found = compare(
        select(["auc", "log_loss"], "binary"), labels, predictions, "all", weights=weights, replicates=60, seed=3
    )
    monkeypatch.setattr(bootstrap, "_GROUPS", 1)
    one_by_one = compare(
        select(["auc", "log_loss"], "binary"), labels, predictions, "all", weights=weights, replicates=60, seed=3
    )
    for model, by_name in found.items():
        for name, one in by_name.items():
            np.testing.assert_allclose(one_by_one[model][name].value, one.value, rtol=1e-12)
            if model == "worse":
                np.testing.assert_allclose(one_by_one[model][name].change, one.change, rtol=1e-9)
    random = np.random.default_rng(3)
    draws = random.integers(0, len(labels), 60 * len(labels)).reshape(60, -1)
    for name, score in (("auc", sk.roc_auc_score), ("log_loss", sk.log_loss)):

        def value(model, chosen, score=score):
            return score(
                labels[chosen],
                predictions[model][chosen].astype(float),
                sample_weight=None if weights is None else weights[chosen],
            )

        drawn = {model: np.array([value(model, one) for one in draws]) for model in predictions}
        whole = {model: value(model, slice(None)) for model in predictions}
        for model in predictions:
            expected = [whole[model], *np.quantile(drawn[model], [0.025, 0.975])]
            np.testing.assert_allclose(found[model][name].value, expected, rtol=1e-6)
        change = drawn["worse"] - drawn["all"]
        expected = [whole["worse"] - whole["all"], *np.quantile(change, [0.025, 0.975])]
        np.testing.assert_allclose(found["worse"][name].change, expected, rtol=1e-5, atol=1e-9)
    assert found["all"]["auc"].change is None


def test_the_interval_of_a_change_is_narrower_than_those_of_the_two():
    labels, predictions = _rows()
    found = compare(select(["auc"], "binary"), labels, predictions, "all")
    width = {
        name: ends[2] - ends[1]
        for name, ends in (
            ("all", found["all"]["auc"].value),
            ("worse", found["worse"]["auc"].value),
            ("change", found["worse"]["auc"].change),
        )
    }
    assert width["change"] < 0.75 * min(width["all"], width["worse"])


def test_intervals_hold_about_as_often_as_they_say():
    held = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        labels = random.normal(size=150)
        predictions = {"all": labels + random.normal(0, 1, 150), "worse": labels + random.normal(0, 1.2, 150)}
        found = compare(select(["mae"], "regression"), labels, predictions, "all", confidence=0.9, replicates=200)
        _, lower, upper = found["worse"]["mae"].change
        held += lower <= 0.2 * np.sqrt(2 / np.pi) <= upper
    assert 46 <= held <= 60, "of 60 intervals of 90 %, 54 are expected, give or take 2.3"


def test_equal_predictions_change_nothing_and_what_no_draw_defines_has_no_interval():
    labels, predictions = _rows(60)
    found = compare(select(["auc"], "binary"), labels, {"all": predictions["all"], "same": predictions["all"]}, "all")
    assert found["same"]["auc"].change == (0.0, 0.0, 0.0)
    found = compare(select(["auc"], "binary"), np.zeros(60), predictions, "all")
    assert all(np.isnan(end) for end in found["worse"]["auc"].change)


def test_several_classes_and_only_what_has_a_better_direction():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 200).astype(float)
    sharp = np.eye(3)[labels.astype(int)] * 0.4 + 0.2
    flat = np.full((200, 3), 1 / 3)
    found = compare(select(["accuracy", "crossentropy"], "multiclass"), labels, {"all": sharp, "flat": flat}, "all")
    assert found["flat"]["accuracy"].change[2] < 0
    assert found["flat"]["crossentropy"].change[1] > 0
    found = compare(select(None, "binary"), *_rows(), "all")
    assert {"log_loss", "auc", "f1"} <= set(found["all"])
    assert not {"prediction_mean", "true_positives"} & set(found["all"])
