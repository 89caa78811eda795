"""The statistics of each split side by side, a row a feature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headrace.pipelines.artifact_types import Statistics
from headrace.pipelines.report.charts.histogram import Bucket, Quantiles, histogram, value_bars
from headrace.pipelines.report.charts.svg import Svg
from headrace.pipelines.report.data import ReportData
from headrace.pipelines.report.number_format import moment, number, percent
from headrace.pipelines.report.payloads import payload
from headrace.pipelines.report.privacy import Privacy, feature_name, ranked_values

VALUES = 12
# Beyond so many charts a bar no longer tells its range when pointed at: the page would be too heavy.
DETAILED_CHARTS = 160
# A range so many times wider than the middle 90 per cent is drawn without its tails.
LONG_TAILS = 4.0

Ranked = list[tuple[str, float]]


@dataclass(frozen=True)
class SplitFigures:
    """One feature in one split, as text ready to be shown, and its chart."""

    split: str
    color: int
    chart: Svg | None
    figures: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        return dict(self.figures).get(name, "")


@dataclass(frozen=True)
class FeatureRow:
    """A feature: its figures by split, what hides its values, and the numbers its row is sorted by."""

    name: str
    type: str
    marks: tuple[str, ...]
    note: str
    splits: tuple[SplitFigures, ...]
    top: str
    shift: str
    keys: dict[str, float]


@dataclass(frozen=True)
class StatisticsTable:
    """The statistics of one artifact."""

    channel: str
    splits: tuple[tuple[str, str, int], ...]
    features: tuple[FeatureRow, ...]


def statistics_tables(data: ReportData, privacy: Privacy) -> list[StatisticsTable]:
    """Gives a table for each Statistics that the run made."""
    read = ((channel, payload(artifact)) for channel, artifact in data.made(Statistics))
    return [statistics_table(channel, listed, privacy) for channel, listed in read if listed is not None]


def statistics_table(channel: str, listed: Any, privacy: Privacy) -> StatisticsTable:
    """Lays out a `DatasetFeatureStatisticsList`, a dataset a split."""
    splits = [(dataset.name or f"split {k + 1}", dataset) for k, dataset in enumerate(listed.datasets)]
    by_name: dict[str, list[Any | None]] = {}
    for position, (_, dataset) in enumerate(splits):
        for feature in dataset.features:
            by_name.setdefault(feature_name(feature), [None] * len(splits))[position] = feature
    detailed = len(by_name) * len(splits) <= DETAILED_CHARTS
    names = [name for name, _ in splits]
    rows = [feature_row(name, features, names, privacy, detailed) for name, features in by_name.items()]
    heads = tuple((name, number(dataset.num_examples), k) for k, (name, dataset) in enumerate(splits))
    return StatisticsTable(channel, heads, tuple(rows))


def feature_row(
    name: str, features: Sequence[Any | None], splits: Sequence[str], privacy: Privacy, detailed: bool = True
) -> FeatureRow:
    """Lays out one feature, given in the order of the splits; None where a split lacks it."""
    shown = privacy.shows_values(name)
    there = [(k, split, feature) for k, (split, feature) in enumerate(zip(splits, features)) if feature is not None]
    charts, note = _charts(name, [feature for _, _, feature in there], [k for k, _, _ in there], shown, detailed)
    if not shown:
        note = f"values hidden: {_why_hidden(name, there[0][2], privacy)}"
    figures = tuple(
        SplitFigures(split, k, chart, tuple(_figures(feature, shown)))
        for (k, split, feature), chart in zip(there, charts)
    )
    first = there[0][2]
    shift = max((round(_distance(first, feature), 4) for _, _, feature in there[1:]), default=None)
    marks = tuple(["sensitive"] if privacy.is_sensitive(name) else [])
    keys = {
        "missing": max(_missing_share(feature) for _, _, feature in there),
        "unique": _unique(first) or 0.0,
        "shift": shift or 0.0,
        "mean": first.num_stats.mean if shown and first.HasField("num_stats") else -math.inf,
    }
    top = _top(first) if shown else ""
    if figures[0].get("earliest"):
        top = ", ".join(f"{split.split} {split.get('earliest')} to {split.get('latest')}" for split in figures)
    return FeatureRow(name, _type(first), marks, note, figures, top, "" if shift is None else number(shift, 2), keys)


def _why_hidden(name: str, feature: Any, privacy: Privacy) -> str:
    if privacy.is_sensitive(name):
        return "sensitive"
    return "bytes" if feature.HasField("bytes_stats") else "free text"


def _charts(
    name: str, features: Sequence[Any], colors: Sequence[int], shown: bool, detailed: bool
) -> tuple[list[Svg | None], str]:
    """The chart of each split on scales that all share, and what the reader should know of them."""
    if not shown:
        return [None for _ in features], ""
    ranked = [_ranked(feature) for feature in features]
    if any(ranked):
        order = list(dict.fromkeys(value for values in ranked for value, _ in values))[:VALUES]
        if features[0].HasField("num_stats"):
            order.sort(key=float)
        shares = [_shares(values, feature) for values, feature in zip(ranked, features)]
        largest = max((share.get(value, 0.0) for share in shares for value in order), default=0.0)
        charts: list[Svg | None] = [
            value_bars(
                [(v, share.get(v, 0.0)) for v in order], largest, f"{name}: frequent values", color=c, details=detailed
            )
            for share, c in zip(shares, colors)
        ]
        unique = max(_unique(feature) or 0 for feature in features)
        return charts, f"top {len(order)} of {number(unique)} values" if unique > len(order) else ""
    standard = [_buckets(feature, 0) for feature in features]
    equal = [_buckets(feature, 1) for feature in features]
    domain, zoomed = _domain(standard, equal)
    if domain is None:
        return [None for _ in features], ""
    drawn = [_spread(buckets, domain) for buckets in (equal if zoomed else standard)]
    densest = max((bucket.density for buckets in drawn for bucket in buckets), default=0.0)
    return [
        histogram(buckets, domain, densest, f"{name}: histogram", color=c, quantiles=_five(q), details=detailed)
        for buckets, q, c in zip(drawn, equal, colors)
    ], "long tails are cut off" if zoomed else ""


def _domain(standard: Sequence[list[Bucket]], equal: Sequence[list[Bucket]]) -> tuple[tuple[float, float] | None, bool]:
    """The range to draw, and whether that leaves out the tails."""
    every = [bucket for buckets in standard for bucket in buckets]
    if not every:
        return None, False
    low, high = min(b.low for b in every), max(b.high for b in every)
    if high <= low:
        return (low - 0.5, high + 0.5), False
    fives = [five for buckets in equal if (five := _five(buckets)) is not None]
    if len(fives) == len(standard):
        left, right = min(five.p5 for five in fives), max(five.p95 for five in fives)
        if right > left and high - low > LONG_TAILS * (right - left):
            pad = 0.2 * (right - left)
            return (max(low, left - pad), min(high, right + pad)), True
    return (low, high), False


def _spread(buckets: Sequence[Bucket], domain: tuple[float, float]) -> list[Bucket]:
    """Gives a value that fills whole quantiles by itself a little width, so that it can be seen."""
    least = (domain[1] - domain[0]) / 40
    return [
        b if b.high - b.low >= least / 4 else Bucket(b.low - least / 2, b.high + least / 2, b.share) for b in buckets
    ]


def _buckets(feature: Any, kind: int) -> list[Bucket]:
    """The finite buckets of a feature's histogram: kind 0 of equal widths, kind 1 of equal counts."""
    for found in feature.num_stats.histograms:
        if found.type == kind:
            total = sum(bucket.sample_count for bucket in found.buckets) or 1.0
            return [
                Bucket(bucket.low_value, bucket.high_value, bucket.sample_count / total)
                for bucket in found.buckets
                if math.isfinite(bucket.low_value) and math.isfinite(bucket.high_value)
            ]
    return []


