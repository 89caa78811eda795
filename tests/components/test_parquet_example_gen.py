"""ParquetExampleGen: the same rows and splits as from CSV; its options; its refusals."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from headrace.components import CsvExampleGen, ParquetExampleGen
from headrace.pipelines import FilePattern, Pipeline, PipelineError
from headrace.pipelines.errors import DataError


def table(first: int, last: int) -> pa.Table:
    days = [datetime.date(2013, 1, 1) + datetime.timedelta(days=n % 300) for n in range(first, last)]
    return pa.table(
        {
            "id": pa.array(range(first, last), pa.int64()),
            "day": pa.array(days, pa.date32()),
            "carrier": [("AA", "UA", None)[n % 3] for n in range(first, last)],
            "x": [n / 4 if n % 5 else None for n in range(first, last)],
        }
    )


@pytest.fixture
def data(tmp_path: Path) -> str:
    (tmp_path / "data").mkdir()
    pq.write_table(table(0, 500), tmp_path / "data" / "1.parquet", row_group_size=70)
    pq.write_table(table(500, 900), tmp_path / "data" / "2.parquet")
    return str(tmp_path / "data")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"splits": {"train": 8, "eval": 1, "test": 1}},
        {"split_by": "carrier", "splits": {"train": 1, "eval": 1}},
        {"split_by": ["carrier", "day"]},
        {"split_by_time": "day", "boundaries": ["2013-06-01"]},
        {"split_by_time": "id", "boundaries": [100, 200], "splits": ["a", "b", "c"]},
    ],
)
def test_the_splits_are_those_of_the_same_rows_in_a_csv_file(tmp_path, data, options):
    result = ParquetExampleGen.call(input_base=data, out_dir=tmp_path / "p", **options)
    pa.csv.write_csv(table(0, 900), tmp_path / "rows.csv", pa.csv.WriteOptions(quoting_style="none"))
    from_csv = CsvExampleGen.call(input_base=str(tmp_path / "rows.csv"), out_dir=tmp_path / "c", **options)
    assert result.examples.read() == from_csv.examples.read()
    assert sum(result.examples.rows.values()) == 900 and result.examples.digest == from_csv.examples.digest


def test_one_pattern_per_split_and_spans(tmp_path, run):
    for span in (1, 2, 3):
        (tmp_path / str(span)).mkdir()
        pq.write_table(table(0, 10 * span), tmp_path / str(span) / "a.parquet")
        pq.write_table(table(100, 100 + span), tmp_path / str(span) / "b.parquet")
    files = {"train": FilePattern(f"{tmp_path}/{{SPAN}}/a.parquet", window=2), "eval": f"{tmp_path}/{{SPAN}}/b.parquet"}
    with pytest.raises(DataError, match="spans"):
        ParquetExampleGen.call(input_base=files, out_dir=tmp_path / "x")
    files["eval"] = FilePattern(files["eval"], window=2)
    found = run(ParquetExampleGen(input_base=files))["ParquetExampleGen"].outputs["examples"]
    assert found.rows == {"train": 50, "eval": 5} and found.properties["spans"] == [2, 3]


def test_files_that_do_not_fit_are_refused_with_file_and_column(tmp_path, data):
    pq.write_table(table(0, 5).set_column(0, "id", pa.array(list("abcde"))), f"{data}/3.parquet")
    with pytest.raises(DataError, match=r"3\.parquet, column 'id': is string here and int64"):
        ParquetExampleGen.call(input_base=data, out_dir=tmp_path / "o")
    Path(data, "3.parquet").write_bytes(Path(data, "1.parquet").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"3\.parquet: cannot be read as Parquet"):
        ParquetExampleGen.call(input_base=data, out_dir=tmp_path / "p")
    assert not list(tmp_path.glob("[op]/examples/artifact.json"))


def test_a_struct_is_refused_by_name(tmp_path):
    pq.write_table(pa.table({"a": [1], "place": [{"lat": 1.0}]}), tmp_path / "s.parquet")
    with pytest.raises(DataError, match="column 'place': is struct<lat: double>"):
        ParquetExampleGen.call(input_base=str(tmp_path / "s.parquet"), out_dir=tmp_path / "o")


def test_lists_and_wide_rows_come_through(tmp_path):
    rows = pa.table({"tags": [["a", "b"], [], None], "v": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32()))})
    pq.write_table(rows, tmp_path / "l.parquet")
    found = ParquetExampleGen.call(
        input_base=str(tmp_path / "l.parquet"), splits={"all": 1}, out_dir=tmp_path / "o"
    ).examples
    assert found.read("all").to_pydict() == rows.to_pydict()


def test_sample_and_cache(tmp_path, data, run):
    gen = ParquetExampleGen(input_base=data)
    assert run(gen, sample=11)["ParquetExampleGen"].outputs["examples"].rows == {"train": 11, "eval": 11}
    assert run(gen)["ParquetExampleGen"].state.value == "succeeded", "a sample is no cached result of all rows"
    assert run(gen)["ParquetExampleGen"].state.value == "cached"
    pq.write_table(table(900, 901), f"{data}/3.parquet")
    assert sum(run(gen)["ParquetExampleGen"].outputs["examples"].rows.values()) == 901


def test_contradicting_arguments_are_refused_when_the_pipeline_is_built(tmp_path):
    with pytest.raises(PipelineError, match="boundaries= without split_by_time="):
        Pipeline("p", [ParquetExampleGen(input_base="a", boundaries=[1])], root=str(tmp_path))
