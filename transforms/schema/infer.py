"""A schema from statistics: type, presence, valency, shape, and domains where the data shows one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from headrace.transforms.schema.tags import mark_sensitive
from headrace.transforms.statistics.fields import column_name, common_stats, custom_stat
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

_TYPES = {
    statistics_pb2.FeatureNameStatistics.INT: schema_pb2.INT,
    statistics_pb2.FeatureNameStatistics.FLOAT: schema_pb2.FLOAT,
    statistics_pb2.FeatureNameStatistics.STRING: schema_pb2.BYTES,
    statistics_pb2.FeatureNameStatistics.BYTES: schema_pb2.BYTES,
}
# A domain is listed when each of its values was seen this often on average: an id in a small file is no category.
_REPEATS = 2
# A range of ints is a domain when it is filled and each value was seen this often: hour, month, weekday.
_RANGE_REPEATS = 10


# Arrow writes a list's type as "list<item: date32[day]>", "fixed_size_list<element: bool not null>[3]" and the like.
_ELEMENT = re.compile(r"^\w*list\w*<\w+: (.*?)(?: not null)?>(?:\[\d+\])?$")


@dataclass
class _Seen:
    """One column's statistics in each split."""

    name: str
    splits: list[statistics_pb2.FeatureNameStatistics] = field(default_factory=list)
    rows: int = 0

    @property
    def present(self) -> int:
        return sum(common_stats(one).num_non_missing for one in self.splits)

    @property
    def values(self) -> int:
        return sum(common_stats(one).tot_num_values for one in self.splits)

    @property
    def filled(self) -> list[statistics_pb2.FeatureNameStatistics]:
        return [one for one in self.splits if common_stats(one).tot_num_values]

    @property
    def arrow_type(self) -> str:
        return str(custom_stat(self.splits[0], "arrow_type") or "")


def infer_schema(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    *,
    infer_feature_shape: bool = True,
    max_categories: int = 400,
    sensitive: Iterable[str] = (),
    splits: Sequence[str] | None = None,
) -> schema_pb2.Schema:
    """Infers what the data of these statistics has in common.

    Args:
        statistics: Statistics of one or more splits.
        infer_feature_shape: Whether a column without missing rows and with as many values in each gets a fixed
            `shape`; otherwise, or when it varies, a `value_count`.
        max_categories: Distinct strings up to which they are listed as the column's domain, when they repeat.
        sensitive: Columns to mark as sensitive.
        splits: Names of the splits to infer from; all when None.

    Raises:
        ValueError: There is no such split, no statistics, a column's type differs between splits, or a sensitive
            column does not exist.

    Example:
        >>> import pyarrow as pa
        >>> from headrace.transforms.statistics import StatisticsSummarizer, to_proto
        >>> summarizer = StatisticsSummarizer(pa.schema([("x", pa.int64())]))
        >>> statistics = to_proto({"train": summarizer.summarize(pa.record_batch({"x": [3, 9]}))})
        >>> infer_schema(statistics).feature[0].presence.min_fraction
        1.0
    """
    schema = schema_pb2.Schema()
    for seen in _columns(statistics, splits).values():
        feature = schema.feature.add(name=seen.name)
        _write_type(feature, seen)
        _write_presence(feature, seen)
        _write_valency(feature, seen, infer_feature_shape)
        _write_domain(feature, seen, max_categories)
    mark_sensitive(schema, sensitive)
    return schema


def _columns(statistics: statistics_pb2.DatasetFeatureStatisticsList, splits: Sequence[str] | None) -> dict[str, _Seen]:
    names = [dataset.name for dataset in statistics.datasets]
    if unknown := sorted(set(splits or ()) - set(names)):
        raise ValueError(f"no statistics of the splits {unknown}; there are {names}")
    chosen = [dataset for dataset in statistics.datasets if splits is None or dataset.name in splits]
    if not chosen:
        raise ValueError("a schema is inferred from the statistics of at least one split; there is none")
    columns: dict[str, _Seen] = {}
    for dataset in chosen:
        for one in dataset.features:
            seen = columns.setdefault(column_name(one), _Seen(column_name(one)))
            seen.splits.append(one)
    for seen in columns.values():
        # A split that lacks the column lacks it in all its rows.
        seen.rows = sum(dataset.num_examples for dataset in chosen)
    return columns


