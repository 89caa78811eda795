"""GreatCircleDistance against scikit-learn, GridCell against the cell's own bounds."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from headrace.transforms.layers import GreatCircleDistance, GridCell
from headrace.transforms.layers.great_circle_distance import EARTH_RADIUS_KM
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import haversine_distances

PLACES = st.tuples(st.floats(-90, 90), st.floats(-180, 180))


def columns(*rows: tuple[float, ...]) -> list[np.ndarray]:
    return [column[:, None] for column in np.array(rows, np.float64).T]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(PLACES, PLACES), min_size=1, max_size=10))
def test_distances_are_scikit_learns(pairs: list[Any]) -> None:
    found = GreatCircleDistance()(columns(*((*one, *other) for one, other in pairs)))
    expected = [
        haversine_distances(np.radians([one]), np.radians([other])).item() * EARTH_RADIUS_KM for one, other in pairs
    ]
    assert found.dtype == tf.float32
    # Beside the other end of the Earth the arcsine loses half of the digits, in both.
    np.testing.assert_allclose(found.numpy().ravel(), expected, rtol=1e-6, atol=1e-3)


def test_places_a_few_metres_apart_are_told_apart() -> None:
    near = columns((52.0, 5.0, 52.00001, 5.0))
    assert GreatCircleDistance()(near).numpy().item() * 1000 == pytest.approx(1.112, rel=1e-3)
    assert GreatCircleDistance(to=(52.00001, 5))(near[:2]).numpy().item() * 1000 == pytest.approx(1.112, rel=1e-3)


def test_antipodes_and_periodic_longitudes() -> None:
    half = math.pi * EARTH_RADIUS_KM
    found = GreatCircleDistance()(columns((0, 0, 0, 180), (90, 12, -90, 55), (10, 181, 10, -179), (10, 361, 10, 1)))
    np.testing.assert_allclose(found.numpy().ravel(), [half, half, 0, 0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_missing_coordinate_is_a_missing_distance(at: int, value: float) -> None:
    row = [10.0, 20.0, 30.0, 40.0]
    row[at] = value
    found = GreatCircleDistance()(columns(tuple(row), (10.0, 20.0, 30.0, 40.0))).numpy().ravel()
    assert np.isnan(found).tolist() == [True, False]


def test_a_latitude_beyond_a_pole_is_missing() -> None:
    assert np.isnan(GreatCircleDistance()(columns((90.5, 0, 0, 0))).numpy()).all()
    assert GridCell(1)(columns((-90.5, 0))).numpy().item() == b""


def test_a_list_of_places_against_one() -> None:
    many, one = np.array([[0.0, 10.0, 20.0]]), np.array([[0.0]])
    found = GreatCircleDistance()([many, one, one, one])
    symbolic = GreatCircleDistance()([keras.Input((3,)), *(keras.Input((1,)) for _ in range(3))])
    assert symbolic.shape == (None, 3)
    np.testing.assert_allclose(found, many * math.radians(1) * EARTH_RADIUS_KM, rtol=1e-6)


@settings(max_examples=80, deadline=None)
@given(PLACES, st.sampled_from([0.001, 0.1, 0.25, 0.7, 1, 7, 90, 180]))
@example((90.0, 180.0), 1)
@example((-90.0, -180.0), 0.1)
@example((90.0, 179.999), 7)
@example((0.0, 179.99999999999997), 0.001)
def test_a_place_is_within_its_cell(place: tuple[float, float], degrees: float) -> None:
    layer = GridCell(degrees)
    row, column = map(int, layer(columns(place)).numpy().item().decode().split("/"))
    assert 0 <= row < layer.rows == math.ceil(180 / degrees) and 0 <= column < layer.columns
    south, west = row * degrees - 90, column * degrees - 180
    tolerance = 1e-9
    assert south - tolerance <= place[0] <= south + degrees + tolerance
    # 180 is -180: what is there, within rounding, is in the first column.
    assert (place[1] - west + tolerance) % 360 <= degrees + 2 * tolerance
    number = GridCell(degrees, output_mode="int")(columns(place))
    assert number.dtype == tf.int64 and number.numpy().item() == row * layer.columns + column


def test_cells_of_all_places_are_distinct() -> None:
    layer, tokens = GridCell(30, output_mode="int"), GridCell(30)
    centres = columns(*((lat, lon) for lat in range(-75, 90, 30) for lon in range(-165, 180, 30)))
    assert layer(centres).numpy().ravel().tolist() == list(range(6 * 12))
    assert len(set(tokens(centres).numpy().ravel())) == 72
    shifted = [centres[0], centres[1] + 360]
    np.testing.assert_array_equal(layer(shifted), layer(centres))


@pytest.mark.parametrize("place", [(math.nan, 0), (0, math.nan), (math.inf, 0), (0, -math.inf)])
def test_a_missing_coordinate_has_no_cell(place: tuple[float, float]) -> None:
    assert GridCell(1)(columns(place)).numpy().item() == b""
    assert GridCell(1, output_mode="int")(columns(place)).numpy().item() == -1


def test_cells_feed_lookups_and_hashing() -> None:
    places = columns((40.6, -73.8), (40.7, -73.9), (33.9, -118.4), (math.nan, 0))
    lookup = keras.layers.StringLookup()
    lookup.adapt(GridCell(1)(places)[:3])
    assert lookup(GridCell(1)(places)).numpy().ravel().tolist() == [1, 1, 2, 0]
    numbers = keras.layers.IntegerLookup(mask_token=-1)
    numbers.adapt(GridCell(1, output_mode="int")(places))
    assert numbers(GridCell(1, output_mode="int")(places)).numpy().ravel().tolist() == [2, 2, 3, 0]
    hashed = keras.layers.Hashing(50)(GridCell(1)(places)).numpy().ravel()
    assert hashed[0] == hashed[1]


@pytest.mark.parametrize(
    "layer", [GridCell(0.5, output_mode="int", name="cell"), GreatCircleDistance(to=(40, -73), name="away")]
)
def test_it_travels_in_its_configuration(layer: Any) -> None:
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    place = columns((40.6, -73.8))
    np.testing.assert_array_equal(again(place), layer(place))


TEXT = keras.Input((1,), dtype="string")


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: GridCell(0), ValueError, "received 0"),
        (lambda: GridCell(math.nan), ValueError, "received nan"),
        (lambda: GridCell(1, output_mode="token"), ValueError, "received 'token'"),
        (lambda: GridCell(1)([TEXT, TEXT]), TypeError, "called on strings"),
        (lambda: GridCell(1)(keras.Input((2,))), ValueError, "a list of latitude and longitude, received 1"),
        (lambda: GreatCircleDistance()([keras.Input((1,))] * 2), ValueError, "a list of 4 columns.*received 2"),
        (lambda: GreatCircleDistance(to=(91, 0)), ValueError, "received .91, 0."),
        (lambda: GreatCircleDistance(to=(0, 0))([keras.Input((2,)), keras.Input((3,))]), ValueError, "of one n"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make()
