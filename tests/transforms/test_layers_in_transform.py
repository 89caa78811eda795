"""Our layers in a preprocessing_fn: learned from the train split, with Beam and without, served by TensorFlow alone."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from google.protobuf import text_format
from headrace.components import Transform
from headrace.pipelines import Examples, Output, Schema, TransformGraph
from headrace.pipelines.step_context import StepContext, enter, leave
from headrace.transforms.keras_graph import analyze_and_trace, feature_batch_to_tensors, load_transform
from headrace.transforms.layers import Cross, DateParts, GreatCircleDistance, GridCell, Impute, TailBuckets
from headrace.transforms.row_groups import row_groups
from keras import layers
from sklearn.impute import SimpleImputer
from tensorflow_metadata.proto.v0 import schema_pb2

SCHEMA = """
feature { name: "amount" type: FLOAT }
feature { name: "never" type: FLOAT }
feature { name: "pair" type: FLOAT shape { dim { size: 2 } } }
feature { name: "when" type: BYTES }
feature { name: "seen" type: INT time_domain { integer_format: UNIX_MICROSECONDS } presence { min_fraction: 1 } }
feature { name: "day" type: INT time_domain { integer_format: UNIX_DAYS } }
feature { name: "latitude" type: FLOAT }
feature { name: "longitude" type: FLOAT }
feature { name: "carrier" type: BYTES }
feature { name: "hour" type: INT presence { min_fraction: 1 } }
"""


def rows(number: int, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)

    def some(values: Any, kind: pa.DataType | None = None) -> pa.Array:
        return pa.array(values, kind, mask=random.random(number) < 0.15)

    begin = datetime(1968, 2, 27)
    times = [begin + timedelta(hours=int(hour)) for hour in random.integers(0, 500_000, number)]
    return pa.table(
        {
            "amount": some(random.pareto(1.1, number).astype(np.float32)),
            "never": pa.nulls(number, pa.float32()),
            "pair": pa.array([[float(a), None if b < 0 else float(b)] for a, b in random.normal(size=(number, 2))],
                             pa.list_(pa.float32(), 2)),
            "when": some([time.isoformat() for time in times]),
            "seen": pa.array(times, pa.timestamp("us")),
            "day": some([time.date() for time in times], pa.date32()),
            "latitude": some(random.uniform(30, 50, number).astype(np.float32)),
            "longitude": some(random.uniform(-120, -70, number).astype(np.float32)),
            "carrier": some(random.choice(["AA", "U|A", "ö"], number)),
            "hour": pa.array(random.integers(0, 3, number)),
        }
    )  # fmt: skip


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    place = [inputs["latitude"], inputs["longitude"]]
    when = DateParts(["year", "weekday", "hour_cyclic"])(inputs["when"])
    bucket = TailBuckets(depth=6)(inputs["amount"])
    away = GreatCircleDistance(to=(40.64, -73.78))(place)
    return {
        "amount": Impute("median", add_indicator=True)(inputs["amount"]),
        "never": Impute("mean", add_indicator=True)(inputs["never"]),
        "pair": Impute("mean", add_indicator=True)(inputs["pair"]),
        "bucket": bucket,
        "year": layers.Normalization()(Impute("mean")(when["year"])),
        "weekday": layers.IntegerLookup()(when["weekday"]),
        "hour": when["hour_cyclic"],
        "seen": DateParts(["hour"], unit="us", dtype="int64")(inputs["seen"])["hour"],
        "day": DateParts(["day_of_year"], unit="days")(inputs["day"])["day_of_year"],
        "away": layers.Normalization()(Impute("mean")(away)),
        "cell": layers.StringLookup(max_tokens=40)(GridCell(5)(place)),
        "cell_number": GridCell(0.5, output_mode="int")(place),
        "cross": layers.StringLookup(output_mode="one_hot")(Cross()([inputs["carrier"], inputs["hour"], bucket])),
        "token": Cross(partial=True)([inputs["carrier"], inputs["hour"]]),
    }


def batch_of(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


def assert_rows_equal(one: pa.Table, other: pa.Table) -> None:
    # As text, because NaN is not equal to itself.
    assert one.schema == other.schema and repr(one.to_pydict()) == repr(other.to_pydict())


FRESH = """
import json, sys
import numpy as np
import tensorflow as tf
signature = tf.saved_model.load(sys.argv[1]).signatures["transform_features"]
dtypes = {name: spec.dtype for name, spec in signature.structured_input_signature[1].items()}
for rows in json.load(sys.stdin):
    shapes = {"pair": (-1, 2)}
    given = {n: tf.reshape(tf.constant(rows[n], dtypes[n]), shapes.get(n, (-1,))) for n in rows}
    out = signature(**given)
    texts = {name: [str(one) for one in np.ravel(value.numpy())] for name, value in out.items()}
    print(json.dumps({name: [list(out[name].shape), texts[name]] for name in out}))
