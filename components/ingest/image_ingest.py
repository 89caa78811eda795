"""Image files, or the rows of a table with images, to batches by split, in a few threads and bounded memory.

    files or rows of a table --> pieces of a few megabytes --read, decode, split--> batches by split, bad rows

An image stays as the bytes that it is in its file: they are what a client sends, and the graph decodes them. Each is
decoded here once, so that one that cannot be is found now, with its file and row, and not in the middle of a training.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from headrace.components.ingest.csv_rows import BadRow
from headrace.components.ingest.image_check import ImageProblem, Pixels, Shape, check_image
from headrace.components.ingest.ingested import Ingested, IngestReport
from headrace.components.ingest.ordered_map import ordered_map, worker_count
from headrace.components.ingest.quarantine import Quarantine
from headrace.components.ingest.split_stream import split_batch
from headrace.components.ingest.splits import UNPLACED, HashSplit, Numbers, SplitRule, TimeSplit
from headrace.pipelines import storage
from headrace.pipelines.errors import DataError
from headrace.pipelines.file_listing import FileEntry

PIECE_BYTES = 8 << 20
PIECE_ROWS = 1024


@dataclass(frozen=True)
class ImageOptions:
    """What is made of an image.

    Args:
        column: Name of the column of its bytes.
        modes: Pillow's modes that are right; None for any.
        pixels: Shape of the pixels to write beside the bytes; None for no such column.
    """

    column: str = "image"
    modes: Sequence[str] | None = None
    pixels: Shape | None = None

    def fields(self) -> list[pa.Field]:
        """The columns that come of an image."""
        made = [pa.field(self.column, pa.binary())]
        if self.pixels is not None:
            # Not of a fixed size: Parquet readers refuse such lists where one is null.
            made.append(pa.field(f"{self.column}_pixels", pa.list_(pa.uint8())))
        return made


class Place(NamedTuple):
    """Where a row comes from, as a message says it.

    Args:
        file: The image's file, or the table's.
        row: Counted from 1 in the table; None for an image's own file.
        column: Of the table.
        value: The cell, where it is a path.
    """

    file: str
    row: int | None = None
    column: str | None = None
    value: str | None = None


class Cell(NamedTuple):
    """An image of a row: where it is said, and its bytes, its file, why it has none, or nothing of these if missing."""

    place: Place
    data: bytes | None = None
    file: FileEntry | None = None
    problem: ImageProblem | None = None


@dataclass
class Piece:
    """Some rows: their other columns, and of each its image."""

    rule: SplitRule
    columns: pa.RecordBatch
    cells: Sequence[Cell]


@dataclass
class _Done:
    parts: list[tuple[str, pa.RecordBatch]] = field(default_factory=list)
    bad: list[tuple[Place, ImageProblem]] = field(default_factory=list)


def ingest_images(
    pieces: Iterable[Piece],
    schema: pa.Schema,
    splits: Sequence[str],
    options: ImageOptions,
    quarantine: str | Path | None,
    files: Sequence[str],
    workers: int | None = None,
) -> Ingested:
    """Reads, checks and splits images.

    Args:
        pieces: Rows in order, a few megabytes at a time.
        schema: Of the rows' other columns.
        splits: The splits' names.
        options: What is made of an image.
        quarantine: Parquet file for rows whose image is bad, written if there are any; None makes one an error.
        files: What a report calls the files.
        workers: Threads that decode; default one per processor.

    Raises:
        DataError: An image is bad and there is no quarantine; a row has no time to split by; no row is left.
    """
    report = IngestReport(files=list(files))
    aside = Quarantine(quarantine)
    whole = pa.schema([*options.fields(), *schema])

    def batches() -> Iterator[tuple[str, pa.RecordBatch]]:
        try:
            bounded = _bounded(pieces, options.pixels)
            for done in ordered_map(lambda piece: _handle(piece, whole, options), bounded, workers or worker_count()):
                for place, problem in done.bad:
                    _set_aside(aside, place, problem)
                for split, batch in done.parts:
                    report.rows[split] += batch.num_rows
                    yield split, batch
        finally:
            aside.close()
            report.quarantined = aside.count
        if not report.rows.total():
            raise _no_rows(aside, files)

    return Ingested(whole, tuple(splits), batches(), report, aside.close)


class ImageHash:
    """By the hash of the image's bytes, so that the same picture under two names is in one split.

    A row without an image goes by the hash of all its columns.

    Args:
        ratios: Whole number of hash buckets by split.
        column: The image's.
    """

    def __init__(self, ratios: Mapping[str, int], column: str) -> None:
        self._by_image, self._by_row = HashSplit(ratios, (column,)), HashSplit(ratios)
        self.column, self.names = column, tuple(ratios)

    def check(self, columns: Sequence[str]) -> None:
        """Needs no column but the image's own."""

    def assign(self, batch: pa.RecordBatch, cells: Any = None) -> Numbers:
        numbers = self._by_image.assign(batch)
        missing = np.asarray(batch[self.column].is_null())
        if missing.any():
            numbers[missing] = self._by_row.assign(batch.filter(pa.array(missing)))
        return numbers


