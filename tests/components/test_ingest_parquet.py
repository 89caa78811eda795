"""Parquet ingestion: row groups in order, schemas over files, splits that follow the values' text."""

from __future__ import annotations

import datetime
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headrace.components.ingest.csv_ingest import Source, ingest_csv
from headrace.components.ingest.parquet_ingest import _wider, ingest_parquet
from headrace.components.ingest.splits import SingleSplit, split_rule
from headrace.pipelines.errors import DataError

DAY = datetime.date(2020, 1, 1)


def read(folder, *tables: pa.Table, rule=None, **write):
    sources = []
    for place, table in enumerate(tables):
        path = str(folder / f"part-{place}.parquet")
        pq.write_table(table, path, **write)
        sources.append(Source(path, rule or SingleSplit("all")))
    rows = ingest_parquet(sources)
    parts = {split: [] for split in rows.splits}
    for split, batch in rows:
        assert batch.schema == rows.schema
        parts[split].append(batch)
    found = {split: pa.Table.from_batches(batches, rows.schema) for split, batches in parts.items()}
    assert rows.report.rows == Counter({split: table.num_rows for split, table in found.items() if table.num_rows})
    return found


def test_rows_come_in_order_whatever_the_row_groups(tmp_path):
    table = pa.table(
        {"x": list(range(5000)), "s": [f"name {i}" for i in range(5000)], "l": [[i, None] for i in range(5000)]}
    )
    assert read(tmp_path, table.slice(0, 1999), table.slice(1999), row_group_size=300)["all"].equals(table)


def test_columns_in_any_order_and_widening_types(tmp_path):
    one = pa.table(
        {"i": pa.array([1, None], pa.int32()), "d": [DAY, None], "n": pa.nulls(2), "c": pa.array(["a", "b"])}
    )
    two = pa.table(
        {
            "c": pa.array(["c"]).dictionary_encode(),
            "n": ["text"],
            "d": pa.array([datetime.datetime(2020, 1, 2, 3)], pa.timestamp("ms")),
            "i": [0.5],
        }
    )
    table = read(tmp_path, one, two)["all"]
    assert [str(kind) for kind in table.schema.types] == ["double", "timestamp[ms]", "string", "string"]
    assert table["i"].to_pylist() == [1.0, None, 0.5]
    assert table["n"].to_pylist() == [None, None, "text"] and table["c"].to_pylist() == ["a", "b", "c"]
    assert table["d"].to_pylist()[::2] == [datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 2, 3)]


KINDS = [
    pa.null(), pa.bool_(), pa.int8(), pa.int64(), pa.uint8(), pa.uint32(), pa.uint64(), pa.float32(), pa.float64(),
    pa.date32(), pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.string(), pa.large_string(),
    pa.binary(), pa.list_(pa.int64()),
]  # fmt: skip


@pytest.mark.parametrize("one", KINDS, ids=str)
@pytest.mark.parametrize("other", KINDS, ids=str)
def test_widening_is_symmetric_and_takes_both(one, other):
    wide = _wider(one, other)
    assert wide == _wider(other, one)
    if wide is not None:
        for kind in (one, other):
            pa.array([], kind).cast(wide)
            assert _wider(kind, wide) == wide
    assert (wide is None) == (_wider(wide, other) is None if wide is not None else True)


def test_a_file_that_widens_a_column_moves_no_row(tmp_path):
    rule = split_rule({"train": 1, "eval": 1})
    ints = pa.table({"x": pa.array(range(500), pa.int32()), "y": [str(i) for i in range(500)]})
    alone = {split: set(table["x"].to_pylist()) for split, table in read(tmp_path, ints, rule=rule).items()}
    more = read(tmp_path, ints, pa.table({"y": ["a"], "x": [0.25]}), rule=rule)
    for split, table in more.items():
        assert {x for x in table["x"].to_pylist() if x != 0.25} == alone[split]


def test_the_same_rows_are_split_as_in_csv(tmp_path):
    rule = split_rule({"train": 1, "eval": 1})
    table = pa.table(
        {
            "i": list(range(300)),
            "s": [f"name {i}" if i % 7 else None for i in range(300)],
            "b": [["true", "false"][i % 2] for i in range(300)],
            "d": [str(DAY + datetime.timedelta(days=i)) for i in range(300)],
        }
    )
    path = tmp_path / "a.csv"
    table.to_pandas().to_csv(path, index=False)
    from_csv = {"train": [], "eval": []}
    for split, batch in ingest_csv([Source(str(path), rule)], scratch=tmp_path):
        from_csv[split] += batch["i"].to_pylist()
    typed = table.set_column(2, "b", table["b"].cast(pa.bool_())).set_column(3, "d", table["d"].cast(pa.date32()))
    for split, part in read(tmp_path, typed, rule=rule).items():
        assert part["i"].to_pylist() == from_csv[split]


def test_errors(tmp_path):
    a = pa.table({"x": [1], "y": ["a"]})
    with pytest.raises(DataError, match=r"part-0.parquet has this column, this file has not") as caught:
        read(tmp_path, a, a.drop(["y"]))
    assert caught.value.column == "y" and caught.value.file.endswith("part-1.parquet")
    with pytest.raises(DataError, match=r"is string here and int64 in .*part-0") as caught:
        read(tmp_path, a, pa.table({"x": ["1"], "y": ["a"]}))
    assert caught.value.column == "x"
    with pytest.raises(DataError, match="two columns have one name"):
        read(tmp_path, pa.table([[1], [2]], names=["x", "x"]))
    with pytest.raises(DataError, match="there are no rows"):
        read(tmp_path, a.slice(0, 0))
    rule = split_rule(split_by_time="d", boundaries=["2020-01-01"])
    with pytest.raises(DataError, match="has no date") as caught:
        read(tmp_path, pa.table({"d": [DAY, DAY, None]}), rule=rule, row_group_size=1)
    assert (caught.value.row, caught.value.column) == (3, "d")
    with pytest.raises(DataError, match="split_by_time names no column"):
        read(tmp_path, a, rule=rule)
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 not at all")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        ingest_parquet([Source(str(broken), SingleSplit("all"))])
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"x": list(range(10_000))}), whole)
    data = bytearray(whole.read_bytes())
    data[10:4000] = bytes(3990)
    broken.write_bytes(data)
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        list(ingest_parquet([Source(str(broken), SingleSplit("all"))]))
    with pytest.raises(DataError, match="cannot be opened"):
        ingest_parquet([Source(str(tmp_path / "gone.parquet"), SingleSplit("all"))])


def test_remote_files(tmp_path):
    import fsspec

    with fsspec.filesystem("memory").open("/ingest/a.parquet", "wb") as out:
        pq.write_table(pa.table({"x": [1, 2]}), out)
    rows = ingest_parquet([Source("memory://ingest/a.parquet", SingleSplit("all"))])
    assert [batch.to_pydict() for _, batch in rows] == [{"x": [1, 2]}]
