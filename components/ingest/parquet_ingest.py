"""Parquet files to batches by split, row group by row group.

The schema comes from the files' footers, before any row is read. The files' columns may stand in any order. A column
may have another type in another file where one of the two takes all values of the other: null to anything, integers
to wider ones or to float64, float32 to float64, date to timestamp, a coarser timestamp to a finer one of the same
zone, string to large_string. Other differences are errors. Dictionary columns become what they encode.

Rows are split by the text of their values as they are in their own file (`canonical_text`), so that a file that
widens a column moves no row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
from headrace.components.ingest.csv_files import open_binary
from headrace.components.ingest.csv_ingest import Source
from headrace.components.ingest.ingested import Ingested, IngestReport
from headrace.components.ingest.ordered_map import ordered_map, worker_count
from headrace.components.ingest.split_stream import split_typed
from headrace.pipelines.errors import DataError

BATCH_ROWS = 32_768
# Of rows with images so many would be gigabytes.
BATCH_BYTES = 64 << 20
_UNITS = ("s", "ms", "us", "ns")


def ingest_parquet(sources: Sequence[Source], *, workers: int | None = None) -> Ingested:
    """Reads Parquet files as batches by split.

    Args:
        sources: Files in order, each with the rule that splits its rows.
        workers: Threads that split; default one per processor.

    Returns:
        The widened schema, in the first file's column order, and the batches in the order of the rows.

    Raises:
        DataError: A file is not Parquet or damaged, lacks a column, or has another type that does not widen;
            duplicate column names; a row without the time that splits it; no rows.

    >>> import tempfile, pathlib
    >>> from headrace.components.ingest.splits import split_rule
    >>> path = str(pathlib.Path(tempfile.mkdtemp()) / "a.parquet")
    >>> pq.write_table(pa.table({"x": [1, 2, 3]}), path)
    >>> sum(batch.num_rows for _, batch in ingest_parquet([Source(path, split_rule())]))
    3
    """
    if not sources:
        raise DataError("there are no files to read", "Give at least one.")
    report = IngestReport(files=[source.path for source in sources])
    schema, rows = _common_schema(sources)
    if not rows:
        raise DataError("there are no rows", "Give files that have rows.", file=", ".join(report.files[:3]))
    names = tuple(dict.fromkeys(name for source in sources for name in source.rule.names))

    def split(job: _Job) -> list[tuple[str, pa.RecordBatch]]:
        return list(split_typed(job.batch, job.source.rule, job.source.path, job.first_row, schema))

    def batches() -> Iterator[tuple[str, pa.RecordBatch]]:
        for parts in ordered_map(split, _jobs(sources, schema.names), workers or worker_count()):
            for name, part in parts:
                report.rows[name] += part.num_rows
                yield name, part

    return Ingested(schema, names, batches(), report)


class _Job:
    """A batch and where it comes from."""

    def __init__(self, source: Source, batch: pa.RecordBatch, first_row: int) -> None:
        self.source, self.batch, self.first_row = source, batch, first_row


def _jobs(sources: Sequence[Source], names: Sequence[str]) -> Iterator[_Job]:
    for source in sources:
        row = 1
        with _opened(source.path) as file:
            # One row group at a time: asked for all at once, Arrow keeps what it has read ahead of every one.
            for group in range(file.num_row_groups):
                rows = _batch_rows(file.metadata.row_group(group))
                for batch in file.iter_batches(rows, row_groups=[group], columns=list(names)):
                    yield _Job(source, batch, row)
                    row += batch.num_rows


def _batch_rows(group: pq.RowGroupMetaData) -> int:
    """As many rows at a time as are of bounded size, going by the footer."""
    return min(BATCH_ROWS, max(1, BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)))


@contextmanager
def _opened(path: str) -> Iterator[pq.ParquetFile]:
    with open_binary(path) as raw:
        try:
            with pq.ParquetFile(raw, pre_buffer=True) as file:
                yield file
        except (pa.ArrowInvalid, OSError) as error:
            fix = "Read it with CsvExampleGen." if ".csv" in path.lower() else "Fetch or write it again."
            raise DataError(f"cannot be read as Parquet: {error}", fix, file=path) from None


def _common_schema(sources: Sequence[Source]) -> tuple[pa.Schema, int]:
    """The schema that takes every file's rows, and how many rows there are."""
    merged: dict[str, pa.DataType] = {}
    seen: dict[str, str] = {}
    rows = 0
    for place, source in enumerate(sources):
        with _opened(source.path) as file:
            found, rows = file.schema_arrow, rows + file.metadata.num_rows
        twice = [name for name in found.names if found.names.count(name) > 1]
        if twice:
            raise DataError("two columns have one name", "Rename one.", file=source.path, column=twice[0])
        first = sources[0].path
        for here, there, lacking, having in (
            (found.names, merged, source.path, first),
            (merged, found.names, first, source.path),
        ):
            odd = [name for name in there if name not in here] if place else []
            if odd:
                raise DataError(
                    f"{having} has this column, this file has not",
                    "Give every file the same columns, in any order, or read them as different inputs.",
                    file=lacking,
                    column=odd[0],
                )
        source.rule.check(found.names)
        for field in found:
            kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            wide = _wider(merged[field.name], kind) if field.name in merged else kind
            if wide is None:
                raise DataError(
                    f"is {kind} here and {merged[field.name]} in {seen[field.name]}, neither of which takes the other",
                    "Write the files with one type.",
                    file=source.path,
                    column=field.name,
                )
            if merged.get(field.name) != wide:
                merged[field.name], seen[field.name] = wide, source.path
    return pa.schema(list(merged.items())), rows


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that takes the values of both, None if there is none."""
    if one == other:
        return one
    for a, b in ((one, other), (other, one)):
        if pa.types.is_null(a):
            return b
        if pa.types.is_integer(a) and pa.types.is_integer(b):
            return _wider_integer(one, other)
        if pa.types.is_floating(b) and (pa.types.is_integer(a) or pa.types.is_floating(a)):
            return pa.float64()
        if pa.types.is_date(a) and (pa.types.is_date(b) or (pa.types.is_timestamp(b) and b.tz is None)):
            return pa.date32() if pa.types.is_date(b) else b
        if pa.types.is_timestamp(a) and pa.types.is_timestamp(b) and a.tz == b.tz:
            return a if _UNITS.index(a.unit) > _UNITS.index(b.unit) else b
        if pa.types.is_string(a) and pa.types.is_large_string(b):
            return b
        if pa.types.is_binary(a) and pa.types.is_large_binary(b):
            return b
    return None


def _wider_integer(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if pa.types.is_signed_integer(one) == pa.types.is_signed_integer(other):
        return one if one.bit_width >= other.bit_width else other
    signed, unsigned = (one, other) if pa.types.is_signed_integer(one) else (other, one)
    width = max(signed.bit_width, 2 * unsigned.bit_width)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(width, pa.float64())