def _five(buckets: Sequence[Bucket]) -> Quantiles | None:
    if not buckets:
        return None
    return Quantiles(*(_quantile(buckets, q) for q in (0.05, 0.25, 0.5, 0.75, 0.95)))


def _quantile(buckets: Sequence[Bucket], q: float) -> float:
    below = 0.0
    for bucket in buckets:
        if below + bucket.share >= q - 1e-9 and bucket.share > 0:
            return bucket.low + (bucket.high - bucket.low) * min(1.0, max(0.0, (q - below) / bucket.share))
        below += bucket.share
    return buckets[-1].high


def _distance(first: Any, other: Any) -> float:
    """How far two splits lie apart: largest difference of a value's share, or of the cumulative distributions."""
    one, two = _ranked(first), _ranked(other)
    if one or two:
        a, b = _shares(one, first), _shares(two, other)
        return max((abs(a.get(value, 0.0) - b.get(value, 0.0)) for value in {*a, *b}), default=0.0)
    left, right = (_buckets(f, 1) or _buckets(f, 0) for f in (first, other))
    if not left or not right:
        return 0.0
    edges = sorted({edge for bucket in (*left, *right) for edge in (bucket.low, bucket.high)})
    return max(abs(_below(left, edge) - _below(right, edge)) for edge in edges)


def _below(buckets: Sequence[Bucket], value: float) -> float:
    share = 0.0
    for bucket in buckets:
        if bucket.high <= value:
            share += bucket.share
        elif bucket.low < value:
            share += bucket.share * (value - bucket.low) / (bucket.high - bucket.low)
    return share


