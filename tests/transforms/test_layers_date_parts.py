"""DateParts against datetime, and against pandas."""

from __future__ import annotations

import calendar
import functools
import math
import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from headrace.transforms.layers import DateParts
from hypothesis import example, given, settings
from hypothesis import strategies as st

PARTS = ("year", "quarter", "month", "week", "day", "weekday", "day_of_year", "hour", "minute", "second")
CYCLIC = tuple(f"{part}_cyclic" for part in PARTS if part not in ("year", "week"))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = st.none() | st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)


def expected_parts(time: datetime) -> list[int]:
    _, week, weekday = time.isocalendar()
    day_of_year = time.timetuple().tm_yday
    quarter = (time.month + 2) // 3
    of_day = [time.hour, time.minute, time.second]
    return [time.year, quarter, time.month, week, time.day, weekday - 1, day_of_year, *of_day]


def in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def rows_of(found: dict[str, Any], names: tuple[str, ...] = PARTS) -> list[list[float]]:
    return np.concatenate([found[name].numpy() for name in names], axis=1).tolist()


@functools.cache
def graph(of: str, parts: Any = PARTS, **options: Any) -> Any:
    """The layer traced once, as it is in a SavedModel: eagerly each of its hundred operations is a call of its own."""
    column = keras.Input((1,), dtype=of)
    return tf.function(keras.Function(column, DateParts(parts, **options)(column)), reduce_retracing=True)


def of_text(column: Any) -> Any:
    return graph("string", dtype="int64")(column)


@settings(max_examples=40, deadline=None)
@given(st.lists(TIMES, min_size=1, max_size=20), st.sampled_from(["T", " "]))
@example(
    [datetime(2000, 2, 29), datetime(1900, 2, 28, 23), datetime(1969, 12, 31, 23, 59, 59), datetime(2020, 12, 31)], " "
)
def test_text_is_read_as_datetime_reads_it(times: list[datetime], separator: str) -> None:
    texts = [[time.isoformat(separator)] for time in times]
    assert rows_of(of_text(tf.constant(texts))) == [expected_parts(in_utc(time)) for time in times]


@settings(max_examples=40, deadline=None)
@given(
    st.dates(),
    st.sampled_from(["", "T07:05", "T07:05:59", " 07:05:59,25", "T07:05:59.123456789"]),
    st.sampled_from(["", "Z", "+05", "-0530", "+05:45"]),
)
def test_every_form_of_a_time(day: date, time: str, offset: str) -> None:
    text = f"{day.isoformat()}{time}{offset if time else ''}"
    # Python 3.11 reads six digits of a fraction, and more are cut.
    told = in_utc(datetime.fromisoformat(text)) if 1 < day.year < 9999 else None
    found = rows_of(of_text(tf.constant([[text]])))[0]
    assert told is None or found == expected_parts(told)


def _is_iso(text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?)?", text, re.ASCII):
        return False
    try:
        return bool(in_utc(datetime.fromisoformat(text)))
    except (ValueError, OverflowError):
        return False


@settings(max_examples=100, deadline=None)
@given(
    st.text("0123459-:TZ+. ", max_size=26)
    | st.from_regex(r"\A[0-2]\d{3}-[01]\d-[0-3]\d([T ][0-2]\d:[0-6]\d(:[0-6]\d)?([+-]\d\d:\d\d)?)?\Z")
)
@example("2013-02-29")
@example("1900-02-29")
@example("2013-04-31T00:00")
@example("2013-01-05T24:00")
@example("2013-01-05T23:59:60")
@example("0000-01-01")
@example("0000-12-31T23:00-05:00")
@example("0001-01-01T00:00+01:00")
@example("9999-12-31T23:00-05:00")
@example(" 2013-01-05")
@example("2013-01-05\n")
@example("٢٠١٣-٠١-٠٥")
@example("20130105")
@example("")
def test_what_is_no_date_is_missing(text: str) -> None:
    found = graph("string", ("year", "hour_cyclic"))(tf.constant([[text]]))
    assert np.isnan(found["year"].numpy()).item() is not _is_iso(text)
    assert np.isnan(found["hour_cyclic"].numpy()).all() != _is_iso(text)
    whole = of_text(tf.constant([[text]]))
    assert {part.numpy().item() == -1 for part in whole.values()} == {not _is_iso(text)}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.datetimes(timezones=st.just(UTC)), min_size=1, max_size=20))
