"""The type of a text column from a mergeable summary of all its rows, and its values by an inferred or a given type."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.components.ingest.text_cells import TextCells
from headrace.components.ingest.text_values import (
    LADDERS,
    Mask,
    bare_text,
    castable,
    may_parse,
    parse_values,
    parses,
    with_nulls,
)
from headrace.pipelines.errors import DataError, PipelineError, Problem

ALMOST_ALL = 0.99
"""From this share of parsing cells on, the others are taken for errors, below it the column for text."""

SHOWN_CELLS = 3
_NO_RUNG = 99
_NANOSECONDS = (pa.timestamp("ns"), pa.timestamp("ns", "UTC"))
_FIRST_NS, _LAST_NS = datetime.datetime(1678, 1, 1), datetime.datetime(2262, 1, 1)
_ALIASES = {
    "int": "int64",
    "integer": "int64",
    "float": "float64",
    "str": "string",
    "boolean": "bool",
    "bytes": "binary",
    "date": "date32",
    "datetime": "timestamp[us]",
    "timestamp": "timestamp[us]",
}


class Cell(NamedTuple):
    """A cell and where it is; the row counts from 1 in its file."""

    file: str
    row: int
    value: str


@dataclass
class ColumnSummary:
    """What a column's cells are, in any part of the rows; parts merge to the whole.

    Args:
        present: Cells that are no null marker.
        quoted: Null markers in quotes.
        parsed: Present cells by the family that they parse as.
        rungs: Per family, the widest rung of its ladder that a part needed.
        others: Per family, the first few present cells that do not parse as it.
        markers: Null markers by their text; a quoted one with its quotes.
        beyond_ns: Whether a time lies outside the years 1678 to 2261 that nanoseconds reach.
        forms: How parts were kept: "text", or the family whose values they are.
    """

    present: int = 0
    quoted: int = 0
    parsed: Counter[str] = field(default_factory=Counter)
    rungs: dict[str, int] = field(default_factory=dict)
    others: dict[str, list[Cell]] = field(default_factory=dict)
    markers: Counter[str] = field(default_factory=Counter)
    beyond_ns: bool = False
    forms: set[str] = field(default_factory=set)

    def merge(self, other: ColumnSummary) -> None:
        """Adds the summary of the rows that follow."""
        self.present += other.present
        self.quoted += other.quoted
        self.parsed.update(other.parsed)
        self.markers.update(other.markers)
        self.forms |= other.forms
        self.beyond_ns |= other.beyond_ns
        for family, rung in other.rungs.items():
            self.rungs[family] = max(rung, self.rungs.get(family, 0))
        for family, cells in other.others.items():
            mine = self.others.setdefault(family, [])
            mine += cells[: SHOWN_CELLS - len(mine)]

    def resolve(self, name: str) -> pa.DataType:
        """The column's type.

        Raises:
            DataError: At least 99 % of the present cells, but not all, parse as one family.
        """
        if not self.present:
            return pa.string() if self.quoted else pa.null()
        for family, count in self.parsed.items():
            if count == self.present:
                ladder, rung = LADDERS[family], self.rungs[family]
                if rung == _NO_RUNG or (self.beyond_ns and ladder[rung] in _NANOSECONDS):
                    return pa.string()
                return ladder[rung]
        if self.parsed:
            family, count = self.parsed.most_common(1)[0]
            if count >= ALMOST_ALL * self.present:
                raise self._almost(name, family)
        return pa.string()

    def needs_text(self, kind: pa.DataType) -> bool:
        """Whether a part was kept as values although the column is text: what was written is then lost."""
        return bool(pa.types.is_string(kind) and self.forms - {"text", "null"})

    def _almost(self, name: str, family: str) -> DataError:
        what = {"number": "numbers", "bool": "true or false", "time": "dates or times", "zoned": "times with a zone"}
        kind = str(LADDERS[family][min(self.rungs.get(family, 0), len(LADDERS[family]) - 1)])
        cells = self.others[family]
        rest = self.present - self.parsed[family]
        return DataError(
            f"{self.parsed[family]:,} of {self.present:,} values are {what[family]}, "
            f"{rest:,} {'is' if rest == 1 else 'are'} not",
            fix=f"If {cells[0].value!r} means missing, add it to null_values; if the column is text, give "
            f'column_types={{"{name}": "string"}}; to set such rows aside, give column_types={{"{name}": "{kind}"}} '
            'and on_bad_row="quarantine".',
            file=cells[0].file,
            row=cells[0].row,
            column=name,
            value=cells[0].value,
            details=tuple(f"    also {cell.file}, row {cell.row:,}: {cell.value!r}" for cell in cells[1:]),
        )


class Missing(NamedTuple):
    """Which cells of a column are null markers.

    Args:
        everywhere: Markers, quoted or not.
        plain: Markers without quotes; missing even in a text column.
        counts: How many of each, a quoted one with its quotes.
    """

    everywhere: Mask
    plain: Mask
    counts: Counter[str]


def find_missing(cells: TextCells, markers: Sequence[str], quoted: Mask | None) -> Missing:
    """Finds the null markers among a column's cells."""
    everywhere = np.zeros(len(cells), dtype=bool)
    counts: Counter[str] = Counter()
    for marker in markers:
        same = cells.equal(marker.encode())
        total = int(np.count_nonzero(same))
        if not total:
            continue
        everywhere |= same
        inside = int(np.count_nonzero(same & quoted)) if quoted is not None else 0
        counts[f'"{marker}"'] += inside
        counts[marker] += total - inside
    plain = everywhere if quoted is None else everywhere & ~quoted
    return Missing(everywhere, plain, +counts)


