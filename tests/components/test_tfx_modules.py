"""Module files in the style of TFX's examples run unchanged; their models load where there is TensorFlow alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headrace.components import Trainer
from headrace.components.ingest.tf_records import write_records
from headrace.pipelines import Examples, Model, TransformGraph
from headrace.transforms.tf_example_rows import serialized

MODULES = Path(__file__).parents[1] / "tfx_modules"
FIELDS = """
    base_model custom_config data_accessor eval_files eval_model_dir eval_steps hyperparameters model_run_dir
    schema_file schema_path serving_model_dir train_files train_steps transform_graph_path transform_output working_dir
"""
# Loads a model by TensorFlow alone, and asks it.
ASK = """
import json, sys
import numpy as np
import tensorflow as tf
folder, rows, out = sys.argv[1:]
model = tf.saved_model.load(folder)
found = {}
for name, signature in model.signatures.items():
    if "examples" in signature.structured_input_signature[1]:
        records = [record.numpy() for record in tf.data.TFRecordDataset(rows, "GZIP")]
        given = signature(examples=tf.constant(records))
        found.update({f"{name}:{key}": value.numpy() for key, value in given.items()})
raw = model.signatures["serving_default"].structured_input_signature[1]
found["inputs"] = np.array(sorted(raw))
assert not [name for name in sys.modules if name.startswith(("headrace", "tensorflow_transform", "tfx", "taxi"))]
np.savez(out, **found)
"""


def headrace(folder: Path, *arguments: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "headrace.pipelines.cli", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def asked(model: Model, rows: pa.Table, folder: Path) -> dict[str, np.ndarray]:
    """What a model gives for rows as serialized tf.Examples, in an interpreter of its own."""
    [batch] = rows.combine_chunks().to_batches()
    write_records(str(folder / "rows.gz"), serialized(batch))
    command = [sys.executable, "-c", ASK, str(model.saved_model_path), str(folder / "rows.gz"), str(folder / "out.npz")]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    with np.load(folder / "out.npz") as found:
        return dict(found)


def taxi_rows(number: int) -> pa.Table:
    random = np.random.default_rng(0)
    fare = random.gamma(2, 5, number)
    return pa.table(
        {
            "trip_miles": pa.array(random.gamma(2, 2, number), mask=random.random(number) < 0.05),
            "fare": fare,
            "payment_type": random.choice(["Cash", "Card", "Dispute"], number, p=[0.5, 0.3, 0.2]),
            "company": pa.array(random.choice(["a", "b", "c"], number), mask=random.random(number) < 0.3),
            "pickup_latitude": pa.array(41 + random.random(number), mask=random.random(number) < 0.1),
            "trip_start_hour": random.integers(0, 24, number),
            "tips": fare * random.choice([0, 0.1, 0.3], number),
        }
    )


def project(folder: Path) -> Path:
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    for file in MODULES.glob("*.py"):
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def taxi(tmp_path_factory) -> SimpleNamespace:
    """A run of the taxi modules, up to the trained model."""
    folder = project(tmp_path_factory.mktemp("tfx") / "taxi")
    pq.write_table(taxi_rows(1_200), folder / "taxi.parquet")
    headrace(folder, "run", "flow.py:taxi", "--root", "out", "--no-report")
    [run] = (folder / "out" / "taxi").iterdir()
    return SimpleNamespace(
        raw=Examples.open(str(run / "ParquetExampleGen" / "examples")),
        graph=TransformGraph.open(str(run / "Transform" / "transform_graph")),
        features=Examples.open(str(run / "Transform" / "transformed_examples")),
        model=Model.open(str(run / "Trainer" / "model")),
        logs={log.name.partition(".")[0]: log.read_text() for log in (folder / "out" / "logs").rglob("*.log")},
    )


def test_the_engine_and_the_keras_that_a_module_needs_are_said_and_are_so(taxi):
    said = "taxi imports tensorflow_transform, tfx, tfx_bsl: a process of its own; tensorflow_transform 1."
    assert taxi.graph.engine == "tensorflow_transform"
    for step in ("Transform", "Trainer"):
        assert said in taxi.logs[step] and "tf.keras is Keras 2 (tf_keras)" in taxi.logs[step]
    told = json.loads((taxi.model.path / "training" / "told.json").read_text())
    assert told["tf.keras"].startswith("tf_keras.") and told["keras"].startswith("3.")


def test_a_run_fn_has_every_field_of_tfx_and_reads_its_rows(taxi):
    told = json.loads((taxi.model.path / "training" / "told.json").read_text())
    assert set(FIELDS.split()) <= set(told["fn_args"])
    assert told["steps"] == [12, 2] and told["hyperparameters"] == {"learning_rate": 0.01}
    assert told["schema"] == taxi.raw.schema.names
    assert told["eval_rows"] == taxi.raw.rows["eval"]
    payments = taxi.raw.read("train")["payment_type"].to_pylist()
    assert told["vocabulary"] == sorted(set(payments), key=payments.count, reverse=True)
    assert (taxi.model.path / "training" / "train").is_dir()  # what TensorBoard wrote into model_run_dir


def test_the_exported_model_takes_raw_fields_and_transforms_them_as_training_did(taxi, tmp_path):
    rows = taxi.raw.read("eval")
    found = asked(taxi.model, rows, tmp_path)
    stored = taxi.features.read("eval")
    for name in stored.column_names:
        given = found[f"transform_features:{name}"]
        assert np.allclose(given, stored[name].to_numpy(), rtol=1e-6, atol=1e-6), name
    predictions = found["serving_default:outputs"]
    assert predictions.shape == (rows.num_rows, 1) and predictions.std() > 0 and predictions.max() <= 1


def test_build_model_of_keras_3_trains_on_the_same_features_in_this_process(taxi, tmp_path):
    from tests.tfx_modules.keras_model import build_model

    trained = Trainer.call(
        examples=taxi.features,
        transform_graph=taxi.graph,
        build_model=build_model,
        label="tips_xf",
        batch_size=256,
        out_dir=tmp_path,
    )
    found = asked(trained.model, taxi.raw.read("eval"), tmp_path)
    assert list(found["inputs"]) == [name for name in sorted(taxi.raw.schema.names) if name != "tips"]
    assert found["serving_examples:predictions"].shape == (taxi.raw.rows["eval"], 1)


@pytest.mark.slow
def test_penguins_from_tfrecords_trained_on_raw_rows_and_evaluated(tmp_path):
    folder = project(tmp_path / "penguins")
    random = np.random.default_rng(1)
    for split, number in (("train", 200), ("eval", 100)):
        species = random.integers(0, 3, number)
        rows = {
            "culmen_length_mm": random.normal(40 + 5 * species, 1),
            "body_mass_g": random.normal(4000 + 500 * species, 100),
            "species": species,
        }
        (folder / f"Split-{split}").mkdir()
        name = folder / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"
        write_records(str(name), serialized(pa.record_batch(rows)))
    headrace(folder, "run", "flow.py:penguins", "--root", "out", "--no-report")
    [run] = (folder / "out" / "penguins").iterdir()
    [log] = (folder / "out" / "logs").rglob("Trainer.1.log")
    assert "no train_steps=: 10," in log.read_text() and "10/10" in log.read_text()
    evaluation = json.loads((run / "Evaluator" / "evaluation" / "evaluation.json").read_text())
    assert "accuracy" in json.dumps(evaluation)
