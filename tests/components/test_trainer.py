"""Trainer: what it trains on, and the arguments that it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from headrace.components import Importer, Trainer
from headrace.pipelines import Examples, Schema
from headrace.pipelines.errors import PipelineError
from keras import layers, ops

from tests.small_training import (
    Made,
    assert_equal_weights,
    history,
    linear,
    make,
    train,
    weights,
)

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("made"))


def test_stored_features_and_raw_rows_give_equal_weights(made: Made, tmp_path: Path) -> None:
    stored = train(made, tmp_path / "stored", epochs=2)
    raw = train(made, tmp_path / "raw", epochs=2, examples=made.raw)
    assert_equal_weights(stored.model, raw.model)
    assert history(stored.model) == history(raw.model)
    other_seed = train(made, tmp_path / "other", epochs=2, seed=1)
    assert not np.array_equal(weights(stored.model)[0], weights(other_seed.model)[0])


@pytest.mark.parametrize("weight", [None, "importance"])
@pytest.mark.parametrize("label", ["delay", "arrival"])
def test_a_step_of_gradient_descent_by_numpy(made: Made, tmp_path: Path, label: str, weight: str | None) -> None:
    """The label is an output of preprocessing_fn, or a raw column that Transform passed through."""
    result = train(made, tmp_path, build_model=linear, label=label, weight=weight, batch_size=1000)
    table = made.features.read("train")
    x, y = table["age"].to_numpy(), table[label].to_numpy()
    each = table[weight].to_numpy() if weight else np.ones(len(x))
    gradient = np.array([np.mean(each * -2 * y * x), np.mean(each * -2 * y)])
    kernel, bias = weights(result.model)
    np.testing.assert_allclose([kernel.item(), bias.item()], -0.1 * gradient, rtol=1e-4)
    links = result.model.links
    assert (links["label"], links.get("weight")) == (label, weight)
    assert links["transform_graph"]["digest"] == made.graph.digest
    assert links["examples"]["digest"] == made.features.digest
    assert links["train_split"] == "train"
    assert links["schema"]["digest"] == made.schema.digest


def test_a_dict_of_labels_trains_several_outputs(made: Made, tmp_path: Path) -> None:
    def by_name(features: Any) -> keras.Model:
        delay, late = layers.Dense(1, name="d")(features["age"]), layers.Dense(1, "sigmoid", name="l")(features["age"])
        model = keras.Model(features["age"], {"delay_minutes": delay, "late_probability": late})
        model.compile("adam", {"delay_minutes": "mse", "late_probability": "binary_crossentropy"}, jit_compile=False)
        return model

    def in_order(features: Any) -> keras.Model:
        named = by_name(features)
        model = keras.Model(named.input, [named.output["delay_minutes"], named.output["late_probability"]])
        model.compile("adam", {"d": "mse", "l": "binary_crossentropy"}, jit_compile=False)
        return model

    names = train(
        made,
        tmp_path / "names",
        build_model=by_name,
        label={"delay_minutes": "delay", "late_probability": "late"},
        weight="importance",
    )
    order = train(
        made, tmp_path / "order", build_model=in_order, label={"d": "delay", "l": "late"}, weight="importance"
    )
    assert_equal_weights(names.model, order.model)
    assert names.model.links["label"] == {"delay_minutes": "delay", "late_probability": "late"}
    served = {"names": names.model.read(), "order": order.model.read()}
    outputs = {key: set(one.signatures["serving_default"].structured_outputs) for key, one in served.items()}
    assert outputs == {"names": {"delay_minutes", "late_probability"}, "order": {"d", "l"}}


def test_without_a_transform_the_raw_columns_are_the_features(made: Made, tmp_path: Path) -> None:
    seen: list[Any] = []

    def on_raw(features: Any) -> keras.Model:
        seen.append({name: (x.shape, x.dtype) for name, x in features.items()})
        return linear_on(features["due"])

    def linear_on(x: Any) -> keras.Model:
        model = keras.Model(x, layers.Dense(1)(x))
        model.compile("sgd", "mse", jit_compile=False)
        return model

    result = train(
        made, tmp_path, examples=made.raw, transform_graph=None, schema=made.schema, build_model=on_raw, label="arrival"
    )
    assert seen == [
        {n: ((None, 1), "string" if n == "city" else "float32") for n in ("age", "city", "due", "importance")}
    ]
    signature = result.model.read().signatures["serving_default"].structured_input_signature[1]
    assert [(name, spec.shape.as_list()) for name, spec in signature.items()] == [("due", [None])]


def test_a_model_gets_the_features_it_takes_however_it_was_built(made: Made, tmp_path: Path) -> None:
    """Keras takes a dict with other keys than the model's by position, and says so only in a warning."""

    def inputs_as(arrange: Any) -> Any:
        def build(features: Any) -> keras.Model:
            used = arrange(features)
            x = layers.Concatenate()(keras.tree.flatten(used))
            model = keras.Model(used, layers.Dense(1, kernel_initializer="ones")(x))
            model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=False)
            return model

        return build

    arrangements = {
        "dict": lambda f: {"age": f["age"], "city": f["city"]},
        "other keys": lambda f: {"a": f["age"], "b": f["city"]},
        "list": lambda f: [f["age"], f["city"]],
        "nested": lambda f: {"x": [f["age"]], "y": (f["city"],)},
    }
    results = [
        train(made, tmp_path / name, build_model=inputs_as(arrange), label="delay").model
        for name, arrange in arrangements.items()
    ]
    for result in results[1:]:
        assert_equal_weights(results[0], result)


