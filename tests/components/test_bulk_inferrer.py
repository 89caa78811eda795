"""The BulkInferrer on a real SavedModel: a row for each row, in order, in bounded memory."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headrace.components.bulk_inferrer import BulkInferrer
from headrace.components.evaluation import prediction_shards
from headrace.components.evaluator import Evaluator
from headrace.pipelines import Examples, Model, Predictions


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Doubles `x` (3.5 where it is missing, as the signature says), and gives a vector and a word."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    class Serving(tf.Module):
        @tf.function(
            input_signature=[
                {
                    "n": tf.TensorSpec((None,), tf.int64, name="n"),
                    "name": tf.TensorSpec((None,), tf.string, name="name"),
                    "x": tf.TensorSpec((None,), tf.float32, name="x"),
                }
            ],
            autograph=False,
        )
        def serve(self, raw):
            x = raw["x"][:, None]
            word = tf.strings.join([raw["name"], tf.strings.as_string(raw["n"])], ":")
            return {"twice": 2 * x, "vector": tf.concat([x, -x], axis=1), "word": word}

    serving = Serving()
    made = Model(str(tmp_path_factory.mktemp("model")))
    tf.saved_model.save(serving, str(made.saved_model_path), signatures={"serving_default": serving.serve})
    file = made.saved_model_path / "saved_model.pb"
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString(file.read_bytes())
    signature = saved.meta_graphs[0].signature_def["serving_default"]
    signature.defaults["n"].CopyFrom(tf.make_tensor_proto([7], tf.int64))
    file.write_bytes(saved.SerializeToString())
    made.commit({})
    return made


def rows(count: int, start: int = 0) -> pa.Table:
    n = np.arange(start, start + count)
    return pa.table(
        {
            "x": pa.array(n / 4, pa.float32(), mask=n % 10 == 3),
            "name": pa.array([None if i % 7 == 0 else f"é{i % 5}" for i in n], pa.string()),
            "n": pa.array(n, mask=n % 11 == 5),
            "id": n,
        }
    )


def examples_of(folder, **splits) -> Examples:
    examples = Examples(str(folder))
    with examples.writer(rows(1).schema) as writer:
        writer.declare(*splits)
        for split, some in splits.items():
            for batch in some.to_batches():
                writer.write(split, batch)
    examples.commit({})
    return Examples.open(str(folder))


def test_each_row_has_its_prediction_in_order(model, tmp_path, monkeypatch):
    monkeypatch.setattr("headrace.pipelines.examples.ROW_GROUP_ROWS", 900)
    monkeypatch.setattr(prediction_shards, "SHARD_ROWS", 2000)
    examples = examples_of(tmp_path / "examples", train=rows(5000), eval=rows(70, 5000), none=rows(0))
    assert len(examples.row_groups("train")) > 2
    found = BulkInferrer.call(
        examples=examples, model=model, output_columns=["id", "x"], batch_size=512, out_dir=tmp_path / "out"
    ).predictions
    assert found.rows == 5070 and found.properties["splits"] == {"train": 5000, "eval": 70, "none": 0}
    assert len([shard for shard in found.shards() if "/train/" in shard]) == 2
    table = pq.read_table([shard for shard in found.shards() if "/train/" in shard])
    assert table.column_names == ["id", "x", "twice", "vector", "word"]
    assert table["id"].to_pylist() == list(range(5000))
    source = rows(5000)
    assert table["x"].to_pylist() == source["x"].to_pylist()
    x = source["x"].to_pandas().to_numpy()
    np.testing.assert_array_equal(table["twice"].to_numpy(), 2 * x)
    np.testing.assert_array_equal(np.stack(table["vector"].to_pylist()), np.stack([x, -x], axis=1))
    expected = [
        f"{name or ''}:{7 if n is None else n}" for name, n in zip(*(source[c].to_pylist() for c in ("name", "n")))
    ]
    assert table["word"].to_pylist() == expected


def test_on_a_root_that_is_no_folder(model, tmp_path):
    examples = examples_of("memory://bulk/examples", eval=rows(300))
    predictions = Predictions("memory://bulk/predictions")
    BulkInferrer.function(examples=examples, model=model, predictions=predictions, output_columns=["id", "x"])
    predictions.commit({})
    found = Evaluator.call(
        predictions=Predictions.open(predictions.uri), label="x", prediction="twice", slices=["id"], out_dir=tmp_path
    )
    assert found.evaluation.read()["rows"] == 300


def test_its_predictions_can_be_evaluated(model, tmp_path):
    examples = examples_of(tmp_path / "examples", train=rows(10), eval=rows(400))
    found = BulkInferrer.call(examples=examples, model=model, splits=["eval"], out_dir=tmp_path / "out").predictions
    evaluated = Evaluator.call(
        predictions=found,
        examples=examples,
        label="x",
        prediction="twice",
        slices=["name"],
        out_dir=tmp_path / "evaluated",
    )
    x = rows(400)["x"].to_pandas().dropna().to_numpy()
    overall = evaluated.evaluation.read()["outputs"]["twice"]["overall"]
    assert overall["metrics"]["bias"]["value"] == pytest.approx(x.mean(), rel=1e-6)


def test_what_is_wrong_is_named(model, tmp_path):
    examples = examples_of(tmp_path / "examples", train=rows(10))
    with pytest.raises(ValueError, match="output_columns= names 'idd'; the examples have x, name, n, id"):
        BulkInferrer.call(examples=examples, model=model, output_columns=["idd"], out_dir=tmp_path / "a")
    with pytest.raises(KeyError, match="no split 'test'"):
        BulkInferrer.call(examples=examples, model=model, splits=["test"], out_dir=tmp_path / "b")
    renamed = rows(10).rename_columns(["twice", "name", "n", "x"])
    clash = Examples(str(tmp_path / "clash"))
    with clash.writer(renamed.schema) as writer:
        writer.write("train", renamed.to_batches()[0])
    clash.commit({})
    with pytest.raises(ValueError, match="the model's output 'twice' has the name of a column in output_columns="):
        BulkInferrer.call(examples=clash, model=model, output_columns=["twice"], out_dir=tmp_path / "c")
    lacking = Examples(str(tmp_path / "lacking"))
    with lacking.writer(rows(10).drop_columns(["x"]).schema) as writer:
        writer.write("train", rows(10).drop_columns(["x"]).to_batches()[0])
    lacking.commit({})
    with pytest.raises(ValueError, match="the model takes the column 'x', which the rows lack"):
        BulkInferrer.call(examples=lacking, model=model, out_dir=tmp_path / "d")
