"""The export: a SavedModel over raw columns that TensorFlow alone serves; and run_fn, which exports by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from headrace.pipelines.errors import PipelineError, UserCodeError
from keras import layers, ops

from tests.small_training import (
    Made,
    assert_equal_weights,
    build_model,
    make,
    rows,
    train,
    write_examples,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("made"))


def test_run_fn_has_full_control(made: Made, tmp_path: Path) -> None:
    seen: list[Any] = []

    def run_fn(fn_args: Any) -> None:
        seen.append(fn_args)
        model = build_model(fn_args.features(), **fn_args.hyperparameters)
        data = fn_args.dataset("train", shuffle=True, model=model)
        model.fit(data, epochs=fn_args.epochs, verbose=0, shuffle=False)
        fn_args.export(model)

    arguments = {"hyperparameters": {"units": 5}, "epochs": 2, "custom_config": {"k": 1}, "train_steps": 16}
    result = train(made, tmp_path / "run", build_model=None, run_fn=run_fn, schema=made.schema, **arguments)
    [fn_args] = seen
    assert [Path(file).name for file in fn_args.train_files] == ["part-00000.parquet"]
    assert "/eval/" in fn_args.eval_files[0]
    assert (fn_args.custom_config, fn_args.train_steps, fn_args.batch_size) == ({"k": 1}, 16, 64)
    assert Path(fn_args.schema_path).read_text() == Path(fn_args.schema_file).read_text()
    # The same seed, stream and export as the Trainer's own.
    built = train(made, tmp_path / "built", **arguments | {"custom_config": None})
    assert_equal_weights(result.model, built.model)


def test_run_fn_that_feeds_a_model_by_position_is_refused(made: Made, tmp_path: Path) -> None:
    def run_fn(fn_args: Any) -> None:
        features = fn_args.features()
        model = keras.Model({"city_id": features["city_id"]}, layers.Dense(1)(ops.cast(features["city_id"], "float32")))
        model.compile("sgd", "mse", jit_compile=False)
        model.fit(fn_args.dataset("train"), verbose=0)

    with pytest.raises(UserCodeError, match="structure of `inputs` doesn't match"):
        train(made, tmp_path, build_model=None, run_fn=run_fn)
    with pytest.raises(PipelineError, match="run_fn wrote none"):
        train(made, tmp_path, build_model=None, run_fn=lambda fn_args: None)


CLIENT = """
import json, sys
import numpy as np, tensorflow as tf

raw = {name: tf.constant(values, dtype) for name, (values, dtype) in json.loads(sys.argv[1]).items()}
answers = []
for folder in sys.argv[2:]:
    signature = tf.saved_model.load(folder).signatures["serving_default"]
    names = list(signature.structured_input_signature[1])
    batch = signature(**{name: raw[name] for name in names})
    one = [signature(**{name: raw[name][n : n + 1] for name in names}) for n in range(len(raw["age"]))]
    for name, values in batch.items():
        rows = np.concatenate([row[name].numpy() for row in one])
        np.testing.assert_allclose(values.numpy(), rows, rtol=1e-5, atol=1e-6)
    outputs = {name: values.numpy().tolist() for name, values in batch.items()}
    answers.append({"inputs": sorted(names), "outputs": outputs})
