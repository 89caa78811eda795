"""Predictions of every row of a split, written as Parquet shards in the rows' order, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
from headrace.pipelines import storage
from headrace.pipelines.parquet_encoding import rows_writer
from headrace.transforms.row_groups import RowGroup, read
from headrace.transforms.serving_model import ServingModel
from numpy.typing import NDArray

SHARD_ROWS = 1 << 22
AHEAD = 2


def prediction_schema(model: ServingModel, columns: Sequence[pa.Field], first: pa.RecordBatch) -> pa.Schema:
    """The columns passed through, then the model's outputs, as the first rows show their types.

    Raises:
        ValueError: An output has the name of a column that is passed through.
    """
    outputs = [pa.field(name, _array(values).type) for name, values in model(first).items()]
    taken = {field.name for field in columns}
    if clash := [field.name for field in outputs if field.name in taken]:
        raise ValueError(
            f"the model's output {clash[0]!r} has the name of a column in output_columns=: leave the column out, or "
            "give the output another name in the Trainer's output_names="
        )
    return pa.schema([*columns, *outputs])


def write_predictions(
    model: ServingModel,
    groups: Sequence[RowGroup],
    passed: Sequence[str],
    schema: pa.Schema,
    folder: str,
    on_rows: Callable[[int], None],
) -> int:
    """Writes a split's shards.

    Args:
        model: The model.
        groups: The split's row groups.
        passed: Columns of the examples to write beside the predictions.
        schema: Of what is written.
        folder: Where to, a folder or URL.
        on_rows: Called with the number of rows of each row group done.

    Returns:
        How many rows were written.
    """
    columns = list(dict.fromkeys([*model.columns(), *passed]))

    def predict(group: RowGroup) -> pa.RecordBatch:
        batch = read(group, columns)
        outputs = model(batch)
        made = [_array(outputs[name]) for name in schema.names[len(passed) :]]
        arrays = [*(batch.column(name) for name in passed), *made]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    shards = _Shards(folder, schema)
    with ThreadPoolExecutor(AHEAD) as pool:
        for batch in _in_order(pool, predict, groups):
            shards.write(batch)
            on_rows(batch.num_rows)
    return shards.close()


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[RowGroup], pa.RecordBatch], groups: Sequence[RowGroup]
) -> Iterator[pa.RecordBatch]:
    """The results in order, with no more than a few row groups in memory."""
    waiting = iter(groups)
    running: deque[Future[pa.RecordBatch]] = deque(pool.submit(function, group) for group in islice(waiting, AHEAD))
    while running:
        yield running.popleft().result()
        running.extend(pool.submit(function, group) for group in islice(waiting, 1))


def _array(values: NDArray[Any]) -> pa.Array:
    """An output as a column: of numbers or strings, or of lists where the model gives several a row."""
    rows = len(values)
    if values.ndim > 1:
        width = int(np.prod(values.shape[1:]))
        return pa.FixedSizeListArray.from_arrays(_array(values.reshape(rows * width)), width)
    if values.dtype == object:
        return pa.array([value.decode("utf-8", "replace") for value in values], pa.string())
    return pa.array(values)


class _Shards:
    """Parquet files of at most `SHARD_ROWS` rows, named in order."""

    def __init__(self, folder: str, schema: pa.Schema) -> None:
        self._folder, self._schema = folder, schema
        self._number, self._in_shard, self._rows = 0, 0, 0
        self._file: Any = None
        self._parquet: Any = None

    def write(self, batch: pa.RecordBatch) -> None:
        if self._parquet is None or self._in_shard >= SHARD_ROWS:
            self._end()
            self._begin(pa.Table.from_batches([batch]))
        if batch.num_rows:
            self._parquet.write_batch(batch, row_group_size=batch.num_rows)
        self._in_shard += batch.num_rows
        self._rows += batch.num_rows

    def close(self) -> int:
        if self._parquet is None:
            self._begin(self._schema.empty_table())
        self._end()
        return self._rows

    def _begin(self, first: pa.Table) -> None:
        self._file = storage.open_file(storage.join(self._folder, f"part-{self._number:05}.parquet"), "wb")
        self._parquet = rows_writer(self._file, self._schema, first)
        self._number, self._in_shard = self._number + 1, 0

    def _end(self) -> None:
        if self._parquet is not None:
            self._parquet.close()
            self._file.close()
            self._parquet = None
