"""The pure functions behind layers' state: NumPy and counting as oracles, under random sharding and order."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
import tempfile
from collections import Counter
from functools import reduce
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from headrace.transforms.keras_graph import bin_boundaries, token_runs, vocabulary
from headrace.transforms.keras_graph.analyzers import MeanVariance
from headrace.transforms.moments import Moments
from hypothesis import given, settings
from hypothesis import strategies as st

quick = settings(deadline=None)  # the first call warms pyarrow up
floats = st.floats(-1e6, 1e6, width=32)


def _shards(values, cuts):
    edges = [0, *sorted(cut % (len(values) + 1) for cut in cuts), len(values)]
    return [values[a:b] for a, b in itertools.pairwise(edges)]


@quick
@given(
    st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=40),
    st.lists(st.integers(0, 99), max_size=4),
    st.data(),
)
def test_vocabulary_counts_and_order(tokens, cuts, data):
    present = [one for one in tokens if one is not None]
    expected = sorted(Counter(present).items(), key=lambda item: (item[1], item[0].encode()), reverse=True)
    shards = [vocabulary.summarize(pa.array(one, pa.string())) for one in _shards(tokens, cuts)]
    shards = data.draw(st.permutations(shards))
    finished = vocabulary.finish(reduce(vocabulary.merge, shards, vocabulary.create()))
    assert finished.tokens == [token for token, _ in expected]
    assert finished.counts.tolist() == [count for _, count in expected]
    np.testing.assert_allclose(finished.idf, [np.log(1 + len(present) / (1 + count)) for _, count in expected])


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.binary(max_size=3), max_size=60) | st.lists(st.integers(-(2**62), 2**62) | st.integers(0, 9)),
    st.lists(st.integers(0, 99), max_size=6),
    st.none() | st.integers(0, 20),
    st.data(),
)
def test_a_vocabulary_that_went_through_files_is_the_same(tokens, cuts, size, data):
    kind = pa.int64() if tokens and isinstance(tokens[0], int) else pa.binary()
    shards = [vocabulary.summarize(pa.array(one, kind), row_length=1) for one in _shards(tokens, cuts)]
    drop = tuple(tokens[:1]) if kind == pa.int64() else ()
    expected = vocabulary.finish(reduce(vocabulary.merge, shards, vocabulary.create()), drop, size, "latin-1")
    shards = data.draw(st.permutations(shards))
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(token_runs, "RUN_BYTES", 0),
        mock.patch.object(vocabulary, "SLACK_ROWS", -1),
    ):
        halves = [shards[: len(shards) // 2], shards[len(shards) // 2 :]]
        merged = [reduce(lambda a, b: vocabulary.merge(a, b, folder), half, vocabulary.create()) for half in halves]
        travelled = [pickle.loads(pickle.dumps(one)) for one in merged]
        counts = vocabulary.merge(*travelled, folder)
        assert len(list(Path(folder).iterdir())) == len(counts.runs)
        finished = vocabulary.finish(counts, drop, size, "latin-1")
        assert not [path for path in Path(folder).iterdir() if path.is_file()]
    assert finished.tokens == expected.tokens
    np.testing.assert_array_equal(finished.counts, expected.counts)
    np.testing.assert_array_equal(finished.idf, expected.idf)


@quick
@given(st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=1, max_size=20))
def test_vocabulary_documents_are_rows(rows):
    finished = vocabulary.finish(vocabulary.summarize(pa.array(np.ravel(rows)), row_length=2))
    for token, idf in zip(finished.tokens, finished.idf):
        containing = sum(token in row for row in rows)
        assert idf == pytest.approx(np.log(1 + len(rows) / (1 + containing)))


def test_vocabulary_compacts_and_cuts():
    counts = vocabulary.create()
    for start in range(0, 200_000, 20_000):
        counts = vocabulary.merge(counts, vocabulary.summarize(pa.array(np.arange(start, start + 30_000))))
        assert counts.table.num_rows <= 2 * counts.unique + 10_000
    finished = vocabulary.finish(counts, drop=(20_000,), size=3)
    assert finished.tokens == [189_999 + 10_000 - 10_000, 189_998, 189_997]


@quick
@given(st.lists(st.one_of(st.just(float("nan")), floats), max_size=60), st.lists(st.integers(0, 99), max_size=4))
def test_moments_are_numpys(values, cuts):
    array = np.array(values, np.float64)
    present = array[~np.isnan(array)]
    shards = [Moments.along(one.reshape(-1, 1), (0,)) for one in _shards(array, cuts)]
    finished = MeanVariance.of(reduce(Moments.merge, shards, Moments()))
    if len(present) == 0:
        assert (finished.mean, finished.variance) == (0, 1)
        return
    np.testing.assert_allclose(finished.mean, [present.mean()], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(finished.variance, [present.var()], rtol=1e-6, atol=1e-9)


def test_moments_do_not_cancel():
    values = 1e8 + np.random.default_rng(0).normal(size=(100_000, 1))
    shards = [Moments.along(one, (0,)) for one in np.array_split(values, 17)]
    finished = MeanVariance.of(reduce(Moments.merge, shards))
    np.testing.assert_allclose(finished.variance, values.var(axis=0), rtol=1e-6)


def test_moments_keep_axes():
    values = np.random.default_rng(0).normal(size=(50, 3, 2))
    finished = MeanVariance.of(Moments.merge(Moments.along(values[:20], (0, 1)), Moments.along(values[20:], (0, 1))))
    np.testing.assert_allclose(finished.mean, values.mean(axis=(0, 1)))
    np.testing.assert_allclose(finished.variance, values.var(axis=(0, 1)))


@quick
@given(
    st.lists(st.one_of(st.just(float("nan")), floats), max_size=60),
    st.lists(st.integers(0, 99), max_size=4),
    st.integers(2, 7),
)
def test_quantiles_are_numpys(values, cuts, bins):
    array = np.array(values, np.float32)
    present = array[~np.isnan(array)].astype(np.float64)
    shards = [bin_boundaries.summarize(one) for one in _shards(array, cuts)]
    finished = bin_boundaries.finish(reduce(bin_boundaries.merge, shards, bin_boundaries.create()), bins)
    expected = np.quantile(present, np.arange(1, bins) / bins) if len(present) else np.zeros(bins - 1)
    np.testing.assert_allclose(finished, expected, rtol=1e-6, atol=1e-9)


@quick
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), min_size=1, max_size=60), st.integers(2, 7))
def test_boundaries_of_integers_are_those_of_their_float32(values, bins):
    array = np.array(values, np.int64)
    counted, spelled_out = (bin_boundaries.summarize(one) for one in (array, array.astype(np.float32)))
    assert counted.values.tolist() == spelled_out.values.tolist()
    assert counted.weights.tolist() == spelled_out.weights.tolist()


def test_boundaries_beside_infinities():
    values = np.array([-np.inf, 1, 2, np.inf, np.inf], np.float32)
    assert bin_boundaries.finish(bin_boundaries.summarize(values), 8).tolist() == [
        *[-np.inf, 1.0, 1.5, 2.0],
        *[np.inf, np.inf, np.inf],
    ]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order", ["random", "ascending", "descending"])
def test_thinned_quantiles_stay_within_the_documented_rank(seed, order):
    capacity, n = 1 << 12, 200_000
    values = np.random.default_rng(seed).lognormal(size=n).astype(np.float32)
    values = {"random": values, "ascending": np.sort(values), "descending": np.sort(values)[::-1]}[order]
    counted = bin_boundaries.create()
    for one in np.array_split(values, 23):
        counted = bin_boundaries.merge(counted, bin_boundaries.summarize(one, capacity), capacity)
        assert len(counted.values) <= capacity
    boundaries = bin_boundaries.finish(counted, 20)
    ranks = np.searchsorted(np.sort(values), boundaries) / n
    assert counted.weights.sum() == n
    # The module's bound for this capacity, n / capacity ** 2, and one step of what is left.
    assert np.abs(ranks - np.arange(1, 20) / 20).max() <= n / capacity**2 + 2 / capacity


def test_pure_functions_need_no_tensorflow():
    code = (
        "import sys; from headrace.transforms.keras_graph import analyzers, stored_features;"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
