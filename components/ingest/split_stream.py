"""Splits a stream of typed batches, wherever they come from: what SqlExampleGen does with a query's rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from headrace.components.ingest.ingested import Ingested, IngestReport
from headrace.components.ingest.splits import UNPLACED, SplitRule, TimeSplit
from headrace.pipelines.errors import DataError


def split_stream(batches: Iterable[pa.RecordBatch], schema: pa.Schema, rule: SplitRule, source: str) -> Ingested:
    """Splits batches as they come.

    Args:
        batches: Of the schema's columns.
        schema: Of what is given; dictionary columns become what they encode.
        rule: How to split.
        source: What a message calls the place the rows come from.

    Raises:
        DataError: Two columns have one name, a column that the rule needs is missing, a row has no time to split by,
            or, at the end, there were no rows.

    >>> from headrace.components.ingest.splits import split_rule
    >>> batch = pa.record_batch({"x": list(range(100))})
    >>> rows = split_stream([batch], batch.schema, split_rule(), "query")
    >>> sum(part.num_rows for _, part in rows)
    100
    """
    twice = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if twice is not None:
        raise DataError("two columns have one name", "Give one another name.", file=source, column=twice)
    rule.check(schema.names)
    plain = pa.schema([(field.name, _decoded_type(field.type)) for field in schema])
    report = IngestReport(files=[source])

    def parts() -> Iterator[tuple[str, pa.RecordBatch]]:
        row = 1
        for batch in batches:
            for split, part in split_typed(batch, rule, source, row, plain):
                report.rows[split] += part.num_rows
                yield split, part
            row += batch.num_rows
        if row == 1:
            raise DataError("there are no rows", "Give a source that has rows.", file=source)

    return Ingested(plain, rule.names, parts(), report)


def split_typed(
    batch: pa.RecordBatch, rule: SplitRule, file: str, first_row: int, schema: pa.Schema
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The rows of each split of a typed batch.

    Args:
        batch: n rows.
        rule: How to split them.
        file: What a message calls the place they come from.
        first_row: Number of the first row there, from 1.
        schema: What to give them as: the batch's columns, in any order and as wide or wider.

    Raises:
        DataError: A row has no time to split by.
    """
    numbers = rule.assign(batch)
    if isinstance(rule, TimeSplit) and (numbers == UNPLACED).any():
        index = int(np.argmax(numbers == UNPLACED))
        raise DataError(
            "has no date, time or number to split by",
            "Give every row its time, leave such rows out, or split otherwise.",
            file=file,
            row=first_row + index,
            column=rule.column,
            value=str(batch[rule.column][index].as_py()),
        )
    try:
        columns = [_widened(batch[field.name], field.type) for field in schema]
    except pa.ArrowInvalid as error:
        raise DataError(f"values do not fit the wider type of another file: {error}", "Write one type.", file) from None
    yield from split_batch(pa.record_batch(columns, schema=schema), numbers, rule.names)


def split_batch(
    batch: pa.RecordBatch, numbers: np.ndarray, names: Sequence[str]
) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The rows of each split that has any, in their order.

    Args:
        batch: n rows.
        numbers: n split numbers.
        names: The splits, by number.
    """
    counts = np.bincount(numbers, minlength=len(names))
    for number, name in enumerate(names):
        if counts[number] == batch.num_rows:
            if batch.num_rows:
                yield name, batch
        elif counts[number]:
            yield name, batch.filter(pa.array(numbers == number))


def _decoded_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _widened(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    # An integer above 2**53 among floats is rounded, as everywhere where integers widen to float.
    return column.cast(kind, safe=not pa.types.is_floating(kind))
