"""StatisticsGen, SchemaGen and ImportSchemaGen: their options, against NumPy; edits that survive the next run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from headrace.components import ImportSchemaGen, ParquetExampleGen, SchemaGen, StatisticsGen
from headrace.pipelines import Examples, Statistics
from headrace.pipelines.errors import DataError
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

ROWS = 400


def table(seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "distance": pa.array(rng.normal(1000, 200, ROWS), mask=rng.random(ROWS) < 0.1),
            "carrier": rng.choice(["AA", "UA", "DL"], ROWS, p=[0.6, 0.3, 0.1]),
            "seats": rng.integers(0, 4, ROWS),
            "name": [f"person {seed} {n}" for n in range(ROWS)],
        }
    )


def examples_of(folder: Path, **splits: pa.Table) -> Examples:
    examples = Examples(str(folder))
    with examples.writer(next(iter(splits.values())).schema) as writer:
        for split, rows in splits.items():
            for batch in rows.to_batches(max_chunksize=150):
                writer.write(split, batch)
    examples.commit({})
    return examples


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Examples:
    return examples_of(tmp_path_factory.mktemp("examples"), train=table(0), eval=table(1))


def column(statistics: Statistics, split: str, name: str) -> statistics_pb2.FeatureNameStatistics:
    [dataset] = [dataset for dataset in statistics.read().datasets if dataset.name == split]
    [found] = [feature for feature in dataset.features if list(feature.path.step) == [name] or feature.name == name]
    return found


def test_statistics_are_those_of_numpy_per_split(tmp_path, examples):
    statistics = StatisticsGen.call(examples=examples, out_dir=tmp_path).statistics
    assert [(d.name, d.num_examples) for d in statistics.read().datasets] == [("train", ROWS), ("eval", ROWS)]
    for seed, split in enumerate(("train", "eval")):
        present = table(seed)["distance"].drop_null().to_numpy()
        found = column(statistics, split, "distance").num_stats
        assert (found.common_stats.num_non_missing, found.common_stats.num_missing) == (
            len(present),
            ROWS - len(present),
        )
        assert found.mean == pytest.approx(present.mean()) and found.std_dev == pytest.approx(present.std(), rel=1e-3)
        assert (found.min, found.max) == (present.min(), present.max())
        assert found.median == pytest.approx(np.median(present), rel=1e-2)
        assert column(statistics, split, "seats").num_stats.num_zeros == (table(seed)["seats"].to_numpy() == 0).sum()
    assert statistics.links["examples"]["digest"] == examples.digest


def test_splits_and_numbers_of_buckets_are_arguments(tmp_path, examples):
    statistics = StatisticsGen.call(
        examples=examples, splits=["eval"], histogram_buckets=7, quantiles=4, top_values=2, out_dir=tmp_path / "a"
    ).statistics
    assert [dataset.name for dataset in statistics.read().datasets] == ["eval"]
    standard, quantiles = column(statistics, "eval", "distance").num_stats.histograms
    assert (len(standard.buckets), len(quantiles.buckets)) == (7, 4)
    top = column(statistics, "eval", "carrier").string_stats.top_values
    assert [value.value for value in top] == ["AA", "UA"]
    with pytest.raises(DataError, match=r"no split 'test'; the examples have train, eval"):
        StatisticsGen.call(examples=examples, splits=["test"], out_dir=tmp_path / "b")


def test_the_sample_engine_and_beam_give_the_same_statistics(tmp_path, examples, monkeypatch):
    from headrace.pipelines.step_context import StepContext

    beam = StatisticsGen.call(examples=examples, out_dir=tmp_path / "beam").statistics
    monkeypatch.setattr(StepContext, "engine", "direct")
    direct = StatisticsGen.call(examples=examples, out_dir=tmp_path / "direct").statistics
    assert beam.digest == direct.digest


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([2**63, 1], pa.uint64()), "column 'c' of uint64 has a value that the feature model does not have"),
        (pa.array([[[1]]]), "'c'"),
    ],
)
def test_what_the_feature_model_does_not_have_is_named(tmp_path, column, said):
    with pytest.raises(DataError, match=said):
        StatisticsGen.call(examples=examples_of(tmp_path / "e", train=pa.table({"c": column})), out_dir=tmp_path)


@pytest.fixture(scope="module")
def statistics(tmp_path_factory, examples) -> Statistics:
    return StatisticsGen.call(examples=examples, out_dir=tmp_path_factory.mktemp("statistics")).statistics


def features(result) -> dict[str, schema_pb2.Feature]:
    return {feature.name: feature for feature in result.schema.read().feature}


def imported(folder: Path, text: str):
    folder.mkdir()
    (folder / "edited.pbtxt").write_text(text)
    return ImportSchemaGen.call(schema_file=str(folder / "edited.pbtxt"), out_dir=folder).schema


def test_the_schema_says_what_the_data_shows(tmp_path, statistics):
    found = features(SchemaGen.call(statistics=statistics, out_dir=tmp_path))
    assert found["distance"].type == schema_pb2.FLOAT and found["distance"].presence.min_fraction == 0
    assert list(found["carrier"].string_domain.value) == ["AA", "DL", "UA"]
    assert found["seats"].type == schema_pb2.INT and found["seats"].presence.min_fraction == 1
    assert not found["name"].HasField("string_domain")
    assert found["carrier"].shape.dim[0].size == 1 and found["distance"].value_count.max == 1


def test_infer_feature_shape_is_an_argument(tmp_path, statistics):
    found = features(SchemaGen.call(statistics=statistics, infer_feature_shape=False, out_dir=tmp_path))
    assert not found["carrier"].HasField("shape") and found["carrier"].value_count.max == 1


def test_sensitive_columns_are_marked_whatever_an_edited_schema_says(tmp_path, statistics):
    inferred = SchemaGen.call(statistics=statistics, sensitive=["name"], out_dir=tmp_path / "a")
    assert {name for name, f in features(inferred).items() if "sensitive" in f.annotation.tag} == {"name"}
    plain = SchemaGen.call(statistics=statistics, out_dir=tmp_path / "b").schema
    complete = imported(tmp_path / "c", text_format.MessageToString(plain.read()))
    merged = SchemaGen.call(
        statistics=statistics, imported_schema=complete, sensitive=["name", "carrier"], out_dir=tmp_path / "d"
    )
    assert {name for name, f in features(merged).items() if "sensitive" in f.annotation.tag} == {"name", "carrier"}
    with pytest.raises(DataError, match=r"\['nmae'\] are to be marked sensitive.*\n.*fix:"):
        SchemaGen.call(statistics=statistics, sensitive=["nmae"], out_dir=tmp_path / "e")


def test_an_edited_schema_wins_over_inference(tmp_path, statistics):
    edited = imported(
        tmp_path / "i",
        """
        feature { name: "carrier" type: BYTES presence { min_fraction: 0.5 } string_domain { value: "AA" } }
        feature { name: "distance" float_domain { min: 0 max: 5000 } }
        """,
    )
    found = features(SchemaGen.call(statistics=statistics, imported_schema=edited, out_dir=tmp_path))
    assert set(found) == {"carrier", "distance"}, "a complete statement says which columns there are"
    assert list(found["carrier"].string_domain.value) == ["AA"] and found["carrier"].presence.min_fraction == 0.5
    assert found["distance"].type == schema_pb2.FLOAT and found["distance"].float_domain.max == 5000


def test_edits_survive_the_next_run(tmp_path, run):
    import pyarrow.parquet as pq

    (tmp_path / "data").mkdir()
    pq.write_table(table(0), tmp_path / "data" / "1.parquet")
    edits = tmp_path / "edits.pbtxt"
    edits.write_text('feature { name: "carrier" string_domain { value: "AA" value: "UA" value: "DL" value: "B6" } }')
    gen = ParquetExampleGen(input_base=str(tmp_path / "data"))
    stats = StatisticsGen(examples=gen.outputs["examples"])
    edited = ImportSchemaGen(schema_file=str(edits))
    schema = SchemaGen(statistics=stats.outputs["statistics"], imported_schema=edited.outputs["schema"])
    steps = (gen, stats, edited, schema)

    def categories() -> list[str]:
        found = run(*steps)["SchemaGen"].outputs["schema"].read().feature
        [carrier] = [feature for feature in found if feature.name == "carrier"]
        return list(carrier.string_domain.value)

    assert categories() == ["AA", "UA", "DL", "B6"]
    pq.write_table(table(1), tmp_path / "data" / "2.parquet")
    assert categories() == ["AA", "UA", "DL", "B6"]
    assert run(*steps)["SchemaGen"].state.value == "cached"
    edits.write_text('feature { name: "carrier" string_domain { value: "AA" } }')
    changed = run(*steps)
    assert {id_: step.state.value for id_, step in changed.steps.items()} == {
        "ParquetExampleGen": "cached",
        "StatisticsGen": "cached",
        "ImportSchemaGen": "succeeded",
        "SchemaGen": "succeeded",
    }
    edits.write_text('# a comment\nfeature { name: "carrier" string_domain { value: "AA" } }')
    assert run(*steps)["SchemaGen"].state.value == "cached", "a comment in the file is no other schema"


def test_nullable_ints_that_float32_cannot_hold_name_the_lines_to_paste(tmp_path):
    big = pa.array([2**40 + n if n % 7 else None for n in range(100)], pa.int64())
    rows = pa.table({"year": big, "serial": big, "ok": pa.array([n if n % 3 else None for n in range(100)])})
    statistics = StatisticsGen.call(examples=examples_of(tmp_path / "e", train=rows), out_dir=tmp_path).statistics
    with pytest.raises(DataError) as caught:
        SchemaGen.call(statistics=statistics, out_dir=tmp_path / "s")
    lines = [line.strip() for line in str(caught.value).splitlines() if line.strip().startswith("feature {")]
    assert len(lines) == 2 and "'year', 'serial'" in str(caught.value)
    assert not (tmp_path / "s" / "schema" / "artifact.json").exists()
    pasted = imported(tmp_path / "i", "\n".join(lines))
    result = SchemaGen.call(statistics=statistics, imported_schema=pasted, out_dir=tmp_path / "t")
    assert [tag for feature in result.schema.read().feature for tag in feature.annotation.tag] == ["default=0"] * 2


def test_a_name_that_cannot_be_exported_is_refused(tmp_path):
    statistics = StatisticsGen.call(
        examples=examples_of(tmp_path / "e", train=pa.table({"dep delay": [1.0, 2.0]})), out_dir=tmp_path
    ).statistics
    with pytest.raises(DataError, match="column 'dep delay' cannot be an input of a SavedModel"):
        SchemaGen.call(statistics=statistics, out_dir=tmp_path / "s")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'feature { name: "a" typ: INT }', "typ"),
        (b'feature { name: "a"\n  type: INT ', "2:9"),
        (b"\xff\xfe\x00", "utf-8"),
    ],
)
def test_a_file_that_is_no_schema_is_named_with_its_line(tmp_path, content, said):
    (tmp_path / "s.pbtxt").write_bytes(content)
    with pytest.raises(DataError, match=r"s\.pbtxt: expected a Schema message") as caught:
        ImportSchemaGen.call(schema_file=str(tmp_path / "s.pbtxt"), out_dir=tmp_path / "o")
    assert said in str(caught.value)


def test_one_schema_file_is_expected(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.pbtxt").write_text("")
    with pytest.raises(DataError, match="expected one schema file, received 2"):
        ImportSchemaGen.call(schema_file=f"{tmp_path}/*.pbtxt", out_dir=tmp_path / "o")
    with pytest.raises(DataError, match=r"none\.pbtxt"):
        ImportSchemaGen.call(schema_file=str(tmp_path / "none.pbtxt"), out_dir=tmp_path / "o")