def _ranked(feature: Any) -> Ranked:
    """Values with their counts: of strings, and of numbers that have few."""
    if feature.HasField("string_stats"):
        return ranked_values(feature)
    for custom in feature.custom_stats:
        if custom.name == "top_values" and (_unique(feature) or math.inf) <= VALUES:
            return [(bucket.label, bucket.sample_count) for bucket in custom.rank_histogram.buckets]
    return []


def _shares(values: Ranked, feature: Any) -> dict[str, float]:
    total = common_stats(feature).tot_num_values or common_stats(feature).num_non_missing or 1
    return {value: count / total for value, count in values}


def common_stats(feature: Any) -> Any:
    """The counts that every kind of feature has."""
    return getattr(feature, feature.WhichOneof("stats") or "num_stats").common_stats


def _missing_share(feature: Any) -> float:
    common = common_stats(feature)
    rows = common.num_missing + common.num_non_missing
    return float(common.num_missing / rows) if rows else 0.0


def _unique(feature: Any) -> float | None:
    if feature.HasField("string_stats"):
        return float(feature.string_stats.unique)
    if feature.HasField("bytes_stats"):
        return float(feature.bytes_stats.unique)
    return next((float(custom.num) for custom in feature.custom_stats if custom.name == "unique"), None)


def _type(feature: Any) -> str:
    arrow = next((str(custom.str) for custom in feature.custom_stats if custom.name == "arrow_type"), "")
    return arrow or ("int", "float", "string", "bytes", "struct")[feature.type]


def _top(feature: Any) -> str:
    shares = list(_shares(_ranked(feature), feature).items())[:3]
    return ", ".join(f"{value or '“”'} {percent(share)}" for value, share in shares)


def _figures(feature: Any, shown: bool) -> list[tuple[str, str]]:
    """Name and text of every figure of a feature; those that are or betray values only where they may be shown."""
    common = common_stats(feature)
    figures = [("count", number(common.num_non_missing, 15)), ("missing", percent(_missing_share(feature)))]
    unique = _unique(feature)
    if unique is not None:
        figures.append(("unique", number(unique)))
    if common.max_num_values > 1:
        figures.append(("values a row", f"{number(common.min_num_values)} to {number(common.max_num_values)}"))
    if feature.HasField("string_stats") and shown:
        figures.append(("mean length", number(feature.string_stats.avg_length, 3)))
    if feature.HasField("bytes_stats") and common.num_non_missing:
        figures += _bytes_figures(feature)
    if feature.HasField("num_stats") and shown and common.num_non_missing:
        figures += _number_figures(feature, common.tot_num_values or common.num_non_missing)
    return figures


def _bytes_figures(feature: Any) -> list[tuple[str, str]]:
    stats = feature.bytes_stats
    images = next((custom.num for custom in feature.custom_stats if custom.name == "images"), 0)
    return [
        ("mean bytes", number(stats.avg_num_bytes, 3)),
        ("most bytes", number(stats.max_num_bytes, 15)),
        *([("images", percent(images / common_stats(feature).tot_num_values))] if images else []),
    ]


def _number_figures(feature: Any, total: float) -> list[tuple[str, str]]:
    stats = feature.num_stats
    arrow_type = _type(feature)
    if moment(0.0, arrow_type) is not None:
        return _time_figures(feature, arrow_type)
    figures = [
        ("zeros", percent(stats.num_zeros / total)),
        ("mean", number(stats.mean)),
        ("std", number(stats.std_dev)),
        ("min", number(stats.min)),
        ("median", number(stats.median)),
        ("max", number(stats.max)),
    ]
    five = _five(_buckets(feature, 1))
    if five is not None:
        parts = (("5 %", five.p5), ("25 %", five.p25), ("75 %", five.p75), ("95 %", five.p95))
        figures += [(name, number(value)) for name, value in parts]
    figures += [("NaN", number(h.num_nan)) for h in stats.histograms[:1] if h.num_nan]
    infinite = next((custom.num for custom in feature.custom_stats if custom.name == "num_infinite"), 0)
    return figures + ([("infinite", number(infinite))] if infinite else [])


def _time_figures(feature: Any, arrow_type: str) -> list[tuple[str, str]]:
    """The figures of dates and timestamps, under names of their own: the columns of numbers are too narrow for them."""
    stats = feature.num_stats
    times = (("earliest", stats.min), ("mean date", stats.mean), ("median date", stats.median), ("latest", stats.max))
    days = stats.std_dev if arrow_type.startswith("date") else stats.std_dev / 86_400e6
    return [*((name, moment(value, arrow_type) or "") for name, value in times), ("std in days", number(days))]
