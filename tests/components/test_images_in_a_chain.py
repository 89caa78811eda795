"""Images through every component: from files to a model that is evaluated, compared, served, and asked by bytes."""

from __future__ import annotations

import base64
import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from headrace.components import (
    BulkInferrer,
    Evaluator,
    ImageExampleGen,
    InfraValidator,
    SchemaGen,
    SkewValidator,
    StatisticsGen,
    Trainer,
    Transform,
)
from headrace.components.trainer import ServingSignature
from headrace.pipelines import Examples, Model, Schema, TransformGraph
from headrace.pipelines.errors import PipelineError
from headrace.transforms.keras_graph import load_transform
from headrace.transforms.layers import DecodeImage, JoinModalities, Present
from keras import layers, ops
from PIL import Image
from sklearn.datasets import load_digits

from tests.served_models import served
from tests.small_training import weights

ROWS, LACKING = 500, 25
SIGNATURE = ServingSignature("serving_bytes", only="image", key="request")


def write_digits(folder: Path) -> None:
    """Real digits as PNG files and a table of them; every 25th row has no image."""
    digits = load_digits()
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "ink", "digit"])
        for number in range(ROWS):
            name = f"{number}.png"
            grey = np.round(digits.images[number] * (255 / 16)).astype(np.uint8)
            (folder / "images").mkdir(exist_ok=True)
            Image.fromarray(grey).save(folder / "images" / name)
            ink = "" if number % 10 == 3 else round(float(grey.mean()), 2)
            writer.writerow(["" if number % LACKING == 0 else name, ink, digits.target[number]])


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    listed = layers.Lambda(lambda x: ops.where(ops.isnan(x), 0.0, x))(inputs["image_pixels"])
    return {
        "pixels": DecodeImage(8, 8, 1)(inputs["image"]),
        "listed": layers.Reshape((8, 8, 1))(listed),
        "there": Present()(inputs["image"]),
        "ink": layers.Lambda(lambda x: ops.where(ops.isnan(x), 0.0, x / 255))(inputs["ink"]),
        "ink_there": Present()(inputs["ink"]),
        "digit": inputs["digit"],
    }


def build_model(features: Any) -> keras.Model:
    pixels = layers.Rescaling(1 / 255)(features["pixels"])
    vector = layers.Dense(32, activation="relu", name="vector")(layers.Flatten()(pixels))
    tiled = layers.Conv2D(8, 3, activation="relu", name="tiled")(pixels)
    image = layers.Concatenate()([vector, layers.Flatten()(tiled)])
    ink = layers.Dense(4, activation="tanh", name="ink_branch")(features["ink"])
    present = {"image": features["there"], "ink": features["ink_there"]}
    joined = JoinModalities(dropout={"ink": 0.3}, seed=1)({"image": image, "ink": ink}, present=present)
    names = ("pixels", "there", "ink", "ink_there")
    model = keras.Model({name: features[name] for name in names}, layers.Dense(10, activation="softmax")(joined))
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def listed_model(features: Any) -> keras.Model:
    x = layers.Dense(10, activation="softmax")(layers.Flatten()(layers.Rescaling(1 / 255)(features["listed"])))
    model = keras.Model({"listed": features["listed"]}, x)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


class Made(NamedTuple):
    """What the chain made."""

    raw: Examples
    schema: Schema
    graph: TransformGraph
    features: Examples
    model: Model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("chain")
    write_digits(folder)
    raw = ImageExampleGen.call(
        out_dir=folder / "raw",
        input_base=str(folder / "table.csv"),
        path_column="file",
        images=str(folder / "images"),
        pixels=[8, 8, 1],
        splits={"train": 3, "eval": 1},
    ).examples
    statistics = StatisticsGen.call(out_dir=folder / "statistics", examples=raw).statistics
    schema = SchemaGen.call(out_dir=folder / "schema", statistics=statistics).schema
    transformed = Transform.call(
        out_dir=folder / "transform",
        examples=raw,
        schema=schema,
        preprocessing_fn=preprocessing_fn,
        labels=["digit"],
    )
    trained = Trainer.call(
        out_dir=folder / "train",
        examples=transformed.transformed_examples,
        transform_graph=transformed.transform_graph,
        schema=schema,
        build_model=build_model,
        label="digit",
        epochs=12,
        batch_size=32,
        signatures=[SIGNATURE],
    )
    return Made(raw, schema, transformed.transform_graph, transformed.transformed_examples, trained.model)


@pytest.fixture(scope="module")
def signatures(made: Made) -> Any:
    return tf.saved_model.load(str(made.model.saved_model_path)).signatures


def test_features_are_stored_as_pixels_and_are_those_of_the_files(made):
    stored = made.features.schema.field("pixels")
    assert stored.type == pa.list_(pa.uint8(), 64) and b'"shape": [8, 8, 1]' in stored.metadata[b"headrace.feature"]
    for split in ("train", "eval"):
        raw, features = made.raw.read(split).to_pydict(), made.features.read(split).to_pydict()
        for data, pixels, listed, there in zip(
            raw["image"], features["pixels"], features["listed"], features["there"], strict=True
        ):
            expected = np.zeros(64) if data is None else np.asarray(Image.open(io.BytesIO(data))).reshape(-1)
            assert np.array_equal(pixels, expected) and np.array_equal(listed, expected) and there == (data is not None)


