"""One column's statistics against its feature in the schema: each check gives the reasons it finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from headrace.transforms.schema.tags import is_sensitive
from headrace.transforms.statistics.fields import common_stats, custom_stat, extremes
from headrace.transforms.validation.distances import category_shares
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

Stats: TypeAlias = statistics_pb2.FeatureNameStatistics
Types = anomalies_pb2.AnomalyInfo

_SHOWN = 10
_SCHEMA_TYPES = {
    statistics_pb2.FeatureNameStatistics.INT: schema_pb2.INT,
    statistics_pb2.FeatureNameStatistics.FLOAT: schema_pb2.FLOAT,
    statistics_pb2.FeatureNameStatistics.STRING: schema_pb2.BYTES,
    statistics_pb2.FeatureNameStatistics.BYTES: schema_pb2.BYTES,
}


class Reason(NamedTuple):
    """One contradiction: its type in the Anomalies proto, a few words, and one sentence with the offending values."""

    type: int
    short: str
    text: str


def column_reasons(stats: Stats, feature: schema_pb2.Feature, rows: int, schema: schema_pb2.Schema) -> list[Reason]:
    """All contradictions of a column that is in both.

    Args:
        stats: The column's statistics in one split.
        feature: What the schema says of it.
        rows: Rows of the split.
        schema: The whole schema, for domains that several columns share.
    """
    reasons = list(_presence(stats, feature, rows))
    if not common_stats(stats).tot_num_values:
        return reasons
    unexpected = list(_type(stats, feature))
    reasons += unexpected or [*_valency(stats, feature, rows), *_domain(stats, feature, schema)]
    return reasons


def _presence(stats: Stats, feature: schema_pb2.Feature, rows: int) -> Iterator[Reason]:
    present = common_stats(stats).num_non_missing
    fraction = present / rows if rows else 0.0
    if fraction < feature.presence.min_fraction:
        yield Reason(
            Types.FEATURE_TYPE_LOW_FRACTION_PRESENT,
            "Too few present",
            f"expected in at least {feature.presence.min_fraction:.6g} of the rows, is in {fraction:.6g}: "
            f"{rows - present} of {rows} rows lack it",
        )
    elif present < feature.presence.min_count:
        yield Reason(
            Types.FEATURE_TYPE_LOW_NUMBER_PRESENT,
            "Too few present",
            f"expected in at least {feature.presence.min_count} rows, is in {present}",
        )


def _type(stats: Stats, feature: schema_pb2.Feature) -> Iterator[Reason]:
    found = _SCHEMA_TYPES.get(stats.type)
    arrow_type = str(custom_stat(stats, "arrow_type") or "")
    if found is None or not feature.type:
        return
    if found != feature.type:
        expected = schema_pb2.FeatureType.Name(feature.type)
        shown = f"{schema_pb2.FeatureType.Name(found)}{f' ({arrow_type})' if arrow_type else ''}"
        text = f"expected {expected}, the data has {shown}{_examples(stats, feature)}"
        yield Reason(Types.UNEXPECTED_DATA_TYPE, "Type changed", text)
    elif arrow_type and feature.WhichOneof("domain_info") == "time_domain":
        expected = {schema_pb2.TimeDomain.UNIX_DAYS: "date", schema_pb2.TimeDomain.UNIX_MICROSECONDS: "timestamp"}.get(
            feature.time_domain.integer_format, ""
        )
        if expected not in arrow_type:
            text = f"expected a {expected}, the data has {arrow_type}{_examples(stats, feature)}"
            yield Reason(Types.UNEXPECTED_DATA_TYPE, "Type changed", text)


def _examples(stats: Stats, feature: schema_pb2.Feature) -> str:
    if is_sensitive(feature):
        return ""
    if stats.WhichOneof("stats") == "string_stats":
        values = [value.value for value in stats.string_stats.top_values[:3]]
        return f", such as {', '.join(map(repr, values))}" if values else ""
    low, high = extremes(stats) if stats.WhichOneof("stats") == "num_stats" else (None, None)
    return f", from {low:.6g} to {high:.6g}" if low is not None else ""


def _valency(stats: Stats, feature: schema_pb2.Feature, rows: int) -> Iterator[Reason]:
    common = common_stats(stats)
    least, most = common.min_num_values, common.max_num_values
    kind = feature.WhichOneof("shape_type")
    if kind == "shape":
        size = 1
        for dim in feature.shape.dim:
            size *= dim.size
        if (least, most) != (size, size):
            text = f"expected {size} values in each row, rows have {least} to {most}"
            yield Reason(Types.INVALID_FEATURE_SHAPE, "Other number of values", text)
    elif kind == "value_count":
        expected = feature.value_count
        if least < expected.min:
            text = f"expected at least {expected.min} values in each row, some have {least}"
            yield Reason(Types.FEATURE_TYPE_LOW_NUMBER_VALUES, "Too few values", text)
        if expected.HasField("max") and expected.max and most > expected.max:
            text = f"expected at most {expected.max} values in each row, some have {most}"
            yield Reason(Types.FEATURE_TYPE_HIGH_NUMBER_VALUES, "Too many values", text)


def _domain(stats: Stats, feature: schema_pb2.Feature, schema: schema_pb2.Schema) -> Iterator[Reason]:
    strings = stats.WhichOneof("stats") == "string_stats"
    categories = categories_of(feature, schema)
    if strings and categories is not None:
        yield from _categories(stats, feature, categories)
    elif stats.WhichOneof("stats") == "num_stats":
        yield from _range(stats, feature)
        yield from _not_finite(stats, feature)
    yield from _images(stats, feature)
    yield from _uniqueness(stats, feature)


def categories_of(feature: schema_pb2.Feature, schema: schema_pb2.Schema) -> set[str] | None:
    """The listed categories, in the feature or in the schema's shared domain; None where there are none."""
    kind = feature.WhichOneof("domain_info")
    if kind == "string_domain":
        return set(feature.string_domain.value)
    if kind == "domain":
        for domain in schema.string_domain:
            if domain.name == feature.domain:
                return set(domain.value)
    return None


