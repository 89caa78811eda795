"""Slices: groups of rows that share the values of some columns. Rows get integer codes; keys stay few."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MAX_SLICES = 10_000
"""Most slices that one way of slicing may make: each costs memory for every metric."""

Codes = NDArray[np.int64]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Slicing:
    """One way to cut rows into slices: by a column, by a cross of columns, or not at all.

    Args:
        columns: Names of the columns; () for the one slice of all rows.

    >>> Slicing(("carrier", "origin")).name
    'carrier × origin'
    """

    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, written: str | Sequence[str]) -> Slicing:
        """Reads how a pipeline writes it: ``"carrier"``, ``["carrier", "origin"]``, ``"overall"``."""
        columns = (written,) if isinstance(written, str) else tuple(written)
        if not all(isinstance(column, str) for column in columns):
            raise TypeError(f"expected a column or a list of columns to slice by, received {written!r}")
        if len(set(columns)) != len(columns):
            raise ValueError(f"a column is named twice in the slicing {written!r}")
        return cls() if columns in (("overall",), ()) else cls(columns)

    @property
    def name(self) -> str:
        return " × ".join(self.columns) or "overall"

    def describe(self, key: Key) -> str:
        """Says one slice in words: ``carrier=UA, origin=JFK``."""
        return ", ".join(f"{column}={_said(value)}" for column, value in zip(self.columns, key)) or "overall"


@dataclass
class SliceKeys:
    """The slices that were seen, each with its code: its position in `keys`."""

    slicing: Slicing
    keys: list[Key] = field(default_factory=list)
    codes: dict[Key, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.slicing.columns:
            self.add([()])

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, keys: Iterable[Key]) -> Codes:
        """Gives each key its code, a new one where it was not seen before.

        Raises:
            ValueError: There are more than `MAX_SLICES`.
        """
        found = []
        for key in keys:
            if key not in self.codes:
                self.codes[key] = len(self.keys)
                self.keys.append(key)
            found.append(self.codes[key])
        if len(self.keys) > MAX_SLICES:
            raise self._too_many()
        return np.asarray(found, dtype=np.int64)

    def encode(self, batch: pa.RecordBatch) -> Codes:
        """The code of each row's slice, shape `(rows,)`.

        Raises:
            KeyError: The batch lacks a column of the slicing.
            TypeError: A column holds lists or structs.
        """
        rows = batch.num_rows
        if not self.slicing.columns or not rows:
            return np.zeros(rows, dtype=np.int64)
        combined = np.zeros(rows, dtype=np.int64)
        columns: list[list[Any]] = []
        possible = 1
        for name in self.slicing.columns:
            codes, values = _factorise(batch, name)
            possible *= len(values)
            if len(values) > MAX_SLICES or possible > 2**62:
                raise self._too_many()
            combined = combined * len(values) + codes
            columns.append(values)
        present, rows_code = _present(combined, possible)
        keys = zip(*(_digits(present, columns, position) for position in range(len(columns))))
        return np.asarray(self.add(keys)[rows_code])

    def _too_many(self) -> ValueError:
        return ValueError(
            f"slicing by {self.slicing.name} makes over {MAX_SLICES:,} slices: slice by a column with fewer values, "
            "such as a bucket or a group of it"
        )


def _present(combined: Codes, possible: int) -> tuple[Codes, Codes]:
    """The distinct codes, sorted, and each row's position among them."""
    if possible > 4 * len(combined) + 1024:
        present, inverse = np.unique(combined, return_inverse=True)
        return present, inverse
    present = np.flatnonzero(np.bincount(combined, minlength=possible))
    positions = np.zeros(possible, dtype=np.int64)
    positions[present] = np.arange(len(present))
    return present, positions[combined]


def _digits(present: Codes, columns: list[list[Any]], position: int) -> list[Any]:
    """The value of one column in each of the combined codes: a digit of a number whose bases are the column sizes."""
    rest = math.prod(len(values) for values in columns[position + 1 :])
    values = columns[position]
    return [values[digit] for digit in (present // rest) % len(values)]


def _factorise(batch: pa.RecordBatch, name: str) -> tuple[Codes, list[Any]]:
    """Each row's position among the column's distinct values, and these; a missing value is the value None."""
    if name not in batch.schema.names:
        raise KeyError(f"no column {name!r} to slice by; there are {', '.join(batch.schema.names)}")
    column = batch.column(name)
    if pa.types.is_nested(column.type) and not pa.types.is_dictionary(column.type):
        raise TypeError(f"cannot slice by {name!r}, which is {column.type}: take a column with one value a row")
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    values = [_plain(value) for value in encoded.dictionary.to_pylist()]
    indices = encoded.indices.cast(pa.int64())
    if indices.null_count:
        indices = pc.fill_null(indices, len(values))
        values.append(None)
    return indices.to_numpy(), values


def _plain(value: Any) -> Any:
    """A value as it goes into a JSON document."""
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float) and value != value:
        return None
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def _said(value: Any) -> str:
    return "(missing)" if value is None else str(value)
