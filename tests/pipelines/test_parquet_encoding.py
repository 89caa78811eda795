"""Which columns get a dictionary, and that pyarrow writes those and no other with one."""

from __future__ import annotations

import datetime
import decimal
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from headrace.pipelines.parquet_encoding import dictionary_columns

ROWS = 400
RANDOM = np.random.default_rng(0)
REPEATED = {
    "word": ["Ulm", "Bonn"] * (ROWS // 2),
    "id": RANDOM.integers(0, 50, ROWS),
    "float": RANDOM.integers(0, 9, ROWS).astype(np.float32),
    "half": pa.array(np.ones(ROWS, np.float16)),
    "price": [decimal.Decimal("1.50")] * ROWS,
    "day": [datetime.date(2013, 1, 1)] * ROWS,
    "time": [datetime.datetime(2013, 1, 1)] * ROWS,
    "bytes": [b"\xff"] * ROWS,
    "category": pa.array(["a", "b"] * (ROWS // 2)).dictionary_encode(),
    "with nulls": [None, "x"] * (ROWS // 2),
    "a.b": ["x"] * ROWS,
}
LISTS = {
    "words": [["a", "b"], []] * (ROWS // 2),
    "vector": pa.array([[1.0, 2.0]] * ROWS, pa.list_(pa.float32(), 2)),
    "nested": [[["a"], []]] * ROWS,
}
OTHERS = {
    "measure": RANDOM.normal(size=ROWS),
    "key": np.arange(ROWS),
    "text": [f"text {n}" for n in range(ROWS)],
    "nothing": pa.nulls(ROWS),
    "struct": [{"a": 1}] * ROWS,
    "map": pa.array([[("a", 1)]] * ROWS, pa.map_(pa.string(), pa.int64())),
    "numbers": pa.array([row.tolist() for row in RANDOM.normal(size=(ROWS, 2))]),
}


def test_pyarrow_writes_a_dictionary_for_what_repeats_and_for_nothing_else():
    rows = pa.table(REPEATED | LISTS | OTHERS)
    file = io.BytesIO()
    pq.write_table(rows, file, use_dictionary=dictionary_columns(rows))
    group = pq.ParquetFile(file).metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    with_dictionary = {column.path_in_schema for column in columns if column.has_dictionary_page}
    elements = {"words.list.element", "vector.list.element", "nested.list.element.list.element"}
    assert with_dictionary == {*REPEATED, *elements}
    assert pq.read_table(file).to_pylist() == rows.to_pylist()


def test_no_rows_ask_for_no_more_than_an_empty_dictionary():
    none = pa.table(REPEATED | LISTS | OTHERS).slice(0, 0)
    file = io.BytesIO()
    pq.write_table(none, file, use_dictionary=dictionary_columns(none))
    assert pq.read_table(file).num_rows == 0
