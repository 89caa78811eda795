"""The Evaluator on 300,000 rows and 3 slices against `model.predict`: `python -m benchmarks.evaluate [rows]`.

Both begin with imports done and the same model, which takes raw columns: lookups, normalised floats, embeddings and two
dense layers. Keras has the columns as arrays in memory and only predicts, in batches of 8,192. The Evaluator reads
Parquet, loads the SavedModel, predicts, computes the usual binary metrics with intervals overall and by three columns,
and writes evaluation and blessing. Wall and CPU seconds of this process; the ratio is what counts.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam  # noqa: F401  # imports are not what is measured
import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf
from headrace.components.evaluator import BetterThanConstant, Evaluator
from headrace.pipelines import Examples, Model
from headrace.transforms.keras_graph.graph_function import resources_of
from keras import layers

from benchmarks.results import Result, medians, tell

BATCH = 8_192
FLOATS = [f"float{i}" for i in range(10)]
STRINGS = {"carrier": 16, "origin": 3, "dest": 105}


def raw_table(rows: int) -> pa.Table:
    """Thirteen columns and a label that follows two of them."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {name: rng.normal(size=rows).astype(np.float32) for name in FLOATS}
    for name, count in STRINGS.items():
        columns[name] = np.array([f"{name}{i}" for i in range(count)])[rng.integers(0, count, rows)]
    chance = 1 / (1 + np.exp(1.5 - columns["float0"] - 0.5 * columns["float1"]))
    columns["late"] = rng.random(rows) < chance
    return pa.table(columns)


def build_model() -> keras.Model:
    """Raw columns of shape (rows, 1) to a probability."""
    inputs = {name: keras.Input((1,), name=name) for name in FLOATS}
    inputs |= {name: keras.Input((1,), name=name, dtype="string") for name in STRINGS}
    parts = [layers.Normalization(mean=0.0, variance=1.0)(inputs[name]) for name in FLOATS]
    for name, count in STRINGS.items():
        ids = layers.StringLookup(vocabulary=[f"{name}{i}" for i in range(count)])(inputs[name])
        parts.append(layers.Flatten()(layers.Embedding(count + 1, 8)(ids)))
    x = layers.Concatenate()(parts)
    for units in (64, 32):
        x = layers.Dense(units, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))


def export(model: keras.Model, folder: Path) -> Model:
    """As the Trainer: rank 1 in, named outputs out."""
    kinds = {**dict.fromkeys(FLOATS, tf.float32), **dict.fromkeys(STRINGS, tf.string)}
    root = tf.Module()
    # As model servers find them: of a Keras model that is held itself they find no variables.
    root.model = resources_of([model])

    @tf.function(
        input_signature=[{n: tf.TensorSpec((None,), kind, name=n) for n, kind in kinds.items()}], autograph=False
    )
    def serve(raw: dict[str, Any]) -> dict[str, Any]:
        return {"predictions": model({name: value[:, None] for name, value in raw.items()}, training=False)}

    made = Model(str(folder))
    tf.saved_model.save(root, str(made.saved_model_path), signatures={"serving_default": serve})
    made.link(label="late")
    made.commit({})
    return made


def timed(what: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    what()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    table, model = raw_table(rows), build_model()
    arrays = {
        name: tf.constant(table[name].to_numpy().astype(object if name in STRINGS else np.float32))[:, None]
        for name in [*FLOATS, *STRINGS]
    }
    model.predict({name: values[:BATCH] for name, values in arrays.items()}, verbose=0)  # traces it
    with tempfile.TemporaryDirectory() as folder:
        examples = Examples(f"{folder}/examples")
        with examples.writer(table.schema) as writer:
            for batch in table.to_batches():
                writer.write("eval", batch)
        examples.commit({})
        made = export(model, Path(folder) / "model")
        runs = []
        for run in range(6):
            predict = timed(lambda: model.predict(arrays, batch_size=BATCH, verbose=0))
            evaluate = timed(
                lambda run=run: Evaluator.call(
                    examples=examples,
                    model=made,
                    slices=list(STRINGS),
                    thresholds={"log_loss": [BetterThanConstant(slices=["overall", "carrier"], rows_above=1000)]},
                    out_dir=f"{folder}/out{run}",
                )
            )
            runs.append((evaluate, predict))
            print(f"predict {predict[0]:.2f} s, {predict[1]:.2f} CPU; ", end="")
            print(f"evaluate {evaluate[0]:.2f} s, {evaluate[1]:.2f} CPU")
    first_evaluate, first_predict = runs[0]
    print(f"ratio with loading the SavedModel: {first_evaluate[0] / first_predict[0]:.2f} of wall time")
    (wall, cpu), (their_wall, their_cpu) = (medians([run[side] for run in runs[1:]]) for side in (0, 1))
    what = f"Evaluator on {rows:,} rows and 3 slices, against model.predict"
    tell(Result(what, wall, 1.5, their_wall, "s", cpu, their_cpu))


if __name__ == "__main__":
    main()
