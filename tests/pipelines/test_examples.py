"""Examples: what is written is read back; the semantic digest is of the rows, however they were batched and sharded."""

from __future__ import annotations

import datetime as dt
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from headrace.pipelines import Examples, storage
from headrace.pipelines import examples as module
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SOME = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KINDS = {
    "bool": (pa.bool_(), st.booleans()),
    "int8": (pa.int8(), st.integers(-128, 127)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float32": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "float64": (pa.float64(), st.floats(allow_nan=False)),
    "string": (pa.string(), st.text(max_size=4)),
    "large_string": (pa.large_string(), st.text(max_size=4)),
    "binary": (pa.binary(), st.binary(max_size=4)),
    "date": (pa.date32(), st.dates(dt.date(1900, 1, 1), dt.date(2200, 1, 1))),
    "timestamp": (pa.timestamp("us", "UTC"), st.datetimes(dt.datetime(1900, 1, 1), timezones=st.just(dt.UTC))),
    "decimal": (pa.decimal128(9, 2), st.decimals(-99, 99, places=2)),
    "list": (pa.list_(pa.int32()), st.lists(st.none() | st.integers(-9, 9), max_size=3)),
    "list of strings": (pa.list_(pa.string()), st.lists(st.none() | st.text(max_size=2), max_size=3)),
    "list of lists": (pa.list_(pa.list_(pa.int8())), st.lists(st.lists(st.integers(-9, 9), max_size=2), max_size=2)),
    "list of pairs": (
        pa.list_(pa.struct([("index", pa.int32()), ("value", pa.float32())])),
        st.lists(
            st.none()
            | st.fixed_dictionaries(
                {
                    "index": st.none() | st.integers(0, 9),
                    "value": st.none() | st.floats(width=32, allow_nan=False),
                }
            ),
            max_size=3,
        ),
    ),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["a", "b", ""])),
    "null": (pa.null(), st.none()),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """A few columns of any kinds, with nulls, of up to thirty rows."""
    rows = draw(st.integers(0, 30))
    columns = {}
    for name in draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4, unique=True)):
        kind, values = KINDS[name]
        column = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        columns[name] = (
            pa.array(column, kind) if name != "dictionary" else pa.array(column, pa.string()).dictionary_encode()
        )
    return pa.table(columns)


def write(folder: Path, table: pa.Table, cuts: list[int], *, rows: int = 65_536, shard: int = 1 << 29) -> Examples:
    """Writes rows in the pieces that the cuts make, as slices of one table, in row groups of at most so many rows."""
    examples = Examples(str(folder))
    kept = module.ROW_GROUP_ROWS, module.SHARD_BYTES
    module.ROW_GROUP_ROWS, module.SHARD_BYTES = rows, shard
    try:
        with examples.writer(table.schema) as writer:
            writer.declare("train")
            edges = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
            for begin, end in pairwise(edges):
                for batch in table.slice(begin, end - begin).combine_chunks().to_batches():
                    writer.write("train", batch)
    finally:
        module.ROW_GROUP_ROWS, module.SHARD_BYTES = kept
    examples.commit({})
    return examples


@SOME
@given(table=tables(), cuts=st.lists(st.integers(0, 30), max_size=5), rows=st.integers(1, 9), one=st.booleans())
def test_the_digest_is_of_the_rows_not_of_how_they_were_cut(tmp_path_factory, table, cuts, rows, one):
    whole = write(tmp_path_factory.mktemp("whole"), table, [])
    cut = write(tmp_path_factory.mktemp("cut"), table, cuts, rows=rows, shard=1 if one else 1 << 29)
    assert whole.digest == cut.digest
    assert cut.read("train").equals(table.cast(cut.schema)), "and the rows are the rows"
    assert cut.rows == {"train": table.num_rows}


@SOME
@given(table=tables(), data=st.data())
def test_another_row_is_another_digest(tmp_path_factory, table, data):
    if not table.num_rows:
        return
    before = write(tmp_path_factory.mktemp("before"), table, [])
    row = data.draw(st.integers(0, table.num_rows - 1))
    name = data.draw(st.sampled_from(table.column_names))
    changed = table[name].to_pylist()
    kind, values = KINDS[name]
    changed[row] = data.draw(
        (st.none() | values).filter(lambda value: not same(value, changed[row])) if name != "null" else st.none()
    )
    column = pa.array(changed, pa.string()).dictionary_encode() if name == "dictionary" else pa.array(changed, kind)
    after = write(tmp_path_factory.mktemp("after"), table.set_column(table.column_names.index(name), name, column), [])
    assert (before.digest == after.digest) == (name == "null")


