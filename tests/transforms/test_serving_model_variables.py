"""A SavedModel whose variables only Python finds is refused in words; Keras' own export is taken."""

from __future__ import annotations

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from headrace.transforms.serving_model import ServingModel

ROWS = pa.record_batch({"x": pa.array([1.0, 2.0, 3.0], pa.float32())})


def small_model() -> keras.Model:
    x = keras.Input((1,), name="x")
    return keras.Model({"x": x}, keras.layers.Dense(1, name="y")(x))


def test_a_module_that_holds_keras_layers_is_refused(tmp_path):
    root = tf.Module()
    root.model = model = small_model()

    @tf.function(input_signature=[{"x": tf.TensorSpec((None,), tf.float32, name="x")}])
    def serve(raw):
        return {"y": model({"x": raw["x"][:, None]})}

    tf.saved_model.save(root, str(tmp_path), signatures={"serving_default": serve})
    with pytest.raises(ValueError, match=r"would not find the model's variables.*model\.export"):
        ServingModel(tmp_path)(ROWS)


def test_keras_own_export_is_taken(tmp_path):
    model = small_model()
    specs = [{"x": tf.TensorSpec((None,), tf.float32, name="x")}]
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", lambda raw: {"y": model({"x": raw["x"][:, None]})}, specs)
    archive.write_out(str(tmp_path), verbose=False)
    expected = model.predict(np.array([[1.0], [2.0], [3.0]], np.float32), verbose=0)[:, 0]
    np.testing.assert_allclose(ServingModel(tmp_path)(ROWS)["y"], expected, rtol=1e-6)
