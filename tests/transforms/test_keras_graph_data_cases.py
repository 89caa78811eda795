"""What data really has: integers beyond 2^53, one row, batches of none, no value at all, very many categories."""

from __future__ import annotations

import tempfile
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from google.protobuf import text_format
from headrace.transforms.keras_graph import analyze_and_trace, token_runs, vocabulary
from headrace.transforms.row_groups import read, row_groups
from keras import layers
from tensorflow_metadata.proto.v0 import schema_pb2

SCHEMA = text_format.Parse(
    """feature { name: "big" type: INT presence { min_fraction: 1 } }
       feature { name: "nullable" type: INT annotation { tag: "default=-9223372036854775808" } }
       feature { name: "x" type: FLOAT }
       feature { name: "s" type: BYTES }""",
    schema_pb2.Schema(),
)
# float64 has one number for the first three, float32 for all but the last two.
BIG = [2**53, 2**53 + 1, 2**53 + 2, 2**62 + 1, 2**63 - 1, -(2**63), -(2**53) - 1]


def traced(folder, table, function):
    pq.write_table(table, folder / "rows.parquet", row_group_size=3)
    return analyze_and_trace(function, SCHEMA, row_groups([str(folder / "rows.parquet")]), engine="direct")


def test_integers_beyond_what_a_float_holds(tmp_path):
    table = pa.table({"big": BIG, "nullable": [None, *BIG[:4], None, None]})

    def preprocessing_fn(inputs):
        return {
            "of_column": layers.IntegerLookup()(inputs["big"]),
            "behind": layers.IntegerLookup()(inputs["big"] - 1),
            "nullable": layers.IntegerLookup()(inputs["nullable"]),
            "hot": layers.IntegerLookup(output_mode="one_hot")(inputs["big"]),
            "itself": inputs["big"],
        }

    transform = traced(tmp_path, table, preprocessing_fn)
    specs = transform.feature_specs
    assert set(specs["of_column"].vocabulary[1:]) == set(BIG) == set(specs["hot"].vocabulary[1:])
    # TensorFlow's integers go around, as all do.
    assert set(specs["behind"].vocabulary[1:]) == {(one - 1 + 2**63) % 2**64 - 2**63 for one in BIG}
    transform.save(tmp_path)
    signature = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["transform_features"]
    out = signature(big=tf.constant(BIG, tf.int64), nullable=tf.constant([7, *BIG[:6]], tf.int64))
    assert [specs["of_column"].vocabulary[index] for index in out["of_column"].numpy().ravel()] == BIG
    assert len(set(out["behind"].numpy().ravel())) == len(BIG)
    found = [specs["nullable"].vocabulary[index] for index in out["nullable"].numpy().ravel()]
    assert found == [-1, *BIG[:4], -1, -1], "what stands for a missing row is not learned, as missing rows are not"
    assert out["itself"].numpy().ravel().tolist() == BIG


def _all_layers(inputs):
    return {
        "scaled": layers.Normalization()(inputs["x"]),
        "bin": layers.Discretization(num_bins=5)(inputs["x"]),
        "index": layers.StringLookup()(inputs["s"]),
        "hot": layers.StringLookup(output_mode="one_hot")(inputs["s"]),
        "idf": layers.StringLookup(output_mode="tf_idf")(inputs["s"]),
        "text": layers.TextVectorization(output_mode="count")(inputs["s"]),
        "words": layers.TextVectorization(output_sequence_length=3)(inputs["s"]),
        "integer": layers.IntegerLookup()(inputs["big"]),
    }


ONE = {
    "a row": {"x": pa.array([4.0], pa.float32()), "s": ["k"], "big": [3]},
    "no value": {"x": pa.nulls(9, pa.float32()), "s": pa.nulls(9, pa.string()), "big": [3] * 9},
}