def _write_type(feature: schema_pb2.Feature, seen: _Seen) -> None:
    types = {one.type for one in seen.filled} or {seen.splits[0].type}
    if len(types) > 1:
        shown = sorted(statistics_pb2.FeatureNameStatistics.Type.Name(one) for one in types)
        raise ValueError(f"column {seen.name!r} has different types in the splits: {shown}; make them equal")
    [one_type] = types
    feature.type = _TYPES[one_type]


def _write_presence(feature: schema_pb2.Feature, seen: _Seen) -> None:
    if not seen.present:
        return
    feature.presence.min_count = 1
    if seen.present == seen.rows:
        feature.presence.min_fraction = 1.0


def _write_valency(feature: schema_pb2.Feature, seen: _Seen, infer_feature_shape: bool) -> None:
    if not _is_list(seen):
        if infer_feature_shape and seen.present == seen.rows:
            feature.shape.dim.add(size=1)
        else:
            feature.value_count.min = feature.value_count.max = 1
        return
    commons = [common_stats(one) for one in seen.splits if common_stats(one).num_non_missing]
    least = min((common.min_num_values for common in commons), default=0)
    most = max((common.max_num_values for common in commons), default=0)
    # A list of one is left open: a shape of one stands for a scalar, as TensorFlow Data Validation writes it.
    if least == most > 1:
        if infer_feature_shape and seen.present == seen.rows:
            feature.shape.dim.add(size=least)
        else:
            feature.value_count.min = feature.value_count.max = least
    else:
        feature.value_count.min = min(least, 1)


def _is_list(seen: _Seen) -> bool:
    if seen.arrow_type:
        return "list" in seen.arrow_type.split("<")[0]
    return any(common_stats(one).max_num_values > 1 for one in seen.splits)


def _write_domain(feature: schema_pb2.Feature, seen: _Seen, max_categories: int) -> None:
    base = _ELEMENT.sub(r"\1", seen.arrow_type)
    if base.startswith("bool"):
        feature.bool_domain.name = seen.name
    elif base.startswith("date"):
        feature.time_domain.integer_format = schema_pb2.TimeDomain.UNIX_DAYS
    elif base.startswith("timestamp"):
        feature.time_domain.integer_format = schema_pb2.TimeDomain.UNIX_MICROSECONDS
    elif seen.filled and all(custom_stat(one, "images") == common_stats(one).tot_num_values for one in seen.filled):
        feature.image_domain.minimum_supported_image_fraction = 1.0
    elif seen.filled and feature.type == schema_pb2.BYTES:
        _write_categories(feature, seen, max_categories)
    elif seen.filled and feature.type == schema_pb2.INT:
        _write_int_range(feature, seen)
    elif seen.filled and feature.type == schema_pb2.FLOAT:
        nan = any(histogram.num_nan for one in seen.filled for histogram in islice(one.num_stats.histograms, 1))
        feature.float_domain.disallow_nan = not nan
        feature.float_domain.disallow_inf = not any(custom_stat(one, "num_infinite") for one in seen.filled)
        if not (feature.float_domain.disallow_nan or feature.float_domain.disallow_inf):
            feature.ClearField("float_domain")


def _write_categories(feature: schema_pb2.Feature, seen: _Seen, max_categories: int) -> None:
    categories: set[str] = set()
    for one in seen.filled:
        buckets = one.string_stats.rank_histogram.buckets
        listed = {bucket.label for bucket in buckets}
        # Not all values are listed, or not as they are: no domain can be told.
        if one.string_stats.unique != len(buckets) or len(listed) != len(buckets) or "__LARGE_BYTES__" in listed:
            return
        categories |= listed
    if 0 < len(categories) <= max_categories and len(categories) * _REPEATS <= seen.values:
        feature.string_domain.name = seen.name
        feature.string_domain.value.extend(sorted(categories))


def _write_int_range(feature: schema_pb2.Feature, seen: _Seen) -> None:
    low = round(min(one.num_stats.min for one in seen.filled))
    high = round(max(one.num_stats.max for one in seen.filled))
    distinct = max(float(custom_stat(one, "unique") or 0) for one in seen.filled)
    width = high - low + 1
    if 1 < width <= distinct and width * _RANGE_REPEATS <= seen.values:
        feature.int_domain.name = seen.name
        feature.int_domain.min, feature.int_domain.max = low, high
