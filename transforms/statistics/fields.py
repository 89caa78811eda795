"""Reading the statistics proto: a column's name, what its three kinds have in common, and our own numbers in it."""

from __future__ import annotations

from tensorflow_metadata.proto.v0 import statistics_pb2

Statistics = statistics_pb2.DatasetFeatureStatisticsList


def column_name(feature: statistics_pb2.FeatureNameStatistics) -> str:
    """The column's name, in whichever of the two fields it is."""
    return ".".join(feature.path.step) if feature.path.step else str(feature.name)


def common_stats(feature: statistics_pb2.FeatureNameStatistics) -> statistics_pb2.CommonStatistics:
    """Counts of present and missing rows and of values a row, for any kind of column."""
    return getattr(feature, feature.WhichOneof("stats") or "num_stats").common_stats


def custom_stat(feature: statistics_pb2.FeatureNameStatistics, name: str) -> str | float | None:
    """A number or text in `custom_stats`; None when it is not there."""
    for stat in feature.custom_stats:
        if stat.name == name:
            return str(stat.str) if stat.WhichOneof("val") == "str" else float(stat.num)
    return None


def extremes(feature: statistics_pb2.FeatureNameStatistics) -> tuple[float, float]:
    """The smallest and largest number, ints beyond 2**53 exactly."""
    low, high = custom_stat(feature, "min_exact"), custom_stat(feature, "max_exact")
    if isinstance(low, str) and isinstance(high, str):
        return int(low), int(high)
    return feature.num_stats.min, feature.num_stats.max


def columns_of(dataset: statistics_pb2.DatasetFeatureStatistics) -> dict[str, statistics_pb2.FeatureNameStatistics]:
    """The statistics of one split's columns by name."""
    return {column_name(feature): feature for feature in dataset.features}
