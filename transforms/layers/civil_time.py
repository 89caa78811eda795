"""Days, dates and times of the proleptic Gregorian calendar in UTC, as TensorFlow operations on int64.

Dates and days are turned into each other as in Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2014),
`days_from_civil` and `civil_from_days`: division rounds down, so that nothing is different before 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

DAY = 86_400
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
"""Days since 1970-01-01 of 0001-01-01 and 9999-12-31, the years that ISO 8601 has without an agreement."""

_TEXT = r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?"
_FRACTION = r"(:\d{2})[.,]\d+"
_LONGEST = len("YYYY-MM-DDTHH:MM:SS+HH:MM")
_COLON = ord(":")


class Date(NamedTuple):
    """int64 tensors of one shape."""

    year: Any
    month: Any
    day: Any


def days_of(date: Date) -> Any:
    """Days since 1970-01-01."""
    import tensorflow as tf

    year = date.year - tf.cast(date.month <= 2, tf.int64)
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * ((date.month + 9) % 12) + 2) // 5 + date.day - 1
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


def date_of(days: Any) -> Date:
    """The date of days since 1970-01-01."""
    import tensorflow as tf

    shifted = days + 719_468
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    since_march = (5 * of_year + 2) // 153
    day = of_year - (153 * since_march + 2) // 5 + 1
    month = (since_march + 2) % 12 + 1
    return Date(year_of_era + era * 400 + tf.cast(month <= 2, tf.int64), month, day)


def seconds_of_text(text: Any) -> tuple[Any, Any]:
    """Seconds since 1970-01-01T00:00Z of ISO 8601 text, and whether it is that: `2013-01-05`, or with a time and an
    offset behind it, `2013-01-05T06:30`, `2013-01-05 06:30:59.25Z`, `2013-01-05T06:30+05:30`.

    Args:
        text: string, of any shape.

    Returns:
        int64 and bool of the same shape; seconds are 0 where it is not. Without an offset a time is UTC.
    """
    import tensorflow as tf

    is_date = tf.strings.regex_full_match(text, _TEXT)
    safe = tf.strings.regex_replace(tf.where(is_date, text, "1970-01-01"), _FRACTION, r"\1")
    # Its bytes as numbers: otherwise every part would take operations on text of its own.
    code = tf.cast(tf.io.decode_raw(safe, tf.uint8, fixed_length=_LONGEST), tf.int64)

    def two(at: int) -> Any:
        return (code[..., at] - 48) * 10 + code[..., at + 1] - 48

    date = Date(two(0) * 100 + two(2), two(5), two(8))
    has_time, has_seconds = code[..., 10] > 0, code[..., 16] == _COLON
    hour, minute = tf.where(has_time, two(11), 0), tf.where(has_time, two(14), 0)
    second = tf.where(has_seconds, two(17), 0)

    ahead_hours, ahead_minutes, sign = _offset(code, two, has_seconds)
    days = days_of(date)
    real = is_date & (date.year > 0)
    for one, there in zip(date, date_of(days)):
        real &= one == there
    for one, most in ((hour, 23), (minute, 59), (second, 59), (ahead_hours, 23), (ahead_minutes, 59)):
        real &= one <= most
    seconds = days * DAY + hour * 3600 + minute * 60 + second - sign * (ahead_hours * 3600 + ahead_minutes * 60)
    real &= (seconds >= FIRST_DAY * DAY) & (seconds < (LAST_DAY + 1) * DAY)
    return tf.where(real, seconds, 0), real


def _offset(code: Any, two: Callable[[int], Any], has_seconds: Any) -> tuple[Any, Any, Any]:
    """Hours, minutes and sign of how far a time is ahead of UTC: `Z` and nothing, `+HH`, `+HHMM` or `+HH:MM`."""
    import tensorflow as tf

    parts = []
    for at in (16, 19):
        mark, behind = code[..., at], code[..., at + 3]
        sign = tf.cast(mark == ord("+"), tf.int64) - tf.cast(mark == ord("-"), tf.int64)
        hours = tf.where(sign != 0, two(at + 1), 0)
        minutes = tf.where(behind == _COLON, two(at + 4), tf.where(behind > 0, two(at + 3), 0))
        parts.append((hours, tf.where(sign != 0, minutes, 0), sign))
    return tuple(tf.where(has_seconds, late, early) for early, late in zip(*parts))
