"""Parses a block of CSV rows to columns of text, and finds which cells are null markers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
from headrace.components.ingest.csv_rows import BadRow, CsvBlock, row_cells, whole_rows
from headrace.components.ingest.text_cells import TextCells

Mask = npt.NDArray[np.bool_]


@dataclass
class TextBlock:
    """Rows as text, before anything is known of their types.

    Args:
        columns: m string arrays of n cells, by name, in the file's order.
        rows: The n rows' numbers in their block, from 0.
        bad: Rows that are not among them.
        quoted: Cells that equal a null marker and were written in quotes, by column, where there are any.
    """

    columns: dict[str, pa.Array]
    rows: npt.NDArray[np.int64]
    bad: list[BadRow]
    quoted: dict[str, Mask] = field(default_factory=dict)
    cells: dict[str, TextCells] = field(init=False)

    def __post_init__(self) -> None:
        self.cells = {name: TextCells(column) for name, column in self.columns.items()}

    def batch(self) -> pa.RecordBatch:
        """The text columns as one batch."""
        return pa.record_batch(list(self.columns.values()), names=list(self.columns))

    def line(self, index: int) -> bytes:
        """A row as CSV again; quotes stand only where they are needed."""
        out = io.StringIO()
        csv.writer(out, lineterminator="").writerow([column[index].as_py() for column in self.columns.values()])
        return out.getvalue().encode()

    def without(self, bad: Sequence[tuple[int, BadRow]]) -> TextBlock:
        """The block without some rows, which join its bad ones.

        Args:
            bad: Index among the n rows, and what is wrong with it; the first of several reasons counts.
        """
        reasons: dict[int, BadRow] = {}
        for index, reason in bad:
            reasons.setdefault(index, reason)
        keep = np.ones(len(self.rows), dtype=bool)
        keep[list(reasons)] = False
        mask = pa.array(keep)
        return TextBlock(
            {name: column.filter(mask) for name, column in self.columns.items()},
            self.rows[keep],
            sorted([*self.bad, *reasons.values()], key=lambda row: row.row),
            {name: quoted[keep] for name, quoted in self.quoted.items()},
        )


def parse_block(block: CsvBlock, names: Sequence[str], delimiter: str, markers: Sequence[str]) -> TextBlock:
    """Parses whole rows to text.

    Args:
        block: Rows of sound quoting, and rows already set aside.
        names: The header's m names.
        delimiter: One character.
        markers: The null markers, of which a quoted one is told from a plain one.
    """
    data, bad = _decodable(block, delimiter.encode(), names)
    aside = [row.row for row in bad]
    columns, miscounted, total = _parse(data, names, delimiter)
    numbers = np.delete(np.arange(total + len(aside)), aside) if aside else np.arange(total)
    for number, cells, text in miscounted:
        bad.append(_miscounted(int(numbers[number]), cells, text, names))
    kept = np.delete(numbers, [number for number, _, _ in miscounted]) if miscounted else numbers
    quoted = _quoted_markers(data, names, delimiter, markers)
    return TextBlock(columns, kept, sorted(bad, key=lambda row: row.row), quoted)


def _decodable(block: CsvBlock, delimiter: bytes, names: Sequence[str]) -> tuple[bytes, list[BadRow]]:
    """The rows that are UTF-8, and those that are not with those already set aside."""
    bad = list(block.bad)
    try:
        if not block.data.isascii():
            block.data.decode()
        return block.data, bad
    except UnicodeDecodeError:
        pass
    aside = {row.row for row in bad}
    good: list[bytes] = []
    number = 0
    for line in whole_rows(block.data, delimiter):
        while number in aside:
            number += 1
        try:
            line.decode()
            good.append(line)
        except UnicodeDecodeError as error:
            bad.append(_undecodable(number, line, error, delimiter, names))
        number += 1
    return b"".join(good), sorted(bad, key=lambda row: row.row)


def _undecodable(number: int, line: bytes, error: UnicodeDecodeError, delimiter: bytes, names: Sequence[str]) -> BadRow:
    cells = row_cells(line, delimiter)
    place = next((place for place, cell in enumerate(cells) if not _is_utf8(cell)), None)
    named = place is not None and len(cells) == len(names)
    return BadRow(
        number,
        line.rstrip(b"\r\n"),
        f"byte {line[error.start]:#04x}, the row's {error.start + 1}., is not UTF-8: {error.reason}",
        'Give the encoding the file has, e.g. encoding="cp1252".',
        names[place] if named and place is not None else None,
        cells[place].decode(errors="backslashreplace") if place is not None else None,
    )


def _is_utf8(cell: bytes) -> bool:
    try:
        cell.decode()
    except UnicodeDecodeError:
        return False
    return True


def _miscounted(number: int, cells: int, text: str, names: Sequence[str]) -> BadRow:
    count = f"has {cells} cell{'s' * (cells != 1)}, the header has {len(names)}"
    fix = (
        "Quote cells that contain the delimiter." if cells > len(names) else "Write every cell, empty if it is missing."
    )
    missing = names[cells] if cells < len(names) else None
    return BadRow(number, text.encode(), count, fix, missing)


def _parse(
    data: bytes, names: Sequence[str], delimiter: str, **convert: object
) -> tuple[dict[str, pa.Array], list[tuple[int, int, str]], int]:
    """Text columns; number, cells and text of rows of the wrong length; how many rows there were."""
    miscounted: list[tuple[int, int, str]] = []

    def set_aside(row: pacsv.InvalidRow) -> str:
        miscounted.append((row.number - 1, row.actual_columns, row.text))
        return "skip"

    if data[:1] in (b"", b"\r", b"\n") and not data.strip(b"\r\n"):
        return {name: pa.array([], pa.string()) for name in names}, [], 0
    if data.startswith(b"\xef\xbb\xbf"):
        # Arrow drops a byte order mark at a block's start, where it is a cell's text; an empty line hides it.
        data = b"\n" + data
    table = pacsv.read_csv(
        pa.BufferReader(data),
        read_options=pacsv.ReadOptions(column_names=list(names), use_threads=False, block_size=len(data) + 1),
        parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=set_aside),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), check_utf8=False, **convert
        ),
    )
    columns = {name: _one_chunk(table.column(place)) for place, name in enumerate(table.column_names)}
    return columns, miscounted, table.num_rows + len(miscounted)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _quoted_markers(data: bytes, names: Sequence[str], delimiter: str, markers: Sequence[str]) -> dict[str, Mask]:
    """Cells that equal a marker and are quoted: read a second time only if the block has such bytes anywhere."""
    if b'"' not in data:
        return {}
    suspects = [marker for marker in markers if b'"' + marker.encode() + b'"' in data]
    if not suspects:
        return {}
    read, _, _ = _parse(
        data, names, delimiter, null_values=suspects, strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    quoted = {}
    for name, column in read.items():
        plain = np.asarray(column.is_null())
        text = TextCells(column)
        mask = np.zeros(len(column), dtype=bool)
        for marker in suspects:
            mask |= text.equal(marker.encode())
        mask &= ~plain
        if mask.any():
            quoted[name] = mask
    return quoted
