"""TailBuckets against NumPy's quantiles."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import pytest
from headrace.transforms.keras_graph.layer_state import state_of
from headrace.transforms.layers import TailBuckets
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

# TensorFlow takes subnormal numbers for 0, and interpolation must not make one.
NUMBERS = st.one_of(
    st.just(float("nan")),
    st.floats(-(2.0**100), 2.0**100, width=32).filter(lambda number: number == 0 or abs(number) > 2.0**-90),
    st.integers(0, 4).map(float),
)
TAILS = {
    "upper": lambda depth: [1 - 2.0**-k for k in range(1, depth + 1)],
    "lower": lambda depth: [2.0**-k for k in range(depth, 0, -1)],
    "both": lambda depth: [2.0**-k for k in range(depth, 0, -1)] + [1 - 2.0**-k for k in range(2, depth + 1)],
}


def learned(layer: Any, values: np.ndarray, cuts: list[int]) -> Any:
    state = state_of(layer)
    analyzer = state.analyzer(layer, (None, 1), "float32")
    parts = [analyzer.summarize(part) for part in np.split(values, sorted(cuts))]
    state.set(layer, analyzer.finish(functools.reduce(analyzer.merge, parts, analyzer.create())), (None, 1))
    return layer


@settings(max_examples=50, deadline=None)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 60), st.just(1)), elements=NUMBERS),
    st.integers(1, 8),
    st.sampled_from(sorted(TAILS)),
    st.lists(st.integers(0, 60), max_size=3),
)
def test_buckets_are_those_of_numpys_quantiles(values: np.ndarray, depth: int, tail: str, cuts: list[int]) -> None:
    layer = learned(TailBuckets(depth, tail=tail), values, cuts)
    present = values[~np.isnan(values)].astype(np.float64)
    quantiles = np.quantile(present, TAILS[tail](depth)) if len(present) else np.zeros(0)
    merged = np.unique(quantiles.astype(np.float32))
    assert len(layer.bin_boundaries) == len(TAILS[tail](depth)) + 1 == layer.num_bins - 1
    np.testing.assert_allclose(layer.bin_boundaries[: len(merged)], merged, rtol=1e-6)
    boundaries = np.array(layer.bin_boundaries[: len(merged)], np.float32)
    expected = np.where(np.isnan(values), layer.num_bins - 1, np.searchsorted(boundaries, values, side="right"))
    found = layer(values).numpy()
    np.testing.assert_array_equal(found, expected)
    assert found[~np.isnan(values)].max(initial=0) < layer.num_bins - 1, "the last one is for what is missing"


def test_each_bucket_holds_half_of_the_rows_that_the_one_before_left() -> None:
    amounts = np.random.default_rng(0).pareto(1.2, 2**16)[:, None].astype(np.float32)
    layer = learned(TailBuckets(depth=12), amounts, [100])
    rows = np.bincount(layer(amounts).numpy().ravel(), minlength=layer.num_bins)
    assert rows[:12].tolist() == [2**15 >> k for k in range(12)] and rows[12:].tolist() == [16, 0]


def test_coinciding_boundaries_are_one_and_the_width_stays() -> None:
    mostly_zero = np.array([0.0] * 90 + list(range(1, 11)), np.float32)[:, None]
    layer = learned(TailBuckets(depth=6, output_mode="one_hot"), mostly_zero, [])
    symbolic = layer(keras.Input((1,)))
    hot = layer(mostly_zero).numpy()
    assert symbolic.shape == (None, 8) and hot.shape == (100, 8)
    used = hot.argmax(axis=1)
    assert np.unique(used).tolist() == list(range(used.min(), used.max() + 1)), "no bucket between is empty"
    assert layer(np.array([[np.nan]])).numpy().argmax() == 7


def test_of_a_column_without_a_value_every_number_is_in_the_first() -> None:
    layer = learned(TailBuckets(depth=4), np.full((5, 1), np.nan), [2])
    assert layer(np.array([[-1e30], [3.0], [np.inf], [np.nan]])).numpy().ravel().tolist() == [0, 0, 0, 5]


@pytest.mark.parametrize("number", [3.4028235e38, float("inf"), -float("inf")])
def test_the_largest_numbers_are_not_missing(number: float) -> None:
    layer = learned(TailBuckets(depth=3), np.arange(9.0)[:, None], [])
    assert layer(np.array([[number]], np.float32)).numpy().item() == (3 if number > 0 else 0)


def test_adapt_is_what_transform_learns() -> None:
    values = np.random.default_rng(1).lognormal(0, 3, (500, 1)).astype(np.float32)
    mine = TailBuckets(5, tail="both")
    mine.adapt(values)
    assert mine.bin_boundaries == learned(TailBuckets(5, tail="both"), values, [100, 200]).bin_boundaries


def test_state_travels_in_the_configuration() -> None:
    layer = learned(TailBuckets(3, tail="both", output_mode="one_hot"), np.arange(9.0)[:, None], [])
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again(np.arange(9.0)[:, None]), layer(np.arange(9.0)[:, None]))


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: TailBuckets(0), ValueError, "depth is from 1 to 50"),
        (lambda: TailBuckets(tail="left"), ValueError, "received 'left'"),
        (lambda: TailBuckets(3, bin_boundaries=[1.0]), ValueError, "expected 4 bin_boundaries"),
        (
            lambda: state_of(TailBuckets()).analyzer(TailBuckets(), (None, 1), "string"),
            TypeError,
            "called on strings",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make()