def infer_part(
    text: pa.Array, cells: TextCells, missing: Missing, *, keep_text: bool = False
) -> tuple[pa.Array, ColumnSummary]:
    """A part of a column as values if all of it parses as one family, else as text; and its summary.

    Args:
        text: String array of n cells.
        cells: The same cells' bytes.
        missing: Its null markers.
        keep_text: The column is known to be text from other parts: parse only to count.

    Returns:
        Values or text with nulls; a summary whose cells have no file yet and rows from 0 in this part.
    """
    summary = ColumnSummary(markers=missing.counts)
    summary.quoted = sum(count for marker, count in missing.counts.items() if marker.startswith('"'))
    present = ~missing.everywhere
    summary.present = int(np.count_nonzero(present))
    if not summary.present:
        summary.forms = {"text" if summary.quoted else "null"}
        return (with_nulls(text, missing.plain) if summary.quoted else pa.nulls(len(text))), summary
    first = int(np.argmax(present))
    found = parse_values(with_nulls(text, missing.everywhere), cells, first)
    if found is None:
        _count_parsing(text, cells, present, summary)
    else:
        summary.parsed[found.family] = summary.present
        summary.rungs[found.family] = found.rung
        cell = _shown(cells, first)
        summary.beyond_ns = found.family in ("time", "zoned") and _is_beyond_ns(found.values)
        summary.others = {family: [cell] for family in LADDERS if family != found.family}
    if found is None or keep_text:
        summary.forms = {"text"}
        return with_nulls(text, missing.plain), summary
    summary.forms = {found.family}
    return found.values, summary


def _count_parsing(text: pa.Array, cells: TextCells, present: Mask, summary: ColumnSummary) -> None:
    """Counts how many cells parse as each family; parses each distinct text once, and only those that may."""
    candidates = np.flatnonzero(may_parse(cells) & present)
    distinct = text.take(pa.array(candidates)).dictionary_encode()
    codes = np.asarray(distinct.indices)
    for family in LADDERS:
        other = present.copy()
        if len(candidates):
            fine = parses(distinct.dictionary, family)[codes]
            count = int(np.count_nonzero(fine))
            if count:
                summary.parsed[family] = count
                other[candidates[fine]] = False
            if count == summary.present:
                summary.rungs[family] = _NO_RUNG
        summary.others[family] = [_shown(cells, int(index)) for index in np.flatnonzero(other)[:SHOWN_CELLS]]


def _is_beyond_ns(values: pa.Array) -> bool:
    if values.type in _NANOSECONDS:
        return False
    ends = pc.min_max(values.cast(pa.timestamp("us")))
    return bool(ends["min"].as_py() < _FIRST_NS or ends["max"].as_py() >= _LAST_NS)


def _shown(cells: TextCells, index: int) -> Cell:
    text = cells.cell(index).decode(errors="backslashreplace")
    return Cell("", index, text if len(text) <= 80 else text[:77] + "...")


