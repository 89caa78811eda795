r"""Where the rows of a CSV stream end: cuts it into blocks of whole rows, and sets aside rows whose quoting is broken.

The dialect is RFC 4180's with the leniency that the csv module, pandas and Arrow share: a quote opens a quoted cell
only at a cell's start, is doubled inside it, and is a plain character elsewhere; rows end with `\n`, `\r\n` or `\r`;
empty lines are no rows. What those readers accept silently and this refuses: text behind a closing quote, and a quote
that is never closed.

A block without quotes is cut at its last line break. A block whose quotes all stand where the dialect has them
(checked with NumPy) is cut at its last line break outside quotes. Only other blocks are scanned row by row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import BinaryIO, NamedTuple

import numpy as np
from headrace.components.ingest.csv_files import read_some
from headrace.pipelines.errors import DataError

BLOCK_BYTES = 4 << 20
LONGEST_ROW = 64 << 20
_LINE_BREAK = re.compile(rb"\r\n|\n|\r")
_QUOTE, _LF, _CR = b'"'[0], b"\n"[0], b"\r"[0]


class BadRow(NamedTuple):
    """A row that cannot be used.

    Args:
        row: Counted from 0 in its block.
        text: Its bytes without the line break.
        reason: What is wrong, as a sentence without a subject.
        fix: What to do about it.
        column: The column's name, when it is one cell.
        value: That cell.
    """

    row: int
    text: bytes
    reason: str
    fix: str
    column: str | None = None
    value: str | None = None


@dataclass(frozen=True)
class CsvBlock:
    """Whole rows of one file: those with sound quoting, and the others."""

    data: bytes
    bad: tuple[BadRow, ...] = ()


@dataclass
class _Scan:
    """What a row by row scan found: slices of sound rows, broken rows, where the next row begins."""

    sound: list[bytes] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    rows: int = 0
    end: int = 0


class CsvStream:
    """Reads a header, then blocks of whole rows.

    Args:
        label: What to call the file in a message.
        stream: UTF-8 bytes.
        delimiter: One byte.
        block_bytes: About how much to read at a time.

    Raises:
        DataError: No header, or one with an empty or a duplicate name.
    """

    def __init__(self, label: str, stream: BinaryIO, delimiter: str = ",", block_bytes: int = BLOCK_BYTES) -> None:
        self.label, self.stream, self.delimiter, self.block_bytes = label, stream, delimiter.encode(), block_bytes
        self._rest = b""
        self._final = False
        self.names = self._header()
        # A file of old Macs has no line feed at all.
        self.line_end = b"\r" if b"\n" not in self._rest and b"\r" in self._rest else b"\n"

    def __iter__(self) -> Iterator[CsvBlock]:
        while True:
            data, bad, end = self._whole_rows()
            if data or bad:
                yield CsvBlock(data, tuple(bad))
            self._rest = self._rest[end:]
            if self._final and not self._rest:
                return
            if not self._final:
                self._read()

    def _read(self) -> None:
        more = read_some(self.label, self.stream, self.block_bytes)
        self._final = not more
        self._rest += more

    def _whole_rows(self) -> tuple[bytes, list[BadRow], int]:
        """The whole rows at the front of what is read, its broken rows, and where they end."""
        buffer = self._rest
        if _QUOTE not in buffer:
            end = len(buffer) if self._final else buffer.rfind(self.line_end) + 1
        else:
            end = sound_end(buffer, self.delimiter, self.line_end, self._final)
        if end > 0 or (not buffer and self._final):
            return (buffer if end == len(buffer) else buffer[:end]), [], end
        too_long = len(buffer) > LONGEST_ROW
        if end == 0 and not too_long:
            return b"", [], 0
        found = scan_rows(buffer, self.delimiter, self._final, give_up=too_long)
        if found.end == 0 and too_long:
            raise DataError(
                f"has a row longer than {LONGEST_ROW >> 20} MB", "Give a file of comma-separated rows.", file=self.label
            )
        return b"".join(found.sound), found.bad, found.end

    def _header(self) -> tuple[str, ...]:
        while not self._final and len(self._rest) < LONGEST_ROW:
            self._read()
            self._rest = self._rest.removeprefix(b"\xef\xbb\xbf")
            match = row_pattern(self.delimiter).match(self._rest, _first_text(self._rest))
            if match and (match.end() < len(self._rest) or self._final):
                break
        if self._rest[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in self._rest[:64]:
            raise DataError("is not UTF-8: it looks like UTF-16", 'Give encoding="utf-16".', file=self.label)
        start = _first_text(self._rest)
        if start == len(self._rest):
            raise DataError("is empty: it has no header", "Remove the file, or write its header.", file=self.label)
        match = row_pattern(self.delimiter).match(self._rest, start)
        if match is None:
            raise DataError("the header's quotes do not close", "Write the names without quotes.", file=self.label)
        self._rest = self._rest[match.end() :]
        return self._names(match[0])

    def _names(self, line: bytes) -> tuple[str, ...]:
        try:
            names = [_unquoted(cell).decode() for cell in row_cells(line, self.delimiter)]
        except UnicodeDecodeError as error:
            raise DataError(
                f"byte {error.object[error.start]:#04x} in the header is not UTF-8",
                'Give the encoding the file has, e.g. encoding="cp1252".',
                file=self.label,
            ) from None
        for place, name in enumerate(names, start=1):
            if not name.strip():
                index = "; pandas writes its index so: use to_csv(index=False)" if place == 1 and len(names) > 1 else ""
                raise DataError(
                    f"column {place} of the header has no name{index}",
                    "Name every column in the header.",
                    file=self.label,
                )
            if name in names[: place - 1]:
                raise DataError(
                    f"columns {names.index(name) + 1} and {place} of the header have one name",
                    "Give every column its own name.",
                    file=self.label,
                    column=name,
                )
        other = next((mark for mark in ";\t|" if mark != self.delimiter.decode() and mark in names[0]), None)
        if len(names) == 1 and other:
            raise DataError(
                f"the header {names[0]!r} looks delimited by {other!r}", f"Give delimiter={other!r}.", file=self.label
            )
        return tuple(names)


def sound_end(buffer: bytes, delimiter: bytes, line_end: bytes, final: bool) -> int:
    """Where the last whole row ends; 0 for no whole row, -1 if a quote stands where the dialect has none."""
    text = np.frombuffer(buffer, dtype=np.uint8)
    quotes = np.flatnonzero(text == _QUOTE)
    edges = np.zeros(256, dtype=bool)
    edges[[delimiter[0], _LF, _CR, _QUOTE]] = True
    openers, closers = quotes[0::2], quotes[1::2]
    if openers[0] == 0:
        openers = openers[1:]
    before = text[openers - 1]
    # A quote right before an opener is the previous closer: the two are a doubled quote.
    sound = bool(edges[before].all())
    inner = closers[:-1] if len(closers) and closers[-1] == len(buffer) - 1 else closers
    sound = sound and bool(edges[text[inner + 1]].all())
    if not sound or (final and len(quotes) % 2):
        return -1
    if final:
        return len(buffer)
    end = len(buffer)
    while True:
        end = buffer.rfind(line_end, 0, end)
        if end < 0:
            return 0
        before_end = int(np.searchsorted(quotes, end))
        if before_end % 2 == 0:
            return end + 1
        end = int(quotes[before_end - 1])


def scan_rows(buffer: bytes, delimiter: bytes, final: bool, give_up: bool = False) -> _Scan:
    """Goes row by row; a broken row ends at its first line break, so that the rows behind it are not lost.

    Args:
        buffer: Bytes from the start of a row.
        delimiter: One byte.
        final: Nothing follows: a row that does not end is broken, not unfinished.
        give_up: A first row whose quote is still open is broken.
    """
    pattern, found, sound_from = row_pattern(delimiter), _Scan(), 0
    position = 0
    while position < len(buffer):
        match = pattern.match(buffer, position)
        unfinished = match is not None and match.end() == len(buffer) and buffer[-1] not in (_LF, _CR)
        if match is None:
            first = give_up and not position
            unfinished = not _has_line_end(buffer, position) or not (first or _is_broken(buffer, position, delimiter))
        if unfinished and not final:
            break
        if match is None:
            found.sound.append(buffer[sound_from:position])
            end = _line_end(buffer, position)
            text = buffer[position:end].rstrip(b"\r\n")
            found.bad.append(
                BadRow(
                    found.rows,
                    text,
                    "has a quoted cell that does not close before a delimiter or the line's end",
                    'Double the quotes inside a quoted cell ("") and close it, or quarantine such rows.',
                )
            )
            found.rows += 1
            position = sound_from = end
            continue
        found.rows += bool(match[0].strip(b"\r\n"))
        position = match.end()
    found.sound.append(buffer[sound_from:position])
    found.end = position
    return found


def whole_rows(data: bytes, delimiter: bytes) -> Iterator[bytes]:
    """The rows of a block of sound rows, with their line breaks, without empty lines."""
    for match in row_pattern(delimiter).finditer(data):
        if match[0].strip(b"\r\n"):
            yield match[0]


def row_cells(line: bytes, delimiter: bytes) -> list[bytes]:
    """The cells of one sound row as they are written, quotes included."""
    line = line.rstrip(b"\r\n") if not line.endswith(b'"') else line
    return [match[1] for match in _cell_pattern(delimiter).finditer(line)]


@cache
def row_pattern(delimiter: bytes) -> re.Pattern[bytes]:
    """One sound row with its line break; matches nothing where a row's quoting is broken."""
    mark = re.escape(delimiter)
    quoted = rb'"(?:[^"]++|"")*+"(?=[' + mark + rb"\r\n]|\Z)"
    plain = rb'(?!")[^' + mark + rb"\r\n]*+"
    cell = rb"(?:" + quoted + rb"|" + plain + rb")"
    return re.compile(cell + rb"(?:" + mark + cell + rb")*+(?:\r\n|\n|\r|\Z)")


