"""The exported model in TensorFlow's graph-mode loader, which finds variables as TensorFlow Serving's does: by handle.

`tf.saved_model.load` restores them through the object graph and so forgives what a model server does not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headrace.transforms.row_groups import row_groups
from headrace.transforms.schema import infer_schema
from headrace.transforms.statistics import StatisticsSummarizer, to_proto

keras = pytest.importorskip("keras")

ROWS = {"x": [1.0, 2.0, None, 4.0], "word": ["a", "b", "a", None]}


@keras.saving.register_keras_serializable("test")
class Own(keras.layers.Layer):
    """A user's layer with a weight of its own and a stock layer inside."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones", name="scale")
        self.dense.build(shape)

    def call(self, x):  # type: ignore[no-untyped-def]
        return self.dense(x * self.scale)


def preprocessing_fn(inputs):  # type: ignore[no-untyped-def]
    scaled = keras.layers.Normalization(axis=None)(inputs["x"])
    filled = keras.layers.Lambda(lambda x: keras.ops.where(keras.ops.isnan(x), 0.0, x))(scaled)
    return {"x": filled, "word": keras.layers.StringLookup(output_mode="one_hot")(inputs["word"])}


@pytest.mark.parametrize("own", [False, True], ids=["stock layers", "a layer of the user's own"])
def test_graph_mode_loader_gives_what_eager_gives(tmp_path: Path, own: bool) -> None:
    import tensorflow as tf
    from headrace.transforms.keras_graph import analyze_and_trace, export_serving_model, load_transform

    batch = pa.record_batch(ROWS)
    pq.write_table(pa.Table.from_batches([batch]), tmp_path / "part.parquet")
    schema = infer_schema(to_proto({"train": StatisticsSummarizer(batch.schema).summarize(batch)}))
    traced = analyze_and_trace(preprocessing_fn, schema, row_groups([str(tmp_path / "part.parquet")]), engine="direct")
    traced.save(tmp_path / "transform")
    transform = load_transform(tmp_path / "transform")
    features = transform.feature_inputs()
    joined = keras.layers.Concatenate()([keras.ops.cast(one, "float32") for one in features.values()])
    model = keras.Model(dict(features), keras.layers.Dense(1)(Own()(joined) if own else joined))
    model.compile("adam", "mse")
    export_serving_model(model, transform, tmp_path / "serving")

    raw = {"x": np.array([3.0, np.nan], np.float32), "word": np.array([b"b", b""], object)}
    eager = tf.saved_model.load(str(tmp_path / "serving")).signatures["serving_default"]
    expected = eager(**{name: tf.constant(value) for name, value in raw.items()})
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        found = tf.compat.v1.saved_model.loader.load(session, ["serve"], str(tmp_path / "serving"))
        signature = found.signature_def["serving_default"]
        feed = {signature.inputs[name].name: value for name, value in raw.items()}
        answer = session.run({name: info.name for name, info in signature.outputs.items()}, feed)
    assert answer.keys() == expected.keys()
    for name, value in answer.items():
        np.testing.assert_allclose(value, expected[name].numpy(), rtol=1e-6, atol=1e-7)
