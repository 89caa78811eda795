"""How far two distributions are apart, from their statistics alone."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from headrace.transforms.statistics.fields import custom_stat
from tensorflow_metadata.proto.v0 import statistics_pb2

Array = np.ndarray[Any, Any]
Feature: TypeAlias = statistics_pb2.FeatureNameStatistics


def category_shares(feature: Feature) -> dict[str, float]:
    """Each listed category's share of all values of a string column."""
    total = feature.string_stats.common_stats.tot_num_values
    total -= int(custom_stat(feature, "null_elements") or 0)
    buckets = feature.string_stats.rank_histogram.buckets
    return {bucket.label: bucket.sample_count / total for bucket in buckets} if total else {}


def l_infinity(left: dict[str, float], right: dict[str, float]) -> tuple[float, str]:
    """The largest difference of a category's shares, and that category.

    Example:
        >>> l_infinity({"a": 0.5, "b": 0.5}, {"a": 0.75, "b": 0.25})
        (0.25, 'a')
    """
    differences = {value: abs(left.get(value, 0.0) - right.get(value, 0.0)) for value in sorted({*left, *right})}
    if not differences:
        return 0.0, ""
    worst = max(differences, key=lambda value: differences[value])
    return differences[worst], worst


def jensen_shannon(left: Array, right: Array) -> float:
    """Jensen-Shannon divergence in bits, from 0 (equal) to 1 (disjoint), of two distributions of shape `(n,)`.

    Source: Lin, "Divergence measures based on the Shannon entropy" (IEEE Trans. Inf. Theory, 1991).

    Example:
        >>> jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
        1.0
    """
    if not left.sum() or not right.sum():
        return float(left.sum() != right.sum())
    p, q = left / left.sum(), right / right.sum()
    middle = (p + q) / 2

    def relative_entropy(one: Array) -> float:
        some = one > 0
        return float((one[some] * np.log2(one[some] / middle[some])).sum())

    return min(1.0, max(0.0, (relative_entropy(p) + relative_entropy(q)) / 2))


def category_divergence(left: Feature, right: Feature) -> float:
    """Jensen-Shannon divergence of two string columns; what is not listed counts as one category."""
    p, q = category_shares(left), category_shares(right)
    values = sorted({*p, *q})
    masses = [[shares.get(value, 0.0) for value in values] for shares in (p, q)]
    arrays = [np.array([*mass, max(0.0, 1.0 - sum(mass))]) for mass in masses]
    return jensen_shannon(*arrays)


def number_divergence(left: Feature, right: Feature) -> float:
    """Jensen-Shannon divergence of two numeric columns.

    Both distributions are read off at the same edges, those of both STANDARD histograms, from a cumulative
    distribution that goes through the edges of the STANDARD and the QUANTILES histograms and is linear between them:
    closer than TensorFlow Data Validation's, which spreads each wide bucket evenly. NaN is a bucket of its own.
    """
    if not left.num_stats.histograms or not right.num_stats.histograms:
        return float(bool(left.num_stats.histograms) != bool(right.num_stats.histograms))
    edges = np.unique(np.concatenate([_standard_edges(left), _standard_edges(right)]))
    return jensen_shannon(_masses(left, edges), _masses(right, edges))


def _standard_edges(feature: Feature) -> Array:
    buckets = feature.num_stats.histograms[0].buckets
    edges: Array = np.array([edge for one in buckets for edge in (one.low_value, one.high_value)], np.float64)
    return edges


def _masses(feature: Feature, edges: Array) -> Array:
    """Shares of NaN, of infinities, and between neighbouring edges; a share at one single point is at that edge."""
    histograms = feature.num_stats.histograms
    nan, infinite = histograms[0].num_nan, histograms[0].num_undefined
    points: list[tuple[float, float]] = []
    finite = 0.0
    for histogram in histograms:
        cumulative = 0.0
        for bucket in histogram.buckets:
            points.append((bucket.low_value, cumulative))
            cumulative += bucket.sample_count
            points.append((bucket.high_value, cumulative))
        finite = max(finite, cumulative)
    total = nan + infinite + finite
    if not total:
        return np.zeros(len(edges) + 2)
    ordered = np.array(sorted(set(points))).reshape(-1, 2)
    if not len(ordered):
        return np.array([nan / total, infinite / total, *np.zeros(len(edges))])
    where, cumulative_at = ordered[:, 0], np.maximum.accumulate(ordered[:, 1])
    # Several points at one value are a jump there: the last of them is the share up to and including the value.
    last = np.concatenate([where[1:] != where[:-1], [True]])
    at_edges = np.interp(edges, where[last], cumulative_at[last], left=0.0, right=finite)
    masses: Array = np.concatenate([[nan, infinite], np.diff(np.concatenate([[0.0], at_edges]))])
    masses /= total
    return masses
