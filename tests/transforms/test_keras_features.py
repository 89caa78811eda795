"""`Features`, what `build_model` receives: a model built on them takes a dict by name, whatever the names' order."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
from headrace.transforms.keras_graph.saved_transform import Features

NAMES = ("b", "c", "a")


@pytest.mark.parametrize("order", list(itertools.permutations(NAMES)))
def test_each_feature_reaches_its_own_input(order):
    features = Features({name: keras.Input((1,), name=name) for name in order}, {})
    model = keras.Model(features, features["a"] + 10 * features["b"] + 100 * features["c"])
    values = {"a": np.array([[1.0]]), "b": np.array([[2.0]]), "c": np.array([[3.0]])}
    for given in itertools.permutations(NAMES):
        assert float(model({name: values[name] for name in given})[0, 0]) == 321
    model.compile(loss="mse")
    assert model.predict(values, verbose=0).tolist() == [[321.0]]
    assert list(model.input) == sorted(NAMES)
