"""`Features`, what `build_model` receives: a model built on them takes a dict by name, whatever the names' order."""

from __future__ import annotations

import itertools
import subprocess
import sys

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


def test_features_are_stored_without_pandas():
    """Which `headrace[run]` does not bring, and pyarrow asks for in places."""
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'pandas': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import numpy as np\n"
        "from headrace.transforms.keras_graph import FeatureSpec, feature_batch_to_tensors\n"
        "from headrace.transforms.keras_graph.stored_features import arrow_schema, to_batch\n"
        "dtypes = ['bool', 'int8', 'int32', 'int64', 'uint8', 'float16', 'float32', 'float64', 'bfloat16', 'string']\n"
        "specs = {one: FeatureSpec(one, one, (2,), ('x',)) for one in dtypes}\n"
        "def value(one): return np.array([[b'a', b'b']], object) if one == 'string' else np.array([[1, 0]])\n"
        "arrays = {one: value(one) for one in dtypes}\n"
        "back = feature_batch_to_tensors(to_batch(arrays, specs, arrow_schema(specs)), specs)\n"
        "assert all((back[one] == arrays[one]).all() and back[one].shape == (1, 2) for one in dtypes), back\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
