"""Passes over row groups: both engines, any sharding, one read for several summaries."""

from __future__ import annotations

import subprocess
import sys
import threading

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from headrace.transforms.passes import run_pass
from headrace.transforms.row_groups import RowGroup, read, row_groups


class Sum:
    """Sums a column and keeps the row order, so that a wrong merge order shows."""

    def __init__(self, column="x"):
        self.column = column

    def create(self):
        return (0, [])

    def summarize(self, batch):
        if batch.num_rows and batch[self.column][0].as_py() == -1:
            raise ValueError("row group with -1")
        return (pc.sum(batch[self.column]).as_py() or 0, [batch[self.column][0].as_py()])

    def merge(self, left, right):
        return (left[0] + right[0], left[1] + right[1])

    def finish(self, summary):
        return {"sum": summary[0], "firsts": summary[1]}


@pytest.fixture
def groups(tmp_path):
    path = tmp_path / "part.parquet"
    pq.write_table(pa.table({"x": range(1000), "y": [float(i) for i in range(1000)]}), path, row_group_size=70)
    return row_groups([path])


@pytest.mark.parametrize("engine", ["direct", "beam"])
def test_a_pass_merges_in_order_and_finishes_once(groups, engine):
    done = []
    result = run_pass(groups, Sum(), engine=engine, on_rows=done.append)
    assert result == {"sum": 499500, "firsts": list(range(0, 1000, 70))}
    assert done[-1] == 1000 and done == sorted(done)


@pytest.mark.parametrize("engine", ["direct", "beam"])
def test_splits_and_several_summarizers_share_one_read(groups, engine):
    result = run_pass(
        {"train": groups[:10], "eval": groups[10:], "none": []}, {"x": Sum("x"), "y": Sum("y")}, engine=engine
    )
    assert list(result) == ["train", "eval", "none"]
    assert result["train"]["x"]["sum"] == result["train"]["y"]["sum"] == sum(range(700))
    assert result["eval"]["x"]["sum"] == sum(range(700, 1000))
    assert result["none"]["x"] == {"sum": 0, "firsts": []}


@pytest.mark.parametrize("engine", ["direct", "beam"])
def test_the_summarizers_own_exception_comes_back(tmp_path, engine):
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"x": [1, 2, -1, 4]}), path, row_group_size=2)
    with pytest.raises(ValueError, match=r"^row group with -1$"):
        run_pass(row_groups([path]), Sum(), engine=engine)


def test_beam_with_several_workers_gives_the_same(groups):
    args = ["--runner=DirectRunner", "--direct_running_mode=multi_threading", "--direct_num_workers=2"]
    assert run_pass(groups, Sum(), beam_args=args)["sum"] == 499500


def test_direct_imports_no_beam(groups):
    code = (
        "import sys; from headrace.transforms.passes import run_pass;"
        "run_pass([], type('N', (), dict(create=lambda s: 0, finish=lambda s, x: x))(), engine='direct');"
        "assert 'apache_beam' not in sys.modules and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_engine_is_refused(groups):
    with pytest.raises(ValueError, match="engine"):
        run_pass(groups, Sum(), engine="spark")


def test_read_gives_the_columns_asked_for_in_their_order(groups):
    batch = read(groups[3], ["y", "x"])
    assert batch.schema.names == ["y", "x"] and batch["x"].to_pylist() == list(range(210, 280))
    with pytest.raises(ValueError, match=r"no column \['z'\]"):
        read(groups[0], ["z"])
    with pytest.raises(ValueError, match="row group 99"):
        read(RowGroup(groups[0].uri, 99, 1))


def test_read_over_fsspec_and_after_the_file_changed(tmp_path):
    for uri in ("memory://row_groups/part.parquet", str(tmp_path / "part.parquet")):
        for values in (["a", "b", None], ["other", "content"]):
            with fsspec.open(uri, "wb") as file:
                pq.write_table(pa.table({"s": values}), file)
            [group] = row_groups([uri])
            assert group.rows == len(values)
            assert read(group).to_pydict() == {"s": values}


def test_read_of_no_rows_keeps_the_schema(tmp_path):
    path = tmp_path / "empty.parquet"
    schema = pa.schema([("a", pa.int64()), ("b", pa.list_(pa.string()))])
    with pq.ParquetWriter(path, schema) as writer:
        writer.write_table(schema.empty_table())
    for group in row_groups([path]):
        assert read(group).schema.equals(schema) and group.rows == 0


def test_read_from_many_threads(groups):
    results = [None] * 8

    def work(i):
        results[i] = [read(group)["x"][0].as_py() for group in groups]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(0, 1000, 70))] * 8
