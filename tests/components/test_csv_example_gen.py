"""CsvExampleGen: each option does what it says, through `call` and through small pipelines."""

from __future__ import annotations

import gzip
import zipfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from headrace.components import CsvExampleGen, StatisticsGen
from headrace.components.ingest import csv_rows
from headrace.components.ingest.csv_ingest import CsvOptions, Source, ingest_csv
from headrace.components.ingest.splits import split_rule
from headrace.pipelines import FilePattern, Pipeline, PipelineError, PipelineParameter
from headrace.pipelines.errors import DataError


def write(path: Path, rows: list[str], header: str = "id,group,day,x") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def rows_of(first: int, last: int) -> list[str]:
    return [f"{n},{'abcdefghij'[n % 10]},2013-{1 + n % 12:02}-01,{n / 2}" for n in range(first, last)]


@pytest.fixture
def data(tmp_path: Path) -> str:
    return write(tmp_path / "data" / "rows.csv", rows_of(0, 1000))


def ids(table: pa.Table) -> list[int]:
    return table["id"].to_pylist()


def test_without_options_there_are_two_splits_in_the_ratio_of_tfx(tmp_path, data):
    result = CsvExampleGen.call(input_base=str(tmp_path / "data"), out_dir=tmp_path / "out")
    found = result.examples.read()
    assert list(found) == ["train", "eval"] and result.examples.rows == {k: t.num_rows for k, t in found.items()}
    assert sorted(ids(found["train"]) + ids(found["eval"])) == list(range(1000))
    assert 600 < found["train"].num_rows < 730
    assert [str(field.type) for field in result.examples.schema] == ["int64", "string", "date32[day]", "double"]
    assert "quarantined" not in result.outputs and result.warnings == ()


def test_a_row_keeps_its_split_when_rows_files_and_types_change(tmp_path, data):
    options = {"splits": {"train": 6, "eval": 3, "test": 1}}
    before = CsvExampleGen.call(input_base=data, out_dir=tmp_path / "a", **options).examples.read()
    assert [list(before), sum(t.num_rows for t in before.values())] == [["train", "eval", "test"], 1000]
    folder = tmp_path / "more"
    write(folder / "2.csv", [",".join(reversed(row.split(","))) for row in rows_of(0, 400)], "x,day,group,id")
    write(folder / "1.csv", rows_of(400, 1500))
    after = CsvExampleGen.call(
        input_base=str(folder), column_types={"id": "string"}, out_dir=tmp_path / "b", **options
    ).examples.read()
    for split, table in before.items():
        assert set(map(str, ids(table))) <= set(ids(after[split])), split


def test_the_order_in_which_splits_are_written_does_not_count(tmp_path, data, run):
    ratios = {"test": 1, "train": 6, "eval": 3}
    one = CsvExampleGen.call(input_base=data, splits=ratios, out_dir=tmp_path / "a").examples
    other = CsvExampleGen.call(input_base=data, splits=dict(sorted(ratios.items())), out_dir=tmp_path / "b").examples
    in_a_run = run(CsvExampleGen(input_base=data, splits=ratios), debug=False)["CsvExampleGen"].outputs["examples"]
    assert one.splits == other.splits == in_a_run.splits == ["train", "eval", "test"]
    assert one.digest == other.digest == in_a_run.digest


def test_split_by_keeps_equal_values_together(tmp_path, data):
    for columns in ("group", ["group", "day"]):
        found = CsvExampleGen.call(
            input_base=data, split_by=columns, splits={"train": 1, "eval": 1}, out_dir=tmp_path / str(len(columns))
        ).examples.read()
        names = [columns] if isinstance(columns, str) else columns
        train, rest = (set(map(tuple, map(dict.values, found[s].select(names).to_pylist()))) for s in ("train", "eval"))
        assert train and rest and not train & rest