def _categories(stats: Stats, feature: schema_pb2.Feature, categories: set[str]) -> Iterator[Reason]:
    shares = category_shares(stats)
    unseen = {value: share for value, share in shares.items() if value not in categories}
    least = feature.distribution_constraints.min_domain_mass
    allowed = 1.0 - least if feature.HasField("distribution_constraints") else 0.0
    # Not every value is listed in the statistics; more distinct ones than the domain has are unseen all the same.
    unlisted = not unseen and stats.string_stats.unique > len(shares) and stats.string_stats.unique > len(categories)
    if sum(unseen.values()) <= allowed and not (unlisted and not allowed):
        return
    if is_sensitive(feature):
        shown = f"{len(unseen)} values (not shown: the column is sensitive)"
    elif unlisted:
        shown = f"{stats.string_stats.unique - len(categories)} rare values"
    else:
        ranked = sorted(unseen, key=lambda value: (-unseen[value], value))
        shown = ", ".join(f"{value!r} ({_percent(unseen[value])})" for value in ranked[:_SHOWN])
        shown += f" and {len(ranked) - _SHOWN} more" if len(ranked) > _SHOWN else ""
    yield Reason(
        Types.ENUM_TYPE_UNEXPECTED_STRING_VALUES, "Unseen category", f"values that the schema does not list: {shown}"
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _range(stats: Stats, feature: schema_pb2.Feature) -> Iterator[Reason]:
    low, high = extremes(stats)
    bounds = domain_bounds(feature)
    if bounds is None:
        return
    least, most = bounds
    kind = {"bool_domain": "BOOL", "int_domain": "INT", "float_domain": "FLOAT"}[feature.WhichOneof("domain_info")]
    noun = "FLOAT" if kind == "FLOAT" else "INT"
    hidden = is_sensitive(feature)
    if least is not None and low < least:
        shown = "values below it" if hidden else f"values down to {low:.17g}"
        text = f"expected nothing below {least:.17g}, the data has {shown}"
        yield Reason(Types.Type.Value(f"{kind}_TYPE_SMALL_{noun}"), "Out of range", text)
    if most is not None and high > most:
        shown = "values above it" if hidden else f"values up to {high:.17g}"
        text = f"expected nothing above {most:.17g}, the data has {shown}"
        yield Reason(Types.Type.Value(f"{kind}_TYPE_BIG_{noun}"), "Out of range", text)


def domain_bounds(feature: schema_pb2.Feature) -> tuple[float | None, float | None] | None:
    """The range that the feature's domain allows; None where it has no numeric domain."""
    kind = feature.WhichOneof("domain_info")
    if kind == "bool_domain":
        return 0, 1
    if kind in ("int_domain", "float_domain"):
        domain = getattr(feature, kind)
        return domain.min if domain.HasField("min") else None, domain.max if domain.HasField("max") else None
    return None


def _not_finite(stats: Stats, feature: schema_pb2.Feature) -> Iterator[Reason]:
    nan = max((histogram.num_nan for histogram in stats.num_stats.histograms), default=0)
    infinite = int(custom_stat(stats, "num_infinite") or 0)
    if feature.float_domain.disallow_nan and nan:
        yield Reason(Types.FLOAT_TYPE_HAS_NAN, "NaN", f"expected no NaN, {nan} values are")
    if feature.float_domain.disallow_inf and infinite:
        yield Reason(Types.FLOAT_TYPE_HAS_INF, "Infinite", f"expected finite numbers, {infinite} values are infinite")


def _images(stats: Stats, feature: schema_pb2.Feature) -> Iterator[Reason]:
    least = feature.image_domain.minimum_supported_image_fraction
    values = common_stats(stats).tot_num_values
    images = int(float(custom_stat(stats, "images") or 0))
    if images < least * values:
        text = (
            f"expected PNG or JPEG images in at least {least:.6g} of the values, {values - images} of {values} are none"
        )
        yield Reason(Types.LOW_SUPPORTED_IMAGE_FRACTION, "No images", text)


def _uniqueness(stats: Stats, feature: schema_pb2.Feature) -> Iterator[Reason]:
    if not feature.HasField("unique_constraints"):
        return
    strings = stats.WhichOneof("stats") == "string_stats"
    found = stats.string_stats.unique if strings else int(float(custom_stat(stats, "unique") or 0))
    expected = feature.unique_constraints
    if found < expected.min:
        text = f"expected at least {expected.min} distinct values, there are {found}"
        yield Reason(Types.FEATURE_TYPE_LOW_UNIQUE, "Too few distinct values", text)
    if expected.HasField("max") and found > expected.max:
        text = f"expected at most {expected.max} distinct values, there are {found}"
        yield Reason(Types.FEATURE_TYPE_HIGH_UNIQUE, "Too many distinct values", text)
