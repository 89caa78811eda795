"""Keras metrics by slice: equal to Keras' own on the slice's rows, merged, pickled; not mergeable ones are refused."""

from __future__ import annotations

import pickle

import keras
import numpy as np
import pytest
from headrace.transforms.metrics.keras_metric import KerasMetric, NotMergeable
from headrace.transforms.metrics.metric import Scored
from headrace.transforms.metrics.registry import select
from keras import ops


def sharded(metric, labels, predictions, weights, codes, groups):
    state = metric.create()
    for rows in np.array_split(np.arange(len(labels)), 5):
        batch = Scored(labels[rows], predictions[rows], None if weights is None else weights[rows])
        fresh = pickle.loads(pickle.dumps(metric))
        part = fresh.update(fresh.create(), fresh.prepare(batch), codes[rows], groups)
        state = metric.merge(state, pickle.loads(pickle.dumps(part)), np.arange(groups), groups)
    return metric.result(state, groups, 0.95)[metric.name]


def rows(classes, count=800):
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(classes), count) if classes > 1 else rng.random(count)
    labels = rng.integers(0, max(classes, 2), count)
    return labels.astype(float), p.astype(np.float32), rng.exponential(size=count), rng.integers(0, 3, count)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "config", "classes", "one_hot"),
    [
        ("AUC", {"num_thresholds": 100}, 1, False),
        ("BinaryAccuracy", {}, 1, False),
        ("R2Score", {}, 1, False),
        ("SparseTopKCategoricalAccuracy", {"k": 2}, 4, False),
        ("SparseCategoricalCrossentropy", {}, 4, False),
        ("F1Score", {"average": "macro"}, 4, True),
        ("CategoricalAccuracy", {}, 4, True),
    ],
)
def test_each_slice_has_what_keras_gives_on_its_rows(name, config, classes, one_hot, weighted):
    labels, predictions, weights, codes = rows(classes)
    weights = weights if weighted else None
    task = "binary" if classes == 1 else "multiclass"
    [metric] = select([{"metric": f"keras.metrics.{name}", "config": config, "name": "mine"}], task).metrics
    found = sharded(metric, labels, predictions, weights, codes, 3)
    for group in range(3):
        chosen = codes == group
        y = np.eye(classes)[labels[chosen].astype(int)] if one_hot else labels[chosen][:, None]
        oracle = getattr(keras.metrics, name)(**config)
        p = predictions[chosen] if classes > 1 else predictions[chosen][:, None]
        oracle.update_state(y, p, sample_weight=None if weights is None else weights[chosen])
        assert found.value[group] == pytest.approx(float(oracle.result()), rel=1e-4), group


def test_an_interval_on_request():
    labels, predictions, _, codes = rows(1)
    written = {"metric": "keras.metrics.MeanAbsoluteError", "name": "mae", "intervals": True}
    [metric] = select([written], "regression").metrics
    found = sharded(metric, labels, predictions, None, codes, 3)
    errors = [np.abs(labels - predictions)[codes == group] for group in range(3)]
    for group, error in enumerate(errors):
        width = 2 * 1.96 * error.std() / np.sqrt(len(error))
        assert found.upper[group] - found.lower[group] == pytest.approx(width, rel=0.5)
        assert found.value[group] == pytest.approx(error.mean(), rel=1e-5)


class Largest(keras.metrics.Metric):
    def __init__(self):
        super().__init__(name="largest")
        self.largest = self.add_weight(shape=(), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.largest.assign(ops.maximum(self.largest, ops.max(y_pred)))

    def result(self):
        return self.largest


def test_a_metric_that_cannot_be_added_up_is_refused():
    labels, predictions, _, codes = rows(1)
    with pytest.raises(NotMergeable, match=r"largest .Largest. over all rows is not the sum of its states"):
        sharded(KerasMetric("largest", Largest), labels, predictions, None, codes, 3)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean keras\.metrics\.BinaryAccuracy\?"):
        select(["keras.metrics.BinaryAcuracy"], "binary")
    with pytest.raises(ValueError, match="no metric 'acuracy' for a binary output; did you mean 'accuracy'"):
        select(["acuracy"], "binary")
    with pytest.raises(ValueError, match="takes no argument 'bin'"):
        select([{"metric": "auc", "bin": 3}], "binary")
    with pytest.raises(ValueError, match="two metrics are named"):
        select(["keras.metrics.AUC", "keras.metrics.AUC"], "binary")
