"""Parts of dates and times."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
from headrace.transforms.layers.civil_time import (
    DAY,
    FIRST_DAY,
    LAST_DAY,
    Date,
    date_of,
    days_of,
    seconds_of_text,
)
from headrace.transforms.layers.columns_layer import ColumnsLayer

_A_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000}
_PARTS = ("year", "quarter", "month", "week", "day", "weekday", "day_of_year", "hour", "minute", "second")
_CYCLIC = tuple(f"{part}_cyclic" for part in _PARTS if part not in ("year", "week"))


@keras.saving.register_keras_serializable(package="headrace")
class DateParts(ColumnsLayer):
    """Year, month, weekday, hour and other parts of dates and times; for `preprocessing_fn`.

    Keras has no layer for time, and what pandas or `datetime` compute in a Lambda is computed once, when the graph is
    traced. This is TensorFlow's integer arithmetic, exact in the years 1 to 9999.

    Times are UTC, as in [the feature model](feature-model.md): text with an offset is the instant that it names, text
    without one is taken as UTC. A value is missing where the column's is, and where it is no such date (`2013-02-30`,
    `24:00`, `5/1/2013`), or outside of those years.

    Args:
        parts: What to compute: "year", "quarter" (1 to 4), "month" (1 to 12), "week" (of ISO 8601, 1 to 53), "day" (1
            to 31), "weekday" (Monday is 0), "day_of_year" (1 to 366), "hour", "minute" and "second"; and, but for year
            and week, "month_cyclic" and so on: sine and cosine of its angle in its cycle, the first of it at 0, so that
            December stands beside January. Cycles of days are as long as their month or year.
        unit: Of numbers, since 1970-01-01: "days" for a date column, "us" for a timestamp or a time of day, "s" or "ms"
            for an integer column of such. Not for strings, which are ISO 8601: `YYYY-MM-DD`, with `T` or a blank and
            `HH:MM` behind it, seconds, their fraction, and `Z`, `+HH`, `+HHMM` or `+HH:MM`.
        missing: The number that stands for a missing one, where the schema states a default for the column.
        dtype: "float32", in which a missing part is NaN, or "int64", in which it is -1. Cyclic ones are always float32.

    Call with:
        string, integer or float of shape `(rows, n)`.

    Returns:
        A dict, by part: shape `(rows, n)`; of a cyclic part, `(rows, 2 n)`, all sines before all cosines.

    Raises:
        ValueError: An unknown part, unit or dtype, other shapes.
        TypeError: No unit for numbers, or one for strings.

    Example:
        >>> import numpy as np
        >>> parts = DateParts(["month", "weekday", "hour"])(np.array([["2024-02-29T23:30-05:00"], ["soon"]]))
        >>> {name: part.numpy().ravel().tolist() for name, part in parts.items()}
        {'month': [3.0, nan], 'weekday': [4.0, nan], 'hour': [4.0, nan]}
        >>> DateParts(["day_of_year"], unit="days", dtype="int64")(np.array([[-1]]))["day_of_year"].numpy()
        array([[365]])
    """

    def __init__(
        self,
        parts: Sequence[str],
        *,
        unit: Literal["days", "s", "ms", "us"] | None = None,
        missing: int | None = None,
        dtype: Literal["float32", "int64"] = "float32",
        **kwargs: Any,
    ) -> None:
        names = [parts] if isinstance(parts, str) else list(parts)
        for name in names:
            if name not in (*_PARTS, *_CYCLIC):
                near = difflib.get_close_matches(str(name), (*_PARTS, *_CYCLIC), 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join((*_PARTS, *_CYCLIC))}"
                raise ValueError(f"DateParts: {name!r} is no part of a date; {hint}")
        if not names or len(set(names)) < len(names):
            raise ValueError(f"DateParts: expected one part or more, each once, received {names}")
        if unit not in (None, "days", *_A_SECOND):
            raise ValueError(f'DateParts: unit is "days", "s", "ms" or "us", received {unit!r}')
        if dtype not in ("float32", "int64"):
            raise ValueError(f'DateParts: dtype is "float32" or "int64", received {dtype!r}')
        super().__init__(dtype=dtype, **kwargs)
        self.parts, self.unit, self.missing = names, unit, missing
        self._part_dtype = dtype

    def call(self, inputs: Any) -> dict[str, Any]:
        import tensorflow as tf

        column = tf.convert_to_tensor(inputs)
        self._check_unit("string" if column.dtype == tf.string else column.dtype.name)
        seconds, there = seconds_of_text(column) if column.dtype == tf.string else self._seconds(column)
        calendar = _Calendar(seconds)
        return {name: self._part(calendar, there, name) for name in self.parts}

    def _seconds(self, column: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        if not column.dtype.is_floating:
            column = tf.cast(column, tf.int64)
        ticks = 1 if self.unit == "days" else DAY * _A_SECOND[self.unit or "s"]
        there = (column >= tf.cast(FIRST_DAY * ticks, column.dtype)) & (
            column < tf.cast((LAST_DAY + 1) * ticks, column.dtype)
        )
        if self.missing is not None:
            there &= column != tf.cast(self.missing, column.dtype)
        # What is not there is replaced before it is cast: an integer of NaN is another one on each processor.
        number = tf.where(there, column, tf.zeros_like(column))
        if column.dtype.is_floating:
            number = tf.floor(number)
        number = tf.cast(number, tf.int64)
        return (number * DAY if self.unit == "days" else number // _A_SECOND[self.unit or "s"]), there

    def _part(self, calendar: _Calendar, there: Any, name: str) -> Any:
        import tensorflow as tf

        if not name.endswith("_cyclic"):
            absent = tf.constant(math.nan if self._part_dtype == "float32" else -1, self._part_dtype)
            return tf.where(there, tf.cast(calendar.part(name), self._part_dtype), absent)
        value, first, length = calendar.cycle(name.removesuffix("_cyclic"))
        angle = 2 * math.pi * tf.cast(value - first, tf.float64) / tf.cast(length, tf.float64)
        waves = (tf.where(there, tf.cast(wave(angle), tf.float32), math.nan) for wave in (tf.sin, tf.cos))
        return tf.concat(list(waves), axis=-1)

    def compute_output_spec(self, inputs: Any) -> dict[str, keras.KerasTensor]:
        self._check_columns([inputs], "dates")
        self._check_unit(keras.backend.standardize_dtype(inputs.dtype))
        rows, n = inputs.shape
        return {
            name: keras.KerasTensor((rows, 2 * n), "float32")
            if name.endswith("_cyclic")
            else keras.KerasTensor((rows, n), self._part_dtype)
            for name in self.parts
        }

    def get_config(self) -> dict[str, Any]:
        own = {"parts": list(self.parts), "unit": self.unit, "missing": self.missing, "dtype": self._part_dtype}
        return {**super().get_config(), **own}

    def _check_unit(self, dtype: str) -> None:
        if dtype == "string" and (self.unit is not None or self.missing is not None):
            raise TypeError(f"{self._said()} is called on strings, which are ISO 8601: leave out unit and missing")
        if dtype != "string" and self.unit is None:
            raise TypeError(
                f'{self._said()} is called on {dtype}, expected a unit: unit="days" for a date column, unit="us" for a '
                'timestamp or a time of day, "s" or "ms" for an integer column of such'
            )


class _Calendar:
    """The parts of instants; each is computed where it is asked for."""

    def __init__(self, seconds: Any) -> None:
        self._seconds = seconds
        self._days = seconds // DAY
        self._date = date_of(self._days)

    def part(self, name: str) -> Any:
        parts: dict[str, Callable[[], Any]] = {
            "year": lambda: self._date.year,
            "quarter": lambda: (self._date.month + 2) // 3,
            "month": lambda: self._date.month,
            "week": self._week,
            "day": lambda: self._date.day,
            # 1970-01-01 was a Thursday.
            "weekday": lambda: (self._days + 3) % 7,
            "day_of_year": lambda: self._days - _new_year(self._date.year) + 1,
            "hour": lambda: self._seconds // 3600 % 24,
            "minute": lambda: self._seconds // 60 % 60,
            "second": lambda: self._seconds % 60,
        }
        return parts[name]()

    def cycle(self, name: str) -> tuple[Any, int, Any]:
        """A part, the first value that it has, and how many it has."""
        lengths = {"quarter": 4, "month": 12, "weekday": 7, "hour": 24, "minute": 60, "second": 60}
        year, month, _ = self._date
        if name == "day":
            length = days_of(Date(year + month // 12, month % 12 + 1, 1)) - days_of(Date(year, month, 1))
        elif name == "day_of_year":
            length = _new_year(year + 1) - _new_year(year)
        else:
            length = lengths[name]
        return self.part(name), int(name in ("quarter", "month", "day", "day_of_year")), length

    def _week(self) -> Any:
        """A week is of the year that its Thursday is in."""
        thursday = self._days - self.part("weekday") + 3
        return (thursday - _new_year(date_of(thursday).year)) // 7 + 1


def _new_year(year: Any) -> Any:
    import tensorflow as tf

    return days_of(Date(year, tf.ones_like(year), 1))
