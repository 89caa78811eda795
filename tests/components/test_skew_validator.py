"""SkewValidator: a faithful export passes; planted faults are refused with signature, feature, row and both values."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from headrace.components import SkewValidator, Trainer, Transform
from headrace.components.training.reference_rows import FILE, in_full_precision
from headrace.pipelines import Examples, Model
from headrace.pipelines.errors import DataError
from headrace.transforms.keras_graph import analyze_and_trace, export_serving_model, load_transform
from headrace.transforms.row_groups import RowGroup
from keras import layers, ops

from tests.small_training import write_examples, write_schema

SCHEMA = """
feature { name: "lon" type: FLOAT presence { min_fraction: 1 } }
feature { name: "u" type: FLOAT presence { min_fraction: 1 } }
feature { name: "v" type: FLOAT presence { min_fraction: 1 } }
feature { name: "tip" type: FLOAT presence { min_fraction: 0.5 } }
feature { name: "number" type: INT presence { min_fraction: 1 } }
feature { name: "city" type: BYTES presence { min_fraction: 0.5 } annotation { tag: "sensitive" } }
feature { name: "departure" type: BYTES presence { min_fraction: 1 } }
feature { name: "late" type: FLOAT presence { min_fraction: 1 } }
"""


def rows(count: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    hours = random.integers(0, 24, count)
    lon = random.uniform(-80, -70, count).astype(np.float32)
    return pa.table(
        {
            "lon": lon,
            "u": random.normal(0, 1, count).astype(np.float32),
            "v": random.normal(5, 1, count).astype(np.float32),
            "tip": pa.array(random.uniform(1, 9, count).astype(np.float32), mask=random.random(count) < 0.2),
            "number": random.integers(2**24, 2**40, count),
            "city": pa.array([*"abcde", "ü"]).take(pa.array(random.integers(0, 6, count))),
            "departure": [f"2013-01-01 {hour:02d}:15" for hour in hours],
            "late": (lon > -75).astype(np.float32),
        }
    )


def hour(text: Any) -> Any:
    return tf.strings.to_number(tf.strings.substr(text, 11, 2))


def features(inputs: dict[str, Any], fault: str = "") -> dict[str, Any]:
    """What the model is trained on; served with a fault, the same names mean something else."""
    constant = 77.0 if fault == "constant" else 78.0
    missing = 0.0 if fault == "missing read as 0" else -1.0
    shift = 1 if fault == "vocabulary shifted" else 0
    zone = 1.0 if fault == "timezone" else 0.0
    first, second = ("v", "u") if fault == "features swapped" else ("u", "v")
    number = inputs["number"]
    if fault == "float32 instead of int64":
        number = ops.cast(ops.cast(number, "float32"), "int64")
    city = layers.StringLookup()(inputs["city"])
    departed = layers.Lambda(hour, output_shape=(1,), dtype="float32")(inputs["departure"])
    return {
        "scaled": layers.Lambda(lambda x: (x + constant) / 8)(inputs["lon"]),
        "first": ops.tanh(inputs[first]),
        "second": ops.tanh(inputs[second]),
        "tip_or": layers.Lambda(lambda x: ops.where(ops.isnan(x), missing, x))(inputs["tip"]),
        "digit": number % 10,
        "city_id": (city + shift) % 7,
        "hour": (departed + zone) % 24.0,
        "late": inputs["late"],
    }


def build_model(given: Any) -> keras.Model:
    numbers = ["scaled", "first", "second", "tip_or", "hour"]
    flat = layers.Flatten()
    ids = [flat(layers.Embedding(10, 2)(given[name])) for name in ("digit", "city_id")]
    x = layers.Dense(8, activation="relu")(layers.Concatenate()([*(given[name] for name in numbers), *ids]))
    model = keras.Model(given, layers.Dense(1, activation="sigmoid", name="late")(x))
    model.compile("adam", "binary_crossentropy", jit_compile=False)
    return model


class Made(NamedTuple):
    raw: Examples
    model: Model
    graph: Any
    schema: Any
    keras_model: keras.Model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("skew")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace.pipelines.examples.ROW_GROUP_ROWS", 150)
        raw = write_examples(folder / "raw", train=rows(900, 1), eval=rows(300, 2))
        schema = write_schema(folder / "schema", SCHEMA)
        transformed = Transform.call(
            out_dir=folder / "transform", examples=raw, schema=schema, preprocessing_fn=features, labels=["late"]
        )
        kept: list[keras.Model] = []

        def keeping(given: Any) -> keras.Model:
            kept.append(build_model(given))
            return kept[-1]

        trained = Trainer.call(
            out_dir=folder / "trained",
            examples=transformed.transformed_examples,
            transform_graph=transformed.transform_graph,
            build_model=keeping,
            label="late",
            batch_size=64,
        )
    return Made(raw, trained.model, transformed.transform_graph, schema, kept[0])


def judged(model: Model, raw: Examples, folder: Path, **arguments: Any) -> dict[str, Any]:
    result = SkewValidator.call(out_dir=folder, model=model, examples=raw, **arguments)
    verdict = result.blessing.read()
    assert verdict["blessed"] == result.blessing.blessed
    return verdict


def test_a_faithful_export_passes(made, tmp_path):
    verdict = judged(made.model, made.raw, tmp_path)
    assert verdict["blessed"], verdict
    assert verdict["signatures"] == ["serving_default", "serving_examples", "transform_features"]
    assert verdict["rows"]["data"] == 1200 and verdict["rows"]["edge"] > 10
    assert "1,200 rows and" in verdict["reason"]


def test_of_large_rows_fewer_are_compared(made, tmp_path, monkeypatch):
    """Of images or wide vectors not all could be held."""
    monkeypatch.setattr("headrace.components.skew.validation.MOST_BYTES", 150 * 300)
    verdict = judged(made.model, made.raw, tmp_path, single_rows=1, edge_rows=False)
    assert verdict["blessed"] and 100 <= verdict["rows"]["data"] < 400


def test_an_edge_that_nothing_can_compute_is_warned_of(made, tmp_path):
    """The hour of an empty text: training would have failed of it as serving does."""
    result = SkewValidator.call(out_dir=tmp_path, model=made.model, examples=made.raw, rows=20, single_rows=1)
    assert result.blessing.blessed
    said = [warning.partition(" can be neither trained on nor served")[0] for warning in result.warnings]
    assert said == ["a row with departure empty", "a row with departure never seen"]


def served_with(made: Made, folder: Path, fault: str) -> Model:
    """The trained model, exported with a transform that has a fault."""
    groups = [RowGroup(*group) for group in made.raw.row_groups("train")]
    traced = analyze_and_trace(
        lambda inputs: features(inputs, fault),
        made.schema.read(),
        groups,
        arrow_schema=made.raw.schema,
        labels=("late",),
        engine="direct",
    )
    traced.save(folder / "transform")
    shutil.copytree(made.model.path, folder / "model")
    model = Model(str(folder / "model"))
    model.links = dict(made.model.links)
    shutil.rmtree(model.saved_model_path)
    export_serving_model(made.keras_model, load_transform(folder / "transform"), model.saved_model_path)
    return committed(model)


def committed(model: Model) -> Model:
    (model.path / "artifact.json").unlink(missing_ok=True)
    model.commit({})
    return model


FAULTS = {
    "constant": "scaled",
    "vocabulary shifted": "city_id",
    "features swapped": "first",
    "timezone": "hour",
    "float32 instead of int64": "digit",
    "missing read as 0": "tip_or",
}


@pytest.mark.parametrize(("fault", "output"), FAULTS.items())
def test_each_planted_fault_is_refused(made, tmp_path, fault, output):
    verdict = judged(served_with(made, tmp_path, fault), made.raw, tmp_path / "out", rows=300, single_rows=20)
    assert not verdict["blessed"]
    first = verdict["differences"][0]
    assert first["signature"] == "transform_features" and first["output"] == output
    assert first["row"].startswith("row ") and " of split " in first["row"]
    assert output in verdict["reason"] and "training had" in verdict["reason"]
    if output == "city_id":
        assert first["expected"] == first["received"] == "(sensitive)"
    else:
        assert first["expected"] != first["received"]
        assert str(first["expected"]) in verdict["reason"] and str(first["received"]) in verdict["reason"]


def test_features_of_an_older_graph_are_refused(made, tmp_path):
    """Parquet that an older transform wrote is what the Trainer read; the export has the newer one."""
    older = served_with(made, tmp_path / "other", "constant")
    shutil.copytree(made.model.path, tmp_path / "model")
    model = Model(str(tmp_path / "model"))
    model.links = dict(made.model.links)
    shutil.rmtree(model.saved_model_path)
    shutil.copytree(older.saved_model_path, model.saved_model_path)
    verdict = judged(committed(model), made.raw, tmp_path / "out", rows=200, single_rows=5, edge_rows=False)
    assert not verdict["blessed"] and verdict["differences"][0]["output"] == "scaled"


def test_a_prediction_that_differs_is_refused(made, tmp_path):
    """The transform is right, and a weight is not."""
    folder = tmp_path / "model"
    shutil.copytree(made.model.path, folder)
    model = Model(str(folder))
    model.links = dict(made.model.links)
    shutil.rmtree(model.saved_model_path)
    weights = made.keras_model.get_weights()
    try:
        made.keras_model.set_weights([one * 1.01 for one in weights])
        export_serving_model(made.keras_model, load_transform(made.graph.path), model.saved_model_path)
    finally:
        made.keras_model.set_weights(weights)
    verdict = judged(committed(model), made.raw, tmp_path / "out", rows=200, single_rows=5)
    assert not verdict["blessed"]
    assert {one["signature"] for one in verdict["differences"]} <= {"serving_default", "serving_examples"}
    assert "predictions" in verdict["reason"]


def test_a_saved_model_that_needs_code_of_ours_is_refused(made, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(made.model.path, folder)
    model = Model(str(folder))
    model.links = dict(made.model.links)
    shutil.rmtree(model.saved_model_path)
    specs = {name: tf.TensorSpec([None], one.dtype, name=name) for name, one in _inputs(made).items()}

    @tf.function(input_signature=[specs])
    def serve(raw):
        made_here = tf.numpy_function(lambda lon: lon / 8, [raw["lon"]], tf.float32)
        return {"predictions": made_here}

    tf.saved_model.save(tf.Module(), str(model.saved_model_path), signatures={"serving_default": serve})
    verdict = judged(committed(model), made.raw, tmp_path / "out", rows=50, single_rows=2)
    assert not verdict["blessed"] and verdict["reason"].startswith("skew: TensorFlow alone cannot serve the model")
    assert "serving_default: it calls back into Python" in verdict["reason"]


def _inputs(made: Made) -> Any:
    return load_transform(made.graph.path).inputs


def test_what_the_training_predicted_is_in_full_precision() -> None:
    """A GPU that multiplies in TensorFloat-32 trains so; its rows are compared with a processor's."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled
    for before in (True, False):
        tf.config.experimental.enable_tensor_float_32_execution(before)
        with in_full_precision():
            assert not enabled()
        assert enabled() is before
    tf.config.experimental.enable_tensor_float_32_execution(True)


