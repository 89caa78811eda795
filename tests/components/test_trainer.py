"""Trainer: what it trains on, what it refuses, and what it exports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from headrace.components import Importer, Trainer, Transform
from headrace.pipelines import Examples, HyperParameters, Model, Schema, TransformGraph
from headrace.pipelines.errors import ArtifactError, DataError, PipelineError, UserCodeError
from keras import layers, ops
from tensorflow_metadata.proto.v0 import schema_pb2

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = """
feature { name: "age" type: FLOAT presence { min_fraction: 0.5 } }
feature { name: "city" type: BYTES presence { min_fraction: 0.5 } }
feature { name: "arrival" type: FLOAT presence { min_fraction: 1 } }
feature { name: "due" type: FLOAT presence { min_fraction: 1 } }
feature { name: "importance" type: FLOAT presence { min_fraction: 1 } }
"""
ARROW = pa.schema(
    [
        ("age", pa.float32()),
        ("city", pa.string()),
        ("arrival", pa.float32()),
        ("due", pa.float32()),
        ("importance", pa.float32()),
    ]
)


def rows(number: int, seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    age = random.normal(40, 12, number).astype(np.float32)
    city = random.integers(0, 5, number)
    due = random.normal(0, 1, number).astype(np.float32)
    return pa.table(
        {
            "age": pa.array(age, mask=random.random(number) < 0.1),
            "city": pa.array([*"abcde"]).take(pa.array(city)),
            "arrival": due + 0.1 * (age - 40) + 0.5 * (city - 2),
            "due": due,
            "importance": random.uniform(0, 2, number).astype(np.float32),
        },
        schema=ARROW,
    )


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    age = layers.Lambda(lambda x: ops.where(ops.isnan(x), 40.0, x))(inputs["age"])
    late = layers.Lambda(lambda x: ops.cast(x[0] - x[1] > 0.0, "float32"))([inputs["arrival"], inputs["due"]])
    return {
        "age": layers.Normalization(axis=None)(age),
        "city": layers.StringLookup(output_mode="one_hot")(inputs["city"]),
        "city_id": layers.StringLookup()(inputs["city"]),
        "late": late,
        "delay": inputs["arrival"] - inputs["due"],
        "importance": inputs["importance"],
    }


def build_model(features: Any, *, units: int = 4, rate: float = 0.05, dropout: float = 0.2) -> keras.Model:
    vector = layers.Flatten()(layers.Embedding(features.spec["city_id"].size, 2)(features["city_id"]))
    x = layers.Concatenate()([features["age"], features["city"], vector])
    x = layers.Dropout(dropout)(layers.Dense(units, activation="relu")(x))
    model = keras.Model(features, layers.Dense(1, activation="sigmoid", name="late_probability")(x))
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    return model


class Made(NamedTuple):
    """Artifacts that the tests train on."""

    raw: Examples
    schema: Schema
    graph: TransformGraph
    features: Examples


def write_examples(folder: Path, **splits: pa.Table) -> Examples:
    examples = Examples(str(folder))
    with examples.writer(next(iter(splits.values())).schema) as writer:
        for split, table in splits.items():
            for batch in table.combine_chunks().to_batches():
                writer.write(split, batch)
    examples.commit({})
    return examples


def write_schema(folder: Path, text: str = SCHEMA) -> Schema:
    schema = Schema(str(folder))
    schema.write(text_format.Parse(text, schema_pb2.Schema()))
    schema.commit({})
    return schema


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headrace.pipelines.examples.ROW_GROUP_ROWS", 300)
        raw = write_examples(folder / "raw", train=rows(1000, 1), eval=rows(400, 2))
        schema = write_schema(folder / "schema")
        transformed = Transform.call(
            out_dir=folder / "transform",
            examples=raw,
            schema=schema,
            preprocessing_fn=preprocessing_fn,
            labels=["late", "delay"],
            passthrough=["arrival"],
        )
    return Made(raw, schema, transformed.transform_graph, transformed.transformed_examples)


def train(made: Made, folder: Path, **arguments: Any) -> Any:
    defaults = {
        "examples": made.features,
        "transform_graph": made.graph,
        "build_model": build_model,
        "label": "late",
        "weight": None,
        "batch_size": 64,
    }
    return Trainer.call(out_dir=folder, **(defaults | arguments))


def weights(model: Model) -> list[np.ndarray]:
    with np.load(model.path / "training" / "weights.npz") as saved:
        return [saved[f"w{number}"] for number in range(len(saved.files) - 1)]


def assert_equal_weights(one: Model, other: Model) -> None:
    for value, same in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(value, same)


def history(model: Model) -> dict[str, Any]:
    return json.loads((model.path / "training" / "history.json").read_text())


# --- what it trains on ------------------------------------------------------------------------------------------------


def test_stored_features_and_raw_rows_give_equal_weights(made: Made, tmp_path: Path) -> None:
    stored = train(made, tmp_path / "stored", epochs=2)
    raw = train(made, tmp_path / "raw", epochs=2, examples=made.raw)
    assert_equal_weights(stored.model, raw.model)
    assert history(stored.model) == history(raw.model)
    other_seed = train(made, tmp_path / "other", epochs=2, seed=1)
    assert not np.array_equal(weights(stored.model)[0], weights(other_seed.model)[0])


def linear(features: Any) -> keras.Model:
    model = keras.Model(features["age"], layers.Dense(1, kernel_initializer="zeros")(features["age"]))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    return model


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


# --- what it refuses --------------------------------------------------------------------------------------------------


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


def test_a_label_left_among_the_features_is_refused(made: Made, tmp_path: Path) -> None:
    """Both outputs of `leaky` need both of the label's columns."""

    def leaky(inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            "due": inputs["due"],
            "hint": layers.Rescaling(0.1)(inputs["arrival"]),
            "late": layers.Lambda(lambda x: x[0] > x[1])([inputs["arrival"], inputs["due"]]),
            "also_arrival": inputs["arrival"],
        }

    made_leaky = Transform.call(
        out_dir=tmp_path / "leaky", examples=made.raw, schema=made.schema, preprocessing_fn=leaky, materialize=False
    )
    arguments = {"examples": made.raw, "transform_graph": made_leaky.transform_graph, "build_model": linear}
    # The label of several columns: all of them reach the model.
    with pytest.raises(PipelineError) as refused:
        train(made, tmp_path / "several", **arguments, label="late")
    said = str(refused.value)
    assert "the label 'late' is left among the features" in said
    assert "'hint' from column 'arrival'" in said
    assert "'due' from column 'due'" in said
    # The label of one column, under another name and derived from it.
    with pytest.raises(PipelineError, match="'arrival' is left among the features") as refused:
        train(made, tmp_path / "one", **arguments, label="arrival")
    assert "'hint' from column 'arrival'" in str(refused.value)
    assert "'also_arrival' from column 'arrival'" in str(refused.value)