def pieces_of(rule: SplitRule, columns: pa.RecordBatch, cells: Sequence[Cell]) -> Iterator[Piece]:
    """Rows in pieces of bounded bytes, going by the sizes of the files as they were listed."""
    start = size = 0
    for row, cell in enumerate(cells):
        size += len(cell.data) if cell.data is not None else cell.file.size if cell.file is not None else 0
        if size >= PIECE_BYTES or row + 1 - start >= PIECE_ROWS or row + 1 == len(cells):
            yield Piece(rule, columns.slice(start, row + 1 - start), cells[start : row + 1])
            start, size = row + 1, 0


def _bounded(pieces: Iterable[Piece], shape: Shape | None) -> Iterator[Piece]:
    """The same in pieces whose pixels, too, are of bounded bytes."""
    most = PIECE_ROWS if shape is None else max(1, PIECE_BYTES // (shape.height * shape.width * shape.channels))
    for piece in pieces:
        for start in range(0, len(piece.cells), most):
            yield Piece(piece.rule, piece.columns.slice(start, most), piece.cells[start : start + most])


def _handle(piece: Piece, schema: pa.Schema, options: ImageOptions) -> _Done:
    """Everything that is done to one piece; runs in a worker."""
    done = _Done()
    images: list[bytes | None] = []
    pixels: list[Pixels | None] = []
    kept = np.ones(len(piece.cells), dtype=bool)
    for row, cell in enumerate(piece.cells):
        data, found = _read_and_check(cell, options)
        if isinstance(found, ImageProblem):
            done.bad.append((cell.place, found))
            data, found, kept[row] = None, None, False
        images.append(data)
        pixels.append(found)
    made = [pa.array(images, pa.binary())]
    if options.pixels is not None:
        made.append(_pixel_column(pixels))
    batch = pa.record_batch([*made, *piece.columns.columns], schema=schema).filter(pa.array(kept))
    if batch.num_rows:
        numbers = piece.rule.assign(batch)
        _check_placed(piece, kept, numbers, batch)
        done.parts = list(split_batch(batch, numbers, piece.rule.names))
    return done


def _read_and_check(cell: Cell, options: ImageOptions) -> tuple[bytes | None, Pixels | ImageProblem | None]:
    if cell.problem is not None:
        return None, cell.problem
    data = cell.data
    if cell.file is not None:
        try:
            data = storage.read_bytes(cell.file.path)
        except OSError as error:
            return None, ImageProblem(f"cannot be read: {error}", "Keep input files while a run reads them.")
    return data, None if data is None else check_image(data, options.modes, options.pixels)


def _pixel_column(pixels: Sequence[Pixels | None]) -> pa.Array:
    missing = np.array([one is None for one in pixels])
    flat = [one for one in pixels if one is not None]
    ends = np.cumsum([0, *(0 if one is None else len(one) for one in pixels)], dtype=np.int32)
    return pa.ListArray.from_arrays(
        pa.array(ends),
        pa.array(np.concatenate(flat) if flat else np.empty(0, np.uint8)),
        mask=pa.array(missing) if missing.any() else None,
    )


def _check_placed(piece: Piece, kept: np.ndarray, numbers: Numbers, batch: pa.RecordBatch) -> None:
    if not isinstance(piece.rule, TimeSplit) or not (numbers == UNPLACED).any():
        return
    index = int(np.argmax(numbers == UNPLACED))
    place = piece.cells[int(np.flatnonzero(kept)[index])].place
    raise DataError(
        "has no date, time or number to split by",
        "Give every row its time, leave such rows out, or split otherwise.",
        file=place.file,
        row=place.row,
        column=piece.rule.column,
        value=str(batch[piece.rule.column][index].as_py()),
    )


def _set_aside(aside: Quarantine, place: Place, problem: ImageProblem) -> None:
    text = place.value if place.value is not None else place.file
    aside.add(place.file, place.row, BadRow(0, text.encode(), problem.reason, problem.fix, place.column, place.value))


def _no_rows(aside: Quarantine, files: Sequence[str]) -> DataError:
    if aside.first is not None:
        first = aside.first
        what = f"{first.what}; all {aside.count:,} rows were set aside, none is left"
        return DataError(what, first.fix, first.file, first.row, first.column, first.value)
    return DataError("there are no rows", "Give a source that has rows.", file=", ".join(files[:3]))