def test_other_examples_are_refused(made, tmp_path):
    other = write_examples(tmp_path / "other", train=rows(50, 9), eval=rows(20, 8))
    with pytest.raises(DataError, match="features of other examples"):
        judged(made.model, other, tmp_path / "out")


def without_reference(model: Model) -> Model:
    """As a run_fn leaves it that writes the SavedModel by itself."""
    (model.path / "training" / FILE).unlink()
    return committed(model)


def test_without_reference_rows_the_stored_features_are_compared(made, tmp_path):
    shutil.copytree(made.model.path, tmp_path / "model")
    model = Model(str(tmp_path / "model"))
    model.links = dict(made.model.links)
    result = SkewValidator.call(
        out_dir=tmp_path / "out", model=without_reference(model), examples=made.raw, rows=200, single_rows=10
    )
    assert result.blessing.blessed and "gives the features that training read" in result.blessing.reason
    assert "predictions were compared alone with in batches only: fn_args.export(model)" in result.warnings[0]


def test_without_reference_rows_a_fault_of_the_features_is_refused(made, tmp_path):
    model = without_reference(served_with(made, tmp_path, "constant"))
    verdict = judged(model, made.raw, tmp_path / "out", rows=200, single_rows=10)
    assert not verdict["blessed"]
    assert {(one["signature"], one["output"]) for one in verdict["differences"]} == {("transform_features", "scaled")}


def test_the_verdict_is_json_and_has_no_sensitive_value(made, tmp_path):
    verdict = judged(served_with(made, tmp_path, "vocabulary shifted"), made.raw, tmp_path / "out", rows=100)
    assert "ü" not in json.dumps(verdict, ensure_ascii=False)
