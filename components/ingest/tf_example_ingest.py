"""TFRecord files of `tf.Example`s or `tf.SequenceExample`s to batches by split.

A feature's type is known when all records have been seen: records are decoded twice, which TFX's decoder does at a
million a second. A feature with at most one value a record is a plain column, null where it has none; one with more is
a column of lists. Bytes are text where all of them are UTF-8.

A sequence's feature, with one value a step, is a list over the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.components.ingest.csv_ingest import Source
from headrace.components.ingest.ingested import Ingested, IngestReport
from headrace.components.ingest.ordered_map import ordered_map, worker_count
from headrace.components.ingest.split_stream import split_typed
from headrace.components.ingest.tf_records import read_records
from headrace.pipelines.errors import DataError, MissingExtra

BATCH_RECORDS = 8_192
BATCH_BYTES = 16 << 20
_SEQUENCE = "##SEQUENCE##"
_ONE_TYPE = "Write the feature with one type."

Decode = Callable[[list[bytes]], pa.RecordBatch]


def ingest_tf_examples(sources: Sequence[Source], *, sequences: bool = False, workers: int | None = None) -> Ingested:
    """Reads TFRecord files as batches by split.

    Args:
        sources: Files in order, each with the rule that splits its rows.
        sequences: Whether the records are `tf.SequenceExample`s.
        workers: Threads that decode; default one per processor.

    Returns:
        The schema, columns by name, and the batches in the order of the records.

    Raises:
        DataError: A file is damaged, or no TFRecord file; a record is no example; a feature has another type in another
            record; there are no records.
        MissingExtra: TFX's decoder is not installed.
    """
    if not sources:
        raise DataError("there are no files to read", "Give at least one.")
    decode = _decoder(sequences)
    threads = workers or worker_count()
    report = IngestReport(files=[source.path for source in sources])
    seen: dict[str, _Seen] = {}

    def summarized(job: _Job) -> tuple[_Job, dict[str, _Seen]]:
        return job, {name: _Seen.of(column) for name, column in _decoded(job, decode, sequences).items() if name}

    for job, found in ordered_map(summarized, _jobs(sources), threads):
        for name, one in found.items():
            seen.setdefault(name, _Seen()).merge(one, name, job)
    if not report.files or not seen:
        raise DataError("there are no records with features", "Give files that have some.", file=report.files[0])
    schema = pa.schema([(name, seen[name].type) for name in sorted(seen)])
    for source in sources:
        source.rule.check(schema.names)
    names = tuple(dict.fromkeys(name for source in sources for name in source.rule.names))

    def split(job: _Job) -> list[tuple[str, pa.RecordBatch]]:
        batch = _typed(_decoded(job, decode, sequences), schema)
        return list(split_typed(batch, job.source.rule, job.source.path, job.first, schema))

    def batches() -> Iterator[tuple[str, pa.RecordBatch]]:
        for parts in ordered_map(split, _jobs(sources), threads):
            for name, part in parts:
                report.rows[name] += part.num_rows
                yield name, part

    return Ingested(schema, names, batches(), report)


class _Job(NamedTuple):
    """Some records: where they come from, and the number of the first, from 1."""

    source: Source
    first: int
    records: list[bytes]


def _jobs(sources: Sequence[Source]) -> Iterator[_Job]:
    for source in sources:
        held: list[bytes] = []
        first, size = 1, 0
        for record in read_records(source.path):
            held.append(record)
            size += len(record)
            if len(held) == BATCH_RECORDS or size >= BATCH_BYTES:
                yield _Job(source, first, held)
                first, held, size = first + len(held), [], 0
        if held:
            yield _Job(source, first, held)


def _decoder(sequences: bool) -> Decode:
    try:
        from tfx_bsl.coders import example_coder, sequence_example_coder
    except ModuleNotFoundError as error:
        raise MissingExtra("tft", error.name or "tfx_bsl") from error
    if sequences:
        return sequence_example_coder.SequenceExamplesToRecordBatchDecoder(_SEQUENCE).DecodeBatch  # type: ignore[no-any-return]
    return example_coder.ExamplesToRecordBatchDecoder().DecodeBatch  # type: ignore[no-any-return]


def _decoded(job: _Job, decode: Decode, sequences: bool) -> dict[str, pa.Array]:
    """The columns of some records: lists of values, or nulls."""
    if not sequences and _has_sequences(job.records[0]):
        raise DataError(
            "is a tf.SequenceExample: it has feature_lists",
            'Say payload_format="tf_sequence_example".',
            file=job.source.path,
            row=job.first,
        )
    try:
        batch = decode(job.records)
    except RuntimeError as error:
        raise _malformed(job, decode, str(error)) from None
    columns = dict(zip(batch.schema.names, batch.columns))
    steps = columns.pop(_SEQUENCE, None)
    for name, column in _sequence_columns(steps).items() if steps is not None else ():
        if name in columns:
            raise DataError(
                "is the name of a context feature and of a sequence's", "Rename one.", job.source.path, column=name
            )
        columns[name] = _one_a_step(column, name, job)
    # A batch whose records have no features has no columns, and no rows to count.
    columns[""] = pa.nulls(len(job.records))
    return columns


def _sequence_columns(steps: pa.StructArray) -> dict[str, pa.Array]:
    return {steps.type.field(i).name: steps.field(i) for i in range(steps.type.num_fields)}


def _one_a_step(column: pa.Array, name: str, job: _Job) -> pa.Array:
    """Lists over steps of lists of one value, as lists of values."""
    if pa.types.is_null(column.type) or pa.types.is_null(column.type.value_type):
        return pa.nulls(len(column))
    inner = column.flatten()
    lengths = pc.fill_null(pc.list_value_length(inner), 0).to_numpy(zero_copy_only=False)
    if (lengths != 1).any():
        step = int(np.argmax(lengths != 1))
        row = int(np.searchsorted(np.asarray(column.offsets) - column.offsets[0].as_py(), step, side="right"))
        raise DataError(
            f"has a step with {int(lengths[step])} values: a list of lists is no column",
            "Write one value a step, or a feature for each of them.",
            file=job.source.path,
            row=job.first + row - 1,
            column=name,
        )
    offsets = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(column), 0).to_numpy())])
    mask = column.is_null() if column.null_count else None
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), inner.flatten(), mask=mask)


def _malformed(job: _Job, decode: Decode, said: str) -> DataError:
    kinds: dict[str, pa.DataType] = {}
    for number, record in enumerate(job.records):
        try:
            batch = decode([record])
        except RuntimeError as error:
            what = f"is no example: {error}"
            return DataError(what, "Write it again.", file=job.source.path, row=job.first + number)
        for field in batch.schema:
            if not pa.types.is_null(field.type) and kinds.setdefault(field.name, field.type) != field.type:
                what = f"is {_said(field.type)} here and {_said(kinds[field.name])} in records before"
                return DataError(what, _ONE_TYPE, job.source.path, job.first + number, field.name)
    return DataError(f"records cannot be read together: {said}", "Write them again.", job.source.path, job.first)


def _has_sequences(record: bytes) -> bool:
    """Whether a message has field 2, which a `tf.Example` has not, and a `tf.SequenceExample`'s feature_lists is."""
    place = 0
    while place < len(record):
        tag, place = _varint(record, place)
        if tag & 7 != 2:
            return False
        if tag >> 3 == 2:
            return True
        size, place = _varint(record, place)
        place += size
    return False


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return value, place


