"""SqlExampleGen: tables of every kind, the splits of CsvExampleGen, what is refused, and bounded memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from headrace.components import CsvExampleGen, SqlExampleGen
from headrace.pipelines import FilePattern, Pipeline, PipelineError, PipelineParameter
from headrace.pipelines.errors import DataError

ROWS = "id,carrier,day,x\n" + "".join(
    f"{n},{'AA' if n % 3 else 'UA'},2013-{1 + n % 12:02}-01,{n / 4:g}\n" for n in range(600)
)
NAMES = "carrier,name\nAA,Alpha\nUA,Upsilon\nDL,NA\n"


@pytest.fixture
def flights(tmp_path: Path) -> str:
    path = tmp_path / "flights.csv"
    path.write_text(ROWS)
    return str(path)


def test_a_join_over_tables_of_every_kind(tmp_path, flights):
    (tmp_path / "f.csv.gz").write_bytes(gzip.compress(ROWS.encode()))
    with zipfile.ZipFile(tmp_path / "f.csv.zip", "w") as archive:
        archive.writestr("f.csv", ROWS)
    pq.write_table(pa.csv.read_csv(flights), tmp_path / "f.parquet")
    (tmp_path / "names.csv").write_text(NAMES)
    query = "SELECT id, name, x FROM flights JOIN names USING (carrier) ORDER BY id"
    digests = set()
    for kind in ("f.csv.gz", "f.csv.zip", "f.parquet", "flights.csv"):
        tables = {"flights": str(tmp_path / kind), "names": str(tmp_path / "names.csv")}
        result = SqlExampleGen.call(query=query, tables=tables, splits={"all": 1}, out_dir=tmp_path / "o" / kind)
        assert result.warnings == () and result.examples.rows == {"all": 600}
        digests.add(result.examples.digest)
    assert len(digests) == 1
    assert result.examples.read("all").slice(0, 2).to_pylist() == [
        {"id": 0, "name": "Upsilon", "x": 0.0},
        {"id": 1, "name": "Alpha", "x": 0.25},
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"splits": {"train": 3, "eval": 1}},
        {"split_by": "carrier", "splits": {"train": 1, "eval": 1}},
        {"split_by_time": "day", "boundaries": ["2013-06-01", "2013-09-01"]},
        {"split_by_time": "id", "boundaries": [500], "splits": ["old", "new"]},
    ],
)
def test_the_splits_are_those_of_csv_example_gen(tmp_path, flights, options):
    sql = SqlExampleGen.call(
        query="SELECT * FROM flights ORDER BY id", tables={"flights": flights}, out_dir=tmp_path / "s", **options
    )
    csv = CsvExampleGen.call(input_base=flights, out_dir=tmp_path / "c", **options)
    assert sql.examples.read() == csv.examples.read() and sql.examples.digest == csv.examples.digest


def test_null_values_are_an_argument(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,NA\n-,x\n")
    arguments = {"query": "SELECT * FROM t ORDER BY b", "tables": {"t": str(tmp_path / "t.csv")}, "splits": {"all": 1}}
    default = SqlExampleGen.call(out_dir=tmp_path / "d", **arguments).examples.read("all")
    given = SqlExampleGen.call(out_dir=tmp_path / "g", null_values=["-"], **arguments).examples.read("all")
    assert default.to_pydict() == {"a": ["-", "1"], "b": ["x", None]}
    assert given.to_pydict() == {"a": [1, None], "b": ["NA", "x"]}


def test_a_glob_and_a_window_of_spans_as_tables(tmp_path):
    for span in (1, 2, 3):
        (tmp_path / f"{span}").mkdir()
        (tmp_path / f"{span}" / "t.csv").write_text(f"n\n{span}\n")
    for files, expected in (
        (f"{tmp_path}/*/t.csv", [1, 2, 3]),
        (FilePattern(f"{tmp_path}/{{SPAN}}", window=2), [2, 3]),
    ):
        result = SqlExampleGen.call(
            query="SELECT n FROM t ORDER BY n", tables={"t": files}, splits={"all": 1}, out_dir=tmp_path / str(expected)
        )
        assert result.examples.read("all")["n"].to_pylist() == expected


def test_types_of_sql_are_kept_or_made_plain(tmp_path):
    query = """SELECT 1::UTINYINT AS small, sum(1) AS many, 'a'::VARCHAR AS text, DATE '2013-01-01' AS day,
        TIMESTAMPTZ '2013-01-01 00:00:00+00' AS moment, 1.5::DECIMAL(10, 2) AS money, [1, 2] AS list, 'x'::BLOB AS raw,
        'b'::ENUM ('a', 'b') AS kind ORDER BY 1"""
    found = SqlExampleGen.call(query=query, splits={"all": 1}, out_dir=tmp_path / "o").examples
    types = {field.name: str(field.type) for field in found.schema}
    assert (types["small"], types["text"], types["kind"], types["raw"]) == ("uint8", "string", "string", "binary")
    assert types["many"] == "decimal128(38, 0)" and types["day"] == "date32[day]"
    assert found.read("all").to_pylist()[0]["kind"] == "b"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nope FROM flights", '"nope"'),
        ("SELECT * FROM fligths", "fligths"),
        ("SELECT CASE WHEN id = 599 THEN error('row 599') ELSE id END AS id FROM flights ORDER BY id", "row 599"),
        ("SELECT carrier::INT FROM flights ORDER BY 1", "Could not convert string"),
        ("SELECT id, x AS id FROM flights ORDER BY 1", "two columns have one name"),
        ("SELECT {'a': id} AS pair FROM flights ORDER BY 1", "column 'pair': is struct"),
        ("SELECT * FROM flights WHERE id < 0 ORDER BY id", "there are no rows"),
        ("SELECT 1; SELECT 2", "expected one SELECT, received SELECT, SELECT"),
        ("CREATE TABLE t AS SELECT 1", "expected one SELECT, received CREATE"),
        ("COPY flights TO 'elsewhere.csv'", "expected one SELECT, received COPY"),
        ("", "expected one SELECT, received nothing"),
    ],
)
def test_a_wrong_query_is_a_data_error_and_leaves_no_artifact(tmp_path, flights, query, said):
    with pytest.raises(DataError) as caught:
        SqlExampleGen.call(query=query, tables={"flights": flights}, out_dir=tmp_path / "o")
    assert said in str(caught.value) and "fix:" in str(caught.value)
    assert not (tmp_path / "o" / "examples" / "artifact.json").exists()


def test_a_query_reads_no_file_that_the_cache_does_not_know(tmp_path, flights):
    (tmp_path / "other.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"not declared.*other\.csv"):
        SqlExampleGen.call(
            query=f"SELECT * FROM '{tmp_path}/other.csv' ORDER BY a", tables={"f": flights}, out_dir=tmp_path / "o"
        )


def test_tables_may_lie_behind_a_url(tmp_path, flights):
    memory = fsspec.filesystem("memory")
    memory.put(flights, "/sql/flights.csv")
    with memory.open("/sql/flights.parquet", "wb") as file:
        pq.write_table(pa.csv.read_csv(flights), file)
    expected = SqlExampleGen.call(query="SELECT * FROM t ORDER BY id", tables={"t": flights}, out_dir=tmp_path / "f")
    for kind in ("csv", "parquet"):
        tables = {"t": f"memory://sql/flights.{kind}"}
        found = SqlExampleGen.call(query="SELECT * FROM t ORDER BY id", tables=tables, out_dir=tmp_path / kind)
        assert found.examples.digest == expected.examples.digest
    memory.rm("/sql", recursive=True)


def test_tables_that_cannot_be_read(tmp_path, flights):
    (tmp_path / "bad.parquet").write_bytes(b"PAR1nothing")
    (tmp_path / "bad.csv").write_text("a,b\n1,2,3\n")
    for name, said in (("bad.parquet", "table 't' cannot be read"), ("bad.csv", "row 1")):
        with pytest.raises(DataError, match=said) as caught:
            SqlExampleGen.call(query="SELECT * FROM t", tables={"t": str(tmp_path / name)}, out_dir=tmp_path / "o")
        assert caught.value.file == str(tmp_path / name)
    with pytest.raises(DataError, match="CSV and Parquet"):
        SqlExampleGen.call(query="SELECT * FROM t", tables={"t": str(tmp_path)}, out_dir=tmp_path / "o")
    with pytest.raises(DataError, match="without a table's name"):
        SqlExampleGen.call(query="SELECT * FROM t", tables=flights, out_dir=tmp_path / "o")
    with pytest.raises(DataError, match="memory_limit='lots'"):
        SqlExampleGen.call(query="SELECT 1 AS a ORDER BY 1", memory_limit="lots", out_dir=tmp_path / "o")


@pytest.mark.parametrize(
    ("query", "warned"),
    [
        ("SELECT * FROM f", True),
        ("SELECT * FROM (SELECT * FROM f ORDER BY id) WHERE id > 3", True),
        ("SELECT id, row_number() OVER (ORDER BY id) AS n FROM f", True),
        ("WITH a AS (SELECT * FROM f) SELECT * FROM a /* sorted */ ORDER   BY id", False),
        ("FROM f ORDER BY ALL", False),
    ],
)
def test_an_open_order_is_warned_of(tmp_path, flights, query, warned):
    result = SqlExampleGen.call(query=query, tables={"f": flights}, out_dir=tmp_path / "o")
    assert [("no ORDER BY" in warning) for warning in result.warnings] == [True] * warned


def test_the_cache_knows_query_and_tables(tmp_path, run, flights):
    query = PipelineParameter("query", str, "SELECT * FROM f ORDER BY id")
    gen = SqlExampleGen(query=query, tables={"f": flights}, splits={"all": 1})
    assert run(gen)["SqlExampleGen"].state.value == "succeeded"
    assert run(gen)["SqlExampleGen"].state.value == "cached"
    other = run(gen, parameters={"query": "SELECT * FROM f WHERE id < 10 ORDER BY id"})["SqlExampleGen"]
    assert other.outputs["examples"].rows == {"all": 10} and "parameter query" in other.cache_reason
    Path(flights).write_text(ROWS + "600,AA,2014-01-01,1\n")
    assert run(gen)["SqlExampleGen"].outputs["examples"].rows == {"all": 601}
    assert run(gen, sample=5)["SqlExampleGen"].outputs["examples"].rows == {"all": 5}


def test_contradicting_arguments_are_refused_when_the_pipeline_is_built(tmp_path):
    with pytest.raises(PipelineError, match="split_by_time= without boundaries="):
        Pipeline("p", [SqlExampleGen(query="SELECT 1", split_by_time="d")], root=str(tmp_path))


SPILL = """
import json, pathlib, sys
from headrace.components import SqlExampleGen
def peak():
    # Not getrusage's, which a new process inherits from the one that started it.
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
out = pathlib.Path(sys.argv[1])
def sort(name, rows):
    query = f"SELECT hash(range) AS h, range AS n, md5(range::VARCHAR) AS text FROM range({rows}) ORDER BY h"
    given = {"query": query, "memory_limit": sys.argv[2], "splits": {"all": 1}}
    return SqlExampleGen.call(**given, out_dir=out / name).examples.rows
sort("warm", 1000)
before = peak()
rows = sort("large", 2_000_000)
print(json.dumps({"rows": rows["all"], "grown": peak() - before}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_a_query_larger_than_its_memory_is_spilled(tmp_path):
    """Sorts over 100 MB of rows in 60 MB; with a limit of 2 GB the process grows by 280 MB."""
    command = [sys.executable, "-c", SPILL, str(tmp_path), "60MB"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == 2_000_000 and found["grown"] < 200, found


def test_a_limit_that_is_too_small_says_so(tmp_path):
    query = "SELECT list(range ORDER BY hash(range)) AS l FROM range(3000000) ORDER BY 1"
    with pytest.raises(DataError, match=r"Out of Memory[^?]*memory_limit=\"4GB\""):
        SqlExampleGen.call(query=query, memory_limit="5MB", out_dir=tmp_path / "o")
