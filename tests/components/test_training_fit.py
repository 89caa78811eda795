"""A fit: its series, early stopping, warm start and precision, and whose line an error is at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from headrace.pipelines import HyperParameters
from headrace.pipelines.errors import ArtifactError, UserCodeError
from keras import layers, ops

from tests.small_training import (
    Made,
    assert_equal_weights,
    build_model,
    history,
    linear,
    make,
    named,
    rows,
    train,
    weights,
    write_examples,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("made"))


def test_series_by_epoch_and_step_and_tensorboard_events(made: Made, tmp_path: Path) -> None:
    import tensorflow as tf

    told: list[dict[str, Any]] = []

    class Watching(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            told.append(dict(logs))

    result = train(made, tmp_path, epochs=3, callbacks=lambda: [Watching()])
    series = history(result.model)
    assert series["epochs"] == [{"epoch": n + 1, **logs} for n, logs in enumerate(told)]
    assert set(told[0]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert [point["step"] for point in series["steps"]] == list(range(1, 49))
    assert told[-1]["loss"] < told[0]["loss"]

    folder = result.model.path / "training" / "tensorboard"
    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.rglob("*tfevents*")):
        first, *events = [
            tf.compat.v1.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(file))
        ]
        assert first.file_version == "brain.Event:2"
        for event in events:
            for value in event.summary.value:
                found.setdefault(f"{file.parent.name}/{value.tag}", []).append((event.step, value.simple_value))
    assert [step for step, _ in found["train/batch_loss"]] == list(range(1, 49))
    for tag, name in (("train/epoch_loss", "loss"), ("validation/epoch_loss", "val_loss")):
        assert [step for step, _ in found[tag]] == [0, 1, 2]
        np.testing.assert_allclose([value for _, value in found[tag]], [logs[name] for logs in told], rtol=1e-6)


def test_steps_per_execution_changes_neither_weights_nor_epochs(made: Made, tmp_path: Path) -> None:
    def many(features: Any) -> keras.Model:
        model = build_model(features)
        model.compile(
            keras.optimizers.Adam(0.05), "binary_crossentropy", metrics=["accuracy"], jit_compile=False,
            steps_per_execution=5,
        )  # fmt: skip
        return model

    one, five = train(made, tmp_path / "one", epochs=2), train(made, tmp_path / "five", epochs=2, build_model=many)
    assert_equal_weights(one.model, five.model)
    assert history(one.model)["epochs"] == history(five.model)["epochs"]
    assert [point["step"] for point in history(five.model)["steps"]] == [5, 10, 15, 16, 21, 26, 31, 32]


def test_early_stopping(made: Made, tmp_path: Path) -> None:
    result = train(
        made,
        tmp_path,
        epochs=50,
        hyperparameters={"rate": 0.5},
        early_stopping={"monitor": "val_loss", "patience": 1, "restore_best_weights": True},
    )
    losses = [epoch["val_loss"] for epoch in history(result.model)["epochs"]]
    assert len(losses) < 50
    assert losses[-1] >= min(losses)
    assert losses.index(min(losses)) == len(losses) - 2


def test_a_warm_start_begins_where_the_base_model_ended(made: Made, tmp_path: Path) -> None:
    base = train(made, tmp_path / "base", build_model=named, label="delay")
    still = {"rate": 0.0}
    same = train(
        made, tmp_path / "same", build_model=named, label="delay", base_model=base.model, hyperparameters=still
    )
    assert_equal_weights(base.model, same.model)
    assert same.warnings == ()
    wider = train(
        made,
        tmp_path / "wider",
        build_model=named,
        label="delay",
        base_model=base.model,
        hyperparameters={"units": 5, **still},
    )
    assert wider.warnings == ("warm start: 3 of 6 weights fit and come from the base model",)
    for value, same_value in zip(weights(base.model)[3:], weights(wider.model)[3:], strict=True):
        np.testing.assert_array_equal(value, same_value)
    with pytest.raises(ArtifactError, match="no weight of base_model"):
        train(made, tmp_path / "other", build_model=linear, label="delay", base_model=base.model)


def test_best_hyperparameters_win(made: Made, tmp_path: Path) -> None:
    best = HyperParameters(str(tmp_path / "best"))
    best.write({"units": 7})
    best.commit({})
    result = train(made, tmp_path, best_hyperparameters=best, hyperparameters={"units": 3, "rate": 0.01})
    assert (7,) in [value.shape for value in weights(result.model)]


def test_mixed_precision_computes_in_half_and_serves_float32(made: Made, tmp_path: Path) -> None:
    policies: list[str] = []

    def build(features: Any) -> keras.Model:
        model = linear(features)
        policies.append(model.layers[-1].compute_dtype)
        return model

    result = train(made, tmp_path, mixed_precision=True, build_model=build, label="delay")
    assert policies == ["bfloat16"]
    assert keras.config.dtype_policy().name == "float32"
    outputs = result.model.read().signatures["serving_default"].structured_outputs
    assert [(name, spec.dtype.name) for name, spec in outputs.items()] == [("predictions", "float32")]
    assert weights(result.model)[0].dtype == np.float32


class Broken(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        if getattr(self, "armed", False):
            return ops.matmul(x, ops.ones((3, 7)))  # the line that is named
        return x


def test_an_error_in_a_layer_names_the_authors_line(made: Made, tmp_path: Path) -> None:
    def build(features: Any) -> keras.Model:
        broken = Broken()
        x = layers.Dense(2)(broken(features["age"]))
        model = keras.Model(features["age"], layers.Dense(1)(x))
        model.compile("sgd", "mse", jit_compile=False)
        broken.armed = True
        return model

    with pytest.raises(UserCodeError) as raised:
        train(made, tmp_path, build_model=build)
    assert "return ops.matmul(x, ops.ones((3, 7)))  # the line that is named" in str(raised.value)
    assert __file__ in str(raised.value)
    frames = raised.value.__cause__.__traceback__  # type: ignore[union-attr]
    while frames is not None:
        assert frames.tb_frame.f_code.co_filename == __file__
        frames = frames.tb_next


def test_an_error_in_a_callback_names_the_authors_line(made: Made, tmp_path: Path) -> None:
    class Callback(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            raise KeyError("lost")

    with pytest.raises(UserCodeError, match=r"raised KeyError: 'lost'\n.*in on_epoch_end\n +raise KeyError"):
        train(made, tmp_path, callbacks=lambda: [Callback()])


def test_an_unreadable_file_is_told_as_it_is_and_not_by_tf_data(made: Made, tmp_path: Path) -> None:
    examples = write_examples(tmp_path / "raw", train=rows(1000, 1))

    def remove_the_file(features: Any) -> keras.Model:
        for group in examples.row_groups("train"):
            Path(group.uri).unlink(missing_ok=True)
        return linear(features)

    with pytest.raises(FileNotFoundError):
        train(made, tmp_path, examples=examples, eval_split=None, build_model=remove_the_file, label="delay")


def test_a_loss_that_is_nan_is_warned_of(made: Made, tmp_path: Path) -> None:
    def diverging(features: Any) -> keras.Model:
        model = linear(features)
        model.compile(keras.optimizers.SGD(1e30), "mse", jit_compile=False)
        return model

    result = train(made, tmp_path, build_model=diverging, label="delay", epochs=2)
    [warning] = result.warnings
    assert warning.startswith("the loss is ")
    assert "learning rate that is too high" in warning
    assert history(result.model)["epochs"][-1]["loss"] is None