@dataclass
class _Seen:
    """What the records so far say of a feature.

    Args:
        kind: Arrow type of its values; None when none was seen.
        most: Values of a record at most.
        text: Whether all bytes are UTF-8.
    """

    kind: pa.DataType | None = None
    most: int = 0
    text: bool = True

    @classmethod
    def of(cls, column: pa.Array) -> _Seen:
        if pa.types.is_null(column.type):
            return cls()
        values = column.flatten()
        most = pc.max(pc.list_value_length(column)).as_py() or 0
        if pa.types.is_null(values.type):
            return cls(most=most)
        return cls(values.type, most, not pa.types.is_large_binary(values.type) or _is_text(values))

    def merge(self, other: _Seen, name: str, job: _Job) -> None:
        """Adds what the records of a job say.

        Raises:
            DataError: The feature is of another type there.
        """
        if self.kind is not None and other.kind is not None and self.kind != other.kind:
            what = f"is {_said(other.kind)} from this record on and {_said(self.kind)} in records before"
            raise DataError(what, _ONE_TYPE, job.source.path, job.first, name)
        self.kind = self.kind or other.kind
        self.most, self.text = max(self.most, other.most), self.text and other.text

    @property
    def type(self) -> pa.DataType:
        """Of the column."""
        kind = self.kind if self.kind is not None else pa.null()
        if pa.types.is_large_binary(kind):
            kind = pa.string() if self.text else pa.binary()
        return pa.list_(kind) if self.most > 1 else kind


def _said(kind: pa.DataType) -> str:
    value = kind.value_type if pa.types.is_large_list(kind) else kind
    return {"large_binary": "bytes_list", "int64": "int64_list", "float": "float_list"}.get(str(value), str(value))


def _is_text(values: pa.Array) -> bool:
    try:
        values.cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def _typed(columns: dict[str, pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    rows = len(columns[""])
    arrays = [_as_column(columns.get(one.name), one.type, rows) for one in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _as_column(column: pa.Array | None, kind: pa.DataType, rows: int) -> pa.Array:
    if column is None or pa.types.is_null(column.type) or pa.types.is_null(kind):
        return pa.nulls(rows, kind)
    if pa.types.is_list(kind):
        return column.cast(kind)
    values = column.flatten()
    present = pc.fill_null(pc.greater(pc.list_value_length(column), 0), False)
    if len(values) == rows:
        return values.cast(kind)
    places = np.cumsum(present.to_numpy(zero_copy_only=False)) - 1
    taken = pc.if_else(present, pa.array(places), pa.scalar(None, pa.int64()))
    return values.take(taken).cast(kind)
