"""Moments, quantiles, distinct values and value counts against NumPy and Counter, under any sharding and order."""

from __future__ import annotations

import math
import pickle
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from headrace.transforms import number_counts, value_counts
from headrace.transforms.distinct import SIZE, DistinctSketch, hash_numbers, hash_strings
from headrace.transforms.moments import Moments
from headrace.transforms.number_counts import NumberCounts
from headrace.transforms.quantiles import CAPACITY, QuantileSketch
from headrace.transforms.value_counts import ValueCounts
from headrace.transforms.weighted_values import weighted_quantiles
from hypothesis import given, settings
from hypothesis import strategies as st

# Shared machines pause for longer than Hypothesis' default deadline.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

FLOATS = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))


def shards(draw, values):
    """Cuts a list into pieces at random places."""
    cuts = sorted(draw(st.lists(st.integers(0, len(values)), max_size=4)))
    return [values[a:b] for a, b in zip([0, *cuts], [*cuts, len(values)])]


@given(st.data())
def test_moments_of_any_sharding_are_numpys(data):
    values = data.draw(st.lists(FLOATS, min_size=1, max_size=50))
    merged = Moments()
    for piece in shards(data.draw, values):
        merged = merged.merge(Moments.of(np.array(piece, float)))
    assert merged.count == len(values)
    assert merged.mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-9)
    assert merged.std == pytest.approx(np.std(values), rel=1e-9, abs=1e-7)


def test_moments_of_a_small_spread_beside_a_large_mean():
    values = 1e9 + np.random.default_rng(0).normal(size=100_000)
    merged = Moments()
    for piece in np.array_split(values, 17):
        merged = merged.merge(Moments.of(piece))
    assert merged.std == pytest.approx(np.std(values), rel=1e-9)