def finish_part(part: pa.Array, kind: pa.DataType) -> pa.Array:
    """A kept part of a column in the column's final type, of the same family or text."""
    if part.type == kind:
        return part
    if pa.types.is_null(part.type) or (pa.types.is_string(part.type) and not pa.types.is_string(kind)):
        # Text beside values is a part that has nothing but quoted null markers.
        return pa.nulls(len(part), kind)
    # An integer above 2**53 among floats is rounded, as it would be if its text were read as a float.
    return part.cast(kind, safe=not pa.types.is_floating(kind))


def given_type(name: str, kind: str | pa.DataType) -> pa.DataType:
    """The Arrow type that a user's `column_types` names.

    Raises:
        PipelineError: There is no such type.

    >>> given_type("when", "timestamp[us, tz=UTC]")
    TimestampType(timestamp[us, tz=UTC])
    """
    if isinstance(kind, pa.DataType):
        return kind
    text = _ALIASES.get(kind, kind)
    zoned = re.fullmatch(r"timestamp\[(s|ms|us|ns), tz=([^\]]+)\]", text)
    number = re.fullmatch(r"decimal(?:128)?\((\d+), ?(\d+)\)", text)
    try:
        if zoned:
            return pa.timestamp(zoned[1], zoned[2])
        if number:
            return pa.decimal128(int(number[1]), int(number[2]))
        return pa.type_for_alias(text)
    except ValueError:
        raise PipelineError(
            Problem(
                f"column_types gives {name!r} the type {kind!r}, which is none",
                "Use int64, float64, bool, string, date, timestamp, timestamp[us, tz=UTC] or decimal(10, 2).",
                code="column-type",
            )
        ) from None


def given_part(text: pa.Array, missing: Missing, kind: pa.DataType) -> tuple[pa.Array, np.ndarray]:
    """A column's values in a given type, and the indices of the cells that are not of it (null among the values).

    A given type takes more than inference: `007` as int64 is 7, `5.0` as int64 is 5, `0` and `1` are bools, and a time
    without a zone is taken in the type's zone.
    """
    none = np.array([], dtype=np.intp)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        return with_nulls(text, missing.plain).cast(kind), none
    values = with_nulls(text, missing.everywhere)
    try:
        return values.cast(kind), none
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    distinct = bare_text(values).dictionary_encode()
    texts, codes = distinct.dictionary, distinct.indices
    done = pa.nulls(len(texts), kind)
    for read in _readings(kind):
        open_ = np.asarray(done.is_null())
        left = texts.filter(pa.array(open_))
        fine = castable(left, read)
        chosen = np.flatnonzero(open_)[fine]
        if len(chosen):
            parsed = _as_kind(left.filter(pa.array(fine)).cast(read), kind)
            done = pc.replace_with_mask(done, _mask(chosen, len(texts)), parsed)
    array = done.take(codes)
    bad = np.flatnonzero(np.asarray(array.is_null()) & ~missing.everywhere)
    return array, bad


def _readings(kind: pa.DataType) -> tuple[pa.DataType, ...]:
    """As what a text may be read on its way to a type, the most direct first."""
    if pa.types.is_integer(kind):
        return (kind, pa.float64())
    if pa.types.is_timestamp(kind) and kind.tz:
        return (kind, pa.timestamp(kind.unit))
    return (kind,)


def _as_kind(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if values.type == kind:
        return values
    if pa.types.is_timestamp(kind):
        return pc.assume_timezone(values, kind.tz, ambiguous="earliest", nonexistent="earliest")
    whole = pc.if_else(pc.equal(pc.floor(values), values), values, pa.scalar(None, values.type))
    fits = pc.if_else(pc.less(pc.abs(whole), 2.0**53), whole, pa.scalar(None, values.type))
    return fits.cast(kind, safe=False)


def _mask(chosen: np.ndarray, size: int) -> pa.Array:
    mask = np.zeros(size, dtype=bool)
    mask[chosen] = True
    return pa.array(mask)


def parse_types(types: Mapping[str, str | pa.DataType]) -> dict[str, pa.DataType]:
    """Every type of a user's `column_types`."""
    return {name: given_type(name, kind) for name, kind in types.items()}
