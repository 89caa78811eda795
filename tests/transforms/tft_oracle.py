"""Run by test_tft_engine.py in an interpreter of its own: the engine, and TensorFlow Transform by itself, on one table.

Importing TensorFlow Transform makes `tf.keras` Keras 2 for a whole process, which other tests must not find so.
"""

from __future__ import annotations

import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import fn_runner
from google.protobuf import text_format
from headrace.components import Transform
from headrace.pipelines import Examples, Schema
from headrace.pipelines.errors import HeadraceError
from headrace.transforms.keras_graph import load_transform
from headrace.transforms.tft.raw_examples import RawExamples
from headrace.transforms.tft.transform_graph import TftTransform
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata

SCHEMA = """
feature { name: "x" type: FLOAT shape { dim { size: 1 } } presence { min_fraction: 1 } }
feature { name: "y" type: FLOAT value_count { min: 1 max: 1 } }
feature { name: "word" type: BYTES value_count { min: 1 max: 1 } }
feature { name: "code" type: INT shape {} presence { min_fraction: 1 } }
feature { name: "year" type: INT value_count { min: 1 max: 1 } }
feature { name: "pair" type: FLOAT shape { dim { size: 2 } } presence { min_fraction: 1 } }
feature { name: "tags" type: BYTES value_count { min: 0 } }
feature { name: "late" type: INT shape { dim { size: 1 } } presence { min_fraction: 1 } bool_domain {} }
"""


def dense(sparse, default):
    """A SparseTensor of at most one value a row, as `(rows, 1)`."""
    shape = [sparse.dense_shape[0], 1]
    return tf.sparse.to_dense(tf.SparseTensor(sparse.indices, sparse.values, shape), default)


def preprocessing_fn(inputs):
    """Every kind of input and output."""
    y, word = dense(inputs["y"], -1.0), dense(inputs["word"], "")
    return {
        "x_z": tft.scale_to_z_score(inputs["x"]),
        "y_bin": tft.bucketize(y, 4),
        "word_id": tft.compute_and_apply_vocabulary(word, num_oov_buckets=1, vocab_filename="words"),
        "word_text": tf.strings.upper(word),
        "code_scaled": tft.scale_to_0_1(tf.cast(inputs["code"], tf.float32)),
        "pair": inputs["pair"],
        "mixed": inputs["x"] * y,
        "hour_one_hot": tf.one_hot(inputs["code"] % 12, 12),
        "year": inputs["year"],
        "tag_ids": tft.compute_and_apply_vocabulary(inputs["tags"], vocab_filename="tags"),
        "late": inputs["late"],
    }


def table(rows: int, seed: int, word: str = "w") -> pa.Table:
    """Rows with missing values of each kind."""
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "x": random.normal(3, 2, rows),
            "y": pa.array(random.normal(size=rows), mask=random.random(rows) < 0.2),
            "word": pa.array([f"{word}{n}" for n in random.zipf(1.5, rows) % 40], mask=random.random(rows) < 0.1),
            "code": pa.array(random.integers(0, 50, rows), pa.int32()),
            "year": pa.array(random.integers(2000, 2013, rows), mask=random.random(rows) < 0.3),
            "pair": pa.array(random.normal(size=(rows, 2)).tolist(), pa.list_(pa.float64())),
            "tags": [[f"t{n}" for n in random.integers(0, 9, random.integers(0, 4))] for _ in range(rows)],
            "late": random.random(rows) < 0.3,
        }
    )


def examples(folder: Path, **splits: pa.Table) -> Examples:
    """The tables, each in row groups of a few rows."""
    made = Examples(str(folder))
    with made.writer(splits["train"].schema) as writer:
        for split, rows in splits.items():
            for batch in rows.to_batches(max_chunksize=170):
                writer.write(split, batch)
    made.commit({})
    return made


def by_tft(train: pa.Table, others: pa.Table) -> list[dict[str, np.ndarray]]:
    """What TensorFlow Transform gives for other rows by itself, row by row from dicts, as its guide shows."""
    metadata = dataset_metadata.DatasetMetadata(text_format.Parse(SCHEMA, schema_pb2.Schema()))
    found: list[dict[str, np.ndarray]] = []
    with tempfile.TemporaryDirectory() as scratch, tft_beam.Context(temp_dir=scratch):
        with beam.Pipeline(fn_runner.FnApiRunner()) as pipeline:
            given = (pipeline | "train" >> beam.Create(instances(train)), metadata)
            (_, _), transform_fn = given | tft_beam.AnalyzeAndTransformDataset(preprocessing_fn)
            rest = (pipeline | "others" >> beam.Create(instances(others)), metadata)
            transformed, _ = (rest, transform_fn) | tft_beam.TransformDataset()
            _ = transformed | beam.combiners.ToList() | beam.Map(lambda rows: write(scratch, rows))
        with Path(scratch, "rows").open("rb") as file:
            found = pickle.load(file)
    return sorted(found, key=lambda row: tuple(row["pair"]))


def write(scratch: str, rows: list) -> None:
    """A DoFn's result, for Beam pickles its closures."""
    with Path(scratch, "rows").open("wb") as file:
        pickle.dump(rows, file)


