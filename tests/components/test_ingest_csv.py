"""CSV ingestion against the csv module, pandas and DuckDB as oracles; its errors; bad files of every kind."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zipfile
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headrace.components.ingest.csv_ingest import CsvOptions, Source, ingest_csv
from headrace.components.ingest.splits import SingleSplit, split_rule
from headrace.pipelines.errors import DataError, PipelineError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

FUZZ = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def read(folder: Path, *files: str | bytes, rule=None, quarantine=False, paths=(), **options):
    """Ingests texts as files; gives the table per split, the report and the quarantined rows."""
    names = [str(path) for path in paths]
    for place, text in enumerate(files):
        path = folder / f"part-{place}.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        names.append(str(path))
    aside = folder / "bad.parquet"
    aside.unlink(missing_ok=True)
    sources = [Source(name, rule or SingleSplit("all")) for name in names]
    ingested = ingest_csv(
        sources, scratch=folder, quarantine=aside if quarantine else None, options=CsvOptions(**options)
    )
    parts: dict[str, list[pa.RecordBatch]] = {split: [] for split in ingested.splits}
    for split, batch in ingested:
        assert batch.schema == ingested.schema
        batch.validate(full=True)
        parts[split].append(batch)
    tables = {split: pa.Table.from_batches(batches, ingested.schema) for split, batches in parts.items()}
    bad = pq.read_table(aside).to_pylist() if aside.exists() else []
    assert ingested.report.quarantined == len(bad)
    assert ingested.report.rows == Counter({s: t.num_rows for s, t in tables.items() if t.num_rows})
    return tables, ingested.report, bad


def one(folder: Path, *files: str | bytes, **arguments) -> pa.Table:
    return read(folder, *files, **arguments)[0]["all"]


def kinds(table: pa.Table) -> dict[str, str]:
    return {field.name: str(field.type) for field in table.schema}


# --- types ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-2", "+3", " 4 "], "int64", [1, -2, 3, 4]),
        (["1", "2.5", "1e3"], "double", [1.0, 2.5, 1000.0]),
        (["01", "12"], "int64", [1, 12]),
        (["02134", "90210"], "string", ["02134", "90210"]),
        (["007"], "string", ["007"]),
        (["0x1F"], "string", ["0x1F"]),
        (["9223372036854775807"], "int64", [2**63 - 1]),
        (["9223372036854775808", "1"], "string", ["9223372036854775808", "1"]),
        (["true", "FALSE", "True"], "bool", [True, False, True]),
        (["0", "1"], "int64", [0, 1]),
        (["2013-01-31", "2013-02-28"], "date32[day]", None),
        (["2013-01-31", "2013-02-28 10:00"], "timestamp[us]", None),
        (["2013-01-31 10:00:00.123456789"], "timestamp[ns]", None),
        (["2013-01-01T10:00:00Z", "2013-01-01T10:00:00+01:00"], "timestamp[us, tz=UTC]", None),
        (["2013-02-30"], "string", ["2013-02-30"]),
        (["10:30"], "string", ["10:30"]),
        (["1,5"], "string", ["1,5"]),
        (["1", "x"], "string", ["1", "x"]),
        (["1", "true"], "string", ["1", "true"]),
        (["2013-01-31", "2013-01-31T10:00:00Z"], "string", ["2013-01-31", "2013-01-31T10:00:00Z"]),
        (["", "NA"], "null", [None, None]),
        (["1", "NA", "", "null"], "int64", [1, None, None, None]),
        (["a", "NA", "Null"], "string", ["a", None, "Null"]),
        (["2013-01-31 10:00:00.123456789", "2500-01-01"], "string", None),
    ],
)
def test_inferred_types(tmp_path, cells, kind, values):
    out = io.StringIO()
    csv.writer(out).writerows([["x", "k"], *[[cell, "k"] for cell in cells]])
    table = one(tmp_path, out.getvalue())
    assert kinds(table)["x"] == kind
    if values is not None:
        assert table["x"].to_pylist() == values
    # One row a block: types merge over blocks to the same result.
    small = one(tmp_path, out.getvalue(), block_bytes=1)
    assert kinds(small)["x"] == kind
    assert small.equals(table)


def test_a_quoted_marker_is_text_in_text_and_missing_elsewhere_and_each_is_counted(tmp_path):
    text = 'name,n,other\n"",1,NA\n,"",null\n"NA",NA,\nx,2,""\n'
    tables, report, _ = read(tmp_path, text)
    assert tables["all"].to_pydict() == {
        "name": ["", None, "NA", "x"],
        "n": [1, None, None, 2],
        "other": [None, None, None, ""],
    }
    assert report.null_markers == {
        "name": {'""': 1, "": 1, '"NA"': 1},
        "n": {'""': 1, "NA": 1},
        "other": {"NA": 1, "null": 1, "": 1, '""': 1},
    }
    kept = one(tmp_path, text, null_values=("-",))
    assert kept["name"].to_pylist() == ["", "", "NA", "x"]


def test_long_null_markers(tmp_path):
    table = one(tmp_path, "x\n1\nnot available\n2\nnot availabla\n", null_values=("not available",))
    assert table["x"].to_pylist() == ["1", None, "2", "not availabla"]


def test_from_99_percent_on_the_rest_is_an_error_below_it_is_text(tmp_path):
    def column(good: int, bad: list[str]) -> str:
        return "x,y\n" + "".join(f"{i % 7},{cell}\n" for i, cell in enumerate([*map(str, range(good)), *bad]))

    with pytest.raises(DataError) as caught:
        one(tmp_path, column(99, ["n/a"]), block_bytes=64)
    error = caught.value
    assert (error.row, error.column, error.value) == (100, "y", "n/a")
    assert error.file.endswith("part-0.csv")
    assert "99 of 100 values are numbers, 1 is not" in str(error)
    assert 'column_types={"y": "string"}' in error.fix and "null_values" in error.fix
    assert kinds(one(tmp_path, column(98, ["n/a", "n/b"])))["y"] == "string"
    assert kinds(one(tmp_path, column(99, ["n/a"]), null_values=("n/a",)))["y"] == "int64"
    assert kinds(one(tmp_path, column(99, ["n/a"]), column_types={"y": "string"}))["y"] == "string"
    tables, _, bad = read(tmp_path, column(99, ["n/a"]), column_types={"y": "int64"}, quarantine=True)
    assert tables["all"].num_rows == 99 and bad[0]["row"] == 100 and bad[0]["text"] == "1,n/a"
    # Missing cells are not among the present ones, and the bad one may come first.
    with pytest.raises(DataError, match="500 of 501"):
        one(tmp_path, "x,y\n0,oops\n" + "0,NA\n" * 500 + "0,true\n" * 500, block_bytes=256)


def test_text_found_late_keeps_what_was_written(tmp_path):
    text = "x,y\n" + "1.50,True\n" * 1000 + "a,b\n" * 1000
    table = one(tmp_path, text, block_bytes=512)
    assert Counter(table["x"].to_pylist()) == {"1.50": 1000, "a": 1000}
    assert Counter(table["y"].to_pylist()) == {"True": 1000, "b": 1000}


def test_given_types(tmp_path):
    text = "a,b,c,d,e,f,g\n007,5.0,1,2013-01-01,12.50,0,2013-01-01 10:00\n,NA,0,,,1,NA\n"
    given = {
        "a": "int64",
        "b": "int32",
        "c": "string",
        "d": "timestamp",
        "e": "decimal(10, 2)",
        "f": "bool",
        "g": "timestamp[us, tz=Europe/Berlin]",
    }
    for size in (1, 1 << 20):
        table = one(tmp_path, text, column_types=given, block_bytes=size)
        assert [str(kind) for kind in table.schema.types] == [
            "int64", "int32", "string", "timestamp[us]", "decimal128(10, 2)", "bool", "timestamp[us, tz=Europe/Berlin]",
        ]  # fmt: skip
        row = table.to_pylist()[0]
        assert (row["a"], row["b"], row["c"], str(row["e"]), row["f"]) == (7, 5, "1", "12.50", False)
        assert str(row["g"]) == "2013-01-01 10:00:00+01:00"
        assert table.slice(1).to_pylist()[0]["a"] is None
    with pytest.raises(DataError, match="is not int64") as caught:
        one(tmp_path, "x,y\n1,1\n2,1.5\n", column_types={"y": "int64"})
    assert (caught.value.row, caught.value.column, caught.value.value) == (2, "y", "1.5")
    with pytest.raises(DataError, match="column_types names a column"):
        one(tmp_path, text, column_types={"z": "int64"})
    with pytest.raises(PipelineError, match="'a' the type 'intt'"):
        one(tmp_path, text, column_types={"a": "intt"})


@FUZZ
@given(
    st.lists(
        st.sampled_from(
            ["1", "+1", " 1", "1\t", "007", "07", "-07", "-", ".", "1.", ".5", "1e5", "1e400", "nan", "+inf", "NaN(1)",
             "0x1F", "00.5", "9223372036854775807", "-9223372036854775809", "12345678901234567890.5", "true", " True ",
             "tRUE", "t", "2013-01-01", "2013-1-1", "2013-02-30", "2013-01-01T10", "2013-01-01 10:00:00.1234567",
             "2500-01-01", "1500-01-01 10:00", "2013-01-01T10:00Z", "2013-01-01T10:00+0100", "x", "١", "1_0", "", "NA"]
        )
        | st.text("0123456789+-.eExX: TZ", min_size=1, max_size=8),
        min_size=1,
        max_size=12,
    ),
    st.integers(1, 40),
)  # fmt: skip
def test_a_column_s_type_does_not_depend_on_how_it_is_cut(tmp_path, cells, block_bytes):
    out = io.StringIO()
    csv.writer(out).writerows([["x", "k"], *[[cell, "k"] for cell in cells]])
    whole = one(tmp_path, out.getvalue())
    cut = one(tmp_path, out.getvalue(), block_bytes=block_bytes)
    assert kinds(whole) == kinds(cut)
    assert str(whole["x"].to_pylist()) == str(cut["x"].to_pylist())
    # Each cell alone parses or does not; the whole is not text only if each does.
    alone = {kinds(one(tmp_path, f'x,k\n"{cell}",k\n'))["x"] for cell in cells if cell not in ("", "NA")}
    if alone and not any(kind in ("string", "null") for kind in alone):
        families = {kind.replace("us, ", "").replace("ns, ", "") for kind in alone}
        if families <= {"int64", "double"} or len(families) == 1:
            assert kinds(whole)["x"] != "string" or "timestamp[ns]" in alone or "timestamp[ns, tz=UTC]" in alone
    if "string" in alone:
        assert kinds(whole)["x"] == "string"


# --- oracles -------------------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)
CELLS = st.one_of(
    WORDS,
    st.integers(-(10**6), 10**6).map(str),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr),
    st.sampled_from(["", "NA", "a,b", 'say "x"', "two\nlines", "\n", '"', '""', ",", " ", "ü", "\ufeff"]),
)


@st.composite
def tables(draw):
    columns = draw(st.integers(2, 4))
    rows = draw(st.lists(st.lists(CELLS, min_size=columns, max_size=columns), min_size=1, max_size=12))
    return [f"c{place}" for place in range(columns)], rows


@FUZZ
@given(
    tables(), st.integers(1, 200), st.sampled_from(["\n", "\r\n"]), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
)
def test_every_sound_file_reads_as_the_csv_module_reads_it(tmp_path, table, block_bytes, line_end, quoting):
    header, rows = table
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=line_end, quoting=quoting).writerows([header, *rows])
    expected = list(csv.reader(io.StringIO(out.getvalue(), newline=""), strict=True))[1:]
    found = one(
        tmp_path,
        out.getvalue(),
        null_values=(),
        column_types=dict.fromkeys(header, "string"),
        block_bytes=block_bytes,
    )
    assert [list(row.values()) for row in found.to_pylist()] == expected == rows


@FUZZ
@given(tables(), st.integers(1, 200), st.randoms())
def test_no_row_moves_to_another_split(tmp_path, table, block_bytes, random):
    header, rows = table
    rule = split_rule({"train": 1, "eval": 1})
    text = dict.fromkeys(header, "string")

    def text_of(columns: list[str], lines: list[list[str]]) -> str:
        out = io.StringIO(newline="")
        csv.writer(out, quoting=random.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])).writerows([columns, *lines])
        return out.getvalue()

    def places(*files: str, **options) -> dict[str, Counter]:
        found = read(tmp_path, *files, rule=rule, null_values=(), column_types=text, **options)[0]
        return {
            split: Counter(tuple(row[name] for name in header) for row in part.to_pylist())
            for split, part in found.items()
        }

    expected = places(text_of(header, rows))
    order = list(range(len(header)))
    random.shuffle(order)
    shuffled = random.sample(rows, len(rows))
    cut = random.randint(0, len(rows))
    pieces = [[[row[i] for i in order] for row in part] for part in (shuffled[:cut], shuffled[cut:])]
    files = [text_of([header[i] for i in order], part) for part in pieces]
    assert places(*files, block_bytes=block_bytes) == expected
    # Another file's rows and the inferred types change nothing either.
    more = text_of(header, [["extra"] * len(header)])
    for split, counts in places(text_of(header, rows), more).items():
        assert all(counts[row] >= count for row, count in expected[split].items())
    typed = read(tmp_path, text_of(header, rows), rule=rule)[0]
    assert {split: part.num_rows for split, part in typed.items()} == {s: c.total() for s, c in expected.items()}


def test_the_same_values_as_pandas_and_duckdb(tmp_path):
    random = np.random.default_rng(0)
    n = 20_000
    frame = pd.DataFrame(
        {
            "i": random.integers(-(10**12), 10**12, n),
            "f": random.normal(size=n) * 10.0 ** random.integers(-300, 300, n),
            "s": [f'name {i % 97}, "q"' for i in range(n)],
            "b": random.random(n) < 0.5,
            "d": pd.date_range("1990-01-01", periods=n, freq="7h").strftime("%Y-%m-%d"),
            "t": pd.date_range("1990-01-01", periods=n, freq="61s").strftime("%Y-%m-%d %H:%M:%S"),
            "m": [None if i % 5 == 0 else i for i in range(n)],
        }
    ).astype({"m": "Int64"})
    path = tmp_path / "data.csv"
    frame.to_csv(path, index=False)
    table = one(tmp_path, paths=[path], block_bytes=1 << 16)
    assert kinds(table) == {
        "i": "int64", "f": "double", "s": "string", "b": "bool", "d": "date32[day]", "t": "timestamp[us]", "m": "int64"
    }  # fmt: skip
    assert table["f"].to_numpy().tolist() == frame["f"].tolist()
    assert table.drop(["d", "t", "f"]).to_pandas().astype({"m": "Int64"}).equals(frame.drop(columns=["d", "t", "f"]))
    other = duckdb.sql(f"select * from read_csv('{path}')").to_arrow_table()
    for name in ("i", "s", "b", "d", "t", "m"):
        assert table[name].to_pylist() == other[name].to_pylist(), name


# --- files ---------------------------------------------------------------------------------------------------------


def test_compressed_files_and_several_members(tmp_path):
    text = "x,y\n" + "".join(f"{i},name {i}\n" for i in range(5000))
    plain = one(tmp_path, text)
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert one(tmp_path, paths=[packed], block_bytes=1000).equals(plain)
    archive = tmp_path / "a.csv.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("one.csv", text)
        out.writestr("two.csv", "y,x\nlast,5000\n")
        out.writestr("__MACOSX/._one.csv", b"\0\1")
        out.writestr("readme.txt", "no data")
    tables, report, _ = read(tmp_path, paths=[archive])
    assert tables["all"].num_rows == 5001 and tables["all"].to_pylist()[-1] == {"x": 5000, "y": "last"}
    assert [Path(name).name for name in report.files] == ["one.csv", "two.csv"]


def test_damaged_archives(tmp_path):
    whole = gzip.compress(b"x,y\n" + b"1,2\n" * 100_000)
    cut, broken = tmp_path / "cut.csv.gz", tmp_path / "broken.csv.gz"
    cut.write_bytes(whole[: len(whole) // 2])
    broken.write_bytes(b"not gzip at all")
    bad_zip, empty_zip = tmp_path / "bad.csv.zip", tmp_path / "empty.csv.zip"
    bad_zip.write_bytes(b"PK nothing")
    with zipfile.ZipFile(empty_zip, "w") as out:
        out.writestr("a.txt", "")
        out.writestr("b.txt", "")
    for path, message in (
        (cut, "damaged or cut off"),
        (broken, "damaged"),
        (bad_zip, "not a zip"),
        (empty_zip, "no .csv"),
    ):
        for quarantine in (False, True):
            with pytest.raises(DataError, match=message):
                read(tmp_path, paths=[path], quarantine=quarantine)


def test_remote_files(tmp_path):
    import fsspec

    fsspec.filesystem("memory").pipe("/ingest/a.csv.gz", gzip.compress(b"x,y\n1,2\n"))
    assert one(tmp_path, paths=["memory://ingest/a.csv.gz"]).to_pylist() == [{"x": 1, "y": 2}]


def test_several_files_of_one_schema(tmp_path):
    table = one(tmp_path, "a,b\n1,2\n", "b,a\n3.5,x\n", "a,b\n")
    assert table.to_pylist() == [{"a": "1", "b": 2.0}, {"a": "x", "b": 3.5}]
    with pytest.raises(DataError, match=r"part-0.csv has this column, this file has not") as caught:
        one(tmp_path, "a,b\n1,2\n", "a\n1\n")
    assert caught.value.column == "b" and caught.value.file.endswith("part-1.csv")
    with pytest.raises(DataError, match=r"part-1\.csv has this column, this file has not") as caught:
        one(tmp_path, "a,b\n1,2\n", "a,b,c\n1,2,3\n")
    assert caught.value.column == "c" and caught.value.file.endswith("part-0.csv")


def test_one_pattern_per_split_has_one_schema(tmp_path):
    (tmp_path / "t.csv").write_text("x\n1\n2\n")
    (tmp_path / "e.csv").write_text("x\n1.5\n")
    sources = [
        Source(str(tmp_path / "t.csv"), SingleSplit("train")),
        Source(str(tmp_path / "e.csv"), SingleSplit("eval")),
    ]
    found = [(split, batch.to_pydict()) for split, batch in ingest_csv(sources, scratch=tmp_path)]
    assert found == [("train", {"x": [1.0, 2.0]}), ("eval", {"x": [1.5]})]


def test_other_encodings_delimiters_line_ends_and_byte_order_marks(tmp_path):
    assert one(tmp_path, "x;y\ncafé;1\n".encode("cp1252"), encoding="cp1252", delimiter=";").to_pylist() == [
        {"x": "café", "y": 1}
    ]
    assert one(tmp_path, "x\ty\r\né\t1\r\n".encode("utf-16"), encoding="utf-16", delimiter="\t")["x"].to_pylist() == [
        "é"
    ]
    assert one(tmp_path, b"\xef\xbb\xbfx,y\r1,2\r3,4\r", block_bytes=4).to_pydict() == {"x": [1, 3], "y": [2, 4]}
    assert one(tmp_path, "x,y\n\n1,2\n\r\n\n3,4").to_pydict() == {"x": [1, 3], "y": [2, 4]}


def test_time_and_group_splits(tmp_path):
    text = "day,user,v\n" + "".join(f"2013-{month:02}-01,u{month % 3},{month}\n" for month in range(1, 13))
    by_time = read(tmp_path, text, rule=split_rule(split_by_time="day", boundaries=["2013-10-01"]), block_bytes=64)[0]
    assert by_time["train"]["v"].to_pylist() == list(range(1, 10))
    assert by_time["eval"]["v"].to_pylist() == [10, 11, 12]
    by_user = read(tmp_path, text, rule=split_rule({"train": 1, "eval": 1}, split_by="user"))[0]
    assert not set(by_user["train"]["user"].to_pylist()) & set(by_user["eval"]["user"].to_pylist())
    rule = split_rule(split_by_time="day", boundaries=["2013-10-01"])
    with pytest.raises(DataError, match="has no date") as caught:
        read(tmp_path, text + "NA,u1,13\n", rule=rule)
    assert (caught.value.row, caught.value.column, caught.value.value) == (13, "day", "NA")
    tables, _, bad = read(tmp_path, text + "NA,u1,13\n", rule=rule, quarantine=True)
    assert sum(table.num_rows for table in tables.values()) == 12 and [row["row"] for row in bad] == [13]
    with pytest.raises(DataError, match="split_by names no column"):
        read(tmp_path, text, rule=split_rule(split_by="customer"))


# --- bad files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"x,y\n", "no rows"),
        (b"x,,z\n1,2,3\n", "column 2 of the header has no name"),
        (b",x\n0,1\n", "pandas writes its index so"),
        (b"x,y,x\n1,2,3\n", "columns 1 and 3 of the header have one name"),
        (b'x,"y\n1,2\n', "header's quotes"),
        (b"x,\xffy\n1,2\n", "in the header is not UTF-8"),
        ("x,y\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"x;y\n1;2\n", "Give delimiter=';'"),
    ],
)
def test_a_file_without_a_sound_header_or_rows(tmp_path, text, message):
    for quarantine in (False, True):
        with pytest.raises(DataError, match=message) as caught:
            read(tmp_path, text, quarantine=quarantine)
        assert caught.value.file.endswith("part-0.csv") and caught.value.fix


BAD = [
    (b"3", "has 1 cell, the header has 2", "y"),
    (b"3,4,5", "has 3 cells, the header has 2", None),
    (b'3,"4"x', "quoted cell", None),
    (b'"3,4', "quoted cell", None),
    (b"3,caf\xe9", "byte 0xe9, the row's 6., is not UTF-8", "y"),
]


@pytest.mark.parametrize(("line", "reason", "column"), BAD)
@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_a_malformed_row_has_its_number_behind_quoted_line_breaks(tmp_path, line, reason, column, block_bytes, suffix):
    text = b'x,y\n1,"two\nlines"\n\n2,b\n' + line + b'\n4,d\n5,"e\n\ne"\n'
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(gzip.compress(text) if suffix == "csv.gz" else text)
    with pytest.raises(DataError, match=reason) as caught:
        read(tmp_path, paths=[path], block_bytes=block_bytes)
    assert (caught.value.row, caught.value.column, caught.value.file) == (3, column, str(path))
    assert 'on_bad_row="quarantine"' in caught.value.fix
    tables, _, bad = read(tmp_path, paths=[path], block_bytes=block_bytes, quarantine=True)
    assert tables["all"]["x"].to_pylist() == [1, 2, 4, 5]
    assert tables["all"]["y"].to_pylist() == ["two\nlines", "b", "d", "e\n\ne"]
    assert [(row["row"], row["text"], row["column"]) for row in bad] == [
        (3, line.decode(errors="backslashreplace"), column)
    ]
    assert reason in bad[0]["reason"]


def test_files_of_another_kind(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="ParquetExampleGen"):
        read(tmp_path, paths=[tmp_path / "a.parquet"])
    with pytest.raises(DataError, match="no files"):
        read(tmp_path)


def test_an_error_shows_the_row(tmp_path):
    with pytest.raises(DataError) as caught:
        one(tmp_path, "x,y\n1,2\nonly this\n")
    assert "row 2, column 'y': has 1 cell" in str(caught.value) and "the row: only this" in str(caught.value)


def test_all_rows_bad(tmp_path):
    with pytest.raises(DataError, match="all 2 rows were set aside"):
        read(tmp_path, "x,y\n1\n2\n", quarantine=True)


LINES = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.text('",\n\r x1é', max_size=12).map(str.encode),
        st.sampled_from(
            [b"1,2", b"3,", b'"a","b"', b'"a\nb",c', b'"', b'"x"y,1', b"\xff,1", b"", b"1,2,3", b"\xef\xbb\xbf1,2"]
        ),
    ),
    max_size=10,
)


def count_rows(data: bytes) -> int:
    """Rows by a slow state machine of the same dialect, written independently."""
    rows, position = 0, 0
    while position < len(data):
        start, quoted_from, broken = position, None, False
        at_start = True
        while position < len(data):
            byte = data[position : position + 1]
            if quoted_from is not None:
                if byte == b'"':
                    if data[position + 1 : position + 2] == b'"':
                        position += 1
                    else:
                        quoted_from = None
                        after = data[position + 1 : position + 2]
                        if after not in (b"", b",", b"\n", b"\r"):
                            broken = True
                            break
            elif byte == b'"' and at_start:
                quoted_from = position
            elif byte in (b"\n", b"\r"):
                break
            at_start = byte == b"," and quoted_from is None
            position += 1
        if broken or quoted_from is not None:
            position = start
            while position < len(data) and data[position : position + 1] not in (b"\n", b"\r"):
                position += 1
        if position > start:
            rows += 1
        position += 1
    return rows


@FUZZ
@given(LINES, st.integers(1, 60), st.sampled_from([b"\n", b"\r\n"]), st.booleans())
@example([b'"a', b'b",c', b'"d"e,f', b"1,2"], 3, b"\n", False)
@example([b'""x,1', b'"a""",2', b'"""",3'], 1, b"\n", True)
def test_a_bad_file_never_gives_a_traceback_and_never_loses_a_row(tmp_path, lines, block_bytes, line_end, packed):
    body = line_end.join(lines)
    path = tmp_path / ("fuzz.csv.gz" if packed else "fuzz.csv")
    data = b"x,y\n" + body
    path.write_bytes(gzip.compress(data) if packed else data)
    total = count_rows(body)
    try:
        _, report, bad = read(tmp_path, paths=[path], block_bytes=block_bytes, quarantine=True)
    except DataError as error:
        assert error.file and error.fix
        assert ("no rows" in str(error)) == (total == 0) or "set aside" in str(error) or "values are" in str(error)
    else:
        assert report.rows["all"] + len(bad) == total
        assert len({row["row"] for row in bad}) == len(bad) and all(1 <= row["row"] <= total for row in bad)
    try:
        strict = one(tmp_path, paths=[path], block_bytes=block_bytes)
    except DataError as error:
        assert error.file and error.fix
    else:
        assert strict.num_rows == total and not bad


@FUZZ
@given(st.binary(max_size=200))
def test_any_bytes_at_all(tmp_path, data):
    path = tmp_path / "any.csv"
    path.write_bytes(data)
    try:
        one(tmp_path, paths=[path], block_bytes=16)
    except DataError as error:
        assert error.fix and str(path) in str(error)


def test_nothing_is_left_in_the_scratch_folder(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "a.csv").write_text("x\n" + "1\n" * 1000)
    rows = ingest_csv([Source(str(tmp_path / "a.csv"), SingleSplit("all"))], scratch=scratch)
    assert sum(batch.num_rows for _, batch in rows) == 1000
    assert not list(scratch.iterdir())
    assert math.isclose(rows.report.rows["all"], 1000)
