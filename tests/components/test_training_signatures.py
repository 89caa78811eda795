"""Signatures that the Trainer is asked for: labels' names, the author's function, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from headrace.components import Importer, ServingSignature, Trainer, Transform
from headrace.pipelines import Examples, Schema
from headrace.pipelines.errors import PipelineError, UserCodeError
from headrace.transforms.serving.signatures import read_saved_model
from keras import layers, ops

from tests.small_training import Made, linear, make, train

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("made"))


def where_by_age(inputs: dict[str, Any]) -> dict[str, Any]:
    known = layers.Lambda(lambda x: ops.where(ops.isnan(x), 40.0, x))
    return {"age": known(inputs["age"]), "where": layers.StringLookup()(inputs["city"])}


def which_city(features: Any) -> keras.Model:
    model = keras.Model(features, layers.Dense(6, activation="softmax")(layers.Rescaling(0.01)(features["age"])))
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    return model


def test_the_classes_are_named_as_the_labels_vocabulary(made: Made, tmp_path: Path) -> None:
    import tensorflow as tf

    transform = Transform.call(
        out_dir=tmp_path / "transform",
        examples=made.raw,
        schema=made.schema,
        preprocessing_fn=where_by_age,
        labels=["where"],
    )
    model = train(
        made,
        tmp_path / "model",
        examples=transform.transformed_examples,
        transform_graph=transform.transform_graph,
        build_model=which_city,
        label="where",
        signatures=[ServingSignature("best", labels="vocabulary", top_k=3)],
    ).model
    served = model.read()
    ages = {"age": tf.constant([20.0, 40.0, float("nan")])}
    raw = served.signatures["serving_default"](**ages)["predictions"].numpy()
    cities = made.raw.read("train")["city"].to_pylist()
    # Most frequent first, as Keras' adapt orders them; what is none of them is [UNK].
    names = np.array(["[UNK]", *sorted(set(cities), key=lambda city: (-cities.count(city), city))], "S")
    expected = names[np.argsort(-raw, axis=1)[:, :3]]
    np.testing.assert_array_equal(served.signatures["best"](**ages)["classes"].numpy(), expected)


def test_a_label_without_a_vocabulary(made: Made, tmp_path: Path) -> None:
    asked = [ServingSignature("best", labels="vocabulary")]
    with pytest.raises(PipelineError, match=r"signature 'best': .*the label 'late' has no vocabulary"):
        train(made, tmp_path, build_model=linear, signatures=asked)
    with pytest.raises(PipelineError, match="names 3 classes, the output 'predictions' has 2"):
        train(made, tmp_path / "b", build_model=linear, signatures=[ServingSignature("c", labels=["a", "b", "c"])])


def test_a_postprocess_that_raises_is_told_by_its_line(made: Made, tmp_path: Path) -> None:
    def postprocess(outputs: dict[str, Any]) -> dict[str, Any]:
        return {"chance": outputs["probability"]}

    asked = [ServingSignature("named")]
    with pytest.raises(UserCodeError, match=r"postprocess raised KeyError: 'probability'\n    at .*test_training_sign"):
        train(made, tmp_path, build_model=linear, signatures=asked, postprocess=postprocess)


def test_a_run_fn_that_exports_by_fn_args(made: Made, tmp_path: Path) -> None:
    asked = [ServingSignature("serving_keyed", key="id")]
    model = train(made, tmp_path, build_model=None, run_fn=run_and_export, signatures=asked, postprocess=dict).model
    signatures = read_saved_model(model.saved_model_path).signatures
    assert set(signatures["serving_keyed"].outputs) == {"id", "minutes"}
    assert signatures["serving_keyed"].optional == {"age"}
    with pytest.raises(PipelineError, match=r"calls np\.random\.normal"):
        train(made, tmp_path / "lambda", build_model=None, run_fn=run_with_lambda)


def run_and_export(fn_args: Any) -> None:
    fn_args.export(linear(fn_args.features()), output_names=["minutes"])


def run_with_lambda(fn_args: Any) -> None:
    features = fn_args.features()
    noisy = layers.Lambda(lambda x: x + np.random.normal())(features["age"])
    fn_args.export(keras.Model({"age": features["age"]}, layers.Dense(1)(noisy)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"postprocess": "examples.flights.model:build_model"}, "postprocess= has no effect without signatures="),
        ({"signatures": [ServingSignature("serving_default")]}, "'serving_default': every model has it already"),
        ({"signatures": [{"name": "a", "top_k": 0}]}, "expected top_k of at least 1, received 0"),
        ({"signatures": [{"name": "a", "kee": "id"}]}, "ServingSignature with the fields"),
        ({"signatures": ["serving_keyed"]}, "expected ServingSignature"),
    ],
)
def test_what_is_refused_when_the_pipeline_is_built(arguments: dict[str, Any], said: str) -> None:
    examples = Importer(artifact_uri="here", artifact_type=Examples).outputs["result"]
    schema = Importer(artifact_uri="there", artifact_type=Schema).outputs["result"]
    build_model = "examples.flights.model:build_model"
    step = Trainer(examples=examples, schema=schema, build_model=build_model, label="late", **arguments)
    assert any(said in str(problem) for problem in step.lower(str(REPOSITORY))[1])