def instances(rows: pa.Table) -> list[dict]:
    """Rows as TensorFlow Transform takes them in Python: a missing value is an empty list."""
    made = []
    for row in rows.to_pylist():
        one = {name: [value] if name in ("y", "word", "year") else value for name, value in row.items()}
        one |= {"x": [row["x"]], "late": [int(row["late"])]}
        made.append({name: [] if value == [None] else value for name, value in one.items()})
    return made


def check(folder: Path) -> None:
    """Compares."""
    train, held = table(1_500, 1), table(400, 2)
    schema = Schema(str(folder / "schema"))
    schema.write(text_format.Parse(SCHEMA, schema_pb2.Schema()))
    schema.commit({})
    given = {"schema": schema, "preprocessing_fn": preprocessing_fn, "labels": ["late"]}
    made = Transform.call(examples=examples(folder / "a", train=train, eval=held), out_dir=folder / "out", **given)
    features = made.transformed_examples.read("eval").to_pylist()
    expected = by_tft(train, held)
    got = sorted(features, key=lambda row: tuple(np.float32(row["pair"])))
    assert len(got) == len(expected) == 400
    for mine, theirs in zip(got, expected):
        for name, value in theirs.items():
            here = mine[name]
            if name == "word_text":
                assert here.encode() == np.ravel(value)[0], (name, mine, theirs)
            else:
                here = np.ravel(here if here is not None else [])
                assert np.allclose(here, np.ravel(value), rtol=1e-6, atol=1e-6), (name, mine, theirs)
        assert set(mine) == set(theirs)

    # The saved graph gives the same from dense columns, as clients send them, in groups by column.
    saved = load_transform(made.transform_graph.path)
    assert saved.labels == ("late",) and "year" not in saved.feature_specs and "tag_ids" not in saved.feature_specs
    assert saved.feature_specs["word_id"].size == len(set(train["word"].drop_null().to_pylist())) + 1
    [batch] = held.combine_chunks().to_batches()
    again = saved.apply(batch)
    stored = made.transformed_examples.read("eval")
    for name in saved.feature_specs:
        assert again[name].equals(stored[name].combine_chunks()), name
    assert saved.columns(["mixed"]) == ["x", "y"]

    # TFX's own view of the same folder.
    output = tft.TFTransformOutput(str(made.transform_graph.path))
    assert set(output.transformed_feature_spec()) == set(stored.column_names)
    assert isinstance(output.raw_feature_spec()["y"], tf.io.VarLenFeature)
    assert output.vocabulary_size_by_name("tags") == 9

    check_refusals(folder, schema, made.transform_graph.path)
    if "long" in sys.argv:
        check_again(folder, made, batch, given)


def check_again(folder: Path, made: Any, batch: pa.RecordBatch, given: dict[str, Any]) -> None:
    """Only the train split is seen, and neither the cutting into row groups nor the order of the rows counts."""
    train, held, saved = table(1_500, 1), table(400, 2), load_transform(made.transform_graph.path)
    again = saved.apply(batch)
    shuffled = train.take(np.random.default_rng(9).permutation(train.num_rows))
    other = {"eval": table(30, 3, word="planted"), "train": shuffled}
    twin = Transform.call(examples=examples(folder / "b", **other), out_dir=folder / "twin", **given)
    twin_features = load_transform(twin.transform_graph.path).apply(batch)
    for name in saved.feature_specs:
        mine, others = again[name].to_pylist(), twin_features[name].to_pylist()
        same = mine == others if name == "word_text" else np.allclose(mine, others, rtol=1e-5, atol=1e-6)
        # Its own quantiles differ in the last rank with the order.
        assert same or (name == "y_bin" and np.mean(np.array(mine) != np.array(others)) < 0.02), name
    same = Transform.call(examples=examples(folder / "c", train=train, eval=held), out_dir=folder / "same", **given)
    assert same.transform_graph.digest == made.transform_graph.digest
    assert same.transformed_examples.digest == made.transformed_examples.digest


def check_refusals(folder: Path, schema: Schema, directory: Path) -> None:
    """What cannot be taken is said."""
    raw = RawExamples.of(schema.read())
    train = table(20, 5)

    def said(call: Any) -> str:
        try:
            call()
        except (HeadraceError, ValueError) as error:
            return str(error)
        raise AssertionError("it was taken")

    assert "did you mean 'late'" in said(lambda: TftTransform(directory, raw, ["latex"]))
    assert "is sparse or ragged" in said(lambda: TftTransform(directory, raw, ["year"]))
    gap = train.set_column(0, "x", pa.array([None, *[1.0] * 19])).to_batches()[0]
    assert "column 'x' has 1 missing values" in said(lambda: raw.lists(gap))
    few = examples(folder / "few", train=train)
    call = {"examples": few, "schema": schema, "preprocessing_fn": raises, "out_dir": folder / "refused"}
    message = said(lambda: Transform.call(**call))
    assert "preprocessing_fn raised KeyError: 'nothing'" in message and "in raises" in message


def raises(inputs):
    """Names a column that is not there."""
    return {"x": tft.scale_to_z_score(inputs["nothing"])}


if __name__ == "__main__":
    check(Path(sys.argv[1]))
