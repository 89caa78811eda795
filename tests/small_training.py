"""What the Trainer's tests train on: people in cities whose arrival is late or not, and a small model of that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from headrace.components import Trainer, Transform
from headrace.pipelines import Examples, Model, Schema, TransformGraph
from keras import layers, ops
from tensorflow_metadata.proto.v0 import schema_pb2

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


def make(folder: Path) -> Made:
    """Raw rows in row groups of 300, their schema, a transform graph and the features."""
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


def linear(features: Any) -> keras.Model:
    model = keras.Model(features["age"], layers.Dense(1, kernel_initializer="zeros")(features["age"]))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    return model


def named(features: Any, *, units: int = 4, rate: float = 0.05) -> keras.Model:
    x = layers.Dense(units, activation="relu", name="first")(features["age"])
    x = layers.Dense(3, activation="relu", name="second")(x)
    model = keras.Model(features["age"], layers.Dense(1, name="last")(x))
    model.compile(keras.optimizers.SGD(rate), "mse", jit_compile=False)
    return model