def test_every_branch_gets_gradients(made):
    transform = load_transform(made.graph.path)
    keras.utils.set_random_seed(0)
    model = build_model(transform.feature_inputs())
    features = transform.features(transform.raw_tensors(made.raw.read("train").to_batches()[0]))
    with tf.GradientTape() as tape:
        given = {name: features[name] for name in model.input}
        answer = model(given, training=True)
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(features["digit"][:, 0], answer))
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
        assert gradient is not None and np.abs(gradient.numpy()).max() > 0, weight.path


def test_the_evaluator_and_the_bulk_inferrer_ask_the_model_by_bytes(made, tmp_path, signatures):
    evaluated = Evaluator.call(out_dir=tmp_path / "e", examples=made.raw, model=made.model, metrics=["accuracy"])
    accuracy = evaluated.evaluation.properties["accuracy"]
    predicted = BulkInferrer.call(out_dir=tmp_path / "b", examples=made.raw, model=made.model, splits=["eval"])
    rows = made.raw.read("eval").to_pydict()
    found = np.array(predicted.predictions.read()["predictions"].to_pylist())
    assert accuracy > 0.8
    assert accuracy == pytest.approx((found.argmax(1) == rows["digit"]).mean(), abs=1e-6)
    [direct] = signatures["serving_default"](**tensors(rows)).values()
    np.testing.assert_allclose(found, direct.numpy(), atol=1e-6)


def tensors(rows: dict[str, list[Any]]) -> dict[str, Any]:
    """Raw rows as the signature takes them, what is missing as what stands for it."""
    return {
        "image": tf.constant([one or b"" for one in rows["image"]]),
        "ink": tf.constant([np.nan if one is None else one for one in rows["ink"]], tf.float32),
    }


def test_both_gates_pass(made, tmp_path):
    skew = SkewValidator.call(out_dir=tmp_path / "s", model=made.model, examples=made.raw, single_rows=5)
    assert skew.blessing.blessed, skew.blessing.reason
    assert skew.warnings == ()  # every row at the edges of the schema can be computed
    infra = InfraValidator.call(
        out_dir=tmp_path / "i", model=made.model, examples=made.raw, schema=made.schema, rows=20, latency_p99_ms=5000
    )
    assert infra.blessing.blessed, infra.blessing.reason


def test_the_bytes_alone_are_a_signature_and_a_key_passes(made, signatures):
    rows = made.raw.read("eval").to_pydict()
    given = tensors(rows)
    answer = signatures["serving_bytes"](
        image=given["image"], request=tf.constant([f"r{n}" for n in range(len(rows["image"]))])
    )
    assert answer["request"].numpy().tolist() == [f"r{n}".encode() for n in range(len(rows["image"]))]
    alone = signatures["serving_default"](image=given["image"], ink=tf.fill([len(rows["image"])], np.nan))
    np.testing.assert_array_equal(answer["predictions"].numpy(), alone["predictions"].numpy())
    assert signatures["serving_bytes"](image=tf.constant([], tf.string), request=tf.constant([], tf.string))[
        "predictions"
    ].shape == (0, 10)


def test_a_client_sends_base64_and_leaves_out_what_is_missing(made, signatures):
    rows = made.raw.read("eval").to_pydict()
    lacking = rows["image"].index(None)
    given = tensors(rows)
    expected = signatures["serving_default"](**given)["predictions"].numpy()
    instances = [
        {name: written(rows[name][n]) for name in ("image", "ink") if rows[name][n] is not None} for n in range(10)
    ] + [{"ink": rows["ink"][lacking]}]
    bad = {"instances": [{"image": {"b64": base64.b64encode(b"no image").decode()}, "ink": 1.0}]}
    with served(made.model.saved_model_path) as server:
        status, answer = server.predict({"instances": instances})
        assert status == 200
        np.testing.assert_allclose(answer["predictions"][:10], expected[:10], atol=1e-5)
        np.testing.assert_allclose(answer["predictions"][10], expected[lacking], atol=1e-5)
        status, answer = server.predict(bad)
        assert status == 400 and "image" in answer["error"].lower()


def written(value: Any) -> Any:
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def test_pixels_as_a_list_are_a_path_of_their_own(made, tmp_path):
    trained = Trainer.call(
        out_dir=tmp_path / "t",
        examples=made.features,
        transform_graph=made.graph,
        schema=made.schema,
        build_model=listed_model,
        label="digit",
        epochs=1,
    )
    serve = tf.saved_model.load(str(trained.model.saved_model_path)).signatures["serving_default"]
    [spec] = serve.structured_input_signature[1].values()
    assert spec.name == "image_pixels" and spec.shape.as_list() == [None, 64]
    rows = made.raw.read("eval").slice(0, 8)
    listed = np.array([one or [0] * 64 for one in rows["image_pixels"].to_pylist()])
    [answer] = serve(image_pixels=tf.constant(listed, spec.dtype)).values()
    same = keras.ops.softmax(listed / 255 @ weights(trained.model)[0] + weights(trained.model)[1])
    np.testing.assert_allclose(answer.numpy(), same, atol=1e-5)


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        (ServingSignature("s", only="picture"), "'picture' is no column that the model takes; it takes image, ink"),
        (ServingSignature("s", only="image", key="ink"), "key='ink' is another column"),
    ],
)
def test_a_signature_of_one_column_that_does_not_fit_is_refused(made, tmp_path, signature, said):
    with pytest.raises(PipelineError, match=said):
        Trainer.call(
            out_dir=tmp_path / "t",
            examples=made.features,
            transform_graph=made.graph,
            build_model=build_model,
            label="digit",
            signatures=[signature],
        )