def test_numbers_are_read_as_the_feature_model_writes_them(times: list[datetime]) -> None:
    micros = np.array([[(time - EPOCH) // timedelta(microseconds=1)] for time in times], np.int64)
    for unit, divisor in (("us", 1), ("ms", 1000), ("s", 1_000_000)):
        found = graph("int64", unit=unit, dtype="int64")(tf.constant(micros // divisor))
        assert rows_of(found) == [expected_parts(time) for time in times], unit
    days = np.array([[(time - EPOCH).days] for time in times])
    of_days = [expected_parts(time.replace(hour=0, minute=0, second=0)) for time in times]
    # A date column with missing values is float32.
    for column in (days, days.astype(np.float32)):
        assert rows_of(graph(column.dtype.name, unit="days", dtype="int64")(tf.constant(column))) == of_days


def test_it_is_pandas_over_every_day_of_a_century_and_a_half() -> None:
    days = np.arange(-30_000, 25_000)
    found = DateParts(PARTS, unit="days", dtype="int64")(days[:, None])
    theirs = pd.DatetimeIndex(days.astype("datetime64[D]").astype("datetime64[s]"))
    for part in PARTS:
        name = {"weekday": "day_of_week"}.get(part, part)
        expected = theirs.isocalendar().week if part == "week" else getattr(theirs, name)
        np.testing.assert_array_equal(found[part].numpy().ravel(), np.asarray(expected, np.int64), err_msg=part)


@settings(max_examples=40, deadline=None)
@given(TIMES)
def test_cyclic_parts_are_on_a_circle(time: datetime) -> None:
    found = graph("string", CYCLIC)(tf.constant([[time.isoformat()]]))
    told = in_utc(time)
    values = dict(zip(PARTS, expected_parts(told)))
    lengths = {"quarter": 4, "month": 12, "weekday": 7, "hour": 24, "minute": 60, "second": 60}
    lengths["day"] = calendar.monthrange(told.year, told.month)[1]
    lengths["day_of_year"] = 365 + calendar.isleap(told.year)
    for name in CYCLIC:
        part = name.removesuffix("_cyclic")
        first = 1 if part in ("quarter", "month", "day", "day_of_year") else 0
        angle = 2 * math.pi * (values[part] - first) / lengths[part]
        np.testing.assert_allclose(found[name], [[math.sin(angle), math.cos(angle)]], atol=1e-6, err_msg=name)


def test_missing_numbers() -> None:
    for column, options in (
        (np.array([[np.nan], [np.inf], [-np.inf], [4e9], [-1e9]], np.float32), {}),
        (np.array([[-(2**63)], [2**63 - 1], [2_932_897], [-719_163]]), {}),
        (np.array([[-1], [-1]]), {"missing": -1}),
    ):
        found = DateParts(["year", "hour_cyclic"], unit="days", **options)(column)
        assert all(np.isnan(part.numpy()).all() for part in found.values())
    assert DateParts(["year"], unit="days", missing=0)(np.array([[1]]))["year"].numpy().item() == 1970


def test_lists_and_batches_of_no_rows() -> None:
    column = keras.Input((2,), dtype="string")
    symbolic = DateParts(["month", "day_cyclic"])(column)
    assert symbolic["month"].shape == (None, 2) and symbolic["day_cyclic"].shape == (None, 4)
    graph = keras.Function(column, symbolic)
    found = graph(tf.constant([["2013-01-05", "soon"]]))
    np.testing.assert_array_equal(found["month"], [[1, np.nan]])
    # Sines of both, then cosines of both.
    day = [math.sin(2 * math.pi * 4 / 31), np.nan, math.cos(2 * math.pi * 4 / 31), np.nan]
    np.testing.assert_allclose(found["day_cyclic"], [day], rtol=1e-6)
    nothing = graph(tf.zeros((0, 2), tf.string))
    assert nothing["month"].shape == (0, 2) and nothing["day_cyclic"].shape == (0, 4)


def test_it_travels_in_its_configuration() -> None:
    layer = DateParts(["week", "hour_cyclic"], unit="us", missing=-1, dtype="int64", name="when")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    assert again(np.array([[0], [-1]]))["week"].numpy().tolist() == [[1], [-1]]


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: DateParts(["weekdy"]), ValueError, "did you mean 'weekday'"),
        (lambda: DateParts([]), ValueError, "one part or more"),
        (lambda: DateParts(["day", "day"]), ValueError, "each once"),
        (lambda: DateParts(["day"], unit="ns"), ValueError, "received 'ns'"),
        (lambda: DateParts(["day"], dtype="float16"), ValueError, "received 'float16'"),
        (lambda: DateParts(["day"])(keras.Input((1,), dtype="int64")), TypeError, 'unit="days" for a date column'),
        (lambda: DateParts(["day"])(np.array([[1]])), TypeError, "called on int64"),
        (lambda: DateParts(["day"], unit="us")(keras.Input((1,), dtype="string")), TypeError, "leave out unit"),
        (lambda: DateParts(["day"])(keras.Input((1, 2), dtype="string")), ValueError, "of shape"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make()
