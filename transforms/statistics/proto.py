"""Summaries as `DatasetFeatureStatisticsList`, field by field as TensorFlow Data Validation writes it.

What the proto has no field for is in `custom_stats`: `arrow_type`, `unique` of numbers, `num_infinite`,
`quantile_rank_error` (the bound, where quantiles are of a sketch), `count_error` (the bound, where the counts of top
values are of a sketch), `min_length` and `max_length` of strings, `null_elements` of lists, `top_values` of ints with
few distinct values, `min_exact` and `max_exact` of ints that a double cannot hold, and `images`, how many values of
bytes begin as a PNG or JPEG. Of bytes no value is written, only how many there are and how long they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from headrace.transforms.feature_model import is_list, kind_of
from headrace.transforms.number_counts import NumberCounts
from headrace.transforms.statistics.columns import ColumnSummary
from headrace.transforms.statistics.summarizer import DatasetSummary
from headrace.transforms.value_counts import ValueCounts
from tensorflow_metadata.proto.v0 import statistics_pb2

_TYPES = {"INT": "INT", "FLOAT": "FLOAT", "BYTES": "STRING"}
# As in TensorFlow Data Validation: longer values would make the statistics as large as the data.
_LARGE_VALUE_BYTES = 1024
_LARGE_VALUE = "__LARGE_BYTES__"
_DOUBLE_EXACT = 2**53


def to_proto(
    splits: Mapping[str, DatasetSummary],
    *,
    histogram_buckets: int = 20,
    quantiles: int = 20,
    top_values: int = 20,
    ranked_values: int = 1000,
) -> statistics_pb2.DatasetFeatureStatisticsList:
    """The statistics of each split as the standard proto.

    Args:
        splits: Finished summaries by the split's name.
        histogram_buckets: Equal-width buckets of the STANDARD histogram.
        quantiles: Buckets of the QUANTILES histogram, each with an equal share of the values.
        top_values: How many of the most frequent strings are in `top_values`.
        ranked_values: How many are in `rank_histogram`, from which drift and skew are measured.

    Example:
        >>> import pyarrow as pa
        >>> from headrace.transforms.statistics import StatisticsSummarizer
        >>> summarizer = StatisticsSummarizer(pa.schema([("x", pa.int64())]))
        >>> summary = summarizer.finish(summarizer.summarize(pa.record_batch({"x": [1, 2, None]})))
        >>> to_proto({"train": summary}).datasets[0].features[0].num_stats.mean
        1.5
    """
    listed = statistics_pb2.DatasetFeatureStatisticsList()
    for split, summary in splits.items():
        dataset = listed.datasets.add(name=split, num_examples=summary.rows)
        for name, column in summary.columns.items():
            feature = dataset.features.add()
            feature.path.step.append(name)
            _write_column(feature, column, histogram_buckets, quantiles, top_values, ranked_values)
    return listed


def _write_column(
    feature: statistics_pb2.FeatureNameStatistics,
    column: ColumnSummary,
    buckets: int,
    quantiles: int,
    top_values: int,
    ranked_values: int,
) -> None:
    kind = kind_of(column.arrow_type)
    feature.type = statistics_pb2.FeatureNameStatistics.Type.Value(_TYPES[kind.feature_type])
    feature.custom_stats.add(name="arrow_type", str=str(column.arrow_type))
    if column.null_elements:
        feature.custom_stats.add(name="null_elements", num=column.null_elements)
    if isinstance(column.values, NumberCounts):
        _write_common(feature.num_stats.common_stats, column, quantiles)
        _write_numbers(feature, column.values, buckets, quantiles)
        if kind.feature_type == "INT":
            _write_int_values(feature, column.values, top_values)
    elif kind.name == "bytes":
        feature.type = statistics_pb2.FeatureNameStatistics.BYTES
        _write_common(feature.bytes_stats.common_stats, column, quantiles)
        _write_bytes(feature.bytes_stats, column)
        feature.custom_stats.add(name="images", num=column.images)
    else:
        _write_common(feature.string_stats.common_stats, column, quantiles)
        _write_strings(feature, column, column.values, top_values, ranked_values)


def _write_common(common: statistics_pb2.CommonStatistics, column: ColumnSummary, quantiles: int) -> None:
    present = column.rows - column.missing
    common.num_non_missing, common.num_missing = present, column.missing
    if not is_list(column.arrow_type):
        common.tot_num_values = present
        common.min_num_values = common.max_num_values = int(present > 0)
        common.avg_num_values = float(present > 0)
        return
    if not present:
        return
    lengths = column.lengths
    common.min_num_values, common.max_num_values = int(lengths.minimum), int(lengths.maximum)
    common.avg_num_values = lengths.moments.mean
    common.tot_num_values = round(lengths.moments.mean * lengths.count)
    _write_quantiles(common.num_values_histogram, lengths, quantiles)


def _write_numbers(
    feature: statistics_pb2.FeatureNameStatistics, numbers: NumberCounts, buckets: int, quantiles: int
) -> None:
    stats = feature.num_stats
    infinite = numbers.negative_inf + numbers.positive_inf
    if infinite:
        feature.custom_stats.add(name="num_infinite", num=infinite)
    feature.custom_stats.add(name="unique", num=numbers.unique())
    if not numbers.exact:
        feature.custom_stats.add(name="quantile_rank_error", num=numbers.rank_error)
    stats.num_zeros = numbers.zeros
    if numbers.count:
        moments = numbers.moments
        stats.mean, stats.std_dev = moments.mean, moments.std
        stats.median = float(numbers.quantiles(np.array([0.5]))[0])
        stats.min, stats.max = float(numbers.minimum), float(numbers.maximum)
        standard = stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
        counts, edges = numbers.histogram(buckets)
        for low, high, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist()):
            standard.buckets.add(low_value=low, high_value=high, sample_count=count)
        _write_quantiles(stats.histograms.add(), numbers, quantiles)
    elif numbers.nan:
        stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
        stats.mean = stats.std_dev = stats.median = stats.min = stats.max = math.nan
    for histogram in stats.histograms:
        histogram.num_nan, histogram.num_undefined = numbers.nan, infinite
    # The extremes are of all numbers, as in NumPy; mean, deviation and histograms of the finite ones.
    if numbers.negative_inf:
        stats.min = -math.inf
        stats.max = max(stats.max, -math.inf) if numbers.count else -math.inf
    if numbers.positive_inf:
        stats.max = math.inf
        stats.min = stats.min if numbers.count or numbers.negative_inf else math.inf


def _write_quantiles(histogram: statistics_pb2.Histogram, numbers: NumberCounts, buckets: int) -> None:
    histogram.type = statistics_pb2.Histogram.QUANTILES
    edges = numbers.quantiles(np.linspace(0, 1, buckets + 1)).tolist()
    share = numbers.count / buckets
    for low, high in pairwise(edges):
        histogram.buckets.add(low_value=low, high_value=high, sample_count=share)


def _write_int_values(feature: statistics_pb2.FeatureNameStatistics, numbers: NumberCounts, top_values: int) -> None:
    if not numbers.count:
        return
    if max(abs(numbers.minimum), abs(numbers.maximum)) > _DOUBLE_EXACT:
        feature.custom_stats.add(name="min_exact", str=str(numbers.minimum))
        feature.custom_stats.add(name="max_exact", str=str(numbers.maximum))
    if numbers.exact:
        values, counts = numbers.weighted()
        order = np.lexsort((values, -counts))[:top_values]
        ranked = [(str(value), count) for value, count in zip(values[order].tolist(), counts[order].tolist())]
        _write_ranks(feature.custom_stats.add(name="top_values").rank_histogram, ranked)


def _write_ranks(histogram: statistics_pb2.RankHistogram, ranked: list[tuple[str, int]]) -> None:
    for rank, (value, count) in enumerate(ranked):
        histogram.buckets.add(low_rank=rank, high_rank=rank, label=value, sample_count=count)


def _write_bytes(stats: statistics_pb2.BytesStatistics, column: ColumnSummary) -> None:
    assert isinstance(column.values, ValueCounts)
    stats.unique = column.values.unique()
    if column.sizes.count:
        stats.avg_num_bytes = column.sizes.moments.mean
        stats.min_num_bytes, stats.max_num_bytes = float(column.sizes.minimum), float(column.sizes.maximum)
        stats.max_num_bytes_int = int(column.sizes.maximum)


def _write_strings(
    feature: statistics_pb2.FeatureNameStatistics,
    column: ColumnSummary,
    values: ValueCounts,
    top_values: int,
    ranked_values: int,
) -> None:
    stats = feature.string_stats
    stats.unique = values.unique()
    if not values.exact:
        feature.custom_stats.add(name="count_error", num=values.error)
    if column.sizes.count:
        stats.avg_length = column.sizes.moments.mean
        feature.custom_stats.add(name="min_length", num=int(column.sizes.minimum))
        feature.custom_stats.add(name="max_length", num=int(column.sizes.maximum))
    ranked = [(_shown(value), count) for value, count in values.top(ranked_values)]
    for value, count in ranked[:top_values]:
        stats.top_values.add(value=value, frequency=count)
    _write_ranks(stats.rank_histogram, ranked)


def _shown(value: Any) -> str:
    text = str(value)
    return _LARGE_VALUE if len(text.encode("utf-8", "surrogatepass")) > _LARGE_VALUE_BYTES else text