@pytest.mark.parametrize("kind", ONE)
def test_little_to_learn_from_and_batches_of_no_rows(tmp_path, kind):
    keras.utils.clear_session()
    table = pa.table(ONE[kind])
    transform = traced(tmp_path, table, _all_layers)
    empty = kind == "no value"
    assert transform.feature_specs["index"].vocabulary == (("[UNK]",) if empty else ("[UNK]", "k"))
    transform.save(tmp_path)
    signature = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["transform_features"]
    rows = {"x": [4.0, np.nan, 5.0], "s": ["k", "", "new"], "big": [3, 4, 2**60]}
    specs = signature.structured_input_signature[1]
    out = signature(**{name: tf.constant(values, specs[name].dtype) for name, values in rows.items()})
    # With one value mean and variance are it and 0; without any nothing is scaled.
    np.testing.assert_allclose(out["scaled"].numpy().ravel()[:2], [4.0 if empty else 0.0, np.nan])
    assert out["index"].numpy().ravel().tolist() == ([0, 0, 0] if empty else [1, 0, 0])
    assert out["hot"].shape == (3, 1 if empty else 2) and out["words"].shape == (3, 3)
    assert out["integer"].numpy().ravel().tolist() == [1, 0, 0]
    for name, value in signature(**{name: tf.zeros(0, spec.dtype) for name, spec in specs.items()}).items():
        assert value.shape == (0, *out[name].shape[1:]), name


@pytest.mark.parametrize("rows_of_each", [1, 4])
def test_counting_very_many_categories_takes_memory_by_their_number_and_not_by_rows(rows_of_each):
    """Counts are exact: what is kept is each token once, and what arrived since that was last done."""
    categories, batch = 300_000, 50_000
    tokens = pa.array([f"customer{number:012d}" for number in range(categories)], pa.binary())
    merged, most = vocabulary.create(), 0
    for _ in range(rows_of_each):
        for start in range(0, categories, batch):
            merged = vocabulary.merge(merged, vocabulary.summarize(tokens.slice(start, batch)))
            most = max(most, merged.table.num_rows)
    assert most <= 2 * categories + 2 * batch + 10_000
    merged = vocabulary.compact(merged)
    assert merged.table.num_rows == categories and merged.documents == rows_of_each * categories
    # A token of 20 bytes, where it ends, and two counts.
    assert merged.table.nbytes <= categories * (20 + 8 + 16) * 1.01
    kept = vocabulary.finish(merged, size=10)
    assert len(kept.tokens) == 10 and set(kept.counts) == {rows_of_each}


def test_counting_more_categories_than_a_run_holds_keeps_no_more_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(token_runs, "RUN_BYTES", 1 << 20)
    merged, most = vocabulary.create(), 0
    for start in range(0, 400_000, 10_000):
        numbers = [*range(start, start + 10_000), 7]
        tokens = pa.array([f"customer{number:012d}" for number in numbers], pa.binary())
        merged = vocabulary.merge(merged, vocabulary.summarize(tokens), str(tmp_path))
        most = max(most, merged.table.nbytes if merged.table is not None else 0)
    assert len(merged.runs) > 5
    assert most <= 2 * token_runs.RUN_BYTES + 20_000 * (20 + 8 + 16)
    kept = vocabulary.finish(merged)
    # All but one came once: the order is that of the tokens, through all of them.
    others = sorted((f"customer{number:012d}" for number in range(400_000) if number != 7), reverse=True)
    assert kept.tokens == ["customer000000000007", *others]
    assert kept.counts.tolist() == [41, *[1] * 399_999]


def test_a_transform_leaves_many_tokens_in_files_and_no_file_behind(tmp_path, monkeypatch):
    """The same vocabulary as from memory, through both engines."""
    users = [f"u{number % 700} of {number % 11}" for number in range(3_000)]
    pq.write_table(pa.table({"s": users, "big": np.arange(3_000) % 90}), tmp_path / "rows.parquet", row_group_size=100)
    groups = row_groups([str(tmp_path / "rows.parquet")])

    def look_up(inputs):
        return {
            "user": layers.StringLookup()(inputs["s"]),
            "big": layers.IntegerLookup()(inputs["big"]),
            "texts": layers.TextVectorization(output_mode="tf_idf")(inputs["s"]),
        }

    def features(engine):
        return analyze_and_trace(look_up, SCHEMA, groups, engine=engine).apply(read(groups[0]))

    expected = features("direct")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    written = []

    def write_run(table, folder, own=token_runs.write_run):
        assert Path(folder).parent == temporary
        written.append(own(table, folder))
        return written[-1]

    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(token_runs, "RUN_BYTES", 0)
    monkeypatch.setattr(token_runs, "write_run", write_run)
    monkeypatch.setattr(vocabulary, "SLACK_ROWS", 0)
    for engine in ("direct", "beam"):
        assert features(engine).equals(expected)
        assert len(written) > 3 and not list(temporary.iterdir())
        written.clear()