@pytest.mark.parametrize(
    ("column", "boundaries", "splits", "expected"),
    [
        ("day", ["2013-10-01"], None, ["train", "eval"]),
        ("day", ["2013-06-01", "2013-11-01"], ["a", "b", "c"], ["a", "b", "c"]),
        ("id", [100, 200], None, ["train", "eval", "test"]),
    ],
)
def test_split_by_time(tmp_path, data, column, boundaries, splits, expected):
    found = CsvExampleGen.call(
        input_base=data, split_by_time=column, boundaries=boundaries, splits=splits, out_dir=tmp_path / "o"
    ).examples.read()
    assert list(found) == expected
    for number, split in enumerate(expected):
        values = [str(v) if isinstance(boundaries[0], str) else v for v in found[split][column].to_pylist()]
        assert values and (number == 0 or min(values) >= boundaries[number - 1])
        assert number == len(boundaries) or max(values) < boundaries[number]


def test_one_pattern_per_split(tmp_path):
    for split, rows in (("train", rows_of(0, 10)), ("eval", rows_of(10, 13))):
        for day in ("2013-01-01", "2013-01-02"):
            write(tmp_path / day / split / "rows.csv", rows)
    patterns = {split: f"{tmp_path}/{{YYYY}}-{{MM}}-{{DD}}/{split}/*.csv" for split in ("train", "eval")}
    result = CsvExampleGen.call(input_base=patterns, out_dir=tmp_path / "o")
    assert result.examples.rows == {"train": 10, "eval": 3}
    assert result.examples.properties["spans"] == [15707]


def test_patterns_that_share_a_file_or_lack_a_span_are_refused(tmp_path):
    write(tmp_path / "1" / "train.csv", rows_of(0, 10))
    write(tmp_path / "2" / "train.csv", rows_of(0, 10))
    write(tmp_path / "1" / "eval.csv", rows_of(0, 10))
    with pytest.raises(DataError, match=r"train.csv: is in split 'train' and split 'eval'"):
        both = {"train": f"{tmp_path}/1/*.csv", "eval": f"{tmp_path}/1/train.csv"}
        CsvExampleGen.call(input_base=both, out_dir=tmp_path / "a")
    with pytest.raises(DataError, match=r"'train' has spans \[2\], split 'eval' has \[1\]"):
        behind = {"train": f"{tmp_path}/{{SPAN}}/train.csv", "eval": f"{tmp_path}/{{SPAN}}/eval.csv"}
        CsvExampleGen.call(input_base=behind, out_dir=tmp_path / "b")


def test_a_window_of_spans_takes_the_newest_version_of_each(tmp_path, run):
    for span, version, rows in ((1, 1, (0, 5)), (2, 1, (5, 10)), (2, 2, (5, 11)), (3, 1, (20, 24))):
        write(tmp_path / f"span-{span}" / f"v{version}" / "rows.csv", rows_of(*rows))
    pattern = f"{tmp_path}/span-{{SPAN}}/v{{VERSION}}/*.csv"

    def read(name, files):
        found = run(CsvExampleGen(input_base=files), name=name)["CsvExampleGen"].outputs["examples"]
        every = [id_ for table in found.read().values() for id_ in ids(table)]
        return sorted(every), found.properties["spans"]

    assert read("newest", pattern) == ([20, 21, 22, 23], [3])
    assert read("two", FilePattern(pattern, window=2)) == ([5, 6, 7, 8, 9, 10, 20, 21, 22, 23], [2, 3])
    assert read("earlier", FilePattern(pattern, span=2, version=1)) == ([5, 6, 7, 8, 9], [2])


def test_types_given_win_over_those_inferred(tmp_path):
    path = write(tmp_path / "a.csv", ["1,02134,1", "2,90210,0"], "a,zip,flag")
    types = {"a": "float64", "zip": "int64", "flag": "bool"}
    inferred = CsvExampleGen.call(input_base=path, out_dir=tmp_path / "i").examples.schema
    given = CsvExampleGen.call(input_base=path, column_types=types, out_dir=tmp_path / "g").examples
    assert [str(f.type) for f in inferred] == ["int64", "string", "int64"]
    assert [str(f.type) for f in given.schema] == ["double", "int64", "bool"]
    for wrong, error in (({"zop": "int64"}, DataError), ({"zip": "whole"}, PipelineError)):
        with pytest.raises(error, match="column_types"):
            CsvExampleGen.call(input_base=path, column_types=wrong, out_dir=tmp_path / "w")