def same(a: object, b: object) -> bool:
    """Equal in bytes: -0.0 is not 0.0."""
    return a == b and str(a) == str(b)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([None, 0], [0, None]),
        ([None], [0]),
        (["", None], [None, ""]),
        (["a", "b"], ["ab", ""]),
        ([[1], [2]], [[1, 2], []]),
        ([[], None], [None, []]),
        ([[None], [1]], [[1], [None]]),
        ([1, 2], [2, 1]),
        ([True, False], [False, True]),
    ],
)
def test_what_looks_alike_is_told_apart(tmp_path, one, other):
    digests = {
        write(tmp_path / str(number), pa.table({"x": pa.array(rows, pa.array([*one, *other]).type)}), []).digest
        for number, rows in enumerate((one, other))
    }
    assert len(digests) == 2


def test_types_and_names_count(tmp_path):
    tables = [
        pa.table({"x": pa.array([1], pa.int32())}),
        pa.table({"x": pa.array([1], pa.int64())}),
        pa.table({"y": pa.array([1], pa.int32())}),
        pa.table({"x": pa.array([1], pa.timestamp("us"))}),
        pa.table({"x": pa.array([1], pa.timestamp("us", "UTC"))}),
    ]
    assert len({write(tmp_path / str(i), table, []).digest for i, table in enumerate(tables)}) == len(tables)


def test_what_lies_in_a_nulls_slot_does_not_count(tmp_path):
    """Arrow keeps a value beside each null bit; it means nothing."""
    validity = pa.py_buffer(bytes([0b01]))
    columns = [
        pa.Array.from_buffers(pa.int32(), 2, [validity, pa.array([7, hidden], pa.int32()).buffers()[1]])
        for hidden in (0, 99)
    ]
    first, second = (write(tmp_path / str(i), pa.table({"x": column}), []) for i, column in enumerate(columns))
    assert first.digest == second.digest


def test_a_dictionary_is_its_values_in_whatever_order(tmp_path):
    one = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int32()), pa.array(["a", "b"]))
    other = pa.DictionaryArray.from_arrays(pa.array([2, 1, None], pa.int32()), pa.array(["unused", "b", "a"]))
    assert one.to_pylist() == other.to_pylist()
    first, second = (write(tmp_path / str(i), pa.table({"x": column}), []) for i, column in enumerate((one, other)))
    assert first.digest == second.digest


def test_splits_are_apart_and_in_order(tmp_path):
    schema = pa.schema([("x", pa.int64())])
    examples = Examples(str(tmp_path / "e"))
    with examples.writer(schema) as writer:
        writer.declare("train", "eval", "empty")
        for number in range(4):
            writer.write("eval" if number % 2 else "train", pa.record_batch({"x": pa.array([number])}))
    examples.commit({})
    again = Examples.open(str(tmp_path / "e"))
    assert again.splits == ["train", "eval", "empty"] and again.rows == {"train": 2, "eval": 2, "empty": 0}
    assert again.read("eval")["x"].to_pylist() == [1, 3]
    assert again.read("empty").schema == schema and again.read("empty").num_rows == 0
    assert set(again.read()) == {"train", "eval", "empty"}
    with pytest.raises(KeyError, match=r"no split 'tran'.*it has train, eval, empty"):
        again.read("tran")


def test_row_groups_are_bounded_by_rows_and_by_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROW_GROUP_ROWS", 100)
    monkeypatch.setattr(module, "ROW_GROUP_BYTES", 10_000)
    narrow = write(tmp_path / "narrow", pa.table({"x": pa.array(range(1_000), pa.int16())}), [], rows=100)
    assert [group.rows for group in narrow.row_groups("train")] == [100] * 10
    wide = write(tmp_path / "wide", pa.table({"x": pa.array(["x" * 1_000] * 95)}), [], rows=100)
    groups = wide.row_groups("train")
    assert sum(group.rows for group in groups) == 95 and all(group.rows <= 10 for group in groups)


def test_columns_are_read_alone(tmp_path):
    examples = write(tmp_path / "e", pa.table({"a": [1, 2], "b": ["x", "y"], "c": [0.5, None]}), [])
    assert examples.read("train", ["c", "a"]).column_names == ["c", "a"]
    assert [batch.num_rows for batch in examples.batches("train", ["b"])] == [2]


def test_another_schema_is_refused(tmp_path):
    writer = Examples(str(tmp_path)).writer(pa.schema([("x", pa.int64())]))
    with pytest.raises(TypeError, match="split 'train' takes rows of"):
        writer.write("train", pa.record_batch({"x": pa.array([1.5])}))


def test_a_writer_that_broke_leaves_no_examples(tmp_path):
    examples = Examples(str(tmp_path / "e"))
    with pytest.raises(ZeroDivisionError), examples.writer(pa.schema([("x", pa.int64())])) as writer:
        writer.write("train", pa.record_batch({"x": pa.array([1])}))
        raise ZeroDivisionError
    assert not storage.exists(storage.join(examples.uri, "examples.json"))
