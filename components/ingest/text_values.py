"""Turns a column of text into a column of values, when all of its cells are of one family of types.

| family | types, each wider than the one before  | text                                                               |
|--------|----------------------------------------|--------------------------------------------------------------------|
| number | int64, float64                         | `-12`, `1.5`, `.5`, `1e-3`, `+4`, `nan`, `inf`; `05` but not `007` |
| bool   | bool                                   | `true`, `True`, `TRUE`, `false`, `False`, `FALSE`                  |
| time   | date32, timestamp[us], timestamp[ns]   | `2013-01-31`, `2013-01-31 10:00`, `2013-01-31T10:00:00.125`        |
| zoned  | timestamp[us, UTC], timestamp[ns, UTC] | the same with `Z` or `+01:00`                                      |

Spaces and tabs around such a cell do not count. Two decisions where reading as a number loses what was written: a
number of three or more digits that begins with 0 is an identifier (zip code `02134`, agent `007`), of two digits it
is a number (month `01`); and an integer that does not fit int64 is an identifier, since float64 would round it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from headrace.components.ingest.text_cells import TextCells

Mask = npt.NDArray[np.bool_]

LADDERS: dict[str, tuple[pa.DataType, ...]] = {
    "number": (pa.int64(), pa.float64()),
    "bool": (pa.bool_(),),
    "time": (pa.date32(), pa.timestamp("us"), pa.timestamp("ns")),
    "zoned": (pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC")),
}
BOOLS = pa.array(["true", "True", "TRUE", "false", "False", "FALSE"])

_INT = r"[+-]?(?:[0-9]|0[0-9]|[1-9][0-9]*)"
_FLOAT = r"[+-]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_WORDS = r"[+-]?(?i:nan|inf|infinity)"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[T ][0-9]{2}(?::[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)?"
_ZONE = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
SHAPES = {
    "number": f"^(?:{_INT}|{_FLOAT}|{_WORDS})$",
    "time": f"^{_DATE}(?:{_CLOCK})?$",
    "zoned": f"^{_DATE}{_CLOCK}{_ZONE}$",
}
_SHAPES = {family: re.compile(shape) for family, shape in SHAPES.items()}
_BOOL_TEXTS = frozenset(BOOLS.to_pylist())
_BIG_DIGITS = 19
_ZERO, _NINE, _MINUS, _PLUS, _SPACE, _TAB = (np.uint8(ord(mark)) for mark in "09-+ \t")
# The first two bytes, as a little-endian number, of cells that may be a number, a bool or a time.
_MAY_BEGIN = np.zeros(1 << 16, dtype=bool)
for _first in b"0123456789+-. \t":
    _MAY_BEGIN[_first::256] = True
for _pair in (b"tr", b"Tr", b"TR", b"fa", b"Fa", b"FA", b"na", b"nA", b"Na", b"NA", b"in", b"iN", b"In", b"IN"):
    _MAY_BEGIN[int.from_bytes(_pair, "little")] = True
# The same of numbers that begin with 0 and go on before any point or exponent, and of signed ones.
_ZERO_FIRST = np.zeros(1 << 16, dtype=bool)
for _second in b"0123456789xX":
    _ZERO_FIRST[int.from_bytes(bytes((ord("0"), _second)), "little")] = True
for _sign in b"+-":
    _ZERO_FIRST[int.from_bytes(bytes((_sign, ord("0"))), "little")] = True


class Parsed(NamedTuple):
    """A column's values and the narrowest rung of its family's ladder that takes them all."""

    family: str
    rung: int
    values: pa.Array


def with_nulls(text: pa.Array, missing: Mask) -> pa.Array:
    """The same text with the given cells null.

    Args:
        text: String array of n cells without nulls or offset.
        missing: n flags.
    """
    nulls = int(missing.sum())
    if not nulls:
        return text
    valid = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(text.type, len(text), [valid, *text.buffers()[1:]], null_count=nulls)


def parse_values(text: pa.Array, cells: TextCells, first: int) -> Parsed | None:
    """The values of a column all of whose present cells are of one family; None if there is no such family.

    Args:
        text: String array of n cells, the missing ones null, at least one present.
        cells: The same cells' bytes.
        first: Index of the first present cell.

    >>> text = pa.array(["1", "2.5"])
    >>> parse_values(text, TextCells(text), 0).values.to_pylist()
    [1.0, 2.5]
    """
    family = _shape_of(text[first].as_py())
    if family is None:
        return None
    found = _parse_family(text, cells, family)
    if found is None and _is_padded(text, cells):
        bare = bare_text(text)
        found = _parse_family(bare, TextCells(bare), family)
    return found


def parses(distinct: pa.Array, family: str) -> Mask:
    """Which texts are of a family.

    Args:
        distinct: String array of n texts, best distinct ones, none null.

    >>> parses(pa.array(["7", "007", "1e3", "x"]), "number").tolist()
    [True, False, True, False]
    """
    bare = bare_text(distinct)
    if family == "bool":
        return np.asarray(pc.is_in(bare, BOOLS))
    fine = np.array(pc.match_substring_regex(bare, SHAPES[family]))
    shaped = np.flatnonzero(fine)
    candidates = bare.take(pa.array(shaped))
    if family == "number":
        integers = np.asarray(pc.match_substring_regex(candidates, r"^[+-]?[0-9]+$"))
        fine[shaped[integers]] = castable(candidates.filter(pa.array(integers)), pa.int64())
    else:
        # Nanoseconds end in 2262; later days are whole microseconds.
        *_, micro, nano = LADDERS[family]
        exact = castable(candidates, nano)
        exact[~exact] = castable(candidates.filter(pa.array(~exact)), micro)
        fine[shaped] = exact
    return fine


def castable(text: pa.Array, kind: pa.DataType) -> Mask:
    """Which texts Arrow reads as a type; few that it does not cost few casts, by bisection."""
    fine = np.ones(len(text), dtype=bool)

    def mark(start: int, stop: int) -> None:
        try:
            text.slice(start, stop - start).cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            if stop - start == 1:
                fine[start] = False
                return
            middle = (start + stop) // 2
            mark(start, middle)
            mark(middle, stop)

    if len(text):
        mark(0, len(text))
    return fine


def bare_text(text: pa.Array) -> pa.Array:
    """Without spaces and tabs around, and without the plus sign of a number, neither of which Arrow reads."""
    bare = pc.utf8_trim(text, " \t")
    return pc.replace_substring_regex(bare, r"^\+([0-9.nNiI])", r"\1")


def may_parse(cells: TextCells) -> Mask:
    """Which cells begin like a number, a bool or a time; the others are none. Cheap enough for every cell."""
    return _MAY_BEGIN[cells.first.astype(np.uint16)]


def _shape_of(value: str) -> str | None:
    """The family that a cell looks like; whether it is one is left to the cast."""
    bare = value.strip(" \t")
    if bare in _BOOL_TEXTS:
        return "bool"
    return next((family for family, shape in _SHAPES.items() if shape.match(bare)), None)


def _parse_family(text: pa.Array, cells: TextCells, family: str) -> Parsed | None:
    if family == "number":
        return _numbers(text, cells)
    if family == "bool":
        known = pc.is_in(text, BOOLS, skip_nulls=True)
        if pc.sum(known).as_py() != len(text) - text.null_count:
            return None
        return Parsed(family, 0, text.cast(pa.bool_()))
    for rung, kind in enumerate(LADDERS[family]):
        try:
            return Parsed(family, rung, text.cast(kind))
        except pa.ArrowInvalid:
            continue
    return None


def _numbers(text: pa.Array, cells: TextCells) -> Parsed | None:
    suspects = _identifiers(cells)
    if suspects is not None and bool((suspects & ~_null_mask(text)).any()):
        return None
    try:
        return Parsed("number", 0, text.cast(pa.int64()))
    except pa.ArrowInvalid:
        pass
    if _is_padded(text, cells):
        return None
    try:
        values = text.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    # Arrow reads C's NaN with a payload, "nan(1)", as a number.
    if bool((np.asarray(pc.fill_null(pc.is_nan(values), False)) & (cells.lengths > len("-nan"))).any()):
        return None
    long = np.flatnonzero((cells.lengths >= _BIG_DIGITS) & ~_null_mask(text))
    if len(long):
        digits = pc.match_substring_regex(text.take(pa.array(long)), r"^[+-]?[0-9]+$")
        if not castable(text.take(pa.array(long)).filter(digits), pa.int64()).all():
            return None
    return Parsed("number", 1, values)


def _identifiers(cells: TextCells) -> Mask | None:
    """Cells that begin with 0 and a digit and have three digits or more, or with 0x, which Arrow reads as a number."""
    suspects = _ZERO_FIRST.take(cells.first.astype(np.uint16))
    if not suspects.any():
        return None
    leading = cells.first_bytes()
    signed = (leading == _MINUS) | (leading == _PLUS)
    words = np.where(signed, cells.first >> np.uint64(8), cells.first)
    second = (words >> np.uint64(8)).astype(np.uint8)
    digits = (second >= _ZERO) & (second <= _NINE) & (cells.lengths - signed > 2)
    hexadecimal = (second | np.uint8(0x20)) == np.uint8(ord("x"))
    found: Mask = suspects & (words.astype(np.uint8) == _ZERO) & (digits | hexadecimal)
    return found


def _is_padded(text: pa.Array, cells: TextCells) -> bool:
    """Whether a cell begins or ends with a space or tab, or begins with a plus sign."""
    if not len(cells.data) or not cells.lengths.any():
        return False
    ends = cells.data[np.maximum(cells.starts + cells.lengths - 1, 0)]
    leading = cells.first_bytes()
    outer = (leading == _SPACE) | (leading == _TAB) | (leading == _PLUS) | (ends == _SPACE) | (ends == _TAB)
    return bool((outer & (cells.lengths > 0) & ~_null_mask(text)).any())


def _null_mask(text: pa.Array) -> Mask:
    return np.asarray(text.is_null()) if text.null_count else np.zeros(len(text), dtype=bool)