assert not [name for name in sys.modules if name.partition(".")[0] == "headrace"]
"""


def test_from_parquet_to_a_process_with_tensorflow_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.pipelines.examples.ROW_GROUP_ROWS", 61)
    tables = {"train": rows(300), "eval": rows(80, seed=1)}
    examples, schema = Examples(str(tmp_path / "examples")), Schema(str(tmp_path / "schema"))
    with examples.writer(tables["train"].schema) as writer:
        for split, table in tables.items():
            writer.declare(split)
            writer.write(split, batch_of(table))
    examples.commit({})
    schema.write(text_format.Parse(SCHEMA, schema_pb2.Schema()))
    schema.commit({})
    written = []
    for sample in (None, 1000):
        outputs: dict[str, Output[Any]] = {
            "transform_graph": TransformGraph(str(tmp_path / f"graph-{sample}")),
            "transformed_examples": Examples(str(tmp_path / f"transformed-{sample}")),
        }
        keras.utils.clear_session()
        context = StepContext(sample=sample)
        assert context.engine == ("beam" if sample is None else "direct")
        token = enter(context)
        try:
            Transform.function(examples=examples, schema=schema, preprocessing_fn=preprocessing_fn, **outputs)
        finally:
            leave(token)
            context.close()
        digest = outputs["transform_graph"].commit({}).digest
        outputs["transformed_examples"].commit({})
        written.append((digest, {split: outputs["transformed_examples"].read(split) for split in tables}))
    assert written[0][0] == written[1][0]
    for split in tables:
        assert_rows_equal(written[0][1][split], written[1][1][split])
    transform = load_transform(outputs["transform_graph"].path)
    _features_are_as_the_oracles_say(transform, tables, written[0][1])
    _a_fresh_process_gives_the_same(transform, Path(outputs["transform_graph"].path), tables["eval"])


def _features_are_as_the_oracles_say(transform: Any, tables: Any, stored: Any) -> None:
    specs = transform.feature_specs
    found = feature_batch_to_tensors(stored["eval"], specs)
    train, table = ({name: tables[split][name] for name in tables[split].column_names} for split in ("train", "eval"))
    amounts = train["amount"].to_numpy(), table["amount"].to_numpy()
    imputer = SimpleImputer(strategy="median").fit(amounts[0][:, None].astype(np.float64))
    expected = np.column_stack([imputer.transform(amounts[1][:, None].astype(np.float64)), np.isnan(amounts[1])])
    np.testing.assert_allclose(found["amount"], expected, rtol=1e-6)
    assert found["never"].tolist() == [[0, 1]] * 80
    assert found["pair"].shape == (80, 4)
    quantiles = np.quantile(amounts[0][~np.isnan(amounts[0])].astype(np.float64), [1 - 2.0**-k for k in range(1, 7)])
    buckets = np.where(np.isnan(amounts[1]), 7, np.searchsorted(quantiles.astype(np.float32), amounts[1], side="right"))
    np.testing.assert_array_equal(found["bucket"].ravel(), buckets)
    assert specs["bucket"].size == 8
    whole = [None if one is None else datetime.fromisoformat(one) for one in table["when"].to_pylist()]
    assert specs["weekday"].size == 8, "a missing weekday is no token"
    by_index = np.array(specs["weekday"].vocabulary)[found["weekday"].ravel()]
    assert by_index.tolist() == [-1 if one is None else one.weekday() for one in whole]
    assert np.isnan(found["hour"]).all(axis=1).tolist() == [one is None for one in whole]
    assert found["seen"].ravel().tolist() == [one.hour for one in table["seen"].to_pylist()]
    days = [np.nan if one is None else one.timetuple().tm_yday for one in table["day"].to_pylist()]
    np.testing.assert_array_equal(found["day"].ravel(), days)
    assert not np.isnan(found["away"]).any() and not np.isnan(found["year"]).any()
    carriers = [(one or "").replace("|", r"\|") for one in table["carrier"].to_pylist()]
    pairs = [f"{carrier}|{hour}" for carrier, hour in zip(carriers, table["hour"].to_pylist())]
    assert [token.decode() for token in found["token"].ravel()] == pairs
    tokens = np.array(
        [f"{pair}|{bucket}" if carrier else "[UNK]" for pair, carrier, bucket in zip(pairs, carriers, buckets)]
    )
    vocabulary = np.array(specs["cross"].vocabulary)
    tokens = np.where(np.isin(tokens, vocabulary), tokens, "[UNK]")
    assert vocabulary[found["cross"].argmax(axis=1)].tolist() == tokens.tolist()
    # What each bucket is, is learned before what crosses there are.
    seen = set(feature_batch_to_tensors(stored["train"], specs)["cross"].argmax(axis=1))
    assert seen == set(range(len(vocabulary))), "every token is of the train split, and one row is out of vocabulary"


def _a_fresh_process_gives_the_same(transform: Any, graph: Path, table: pa.Table) -> None:
    raw = transform.raw_tensors(batch_of(table.slice(0, 20)), transform.feature_names())
    requests = []
    for number in (20, 0):
        plain = {name: value.numpy()[:number] for name, value in raw.items()}
        requests.append({
            name: [one.decode() for one in value] if value.dtype == object else value.tolist()
            for name, value in plain.items()
        })  # fmt: skip
    (saved,) = {path.parent for path in graph.rglob("saved_model.pb")}
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(saved)], input=json.dumps(requests), capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    full, empty = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    expected = feature_batch_to_tensors(transform.apply(batch_of(table.slice(0, 20))), transform.feature_specs)
    assert set(full) == set(expected)
    for name, value in expected.items():
        assert full[name] == [list(value.shape), [str(one) for one in np.ravel(value)]], name
        assert empty[name][0] == [0, *value.shape[1:]], name


def test_each_layer_alone_asks_for_its_columns_and_passes(tmp_path: Path) -> None:
    pq.write_table(rows(50), tmp_path / "rows.parquet", row_group_size=20)
    schema = text_format.Parse(SCHEMA, schema_pb2.Schema())

    def crossed(inputs: dict[str, Any]) -> dict[str, Any]:
        token = Cross()([inputs["carrier"], TailBuckets(depth=3)(inputs["amount"])])
        return {"cross": layers.StringLookup()(token)}

    groups = row_groups([str(tmp_path / "rows.parquet")])
    transform = analyze_and_trace(crossed, schema, groups, engine="direct")
    assert transform.columns == ["amount", "carrier"] and (transform.traces, transform.passes) == (2, 2)
    assert not transform.feature_specs["cross"].vocabulary[1].startswith("|")


def test_state_that_is_given_takes_no_pass(tmp_path: Path) -> None:
    pq.write_table(rows(20), tmp_path / "rows.parquet")

    def given(inputs: dict[str, Any]) -> dict[str, Any]:
        largest = float(np.finfo(np.float32).max)
        return {
            "amount": Impute("mean", statistics=[7.0])(inputs["amount"]),
            "constant": Impute("constant")(inputs["amount"]),
            "bucket": TailBuckets(2, bin_boundaries=[1.0, 2.0, largest])(inputs["amount"]),
        }

    groups = row_groups([str(tmp_path / "rows.parquet")])
    transform = analyze_and_trace(given, text_format.Parse(SCHEMA, schema_pb2.Schema()), groups, engine="direct")
    assert transform.passes == 0
    (row,) = transform.apply(batch_of(rows(1).set_column(0, "amount", pa.nulls(1, pa.float32())))).to_pylist()
    assert row == {"amount": 7.0, "constant": 0.0, "bucket": 3}


def test_learning_needs_no_tensorflow_in_a_worker() -> None:
    code = (
        "import sys, headrace.transforms.layers.analyzers; print({'tensorflow', 'keras'} & set(sys.modules) or 'none')"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "none"


def test_a_model_with_the_layers_reloads_from_a_keras_file(tmp_path: Path) -> None:
    amount, carrier = keras.Input((1,), name="amount"), keras.Input((1,), name="carrier", dtype="string")
    outputs = {
        "filled": Impute("mean", statistics=[3.0])(amount),
        "cross": Cross()([carrier, amount]),
        "cell": GridCell(10)([amount, amount]),
        "away": GreatCircleDistance(to=(0, 0))([amount, amount]),
        "bucket": TailBuckets(1, bin_boundaries=[2.0, float(np.finfo(np.float32).max)])(amount),
        **DateParts(["month"])(carrier),
    }
    model = keras.Model([amount, carrier], outputs)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    given = [tf.constant([[1.5], [np.nan]]), tf.constant([["2013-02-01"], ["x"]])]
    for name, value in model(given).items():
        np.testing.assert_array_equal(again(given)[name].numpy(), value.numpy(), err_msg=name)
