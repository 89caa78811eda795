"""Impute against scikit-learn's SimpleImputer and MissingIndicator, learned in parts of any size."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from headrace.transforms.keras_graph.layer_state import state_of
from headrace.transforms.layers import Impute
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.impute import MissingIndicator, SimpleImputer

CELLS = st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6, width=32), st.sampled_from([0.0, 1.0, 2.5]))


def tables(columns: int = 3) -> Any:
    return st.integers(1, 20).flatmap(lambda rows: arrays(np.float32, (rows, columns), elements=CELLS))


def learned(layer: Any, table: np.ndarray, cuts: list[int]) -> Any:
    """The layer with its state, as Transform computes it from parts of the rows."""
    state = state_of(layer)
    shape = (None, *table.shape[1:])
    analyzer = state.analyzer(layer, shape, "float32")
    parts = [analyzer.summarize(part) for part in np.split(table, sorted(cuts))]
    state.set(layer, analyzer.finish(functools.reduce(analyzer.merge, parts, analyzer.create())), shape)
    return layer


@settings(max_examples=60, deadline=None)
@given(tables(), tables(), st.sampled_from(["mean", "median"]), st.lists(st.integers(0, 20), max_size=4))
def test_it_is_scikit_learns(train: np.ndarray, other: np.ndarray, strategy: str, cuts: list[int]) -> None:
    layer = learned(Impute(strategy, add_indicator=True), train, cuts)
    theirs = SimpleImputer(strategy=strategy, keep_empty_features=True).fit(train.astype(np.float64))
    indicator = MissingIndicator(features="all").fit(train)
    for table in (train, other):
        expected = np.hstack([theirs.transform(table.astype(np.float64)), indicator.transform(table)])
        found = layer(table)
        assert found.dtype == tf.float32
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.nanmax(np.abs(train), initial=1))


@settings(max_examples=20, deadline=None)
@given(tables(), st.none() | st.floats(-9, 9, width=32))
def test_a_constant_is_not_learned(table: np.ndarray, fill: float | None) -> None:
    layer = Impute("constant", fill_value=fill)
    assert state_of(layer).is_given(layer)
    theirs = SimpleImputer(strategy="constant", fill_value=fill, keep_empty_features=True).fit(table)
    np.testing.assert_array_equal(layer(table), theirs.transform(table))


def test_a_column_without_a_value_is_filled_with_0_beside_one_that_has_values() -> None:
    table = np.array([[np.nan, 3.0], [np.nan, np.nan]], np.float32)
    for strategy in ("mean", "median"):
        assert learned(Impute(strategy), table, [])(table).numpy().tolist() == [[0, 3], [0, 3]]


def test_a_mean_loses_nothing_beside_a_large_number() -> None:
    table = np.full((100_001, 1), 2**24, np.float32)
    table[:50_000] += 2
    layer = learned(Impute(), table, [7, 60_000])
    assert layer.statistics[0] == pytest.approx(table.mean(dtype=np.float64), rel=1e-12)


def test_integers_and_booleans_are_cast_and_never_missing() -> None:
    layer = Impute("constant", add_indicator=True)
    assert layer(np.array([[3], [-1]])).numpy().tolist() == [[3, 0], [-1, 0]]
    assert layer(np.array([[True], [False]])).numpy().tolist() == [[1, 0], [0, 0]]


def test_state_travels_in_the_configuration() -> None:
    layer = learned(Impute("median", add_indicator=True, name="age"), np.array([[1.0], [5.0]], np.float32), [])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config() and again.statistics == [3.0]
    symbolic = keras.Input((1,))
    assert keras.Function(symbolic, again(symbolic))(np.array([[np.nan]])).numpy().tolist() == [[3.0, 1.0]]


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: Impute("mode"), ValueError, "received 'mode'"),
        (lambda: Impute("mean", fill_value=1), ValueError, "fill_value is for strategy='constant'"),
        (lambda: Impute("constant", statistics=[1]), ValueError, "not in statistics"),
        (lambda: Impute()(np.ones((2, 1))), ValueError, "has not learned its mean yet"),
        (lambda: Impute()(keras.Input((1,), dtype="string")), TypeError, "called on strings"),
        (lambda: Impute()(keras.Input((2, 3))), ValueError, r"\(None, 2, 3\)"),
        (lambda: Impute(statistics=[1, 2])(keras.Input((3,))), ValueError, "2 numbers, and it is called on 3 columns"),
        (lambda: learned(Impute(name="x"), np.array([[np.inf]]), []), ValueError, "Impute layer 'x'.*infinite or huge"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make()