@pytest.mark.parametrize("types", [None, {"n": "int64", "s": "string"}])
def test_null_markers_are_an_argument_and_each_is_counted(tmp_path, types):
    path = write(tmp_path / "a.csv", ["1,", '2,""', "NA,NA", "-,-", "5,null", "?,-"], "n,s")
    nulls = ["", "NA", "-", "?"]
    result = CsvExampleGen.call(
        input_base=path, null_values=nulls, column_types=types, splits={"all": 1}, out_dir=tmp_path / "o"
    )
    assert result.examples.read("all").to_pydict() == {
        "n": [1, 2, None, None, 5, None],
        "s": [None, "", None, None, "null", None],
    }
    markers = result.examples.properties["null_markers"]
    assert markers["n"] == {"NA": 1, "-": 1, "?": 1}
    assert {name: count for name, count in markers["s"].items() if name != '""'} == {"": 1, "NA": 1, "-": 2}
    default = CsvExampleGen.call(
        input_base=write(tmp_path / "b.csv", ["1,a", "NA,null", ",b"], "n,s"), splits={"all": 1}, out_dir=tmp_path / "p"
    )
    assert default.examples.read("all").to_pydict() == {"n": [1, None, None], "s": ["a", None, "b"]}


def test_a_bad_row_is_an_error_with_its_place_and_repair(tmp_path):
    path = write(tmp_path / "a.csv", ["1,x", "2,y,z", "3,w"], "n,s")
    with pytest.raises(DataError) as caught:
        CsvExampleGen.call(input_base=path, out_dir=tmp_path / "o")
    assert caught.value.file == path and caught.value.row == 2 and 'on_bad_row="quarantine"' in caught.value.fix
    assert not (tmp_path / "o" / "examples" / "artifact.json").exists()


def test_bad_rows_are_set_aside_counted_readable_and_warned_of(tmp_path, run):
    good = [f"{n},2013-01-0{1 + n % 9}" for n in range(50)]
    path = write(tmp_path / "a.csv", [*good[:20], "20,2013-01-01,extra", *good[20:], "many,2013-01-02"], "n,day")
    gen = CsvExampleGen(input_base=path, on_bad_row="quarantine", column_types={"n": "int64"}, splits={"all": 1})
    step = run(gen)["CsvExampleGen"]
    assert step.outputs["examples"].rows == {"all": 50}
    aside = step.outputs["quarantined"]
    assert aside.rows == 2 and "2 bad rows were set aside" in step.warnings[0]
    first, second = aside.read().to_pylist()
    assert (first["file"], first["row"], first["text"]) == (path, 21, "20,2013-01-01,extra")
    assert (second["row"], second["column"]) == (52, "n") and "int64" in second["reason"]
    again = run(gen)["CsvExampleGen"]
    assert again.state.value == "cached" and again.outputs["quarantined"].rows == 2


def test_when_every_row_is_bad_there_is_no_artifact(tmp_path):
    path = write(tmp_path / "a.csv", ["1,2,3", "4,5,6"], "n,s")
    with pytest.raises(DataError, match="all 2 rows were set aside"):
        CsvExampleGen.call(input_base=path, on_bad_row="quarantine", out_dir=tmp_path / "o")


