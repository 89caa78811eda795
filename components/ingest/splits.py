"""Which split a row belongs to, for rows from CSV, Parquet or SQL alike.

    split_rule()                                                          train 2 : eval 1 by the hash of the row, as
    in TFX split_rule({"train": 8, "eval": 1, "test": 1})                        by the hash of the row, in this ratio
    split_rule({"train": 8, "eval": 2}, split_by="customer")              all rows of a customer together
    split_rule(split_by_time="day", boundaries=["2013-10-01"])            train before that day, eval from it on
    split_rule(["a", "b", "c"], split_by_time="month", boundaries=[7, 10])

A hash split depends on the text of the row alone (`row_hash`, `canonical_text`): not on its neighbours, file,
position, nor on the order or the type of the columns. Equal rows are in one split. One pattern per split needs no
rule: `SingleSplit`.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from headrace.components.ingest.canonical_text import canonical_text
from headrace.components.ingest.row_hash import hash_rows
from headrace.components.ingest.text_cells import TextCells
from headrace.pipelines.errors import DataError, PipelineError, Problem

UNPLACED = 255
"""What `assign` gives a row that belongs to no split: one without a time."""

DEFAULT_RATIOS = {"train": 2, "eval": 1}
TIME_NAMES = ("train", "eval", "test")

Boundary = str | int | float | datetime.date | datetime.datetime
Numbers = npt.NDArray[np.uint8]


class SplitRule(Protocol):
    """Gives every row of a batch the number of its split."""

    @property
    def names(self) -> tuple[str, ...]:
        """The splits, by number."""

    def check(self, columns: Sequence[str]) -> None:
        """Raises DataError if a column that the rule needs is not there."""

    def assign(self, batch: pa.RecordBatch, cells: Mapping[str, TextCells] | None = None) -> Numbers:
        """The split numbers of n rows, `UNPLACED` for a row that belongs to none.

        Args:
            batch: n rows; text or typed.
            cells: The text of the columns where it is at hand, by name.
        """


@dataclass(frozen=True)
class SingleSplit:
    """Every row is in one split."""

    name: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def check(self, columns: Sequence[str]) -> None:
        """Needs no column."""

    def assign(self, batch: pa.RecordBatch, cells: Mapping[str, TextCells] | None = None) -> Numbers:
        return np.zeros(batch.num_rows, dtype=np.uint8)


@dataclass(frozen=True)
class HashSplit:
    """By the hash of the row's text, or of some columns' text, modulo the sum of the ratios.

    Args:
        ratios: Whole number of hash buckets by split.
        columns: The columns that make a group; empty for the whole row.

    >>> rule = HashSplit({"train": 8, "eval": 2})
    >>> batch = pa.record_batch({"x": pa.array(range(10_000))})
    >>> bool(0.19 < rule.assign(batch).mean() < 0.21)
    True
    """

    ratios: Mapping[str, int]
    columns: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.ratios)

    def check(self, columns: Sequence[str]) -> None:
        for name in self.columns:
            _check_column("split_by", name, columns)

    def assign(self, batch: pa.RecordBatch, cells: Mapping[str, TextCells] | None = None) -> Numbers:
        wanted = self.columns or tuple(batch.schema.names)
        text = {name: (cells or {}).get(name) or TextCells(canonical_text(batch[name])) for name in wanted}
        ends = np.cumsum(list(self.ratios.values()))
        buckets = hash_rows(text) % np.uint64(ends[-1])
        return np.searchsorted(ends, buckets.astype(np.int64), side="right").astype(np.uint8)


@dataclass(frozen=True)
class TimeSplit:
    """By a column's place among ascending boundaries: a row on a boundary is in the later split.

    Args:
        column: A date, timestamp or number column, or ISO 8601 text. A time without a zone counts as UTC.
        names: One more split than there are boundaries, the earliest first.
        boundaries: ISO 8601 texts or dates, or numbers.

    >>> rule = TimeSplit("day", ("train", "eval"), ("2013-10-01",))
    >>> rule.assign(pa.record_batch({"day": ["2013-09-30", "2013-10-01", None]})).tolist()
    [0, 1, 255]
    """

    column: str
    names: tuple[str, ...]
    boundaries: tuple[Boundary, ...]

    def check(self, columns: Sequence[str]) -> None:
        _check_column("split_by_time", self.column, columns)

    def assign(self, batch: pa.RecordBatch, cells: Mapping[str, TextCells] | None = None) -> Numbers:
        if _are_numbers(self.boundaries):
            positions = _numbers_of(batch[self.column])
            edges = np.array(self.boundaries, dtype=np.float64)
        else:
            positions = _microseconds_of(batch[self.column])
            edges = np.array([_microseconds(boundary) for boundary in self.boundaries], dtype=np.int64)
        known = np.asarray(positions.is_valid())
        values = np.asarray(positions.fill_null(0))
        places = np.searchsorted(edges, values, side="right").astype(np.uint8)
        places[~known] = UNPLACED
        return places


def split_rule(
    splits: Mapping[str, int] | Sequence[str] | None = None,
    *,
    split_by: str | Sequence[str] | None = None,
    split_by_time: str | None = None,
    boundaries: Sequence[Boundary] | None = None,
) -> SplitRule:
    """The rule that an ExampleGen's arguments describe.

    Args:
        splits: Ratio of hash buckets by split; for a split by time the names alone, the earliest first. Default:
            train 2, eval 1, the ratio of TFX's ExampleGen; by time train, eval, test.
        split_by: Column, or columns, whose equal values stay together.
        split_by_time: Column to split by time or by number.
        boundaries: Ascending places where the next split begins, e.g. `["2013-10-01"]`.

    Raises:
        PipelineError: The arguments contradict each other.

    >>> split_rule({"train": 3, "eval": 1}).names
    ('train', 'eval')
    """
    if split_by_time is not None or boundaries is not None:
        return _time_rule(splits, split_by, split_by_time, boundaries)
    ratios = DEFAULT_RATIOS if splits is None else splits
    if not isinstance(ratios, Mapping) or not ratios:
        raise _wrong(f"splits is {splits!r}", 'Give the ratio of each split, e.g. {"train": 8, "eval": 2}.')
    for name, ratio in ratios.items():
        if not isinstance(ratio, int) or isinstance(ratio, bool) or ratio < 1:
            raise _wrong(f"the ratio of split {name!r} is {ratio!r}", "Give whole numbers of at least 1.")
    _check_names(tuple(ratios))
    # A dict's order does not survive JSON, and a row's split must not follow from it.
    ratios = {name: ratios[name] for name in in_usual_order(ratios)}
    columns = (split_by,) if isinstance(split_by, str) else tuple(split_by or ())
    return HashSplit(dict(ratios), columns)


def in_usual_order(names: Iterable[str]) -> list[str]:
    """Splits as people name them: train, eval and test first, others by name.

    >>> in_usual_order(["extra", "test", "train"])
    ['train', 'test', 'extra']
    """
    return sorted(names, key=lambda name: (TIME_NAMES.index(name) if name in TIME_NAMES else len(TIME_NAMES), name))


def _time_rule(
    splits: Mapping[str, int] | Sequence[str] | None,
    split_by: str | Sequence[str] | None,
    column: str | None,
    boundaries: Sequence[Boundary] | None,
) -> TimeSplit:
    if column is None or not boundaries or isinstance(boundaries, str):
        raise _wrong(
            f"split_by_time is {column!r} and boundaries is {boundaries!r}",
            'Give both, e.g. split_by_time="day", boundaries=["2013-10-01"].',
        )
    if split_by is not None:
        raise _wrong(f"both split_by={split_by!r} and split_by_time={column!r}", "Give one of them.")
    if isinstance(splits, Mapping):
        raise _wrong(f"splits is {dict(splits)!r} for a split by time", 'List the names: ["train", "eval", ...].')
    names = tuple(splits) if splits is not None else TIME_NAMES[: len(boundaries) + 1]
    if len(names) != len(boundaries) + 1:
        raise _wrong(
            f"{len(boundaries)} boundaries make {len(boundaries) + 1} splits, but the splits are {list(names)}",
            'Name each, the earliest first: splits=["train", "eval", ...].',
        )
    _check_names(names)
    numeric = _are_numbers(tuple(boundaries))
    places = [float(edge) if numeric else _microseconds(edge) for edge in boundaries]  # type: ignore[arg-type]
    if any(later <= earlier for earlier, later in itertools.pairwise(places)):
        raise _wrong(f"boundaries {list(boundaries)} do not ascend", "Give the earliest first.")
    return TimeSplit(column, names, tuple(boundaries))


def _wrong(what: str, fix: str) -> PipelineError:
    return PipelineError(Problem(what, fix, code="splits"))


def _check_names(names: tuple[str, ...]) -> None:
    for name in names:
        if not name or "/" in name or name.startswith("."):
            raise _wrong(f"{name!r} cannot name a split: it names a folder", 'Use names like "train".')
    if len(set(names)) != len(names) or len(names) >= UNPLACED:
        raise _wrong(f"splits {list(names)}", f"Give different names, fewer than {UNPLACED}.")


def _check_column(argument: str, name: str, columns: Sequence[str]) -> None:
    if name not in columns:
        raise DataError(
            f"{argument} names no column: the columns are {', '.join(columns)}", f"Set {argument}.", column=name
        )


def _are_numbers(boundaries: tuple[Boundary, ...]) -> bool:
    return all(isinstance(edge, int | float) and not isinstance(edge, bool) for edge in boundaries)


def _microseconds(boundary: Boundary) -> int:
    """Microseconds since 1970-01-01 UTC of a date, a datetime or ISO 8601 text."""
    if isinstance(boundary, str):
        try:
            boundary = datetime.datetime.fromisoformat(boundary)
        except ValueError:
            raise _wrong(f"boundary {boundary!r} is no ISO 8601 date or time", 'Write it like "2013-10-01".') from None
    if isinstance(boundary, int | float):
        raise _wrong(f"boundary {boundary!r} is a number among dates", "Give numbers alone, or dates alone.")
    if not isinstance(boundary, datetime.datetime):
        boundary = datetime.datetime(boundary.year, boundary.month, boundary.day)
    moment = boundary if boundary.tzinfo else boundary.replace(tzinfo=datetime.UTC)
    return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)


def _numbers_of(array: pa.Array) -> pa.Array:
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        numbers = array.cast(pa.float64(), safe=False)
    else:
        numbers = _cast_or_null(array, (pa.float64(),))
    return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)


def _microseconds_of(array: pa.Array) -> pa.Array:
    zoned, plain = pa.timestamp("us", "UTC"), pa.timestamp("us")
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = _cast_or_null(array, (plain, zoned, pa.timestamp("ns"), pa.timestamp("ns", "UTC")))
    if not (pa.types.is_temporal(array.type) or pa.types.is_null(array.type)):
        raise DataError(
            f"split_by_time takes dates and times against dates, but the column is {array.type}",
            "Give numbers as boundaries for a column of numbers.",
        )
    zone = getattr(array.type, "tz", None)
    return array.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())


def _cast_or_null(text: pa.Array, kinds: tuple[pa.DataType, ...]) -> pa.Array:
    """Text as the first type that takes all of it; failing that, value by value, null where no type does."""
    for kind in kinds:
        try:
            return text.cast(kind)
        except pa.ArrowInvalid:
            continue
    distinct = text.dictionary_encode()
    target = pa.timestamp("us") if pa.types.is_timestamp(kinds[0]) else kinds[0]
    values = [_scalar_or_null(value, kinds, target) for value in distinct.dictionary]
    return pa.array(values, target).take(distinct.indices)


def _scalar_or_null(value: pa.Scalar, kinds: tuple[pa.DataType, ...], target: pa.DataType) -> object:
    for kind in kinds:
        try:
            found = value.cast(kind)
        except pa.ArrowInvalid:
            continue
        # A zone is dropped, not converted to: what is compared is the instant in UTC.
        return found.cast(pa.timestamp("us"), safe=False).as_py() if pa.types.is_timestamp(kind) else found.as_py()
    return None