@given(st.lists(FLOATS, min_size=1, max_size=60), st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_weighted_quantiles_are_numpys_of_the_values_spelled_out(values, probabilities):
    distinct, counts = np.unique(np.array(values), return_counts=True)
    expected = np.quantile(values, probabilities)
    np.testing.assert_allclose(weighted_quantiles(distinct, counts, np.array(probabilities)), expected, atol=1e-6)


ORDERS = {
    "random": lambda x: np.random.default_rng(1).permutation(x),
    "ascending": np.sort,
    "descending": lambda x: np.sort(x)[::-1],
    "zigzag": lambda x: np.sort(x).reshape(2, -1).T.ravel(),
    "organ pipe": lambda x: np.concatenate([np.sort(x)[::2], np.sort(x)[::-2]]),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("batch", [999, 65_536])
def test_quantiles_are_within_their_stated_bound_in_any_order(order, batch):
    values = ORDERS[order](np.random.default_rng(2).lognormal(size=400_000))
    sketch = QuantileSketch()
    for start in range(0, len(values), batch):
        one = QuantileSketch()
        one.update(values[start : start + batch])
        sketch.merge(one)
    probabilities = np.linspace(0, 1, 201)
    ranks = np.searchsorted(np.sort(values), sketch.quantile(probabilities)) / len(values)
    assert 0 < sketch.rank_error < 0.001
    assert np.abs(ranks - probabilities).max() <= sketch.rank_error
    assert sketch.items()[1].sum() == sketch.count == len(values)
    assert len(sketch.items()[0]) <= CAPACITY * 6


def test_quantiles_of_counted_values_equal_those_of_the_values_spelled_out():
    rng = np.random.default_rng(3)
    values, counts = np.arange(30_000.0), rng.integers(1, 50, 30_000)
    sketch = QuantileSketch()
    sketch.update_counted(values, counts)
    ranks = np.searchsorted(np.repeat(values, counts), sketch.quantile(np.linspace(0, 1, 101))) / counts.sum()
    assert np.abs(ranks - np.linspace(0, 1, 101)).max() <= sketch.rank_error + counts.max() / counts.sum()


def test_the_same_data_gives_the_same_sketch_bit_for_bit():
    values = np.random.default_rng(4).normal(size=200_000)
    sketches = [NumberCounts.of(values) for _ in range(2)]
    assert pickle.dumps(sketches[0]) == pickle.dumps(sketches[1])


@pytest.mark.parametrize("distinct", [0, 1, SIZE - 1, SIZE, 10 * SIZE, 60 * SIZE])
def test_distinct_values_are_exact_then_close_and_do_not_depend_on_order_or_sharding(distinct):
    rng = np.random.default_rng(5)
    values = np.concatenate([np.arange(distinct), rng.integers(0, max(distinct, 1), distinct // 3)])
    estimates = []
    for pieces in (1, 7, 40):
        rng.shuffle(values)
        sketch = DistinctSketch()
        for piece in np.array_split(values, pieces):
            one = DistinctSketch()
            one.update(hash_numbers(piece))
            sketch.merge(one)
        estimates.append(sketch.estimate())
    assert len(set(estimates)) == 1
    assert estimates[0] == distinct if distinct < SIZE else abs(estimates[0] / distinct - 1) < 0.03


@given(st.lists(st.one_of(st.text(max_size=12), st.text("ab", max_size=40)), max_size=60), st.integers(0, 5))
def test_equal_strings_have_equal_hashes_wherever_they_stand_and_others_do_not(values, skip):
    hashes = hash_strings(pa.array(values, pa.string()))
    assert len(set(hashes.tolist())) == len(set(values))
    again = hash_strings(pa.array([*values[skip:], "x", *values], pa.large_string()).slice(len(values[skip:]) + 1))
    assert again.tolist() == hashes.tolist()


def test_hashes_of_long_values_and_of_many():
    long = ["x" * n for n in (1 << 20, (1 << 20) + 1, 3 << 20)] + ["x" * (3 << 20) + "y", "short"]
    assert len(set(hash_strings(pa.array(long)).tolist())) == 5
    assert hash_strings(pa.array(long[::-1])).tolist() == hash_strings(pa.array(long)).tolist()[::-1]
    many = pa.array([f"key-{i}" for i in range(300_000)])
    hashes = hash_strings(many)
    assert len(np.unique(hashes)) == len(many)
    assert abs(np.mean(hashes.astype(float)) / 2.0**63 - 1) < 0.01


@given(st.data())
def test_value_counts_of_any_sharding_are_counters(data):
    values = data.draw(st.lists(st.one_of(st.none(), st.text("abc", max_size=2)), max_size=40))
    counts = ValueCounts()
    for piece in shards(data.draw, values):
        array = pa.array(piece, pa.string())
        counts.merge(ValueCounts.of(array.dictionary_encode() if data.draw(st.booleans()) else array))
    expected = Counter(value for value in values if value is not None)
    order = sorted(expected.items(), key=lambda item: (-item[1], item[0].encode()))
    assert counts.top() == order and counts.top(3) == order[:3]
    assert counts.exact and counts.unique() == len(expected) and counts.total == sum(expected.values())


@pytest.mark.parametrize("bound", ["values", "bytes"])
def test_frequent_values_beyond_the_bound_are_within_the_stated_error(monkeypatch, bound):
    if bound == "values":
        monkeypatch.setattr(value_counts, "EXACT_VALUES", 100)
    else:
        monkeypatch.setattr(value_counts, "EXACT_BYTES", 2_000)
    rng = np.random.default_rng(6)
    numbers = np.minimum(rng.zipf(1.2, 40_000), 20_000)
    rng.shuffle(numbers)
    counts = ValueCounts()
    for piece in np.array_split(numbers, 23):
        counts.merge(ValueCounts.of(pa.array([f"v{n}" for n in piece])))
    expected = Counter(f"v{n}" for n in numbers)
    assert not counts.exact and 0 < counts.error <= len(numbers) / 50
    kept = dict(counts.top())
    assert all(expected[value] - counts.error <= count <= expected[value] for value, count in kept.items())
    assert all(count <= counts.error for value, count in expected.items() if value not in kept)
    assert [value for value, _ in counts.top(5)] == [value for value, _ in expected.most_common(5)]
    assert abs(counts.unique() / len(expected) - 1) < 0.03


def test_a_million_distinct_strings_stay_small():
    counts = ValueCounts()
    for start in range(0, 1_000_000, 50_000):
        counts.merge(ValueCounts.of(pa.array([f"a rather long key number {i}" for i in range(start, start + 50_000)])))
    assert len(pickle.dumps(counts)) < value_counts.EXACT_BYTES + 8 * SIZE + 10_000
    assert abs(counts.unique() / 1e6 - 1) < 0.03 and counts.error <= 1e6 / value_counts.EXACT_VALUES


NUMBERS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40).map(lambda v: np.array(v, np.int64)),
    st.lists(st.integers(-5, 5), max_size=40).map(lambda v: np.array(v, np.int64)),
    st.lists(st.floats(width=32), max_size=40).map(lambda v: np.array(v, np.float32)),
    st.lists(st.one_of(st.floats(), st.sampled_from([0.0, -0.0, math.inf, math.nan])), max_size=40).map(np.array),
)


@settings(max_examples=200)
@given(st.data())
def test_number_counts_of_any_sharding_are_numpys(data):
    values = data.draw(NUMBERS).astype(np.float64) if data.draw(st.booleans()) else data.draw(NUMBERS)
    numbers = NumberCounts()
    for piece in shards(data.draw, values):
        numbers.merge(NumberCounts.of(piece))
    finite = values[np.isfinite(values)]
    assert numbers.nan == np.isnan(values).sum() and numbers.count == len(finite)
    assert numbers.positive_inf == np.isposinf(values).sum() and numbers.negative_inf == np.isneginf(values).sum()
    assert numbers.zeros == (finite == 0).sum() and numbers.unique() == len(np.unique(finite)) and numbers.exact
    if len(finite):
        assert numbers.minimum == finite.min() and numbers.maximum == finite.max()
        assert numbers.histogram(10)[0].sum() == len(finite)
        with np.errstate(all="ignore"):
            expected = np.quantile(finite.astype(float), [0.1, 0.5, 0.9])
            scale = float(np.abs(finite.astype(float)).max())
            if math.isfinite(scale * 2):
                np.testing.assert_allclose(
                    numbers.quantiles(np.array([0.1, 0.5, 0.9])), expected, rtol=1e-9, atol=scale * 1e-12
                )
            if scale < 1e150:
                assert numbers.moments.mean == pytest.approx(np.mean(finite, dtype=float), rel=1e-9, abs=scale * 1e-12)
                assert numbers.moments.std == pytest.approx(np.std(finite.astype(float)), rel=1e-9, abs=scale * 1e-9)


@settings(max_examples=60)
@given(st.data())
def test_number_counts_beyond_the_bound_are_numpys_within_the_stated_error(data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(number_counts, "EXACT_VALUES", 5)
        values = np.array(data.draw(st.lists(FLOATS, min_size=20, max_size=80)))
        numbers = NumberCounts()
        for piece in shards(data.draw, values):
            numbers.merge(NumberCounts.of(piece))
    assert numbers.count == len(values) and numbers.unique() == len(np.unique(values))
    assert numbers.minimum == values.min() and numbers.maximum == values.max()
    assert numbers.moments.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-6)
    np.testing.assert_allclose(
        numbers.quantiles(np.linspace(0, 1, 9)), np.quantile(values, np.linspace(0, 1, 9)), atol=1e-6
    )
    np.testing.assert_array_equal(numbers.histogram(1)[0], [len(values)])


@pytest.mark.parametrize("kind", ["ints", "floats", "rounded"])
def test_histograms_are_numpys(kind):
    rng = np.random.default_rng(8)
    values = {
        "ints": rng.integers(0, 997, 20_000),
        "floats": rng.normal(size=20_000),
        "rounded": rng.normal(size=20_000).round(1),
    }[kind]
    counts, edges = NumberCounts.of(values).histogram(20)
    expected, expected_edges = np.histogram(values, 20)
    np.testing.assert_allclose(edges, expected_edges)
    np.testing.assert_array_equal(counts, expected)


def test_a_wide_range_of_floats_has_a_histogram():
    counts, edges = NumberCounts.of(np.array([-1.7e308, 0.0, 1.7e308])).histogram(4)
    assert counts.tolist() == [1, 0, 1, 1] and np.isfinite(edges).all()