def test_delimiter_and_encoding(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("name;note\nJürgen;a,b\n".encode("cp1252"))
    result = CsvExampleGen.call(
        input_base=str(path), delimiter=";", encoding="cp1252", splits={"all": 1}, out_dir=tmp_path / "o"
    )
    assert result.examples.read("all").to_pylist() == [{"name": "Jürgen", "note": "a,b"}]
    with pytest.raises(DataError, match=r"a\.csv"):
        CsvExampleGen.call(input_base=str(path), delimiter=";", out_dir=tmp_path / "p")
    with pytest.raises(DataError, match="not an encoding"):
        CsvExampleGen.call(input_base=str(path), encoding="utf-9", out_dir=tmp_path / "q")


def test_compressed_files_give_the_same_examples(tmp_path, data):
    text = Path(data).read_bytes()
    (tmp_path / "gz").mkdir()
    (tmp_path / "gz" / "rows.csv.gz").write_bytes(gzip.compress(text))
    (tmp_path / "zip").mkdir()
    with zipfile.ZipFile(tmp_path / "zip" / "rows.csv.zip", "w") as archive:
        archive.writestr("rows.csv", text)
    digests = {
        CsvExampleGen.call(input_base=str(tmp_path / kind), out_dir=tmp_path / "o" / kind).examples.digest
        for kind in ("data", "gz", "zip")
    }
    assert len(digests) == 1


def test_a_sample_run_takes_the_first_rows_of_each_split(tmp_path, run):
    path = write(tmp_path / "d.csv", rows_of(0, 5000))
    gen = CsvExampleGen(input_base=path)
    whole = run(gen)["CsvExampleGen"].outputs["examples"].read()
    for types in (None, {"id": "int64", "group": "string", "day": "date", "x": "float64"}):
        few = run(CsvExampleGen(input_base=path, column_types=types), sample=7)["CsvExampleGen"]
        assert few.state.value == "succeeded"
        assert few.outputs["examples"].rows == {"train": 7, "eval": 7}
        for split, table in few.outputs["examples"].read().items():
            assert table == whole[split].slice(0, 7)


def opened_for_reading(monkeypatch) -> Counter[str]:
    """Bytes read of each CSV file from now on."""
    read: Counter[str] = Counter()
    whole = csv_rows.read_some

    def counting(label, stream, size):
        found = whole(label, stream, size)
        read[Path(label).name] += len(found)
        return found

    monkeypatch.setattr(csv_rows, "read_some", counting)
    return read


def test_a_sample_reads_no_more_than_it_needs_and_says_that_types_are_of_it(tmp_path, run, monkeypatch):
    # However many threads read ahead, it is less than half of this.
    late = [*rows_of(10, 400_000), "400000,a,2013-01-01,no number"]
    for name in ("1.csv", "2.csv"):
        write(tmp_path / "d" / name, late)
    files = {"train": str(tmp_path / "d" / "1.csv"), "eval": str(tmp_path / "d" / "2.csv")}
    sizes = {name: (tmp_path / "d" / name).stat().st_size for name in ("1.csv", "2.csv")}
    read = opened_for_reading(monkeypatch)
    for base, wanted in ((str(tmp_path / "d"), {"1.csv"}), (files, {"1.csv", "2.csv"})):
        read.clear()
        few = run(CsvExampleGen(input_base=base), sample=7)["CsvExampleGen"]
        examples = few.outputs["examples"]
        assert examples.rows == {"train": 7, "eval": 7}
        assert str(examples.schema.field("x").type) == "double", "all rows would make it a string"
        assert few.warnings and "types are inferred from the rows that the sample read alone" in few.warnings[0]
        assert set(read) == wanted and all(read[name] < sizes[name] / 2 for name in wanted), (read, sizes)
    read.clear()
    # The sample has all rows: nothing is to be said.
    write(tmp_path / "small.csv", rows_of(0, 50))
    whole = run(CsvExampleGen(input_base=str(tmp_path / "small.csv")), sample=50)["CsvExampleGen"]
    assert not whole.warnings
    given = {"id": "int64", "group": "string", "day": "date", "x": "string"}
    assert not run(CsvExampleGen(input_base=files, column_types=given), sample=7)["CsvExampleGen"].warnings


def test_a_sample_goes_on_to_where_its_splits_begin(tmp_path, run):
    rows = sorted(rows_of(0, 150_000), key=lambda row: row.split(",")[2])
    path = write(tmp_path / "d.csv", rows)
    split = {"split_by_time": "day", "boundaries": ["2013-12-01"]}
    few = run(CsvExampleGen(input_base=path, **split), sample=5)["CsvExampleGen"].outputs["examples"].read()
    assert {name: table.num_rows for name, table in few.items()} == {"train": 5, "eval": 5}
    assert {str(day) for day in few["eval"]["day"].to_pylist()} == {"2013-12-01"}


@pytest.mark.parametrize("x", ["2", "007"])
def test_a_sample_does_not_depend_on_the_number_of_threads(tmp_path, x):
    """What is read ahead is not part of it: a text (007) makes the files be read twice."""
    path = write(tmp_path / "d.csv", [*rows_of(0, 40), f"40,a,2013-01-01,{x}", *rows_of(41, 400)])
    found = []
    for workers in (1, 3, 8):
        options = CsvOptions(sample=20, workers=workers, block_bytes=400)
        rows = ingest_csv([Source(path, split_rule())], scratch=tmp_path, options=options)
        found.append((rows.schema, [(split, batch.to_pydict()) for split, batch in rows], rows.report))
    assert found[0] == found[1] == found[2] and found[0][2].cut
    assert str(found[0][0].field("x").type) == ("double" if x == "2" else "string")


def test_bad_rows_of_a_sample_are_set_aside(tmp_path, run):
    path = write(tmp_path / "d.csv", [*rows_of(0, 9), "9,a,b", *rows_of(10, 150_000)])
    few = run(CsvExampleGen(input_base=path, on_bad_row="quarantine"), sample=40)["CsvExampleGen"]
    assert few.outputs["quarantined"].rows == 1 and few.outputs["examples"].rows == {"train": 40, "eval": 40}


def test_the_content_of_the_folder_decides_the_cache(tmp_path, run, data):
    folder = tmp_path / "data"
    gen = CsvExampleGen(input_base=str(folder))
    stats = StatisticsGen(examples=gen.outputs["examples"])
    assert [step.state.value for step in run(gen, stats).steps.values()] == ["succeeded"] * 2
    assert [step.state.value for step in run(gen, stats).steps.values()] == ["cached"] * 2
    folder.rename(tmp_path / "moved")
    moved = CsvExampleGen(input_base=str(tmp_path / "moved"))
    elsewhere = run(moved, StatisticsGen(examples=moved.outputs["examples"]))
    assert elsewhere["StatisticsGen"].state.value == "cached", "the same rows from elsewhere are the same Examples"
    (tmp_path / "moved").rename(folder)
    write(folder / "more.csv", rows_of(1000, 1010))
    changed = run(gen, stats)
    assert [step.state.value for step in changed.steps.values()] == ["succeeded"] * 2
    assert sum(changed["CsvExampleGen"].outputs["examples"].rows.values()) == 1010
    assert "files of input_base changed" in changed["CsvExampleGen"].cache_reason


def test_a_parameter_may_name_the_folder(tmp_path, run, data):
    gen = CsvExampleGen(input_base=PipelineParameter("folder", str), splits={"all": 1})
    assert run(gen, parameters={"folder": data})["CsvExampleGen"].outputs["examples"].rows == {"all": 1000}
    missing = run(gen, parameters={"folder": str(tmp_path / "none")})
    assert missing.exit_code == 1 and "none" in missing["CsvExampleGen"].error["message"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"input_base": {"train": "a", "eval": "b"}, "splits": {"train": 1}}, "input_base= names the files of each"),
        ({"input_base": "a", "split_by_time": "day"}, "split_by_time= without boundaries="),
        ({"input_base": "a", "boundaries": ["2013-01-01"]}, "boundaries= without split_by_time="),
        ({"input_base": "a", "split_by_time": "d", "boundaries": [1], "split_by": "c"}, "split_by= and split_by_time="),
        ({"input_base": "a", "splits": ["train", "eval"]}, "has no ratios"),
        ({"input_base": "a", "split_by_time": "d", "boundaries": [1], "splits": {"a": 1, "b": 1}}, "list their names"),
        (
            {"input_base": "a", "split_by_time": "d", "boundaries": [1], "splits": ["x"]},
            "make 2 splits, splits= names 1",
        ),
        ({"input_base": "a", "on_bad_row": "skip"}, "on_bad_row"),
        ({"input_base": 3}, "expected a path"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused_when_the_pipeline_is_built(arguments, said, tmp_path):
    with pytest.raises(PipelineError) as caught:
        Pipeline("p", [CsvExampleGen(**arguments)], root=str(tmp_path))
    assert said in str(caught.value) and "test_csv_example_gen.py" in str(caught.value)


def test_a_split_without_rows_exists(tmp_path):
    path = write(tmp_path / "a.csv", rows_of(0, 30))
    found = CsvExampleGen.call(
        input_base=path, split_by_time="id", boundaries=[1000], out_dir=tmp_path / "o"
    ).examples.read()
    assert found["train"].num_rows == 30 and found["eval"].num_rows == 0
    assert found["eval"].schema == found["train"].schema