def test_a_feature_that_shares_a_column_with_the_label_is_warned_of(made: Made, tmp_path: Path) -> None:
    """late = arrival > due: due is known before, and is a fine feature; only the author knows that of arrival."""

    def scheduled(inputs: dict[str, Any]) -> dict[str, Any]:
        late = layers.Lambda(lambda x: ops.cast(x[0] > x[1], "float32"))([inputs["arrival"], inputs["due"]])
        return {"age": inputs["due"], "late": late}

    graph = Transform.call(
        out_dir=tmp_path / "scheduled",
        examples=made.raw,
        schema=made.schema,
        preprocessing_fn=scheduled,
        labels=["late"],
        materialize=False,
    ).transform_graph
    result = train(made, tmp_path, examples=made.raw, transform_graph=graph, build_model=linear)
    [warning] = result.warnings
    assert "'age' from column 'due'" in warning
    assert "only 'arrival' is kept from the model" in warning


@pytest.mark.parametrize("split", ["train", "eval"])
@pytest.mark.parametrize("way", ["passthrough", "output", "raw rows"])
def test_a_missing_label_is_an_error_before_training(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, way: str
) -> None:
    monkeypatch.setattr("headrace.pipelines.examples.ROW_GROUP_ROWS", 300)
    table = rows(1000, 1)
    arrival = table["arrival"].to_pylist()
    arrival[700] = arrival[900] = None
    table = table.set_column(2, ARROW.field("arrival"), pa.array(arrival, pa.float32()))
    splits = {"train": rows(1000, 1), "eval": rows(1000, 2)} | {split: table}
    raw = write_examples(tmp_path / "raw", **splits)
    schema = write_schema(
        tmp_path / "schema",
        SCHEMA.replace('"arrival" type: FLOAT presence { min_fraction: 1 }', '"arrival" type: FLOAT'),
    )
    made_here = Transform.call(
        out_dir=tmp_path / "transform",
        examples=raw,
        schema=schema,
        preprocessing_fn=lambda inputs: {"age": inputs["due"], "label": layers.Rescaling(2.0)(inputs["arrival"])},
        labels=["label"],
        passthrough=["arrival"],
    )
    with pytest.raises(DataError) as refused:
        train(
            made,
            tmp_path,
            examples=raw if way == "raw rows" else made_here.transformed_examples,
            transform_graph=made_here.transform_graph,
            build_model=pytest.fail,
            label="arrival" if way == "passthrough" else "label",
        )
    error = refused.value
    assert error.row == 701
    assert error.column == ("arrival" if way == "passthrough" else "label")
    assert error.file is not None
    assert f"/{split}/" in error.file
    assert "2 of 1,000 rows have none" in str(error)


def test_a_label_that_is_text_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="label='city' is text"):
        train(made, tmp_path, examples=made.raw, transform_graph=None, schema=made.schema, label="city")


def test_an_eval_split_that_is_not_there_is_warned_of(made: Made, tmp_path: Path) -> None:
    result = train(made, tmp_path, eval_split="test")
    assert "no split 'test'; there are train, eval" in result.warnings[0]
    assert set(history(result.model)["epochs"][0]) == {"epoch", "loss", "accuracy"}


# --- errors in the author's code --------------------------------------------------------------------------------------


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


# --- callbacks, series, early stopping --------------------------------------------------------------------------------


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


# --- warm start, precision, run_fn ------------------------------------------------------------------------------------


def named(features: Any, *, units: int = 4, rate: float = 0.05) -> keras.Model:
    x = layers.Dense(units, activation="relu", name="first")(features["age"])
    x = layers.Dense(3, activation="relu", name="second")(x)
    model = keras.Model(features["age"], layers.Dense(1, name="last")(x))
    model.compile(keras.optimizers.SGD(rate), "mse", jit_compile=False)
    return model


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


# --- the export -------------------------------------------------------------------------------------------------------

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
        for values, found in zip(expected, answer["outputs"].values(), strict=True):
            np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6, err_msg=name)