@cache
def _cell_pattern(delimiter: bytes) -> re.Pattern[bytes]:
    mark = re.escape(delimiter)
    return re.compile(rb"(?:\A|" + mark + rb')("(?:[^"]++|"")*+"|(?!")[^' + mark + rb"]*+)")


def _unquoted(cell: bytes) -> bytes:
    return cell[1:-1].replace(b'""', b'"') if cell.startswith(b'"') else cell


def _first_text(buffer: bytes) -> int:
    """Where the first row that is not an empty line begins."""
    return len(buffer) - len(buffer.lstrip(b"\r\n"))


def _line_end(buffer: bytes, start: int) -> int:
    """Behind the first line break from `start`, whether quoted or not."""
    match = _LINE_BREAK.search(buffer, start)
    return match.end() if match else len(buffer)


def _has_line_end(buffer: bytes, start: int) -> bool:
    return _LINE_BREAK.search(buffer, start) is not None


def _is_broken(buffer: bytes, start: int, delimiter: bytes) -> bool:
    """Whether nothing that may follow the buffer makes the row sound: it does not end in a quoted cell still open."""
    mark = re.escape(delimiter)
    closed = rb'(?:"(?:[^"]++|"")*+"(?=' + mark + rb')|(?!")[^' + mark + rb"\r\n]*+)" + mark
    return re.compile(rb"(?:" + closed + rb')*+"(?:[^"]++|"")*+"?\Z').match(buffer, start) is None
