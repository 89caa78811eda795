"""ExampleValidator end to end: each kind of anomaly, what `fail_on` stops, the rows behind it, drift and skew."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headrace.components import (
    ExampleValidator,
    ImportSchemaGen,
    ParquetExampleGen,
    Resolver,
    SchemaGen,
    StatisticsGen,
)
from headrace.pipelines import Examples, Pipeline, PipelineError, Schema, Statistics
from headrace.pipelines.errors import DataError
from headrace.pipelines.step_context import StepContext

ROWS = 300


@pytest.fixture(autouse=True)
def quick_passes(monkeypatch):
    """What is under test is not Beam."""
    monkeypatch.setattr(StepContext, "engine", "direct")


def table(**changed) -> pa.Table:
    rng = np.random.default_rng(0)
    columns = {
        "carrier": rng.choice(["AA", "UA", "DL"], ROWS, p=[0.6, 0.3, 0.1]),
        "distance": rng.normal(1000, 200, ROWS),
        "seats": rng.integers(0, 4, ROWS),
        "day": [datetime.date(2013, 1, 1 + n % 28) for n in range(ROWS)],
        "name": [f"person {n}" for n in range(ROWS)],
    }
    return pa.table({name: value for name, value in (columns | changed).items() if value is not None})


def with_value(name: str, value, row: int = 17) -> pa.Table:
    values = table()[name].to_pylist()
    values[row] = value
    return table(**{name: pa.array(values, table()[name].type if value is None else None)})


def examples_of(folder: Path, **splits: pa.Table) -> Examples:
    examples = Examples(str(folder))
    with examples.writer(next(iter(splits.values())).schema) as writer:
        for split, rows in splits.items():
            writer.declare(split)
            for batch in rows.to_batches(max_chunksize=100):
                writer.write(split, batch)
    examples.commit({})
    return examples


def statistics_of(folder: Path, rows: pa.Table | Examples, **options) -> Statistics:
    examples = rows if isinstance(rows, Examples) else examples_of(folder / "examples", train=rows)
    return StatisticsGen.call(examples=examples, out_dir=folder, **options).statistics


@pytest.fixture(scope="module")
def statistics(tmp_path_factory) -> Statistics:
    return statistics_of(tmp_path_factory.mktemp("clean"), table())


@pytest.fixture(scope="module")
def schema(tmp_path_factory, statistics) -> Schema:
    return amended(
        tmp_path_factory.mktemp("schema"),
        statistics,
        'feature { name: "distance" float_domain { min: 0 max: 5000 disallow_nan: true } }',
        sensitive=["name"],
    )


def amended(folder: Path, statistics: Statistics, text: str, **options) -> Schema:
    (folder / "edits.pbtxt").write_text(text)
    edits = ImportSchemaGen.call(schema_file=str(folder / "edits.pbtxt"), out_dir=folder).schema
    return SchemaGen.call(statistics=statistics, imported_schema=edits, out_dir=folder, **options).schema


def test_clean_data_has_no_anomaly(tmp_path, statistics, schema):
    result = ExampleValidator.call(statistics=statistics, schema=schema, out_dir=tmp_path)
    assert result.anomalies.found == 0 and not result.anomalies.read().anomaly_info and result.warnings == ()


def test_clean_data_of_every_type_has_no_anomaly(tmp_path, run):
    rows = {
        "bool": [True, None, False],
        "int": pa.array([1, 2, None], pa.int8()),
        "uint": pa.array([2**62, 1, 2], pa.uint64()),
        "float": pa.array([1.5, float("nan"), None], pa.float32()),
        "decimal": [Decimal("1.5"), None, Decimal("2.25")],
        "string": ["a", "", None],
        "large": pa.array(["x", "y", "z"], pa.large_string()),
        "dictionary": pa.array(["x", "y", "x"]).dictionary_encode(),
        "bytes": pa.array([b"x", b"\xff", None]),
        "date": [datetime.date(2020, 1, 1), None, datetime.date(1960, 1, 1)],
        "timestamp": pa.array([1, 2, None], pa.timestamp("us", "Europe/Berlin")),
        "strings": [["a", "b"], [], None],
        "floats": [[1.0], [2.0, 3.0], None],
        "vector": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32(), 2)),
        "null": pa.nulls(3),
    }
    pq.write_table(pa.concat_tables([pa.table(rows)] * 10), tmp_path / "rows.parquet")
    gen = ParquetExampleGen(input_base=str(tmp_path / "rows.parquet"))
    stats = StatisticsGen(examples=gen.outputs["examples"])
    schema = SchemaGen(statistics=stats.outputs["statistics"], sensitive=["string"])
    given = {"statistics": stats.outputs["statistics"], "examples": gen.outputs["examples"]}
    found = run(gen, stats, schema, ExampleValidator(schema=schema.outputs["schema"], **given))
    assert found.exit_code == 0, found["ExampleValidator"].error
    assert found["ExampleValidator"].outputs["anomalies"].found == 0


def test_in_a_sample_anomalies_are_told_and_stop_nothing(tmp_path, run):
    """The first rows of a split need not have what all of it has: here `late` has a value in the second half alone."""
    rows = pa.table({"x": range(40), "late": [None] * 10 + [1.0] * 20 + [None] * 10})
    pq.write_table(rows.slice(10), tmp_path / "train.parquet")
    pq.write_table(rows, tmp_path / "eval.parquet")
    gen = ParquetExampleGen(input_base={name: str(tmp_path / f"{name}.parquet") for name in ("train", "eval")})
    stats = StatisticsGen(examples=gen.outputs["examples"])
    schema = SchemaGen(statistics=stats.outputs["statistics"])
    given = {"statistics": stats.outputs["statistics"], "schema": schema.outputs["schema"]}
    steps = (gen, stats, schema, ExampleValidator(**given))
    few = run(*steps, sample=10)
    assert few.exit_code == 0, few["ExampleValidator"].error
    assert few["ExampleValidator"].outputs["anomalies"].found == 1
    assert any("late" in line for line in few["ExampleValidator"].warnings)
    assert run(*steps).exit_code == 0


@pytest.mark.parametrize(
    ("rows", "column", "kind", "said"),
    [
        (table(carrier=None), "carrier", "SCHEMA_MISSING_COLUMN", "the data lacks it"),
        (table(gate=["A1"] * ROWS), "gate", "SCHEMA_NEW_COLUMN", "the schema does not"),
        (with_value("carrier", "??"), "carrier", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "'??' (0.3%)"),
        (table(seats=[f"s{n}" for n in range(ROWS)]), "seats", "UNEXPECTED_DATA_TYPE", "expected INT"),
        (with_value("distance", -1.0), "distance", "FLOAT_TYPE_SMALL_FLOAT", "-1"),
        (with_value("distance", 9999.0), "distance", "FLOAT_TYPE_BIG_FLOAT", "9999"),
        (with_value("distance", float("nan")), "distance", "FLOAT_TYPE_HAS_NAN", "1 values"),
        (with_value("seats", 17), "seats", "INT_TYPE_BIG_INT", "17"),
        (with_value("day", None), "day", "FEATURE_TYPE_LOW_FRACTION_PRESENT", "1 of 300 rows lack it"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isupper() else "",
)
def test_each_anomaly_is_found_and_stops_the_run(tmp_path, schema, rows, column, kind, said, run):
    pq.write_table(rows, tmp_path / "rows.parquet")
    gen = ParquetExampleGen(input_base=str(tmp_path / "rows.parquet"), splits={"train": 1})
    stats = StatisticsGen(examples=gen.outputs["examples"])
    edited = ImportSchemaGen(schema_file=str(schema.path / schema.file))
    validator = ExampleValidator(statistics=stats.outputs["statistics"], schema=edited.outputs["schema"])
    found = run(gen, stats, edited, validator)
    step = found["ExampleValidator"]
    assert found.exit_code == 1 and step.state.value == "failed"
    assert "1 anomaly in the data" in step.error["message"] and said in step.error["message"]
    assert "fix:" in step.error["message"]
    kept = step.outputs["anomalies"]
    assert kept.found == 1
    [info] = kept.read().anomaly_info.items()
    assert info[0] == column and [type(info[1]).Type.Name(reason.type) for reason in info[1].reason] == [kind]


def steps_on(folder: Path, schema: Schema, **options):
    gen = ParquetExampleGen(input_base=str(folder / "rows.parquet"), splits={"train": 1})
    stats = StatisticsGen(examples=gen.outputs["examples"])
    edited = ImportSchemaGen(schema_file=str(schema.path / schema.file))
    return [
        gen,
        stats,
        edited,
        ExampleValidator(statistics=stats.outputs["statistics"], schema=edited.outputs["schema"], **options),
    ]


@pytest.mark.parametrize(
    ("fail_on", "stops"),
    [
        ("any", ["carrier", "gate"]),
        ("error", ["carrier"]),
        ("never", []),
        (["gate"], ["gate"]),
        (["distance"], []),
        ([], []),
    ],
)
def test_fail_on_decides_what_stops(tmp_path, statistics, schema, fail_on, stops):
    rows = with_value("carrier", "??").append_column("gate", pa.array(["A1"] * ROWS))
    other = statistics_of(tmp_path, rows)
    result = ExampleValidator.call(statistics=other, schema=schema, fail_on=fail_on, out_dir=tmp_path / "o")
    assert result.anomalies.found == 2 and set(result.anomalies.read().anomaly_info) == {"carrier", "gate"}
    if stops:
        assert result.rejection is not None and result.warnings == ()
        assert [column for column in ("carrier", "gate") if f"  {column}: " in result.rejection] == stops
    else:
        assert result.rejection is None and len(result.warnings) == 2


@pytest.mark.parametrize(("fail_on", "code"), [("never", 0), (["distance"], 0), (["carrier"], 1), ("error", 1)])
def test_fail_on_goes_through_a_plan(tmp_path, schema, run, fail_on, code):
    pq.write_table(with_value("carrier", "??"), tmp_path / "rows.parquet")
    found = run(*steps_on(tmp_path, schema, fail_on=fail_on))
    assert found.exit_code == code and found["ExampleValidator"].outputs["anomalies"].found == 1
    assert bool(found["ExampleValidator"].warnings) == (code == 0)


def test_another_word_for_fail_on_is_refused_when_the_pipeline_is_built(tmp_path, schema):
    with pytest.raises(PipelineError, match="fail_on"):
        Pipeline("p", steps_on(tmp_path, schema, fail_on="sometimes"), root=str(tmp_path))


def test_fail_on_a_column_that_there_is_not_is_refused(tmp_path, statistics, schema):
    with pytest.raises(DataError, match="fail_on names 'carier'"):
        ExampleValidator.call(statistics=statistics, schema=schema, fail_on=["carier"], out_dir=tmp_path)


def test_what_does_not_depend_on_the_anomalies_goes_on(tmp_path, schema, run):
    pq.write_table(with_value("carrier", "??"), tmp_path / "rows.parquet")
    steps = steps_on(tmp_path, schema)
    behind = ImportSchemaGen(schema_file=str(schema.path / schema.file)).with_id("Unrelated")
    beside = SchemaGen(statistics=steps[1].outputs["statistics"])
    found = run(*steps, behind, beside)
    assert {id_: step.state.value for id_, step in found.steps.items()} == {
        "ParquetExampleGen": "succeeded",
        "StatisticsGen": "succeeded",
        "ImportSchemaGen": "succeeded",
        "Unrelated": "cached",
        "SchemaGen": "succeeded",
        "ExampleValidator": "failed",
    }
    again = run(*steps, behind, beside)
    assert again.exit_code == 1 and again["ExampleValidator"].state.value == "failed", (
        "a rejection is never cached away"
    )
    assert again["SchemaGen"].state.value == "cached"
    pq.write_table(table(), tmp_path / "rows.parquet")
    assert run(*steps, behind, beside).exit_code == 0


def test_examples_name_file_row_and_value_of_at_most_twenty(tmp_path, schema):
    values = table()["carrier"].to_pylist()
    for row in (17, 140, *range(200, 250)):
        values[row] = "??"
    rows = table(carrier=values, name=[None] * 3 + table()["name"].to_pylist()[3:])
    examples = examples_of(tmp_path / "examples", train=table(), eval=rows)
    other = statistics_of(tmp_path, examples)
    result = ExampleValidator.call(statistics=other, schema=schema, examples=examples, out_dir=tmp_path / "o")
    kept = json.loads((result.anomalies.path / "offending_rows.json").read_text())
    carriers = [row for row in kept if row["column"] == "carrier"]
    assert len(carriers) == 20
    first = {"split": "eval", "file": "eval/part-00000.parquet", "row": 18, "column": "carrier", "value": "??"}
    assert carriers[0].items() >= first.items()
    assert [row["row"] for row in carriers[:4]] == [18, 141, 201, 202]
    assert [row["row"] for row in kept if row["column"] == "name"] == [1, 2, 3]
    assert "eval/part-00000.parquet, row 18: carrier = '??'" in result.rejection


def test_a_sensitive_value_is_not_shown(tmp_path, statistics):
    hidden = amended(tmp_path, statistics, "", sensitive=["carrier"])
    examples = examples_of(tmp_path / "examples", train=with_value("carrier", "secret"))
    other = statistics_of(tmp_path, examples)
    result = ExampleValidator.call(statistics=other, schema=hidden, examples=examples, out_dir=tmp_path / "o")
    kept = (result.anomalies.path / "offending_rows.json").read_text()
    assert '"row": 18' in kept and "secret" not in kept + result.rejection + str(result.anomalies.read().anomaly_info)


def test_no_rows_are_an_anomaly(tmp_path, schema):
    other = statistics_of(tmp_path, table().slice(0, 0))
    result = ExampleValidator.call(statistics=other, schema=schema, fail_on="error", out_dir=tmp_path / "o")
    assert "the data has no rows" in result.rejection


def test_an_environment_does_without_the_label(tmp_path, statistics):
    schema = amended(
        tmp_path,
        statistics,
        'default_environment: "TRAINING" default_environment: "SERVING" '
        'feature { name: "seats" not_in_environment: "SERVING" }',
    )
    other = statistics_of(tmp_path / "s", table(seats=None))
    arguments = {"statistics": other, "schema": schema}
    assert ExampleValidator.call(environment="SERVING", out_dir=tmp_path / "a", **arguments).anomalies.found == 0
    assert "seats" in ExampleValidator.call(environment="TRAINING", out_dir=tmp_path / "b", **arguments).rejection


COMPARATORS = """
feature { name: "carrier" %s_comparator { infinity_norm { threshold: 0.1 } } }
feature { name: "distance" %s_comparator { jensen_shannon_divergence { threshold: 0.05 } } }
"""


def drifted() -> pa.Table:
    rng = np.random.default_rng(1)
    return table(carrier=rng.choice(["AA", "UA", "DL"], ROWS, p=[0.3, 0.6, 0.1]), distance=rng.normal(1500, 200, ROWS))


@pytest.mark.parametrize(("comparison", "argument"), [("drift", "previous_statistics"), ("skew", "serving_statistics")])
def test_drift_and_skew_are_measured_where_the_schema_has_a_threshold(
    tmp_path, statistics, schema, comparison, argument
):
    thresholds = amended(tmp_path, statistics, COMPARATORS % (comparison, comparison))
    now = statistics_of(tmp_path / "now", drifted())
    result = ExampleValidator.call(statistics=now, schema=thresholds, out_dir=tmp_path / "o", **{argument: statistics})
    assert set(result.anomalies.read().anomaly_info) == {"carrier", "distance"}
    assert "L-infinity distance" in result.rejection and "Jensen-Shannon divergence" in result.rejection
    assert len(result.anomalies.read().drift_skew_info) == 2
    same = ExampleValidator.call(
        statistics=now,
        schema=thresholds,
        out_dir=tmp_path / "p",
        **{argument: statistics_of(tmp_path / "b", drifted())},
    )
    assert same.anomalies.found == 0 and len(same.anomalies.read().drift_skew_info) == 2
    without = ExampleValidator.call(statistics=now, schema=schema, out_dir=tmp_path / "q", **{argument: statistics})
    assert without.anomalies.found == 0
    alone = ExampleValidator.call(statistics=now, schema=thresholds, out_dir=tmp_path / "r")
    assert alone.anomalies.found == 0 and not alone.anomalies.read().drift_skew_info


def test_drift_against_the_previous_run_as_a_resolver_finds_it(tmp_path, run):
    rows, edits = tmp_path / "rows.parquet", tmp_path / "edits.pbtxt"
    edits.write_text(COMPARATORS % ("drift", "drift"))
    gen = ParquetExampleGen(input_base=str(rows), splits={"train": 1})
    stats = StatisticsGen(examples=gen.outputs["examples"])
    previous = Resolver(candidate=stats.outputs["statistics"], strategy="latest")
    edited = ImportSchemaGen(schema_file=str(edits))
    schema = SchemaGen(statistics=stats.outputs["statistics"], imported_schema=edited.outputs["schema"])
    validator = ExampleValidator(
        statistics=stats.outputs["statistics"],
        schema=schema.outputs["schema"],
        previous_statistics=previous.outputs["resolved"],
    )
    steps = (gen, stats, previous, edited, schema, validator)
    pq.write_table(table(), rows)
    first = run(*steps)
    assert first.exit_code == 0 and "resolved" not in first["Resolver"].outputs
    again = run(*steps)
    assert again["ExampleValidator"].state.value == "cached", "an identical run is compared with what it was then"
    pq.write_table(drifted(), rows)
    changed = run(*steps)
    assert changed["Resolver"].outputs["resolved"].digest == first["StatisticsGen"].outputs["statistics"].digest
    assert changed["ExampleValidator"].state.value == "failed" and "L-infinity" in str(
        changed["ExampleValidator"].error
    )
    assert run(*steps)["ExampleValidator"].state.value == "failed", "drift does not go away by running again"
