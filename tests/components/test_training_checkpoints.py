"""A training that is killed goes on from its checkpoint and ends with the weights of one that never was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from headrace.components.training.checkpoints import FILE, Checkpoint, latest

PROGRAM = '''
"""Trains with dropout, early stopping and a metric; kills itself at a step that the environment names."""
import json, os, signal, sys
from pathlib import Path

import keras, numpy as np, pyarrow as pa
from google.protobuf import text_format
from keras import layers
from tensorflow_metadata.proto.v0 import schema_pb2

from headrace.components import Trainer
from headrace.pipelines import Examples, Schema, examples as examples_module

SCHEMA = """feature { name: "x" type: FLOAT presence { min_fraction: 1 } }
feature { name: "y" type: FLOAT presence { min_fraction: 1 } }"""


def build_model(features, steps_per_execution=1):
    x = layers.Dense(8, activation="relu")(features["x"])
    x = layers.BatchNormalization()(layers.Dropout(0.5)(x))
    model = keras.Model(features["x"], layers.Dense(1)(x))
    model.compile(
        keras.optimizers.Adam(0.01), "mse", metrics=["mae"], jit_compile=False, steps_per_execution=steps_per_execution
    )
    return model


class Killing(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.done = 0

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        if self.done == int(os.environ.get("KILL_AT", 0)):
            os.kill(os.getpid(), signal.SIGKILL)


def callbacks():
    return [Killing()]


def main():
    folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    examples, schema = Examples(str(folder / "examples")), Schema(str(folder / "schema"))
    if not (folder / "examples" / "artifact.json").exists():
        examples_module.ROW_GROUP_ROWS = 100
        random = np.random.default_rng(0)
        x = random.normal(size=1000).astype(np.float32)
        table = pa.table({"x": x, "y": x * x})
        with examples.writer(table.schema) as writer:
            for split, part in (("train", table.slice(0, 800)), ("eval", table.slice(800))):
                for batch in part.combine_chunks().to_batches():
                    writer.write(split, batch)
        examples.commit({})
        schema.write(text_format.Parse(SCHEMA, schema_pb2.Schema()))
        schema.commit({})
    result = Trainer.call(
        out_dir=folder / options.pop("out", "out"),
        examples=Examples.open(str(folder / "examples")),
        schema=Schema.open(str(folder / "schema")),
        build_model=build_model,
        callbacks=callbacks,
        label="y",
        batch_size=32,
        **options,
    )
    print(json.dumps(result.warnings))
'''


def run(folder: Path, options: dict[str, object], kill_at: int = 0) -> subprocess.CompletedProcess[str]:
    (folder / "pyproject.toml").touch()
    (folder / "killed_training.py").write_text(PROGRAM)
    command = [sys.executable, "-c", "import killed_training; killed_training.main()", str(folder), json.dumps(options)]
    environment = {**os.environ, "PYTHONPATH": str(folder), "KILL_AT": str(kill_at), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def killed_and_gone_on(folder: Path, options: dict[str, object], *kills: int) -> list[str]:
    """Runs until nothing kills it any more; gives the warnings of the last run."""
    for number in kills:
        killed = run(folder, options, kill_at=number)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert list(folder.glob(f"*/checkpoints/adhoc/Trainer-*/{FILE}"))
    finished = run(folder, options)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def weights(folder: Path) -> list[np.ndarray]:
    with np.load(folder / "model" / "training" / "weights.npz") as saved:
        return [saved[f"w{number}"] for number in range(len(saved.files) - 1)]


def same_training(one: Path, other: Path) -> None:
    for value, same in zip(weights(one), weights(other), strict=True):
        np.testing.assert_array_equal(value, same)
    texts = [(folder / "model" / "training" / "history.json").read_text() for folder in (one, other)]
    assert texts[0] == texts[1]


def test_killed_twice_in_the_middle_of_epochs_it_ends_with_the_same_weights_and_series(tmp_path: Path) -> None:
    """25 steps an epoch; killed at step 18 of the first epoch, and then in the second."""
    options: dict[str, object] = {"epochs": 3, "checkpoint_every": 4, "early_stopping": {"patience": 5}}
    (warnings,) = killed_and_gone_on(tmp_path, options | {"out": "killed"}, 18, 36)
    # Killed at step 11 of epoch 2; step 8 had been written.
    assert warnings == "training goes on from its checkpoint: epoch 2, step 9"
    never = run(tmp_path, options | {"out": "never"})
    assert never.returncode == 0, never.stderr
    same_training(tmp_path / "killed", tmp_path / "never")
    # What is finished leaves no checkpoint.
    assert not list(tmp_path.glob(f"*/checkpoints/adhoc/*/{FILE}"))


@pytest.mark.slow
def test_killed_with_several_steps_per_execution(tmp_path: Path) -> None:
    options: dict[str, object] = {
        "epochs": 2,
        "checkpoint_every": 4,
        "hyperparameters": {"steps_per_execution": 4},
        "early_stopping": {"patience": 0, "restore_best_weights": True},
    }
    killed_and_gone_on(tmp_path, options | {"out": "killed"}, 3, 8)
    assert run(tmp_path, options | {"out": "never"}).returncode == 0
    same_training(tmp_path / "killed", tmp_path / "never")


@pytest.mark.slow
def test_other_settings_do_not_go_on_from_it(tmp_path: Path) -> None:
    killed = run(tmp_path, {"epochs": 1, "checkpoint_every": 4}, kill_at=10)
    assert killed.returncode == -signal.SIGKILL
    finished = run(tmp_path, {"epochs": 1, "checkpoint_every": 4, "seed": 3})
    assert json.loads(finished.stdout.splitlines()[-1]) == []


def test_a_checkpoint_is_read_back_as_it_was_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    checkpoint = Checkpoint(
        2,
        7,
        False,
        [{"epoch": 1, "loss": 0.5}],
        [{"step": 3, "loss": None}],
        {"wait": 1, "best": 0.25},
        [np.arange(6, dtype=np.float32).reshape(2, 3), *(np.array(n) for n in range(12))],
        [np.ones(2)],
    )
    data = checkpoint.to_bytes()
    (tmp_path / FILE).write_bytes(data)
    found = latest(str(tmp_path))
    assert found is not None
    assert (found.epoch, found.step, found.stopped) == (2, 7, False)
    assert (found.epochs, found.points) == (checkpoint.epochs, checkpoint.points)
    assert found.early_stopping == checkpoint.early_stopping
    for value, same in zip([*found.values, *found.best], [*checkpoint.values, *checkpoint.best], strict=True):
        np.testing.assert_array_equal(value, same)
    (tmp_path / FILE).write_bytes(data[: len(data) // 2])
    assert latest(str(tmp_path)) is None
    assert latest(str(tmp_path / "nowhere")) is None
