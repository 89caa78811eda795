"""A training in a worker, on an object store, that is killed: the next run goes on from the checkpoint there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from headrace.components.training.checkpoints import FILE
from headrace.pipelines import storage
from headrace.pipelines.store import Store

from tests.s3_server import s3_bucket

AUTHOR = '''
import os, signal
from pathlib import Path

import numpy as np, pyarrow as pa
from headrace.components import SchemaGen, StatisticsGen, Trainer
from headrace.pipelines import Examples, Output, component, pipeline


@component
def Gen(examples: Output[Examples]) -> None:
    x = np.random.default_rng(0).normal(size=800).astype(np.float32)
    table = pa.table({"x": x, "y": x * x})
    with examples.writer(table.schema) as writer:
        for split, rows in (("train", table.slice(0, 640)), ("eval", table.slice(640))):
            for batch in rows.combine_chunks().to_batches():
                writer.write(split, batch)


def build_model(features):
    import keras
    from keras import layers

    x = layers.Dropout(0.5)(layers.Dense(8, activation="relu")(features["x"]))
    model = keras.Model(features["x"], layers.Dense(1)(x))
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    return model


def callbacks():
    import keras

    class Killing(keras.callbacks.Callback):
        """Kills the worker at the 26th step that it does, of 20 in an epoch, if the file of this name is there."""

        def __init__(self):
            super().__init__()
            self.done = 0

        def on_train_batch_end(self, batch, logs=None):
            self.done += 1
            if self.done == 26 and Path("kill").exists():
                Path("kill").unlink()
                os.kill(os.getpid(), signal.SIGKILL)

    return [Killing()]


@pipeline
def flow():
    examples = Gen().outputs["examples"]
    schema = SchemaGen(statistics=StatisticsGen(examples=examples).outputs["statistics"]).outputs["schema"]
    Trainer(
        examples=examples, schema=schema, build_model=build_model, callbacks=callbacks, label="y", epochs=3,
        batch_size=32, checkpoint_every=4,
    )
'''


def run(folder: Path, root: str, env: dict[str, str]) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, what is said of the steps that ended, and the digest of the model if there is one."""
    store = folder / f"{root.rpartition('/')[2]}.db"
    command = [sys.executable, "-m", "headrace.pipelines.cli", "run", "flow.py", "--json", "--no-report"]
    command += ["--root", root, "--store", str(store)]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    ended = [event for event in events if event["event"] == "step_finished"]
    assert {event["step"] for event in ended} >= {"Gen", "Trainer"}, done.stdout + done.stderr
    with Store.open(store, create=False) as opened:
        steps = opened.steps(opened.runs(1)[0].id)
    return done.returncode, ended, "".join(one.digest for step in steps for one in step.outputs.get("model", ()))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_training_goes_on_from_its_checkpoint_in_a_bucket(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "flow.py").write_text(AUTHOR)
    with s3_bucket() as (bucket, env):
        (tmp_path / "kill").touch()
        code, ended, _ = run(tmp_path, f"{bucket}/killed", env)
        assert code == 1 and not (tmp_path / "kill").exists()
        assert "SIGKILL" in next(event["error"] for event in ended if event["step"] == "Trainer")
        assert [name for name, _ in storage.walk(f"{bucket}/killed/checkpoints") if name.endswith(FILE)]

        code, ended, killed = run(tmp_path, f"{bucket}/killed", env)
        assert code == 0, ended
        assert {event["step"]: event["state"] for event in ended}["Gen"] == "cached"
        # At step 6 of the second epoch; step 4 had been written.
        (warning,) = next(event["warnings"] for event in ended if event["step"] == "Trainer")
        assert warning == "training goes on from its checkpoint: epoch 2, step 5"
        assert not [name for name, _ in storage.walk(f"{bucket}/killed/checkpoints")], "what is finished leaves none"

        code, ended, never = run(tmp_path, f"{bucket}/never", env)
        assert code == 0 and not next(event["warnings"] for event in ended if event["step"] == "Trainer")
    assert killed == never