unwanted = ("headrace", "test_trainer", "components", "transforms")
loaded = [module for module in sys.modules if module.split(".")[0] in unwanted]
print(json.dumps([answers, loaded]))
"""


def test_the_export_serves_raw_columns_in_a_process_with_tensorflow_alone(made: Made, tmp_path: Path) -> None:
    models: dict[str, keras.Model] = {}

    def keep(name: str, build: Any) -> Any:
        def kept(features: Any) -> keras.Model:
            models[name] = build(features)
            return models[name]

        return kept

    def two(features: Any) -> keras.Model:
        hidden = layers.Dense(3)(features["city"])
        model = keras.Model(features, [layers.Dense(1, name="a")(hidden), layers.Dense(2, name="b")(hidden)])
        model.compile("sgd", {"a": "mse", "b": "mse"}, jit_compile=False)
        return model

    results = {
        "single": train(made, tmp_path / "single", build_model=keep("single", build_model), weight="importance"),
        "several": train(
            made,
            tmp_path / "several",
            build_model=keep("several", two),
            label={"a": "delay", "b": "delay"},
            weight="importance",
            output_names=["first", "second"],
        ),
    }
    table = rows(40, 9)
    raw = {
        "age": ([float("nan") if v is None else v for v in table["age"].to_pylist()], "float32"),
        "city": (table["city"].to_pylist(), "string"),
    }
    folders = [str(result.model.saved_model_path) for result in results.values()]
    client = [sys.executable, "-I", "-c", CLIENT, json.dumps(raw), *folders]
    ran = subprocess.run(client, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == 0, ran.stderr
    answers, loaded = json.loads(ran.stdout.splitlines()[-1])
    assert loaded == []
    assert [answer["inputs"] for answer in answers] == [["age", "city"], ["age", "city"]]
    assert [sorted(answer["outputs"]) for answer in answers] == [["predictions"], ["first", "second"]]

    # What Keras itself predicts from the features of the same rows.
    examples = write_examples(tmp_path / "fresh", train=table)
    from headrace.components.training.feature_source import FeatureSource
    from headrace.transforms.keras_graph import load_transform

    transform = load_transform(made.graph.path)
    source = FeatureSource(examples, transform, ["age", "city", "city_id"], {})
    for (name, model), answer in zip(models.items(), answers):
        [(features,)] = list(source.for_model(model).stream("train", 40).dataset())
        expected = model.predict_on_batch(features)
        expected = expected if isinstance(expected, list) else [expected]
        # By name: a signature keeps no order of its outputs.
        for values, output in zip(expected, sorted(answer["outputs"]), strict=True):
            np.testing.assert_allclose(answer["outputs"][output], values, rtol=1e-5, atol=1e-6, err_msg=name)


def no_callbacks() -> list[keras.callbacks.Callback]:
    return []


def test_a_graph_written_beside_the_training_is_that_written_after_it(made: Made, tmp_path: Path) -> None:
    beside = train(made, tmp_path / "beside").model
    # With callbacks of the author's the graph waits for the end of the training.
    after = train(made, tmp_path / "after", callbacks=no_callbacks).model
    assert not (beside.saved_model_path / "fingerprint.pb").exists()
    assert (after.saved_model_path / "fingerprint.pb").exists()
    assert beside.digest == after.digest


def test_a_layer_of_the_authors_own_is_exported_as_training_left_it(made: Made, tmp_path: Path) -> None:
    class Cooled(layers.Layer):
        """Its training sets an attribute that its computation reads."""

        trained = False

        def call(self, x: Any, training: bool = False) -> Any:
            self.trained = self.trained or training
            return x if self.trained else x * float("nan")

    def build(features: Any) -> keras.Model:
        model = keras.Model({"city": features["city"]}, Cooled()(layers.Dense(1)(features["city"])))
        model.compile("sgd", "mse", jit_compile=False)
        return model

    model = train(made, tmp_path, build_model=build).model
    raw = {"city": [["b", ""], "string"]}
    done = subprocess.run(
        [sys.executable, "-c", ONE_CALL, json.dumps(raw), str(model.saved_model_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert np.isfinite(json.loads(done.stdout.splitlines()[-1])).all()


ONE_CALL = """
import json, sys
import tensorflow as tf

raw = {name: tf.constant(values, dtype) for name, (values, dtype) in json.loads(sys.argv[1]).items()}
served = tf.saved_model.load(sys.argv[2])
print(json.dumps(served.signatures["serving_default"](**raw)["predictions"].numpy().tolist()))
"""


def test_a_lambda_of_build_model_that_would_not_survive_is_refused_with_its_line(made: Made, tmp_path: Path) -> None:
    def build(features: Any) -> keras.Model:
        x = layers.Lambda(lambda x: x * np.random.normal(), name="noise")(features["age"])
        model = keras.Model({"age": features["age"]}, layers.Dense(1)(x))
        model.compile("sgd", "mse", jit_compile=False)
        return model

    with pytest.raises(PipelineError) as caught:
        train(made, tmp_path, build_model=build)
    [problem] = caught.value.problems
    assert (problem.code, problem.where.file) == ("frozen-random", __file__)
    assert "'noise' calls np.random.normal" in problem.what
    assert "np.random.normal()" in Path(__file__).read_text().splitlines()[problem.where.line - 1]


def test_a_keras_file_that_another_process_reads_in_safe_mode(made: Made, tmp_path: Path) -> None:
    kept: list[keras.Model] = []

    def build(features: Any, **hyperparameters: Any) -> keras.Model:
        kept.append(build_model(features, **hyperparameters))
        return kept[0]

    model = train(made, tmp_path, build_model=build, weight="importance").model
    file = model.path / "training" / "model.keras"
    program = (
        "import sys, keras; model = keras.saving.load_model(sys.argv[1], safe_mode=True); "
        "print(model.evaluate({'age': __import__('numpy').ones((2, 1)), 'city': __import__('numpy').ones((2, 6)), "
        "'city_id': __import__('numpy').ones((2, 1), int)}, __import__('numpy').ones((2, 1)), verbose=0)[0])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program, str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    features = {"age": np.ones((2, 1)), "city": np.ones((2, 6)), "city_id": np.ones((2, 1), int)}
    expected = kept[0].evaluate(features, np.ones((2, 1)), verbose=0)[0]
    np.testing.assert_allclose(float(done.stdout.split()[-1]), expected, rtol=1e-5)


def test_no_keras_file_where_safe_mode_would_refuse_it(
    made: Made, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def build(features: Any) -> keras.Model:
        x = layers.Lambda(lambda x: x * 2, name="twice")(features["age"])
        model = keras.Model({"age": features["age"]}, layers.Dense(1)(x))
        model.compile("sgd", "mse", jit_compile=False)
        return model

    model = train(made, tmp_path, build_model=build).model
    assert (model.saved_model_path / "saved_model.pb").exists()
    assert not (model.path / "training" / "model.keras").exists()
    assert (
        "no model.keras beside the SavedModel: Keras' safe mode reads no Lambda layers (twice)"
        in capfd.readouterr().out
    )
