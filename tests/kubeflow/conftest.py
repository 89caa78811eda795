"""The examples as they are compiled for a cluster: their files lie where its pods can read them."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _data_in_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLIGHTS_DATA", "s3://bucket/flights")
    monkeypatch.setenv("DIGITS_DATA", "s3://bucket/digits")