def test_a_subclassed_model_gets_all_features_and_never_the_label(made: Made, tmp_path: Path) -> None:
    class Summed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = layers.Dense(1)
            self.seen: list[str] = []

        def call(self, inputs: dict[str, Any]) -> Any:
            self.seen = sorted(inputs)
            return self.dense(ops.concatenate([inputs["age"], inputs["city"]], axis=-1))

    models: list[Summed] = []

    def build(features: Any) -> keras.Model:
        models.append(Summed())
        models[0].compile("sgd", "mse", jit_compile=False)
        return models[0]

    # Transform was not told that `importance` is no feature here.
    result = train(made, tmp_path, build_model=build, label="delay", weight="importance")
    assert models[0].seen == ["age", "city", "city_id"]
    signature = result.model.read().signatures["serving_default"].structured_input_signature[1]
    assert sorted(signature) == ["age", "city"]


def test_train_steps_and_eval_steps(made: Made, tmp_path: Path) -> None:
    seen: list[int] = []

    class Counting(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            seen.append(batch)

    result = train(made, tmp_path, train_steps=3, eval_steps=2, epochs=2, callbacks=lambda: [Counting()])
    assert seen == [0, 1, 2, 0, 1, 2]
    assert [point["step"] for point in history(result.model)["steps"]] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"label": "lat"}, ["label='lat' is no output of preprocessing_fn and no column", "did you mean 'late'"]),
        ({"weight": "weihgt"}, ["weight='weihgt' is no output"]),
        ({"hyperparameters": {"unit": 3}}, ["does not take the hyperparameters {'unit': 3}", "units, rate, dropout"]),
        ({"build_model": lambda features: None}, ["expected a compiled keras.Model", "received NoneType"]),
        (
            {"build_model": lambda features: keras.Model(features, features["age"])},
            ["expected a compiled keras.Model", "not compiled"],
        ),
        ({"transform_graph": None}, ["expected transform_graph= or schema="]),
        ({"eval_split": None, "early_stopping": {"patience": 1}}, ["early_stopping monitors 'val_loss'"]),
        ({"callbacks": lambda: keras.callbacks.Callback()}, ["expected a list of keras.callbacks.Callback"]),
    ],
)
def test_wrong_arguments(made: Made, tmp_path: Path, arguments: dict[str, Any], said: list[str]) -> None:
    with pytest.raises(PipelineError) as refused:
        train(made, tmp_path, **arguments)
    for part in said:
        assert part in str(refused.value)


def test_arguments_that_do_not_go_together_are_refused_when_the_pipeline_is_built() -> None:
    def problems(**arguments: Any) -> str:
        step = Trainer(examples=examples.outputs["result"], **arguments)
        return "\n".join(str(problem) for problem in step.lower(str(REPOSITORY))[1])

    examples = Importer(artifact_uri="here", artifact_type=Examples)
    schema = Importer(artifact_uri="there", artifact_type=Schema).outputs["result"]
    function = "examples.flights.model:build_model"
    good = {"build_model": function, "label": "late", "schema": schema}
    assert problems(**good) == ""
    assert "received neither" in problems(label="late", schema=schema)
    assert "received both" in problems(**good, run_fn=function)
    assert "expected label=" in problems(build_model=function, schema=schema)
    assert "expected transform_graph= or schema=" in problems(build_model=function, label="late")
    assert "expected epochs of at least 1, received 0" in problems(**good, epochs=0)
    assert "checkpoint_every= has no effect with run_fn" in problems(run_fn=function, schema=schema, checkpoint_every=5)


def test_an_eval_split_that_is_not_there_is_warned_of(made: Made, tmp_path: Path) -> None:
    result = train(made, tmp_path, eval_split="test")
    assert "no split 'test'; there are train, eval" in result.warnings[0]
    assert set(history(result.model)["epochs"][0]) == {"epoch", "loss", "accuracy"}
