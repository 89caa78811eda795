"""Split rules: ratios, groups, times, and that retyping or reordering moves no row."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest
from headrace.components.ingest.canonical_text import canonical_text
from headrace.components.ingest.split_stream import split_stream
from headrace.components.ingest.splits import UNPLACED, SingleSplit, split_rule
from headrace.pipelines.errors import DataError, PipelineError
from hypothesis import given, settings
from hypothesis import strategies as st


def test_the_ratio_is_kept_and_the_default_is_tfx_s():
    batch = pa.record_batch({"x": pa.array(range(30_000))})
    shares = np.bincount(split_rule({"a": 7, "b": 2, "c": 1}).assign(batch)) / 30_000
    assert np.allclose(shares, [0.7, 0.2, 0.1], atol=0.01)
    assert split_rule().names == ("train", "eval")
    assert abs(split_rule().assign(batch).mean() - 1 / 3) < 0.01


def test_a_group_stays_together_and_alone_decides():
    batch = pa.record_batch({"customer": [str(i % 50) for i in range(2000)], "x": list(range(2000))})
    numbers = split_rule({"train": 1, "eval": 1}, split_by="customer").assign(batch)
    assert {len({numbers[i] for i in range(k, 2000, 50)}) for k in range(50)} == {1}
    assert 0 < numbers.sum() < 2000
    pair = split_rule({"train": 1, "eval": 1}, split_by=["customer", "x"]).assign(batch)
    assert (pair == split_rule({"train": 1, "eval": 1}).assign(batch)).all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-(10**6), 10**6), st.text(max_size=10)), min_size=1, max_size=50), st.randoms())
def test_retyping_reordering_and_resharding_move_no_row(rows, random):
    numbers, texts = [number for number, _ in rows], [text for _, text in rows]
    rule = split_rule({"train": 2, "eval": 1})
    wanted = rule.assign(pa.record_batch({"n": pa.array(numbers, pa.int64()), "t": texts})).tolist()
    for kind in (pa.int32(), pa.float64(), pa.string()):
        column = pa.array(numbers, pa.int64()).cast(kind)
        batch = pa.record_batch({"t": pa.array(texts).dictionary_encode(), "n": column})
        assert rule.assign(batch).tolist() == wanted
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = pa.record_batch({"n": pa.array(numbers).take(pa.array(order)), "t": [texts[i] for i in order]})
    assert rule.assign(shuffled).tolist() == [wanted[i] for i in order]


def test_times_and_numbers_against_boundaries():
    days = [datetime.date(2013, 9, 30), datetime.date(2013, 10, 1), datetime.date(2014, 1, 1), None]
    wanted = [0, 1, 2, UNPLACED]
    rule = split_rule(split_by_time="day", boundaries=["2013-10-01", datetime.date(2013, 12, 1)])
    assert rule.names == ("train", "eval", "test")
    for kind in (pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns"), pa.string()):
        assert rule.assign(pa.record_batch({"day": pa.array(days, pa.date32()).cast(kind)})).tolist() == wanted
    zoned = pa.array(["2013-09-30T23:30:00-01:00", "2013-09-30T23:30:00Z"])
    assert rule.assign(pa.record_batch({"day": zoned})).tolist() == [1, 0]
    assert rule.assign(pa.record_batch({"day": ["2013-10-01T00:00:00Z", "soon", ""]})).tolist() == [1, 255, 255]
    months = split_rule(["early", "late"], split_by_time="month", boundaries=[10])
    for column in (pa.array([9, 10, None]), pa.array([9.5, 10.0, float("nan")]), pa.array(["9", "10", "x"])):
        assert months.assign(pa.record_batch({"month": column})).tolist() == [0, 1, UNPLACED]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"splits": {}}, "splits is {}"),
        ({"splits": {"train": 0}}, "ratio of split 'train' is 0"),
        ({"splits": {"train": 0.8}}, "whole numbers"),
        ({"splits": {"a/b": 1}}, "names a folder"),
        ({"splits": ["train", "eval"]}, "ratio of each split"),
        ({"split_by_time": "day"}, "Give both"),
        ({"split_by_time": "day", "boundaries": "2013-10-01"}, "Give both"),
        ({"boundaries": ["2013-10-01"]}, "Give both"),
        ({"split_by_time": "day", "boundaries": ["2013-10-01"], "split_by": "x"}, "Give one of them"),
        ({"split_by_time": "day", "boundaries": ["2013-10-01", "2012-01-01"]}, "do not ascend"),
        ({"split_by_time": "day", "boundaries": ["October"]}, "no ISO 8601"),
        ({"split_by_time": "day", "boundaries": ["2013-10-01", 5]}, "numbers alone"),
        ({"splits": ["a"], "split_by_time": "day", "boundaries": ["2013-10-01"]}, "make 2 splits"),
    ],
)
def test_contradicting_arguments_are_refused_when_the_rule_is_made(arguments, message):
    with pytest.raises(PipelineError, match=message):
        split_rule(**arguments)


def test_a_column_that_is_not_there():
    with pytest.raises(DataError, match="split_by names no column"):
        split_rule(split_by="customers").check(("customer", "x"))
    with pytest.raises(DataError, match="split_by_time"):
        split_rule(split_by_time="day", boundaries=[1]).check(("month",))
    with pytest.raises(DataError, match="takes dates"):
        split_rule(split_by_time="m", boundaries=["2013-10-01"]).assign(pa.record_batch({"m": [1]}))


def test_a_stream_of_batches_is_split_as_it_comes():
    batches = [pa.record_batch({"k": pa.array(["a", "b", None] * 100).dictionary_encode(), "n": list(range(300))})] * 2
    rule = split_rule({"train": 1, "eval": 1}, split_by="n")
    rows = split_stream(iter(batches), batches[0].schema, rule, "query")
    assert rows.schema.types == [pa.string(), pa.int64()]
    parts = list(rows)
    assert sum(part.num_rows for _, part in parts) == 600 == rows.report.rows.total()
    assert {part.schema for _, part in parts} == {rows.schema}
    with pytest.raises(DataError, match="there are no rows"):
        list(split_stream([], batches[0].schema, rule, "query"))
    timed = split_rule(split_by_time="n", boundaries=[3])
    with pytest.raises(DataError, match="has no date") as caught:
        list(
            split_stream(
                [pa.record_batch({"n": [1, 2]}), pa.record_batch({"n": [3, None]})],
                pa.schema([("n", "int64")]),
                timed,
                "query",
            )
        )
    assert (caught.value.row, caught.value.file) == (4, "query")
    with pytest.raises(DataError, match="two columns"):
        split_stream([], pa.schema([("n", "int64"), ("n", "int64")]), timed, "query")


def test_a_single_split():
    assert SingleSplit("eval").assign(pa.record_batch({"x": [1, 2]})).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array([1, None], pa.int8()), ["1", ""]),
        (pa.array([1.0, 0.1, -0.0, 1e16, 1e300, float("nan"), None]), ["1", "0.1", "0", "1e+16", "1e+300", "nan", ""]),
        (pa.array([1.5], pa.float32()), ["1.5"]),
        (pa.array([True, None]), ["true", ""]),
        (pa.array([datetime.datetime(2020, 1, 2, 3)], pa.timestamp("s")), ["2020-01-02 03:00:00.000000"]),
        (pa.array([datetime.datetime(2020, 1, 2, 3)], pa.timestamp("ns")), ["2020-01-02 03:00:00.000000"]),
        (pa.array([1577934245000], pa.timestamp("ms", "Asia/Tokyo")), ["2020-01-02 03:04:05.000000Z"]),
        (pa.array([datetime.date(2020, 1, 2)]), ["2020-01-02"]),
        (pa.array([[1, 2], None, [], [None]]), ["1,2", "", "", ""]),
        (pa.array([["a"], ["b", "c"]]).slice(1), ["b,c"]),
        (pa.array([[1.5, 2.0]], pa.list_(pa.float64(), 2)), ["1.5,2"]),
        (pa.array([b"\xff", None]), [b"\xff", b""]),
        (pa.array([{"b": 1, "a": None}]), ['{"a": null, "b": 1}']),
        (pa.nulls(2), ["", ""]),
        (pa.array(["a", None, "a"]).dictionary_encode(), ["a", "", "a"]),
    ],
)
def test_the_table_of_texts(values, texts):
    assert canonical_text(values).to_pylist() == texts
