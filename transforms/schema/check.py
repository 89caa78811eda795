"""What would go wrong later because of the schema, told at SchemaGen: names, and defaults that must be stated."""

from __future__ import annotations

from headrace.transforms.feature_model import is_exact_in_float32, name_problems
from headrace.transforms.schema.inputs import is_required
from headrace.transforms.schema.tags import default_line, default_of
from headrace.transforms.statistics.fields import columns_of, common_stats, extremes
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2


def schema_problems(
    schema: schema_pb2.Schema, statistics: statistics_pb2.DatasetFeatureStatisticsList | None = None
) -> list[str]:
    """All that is wrong with a schema, each with its repair; empty when nothing is.

    Args:
        schema: The schema, inferred, imported or merged.
        statistics: Of the data it is for: needed to see which nullable ints are not exact in float32.
    """
    problems = [
        f"column {name!r} cannot be an input of a SavedModel: {reason} (in the source, or with AS in SQL)"
        for name, reason in name_problems(feature.name for feature in schema.feature).items()
    ]
    for feature in schema.feature:
        try:
            default_of(feature)
        except ValueError as error:
            problems.append(str(error))
    return problems + _defaults_to_state(schema, statistics)


def check_schema(
    schema: schema_pb2.Schema, statistics: statistics_pb2.DatasetFeatureStatisticsList | None = None
) -> None:
    """Refuses a schema that would fail at export or train on other values than it serves.

    Raises:
        ValueError: With all problems at once, one a line.
    """
    problems = schema_problems(schema, statistics)
    if problems:
        raise ValueError("the schema cannot be used:\n" + "\n".join(problems))


def _defaults_to_state(
    schema: schema_pb2.Schema, statistics: statistics_pb2.DatasetFeatureStatisticsList | None
) -> list[str]:
    lines = []
    for feature in schema.feature:
        if feature.type != schema_pb2.INT or is_required(feature) or _has_default_tag(feature):
            continue
        found = _extremes(feature.name, statistics)
        if found is not None and not is_exact_in_float32(*found):
            lines.append((feature.name, *found))
    if not lines:
        return []
    listed = "\n".join(f"    {default_line(name, _unused_value(low, high))}" for name, low, high in lines)
    names = ", ".join(f"{name!r}" for name, _, _ in lines)
    return [
        f"columns {names} have missing values and ints that float32 cannot hold (above 2^24), so NaN cannot stand for "
        f"the missing ones. State a value that stands for them: paste into the schema\n{listed}"
    ]


def _has_default_tag(feature: schema_pb2.Feature) -> bool:
    return any(tag.startswith("default=") for tag in feature.annotation.tag)


def _extremes(
    column: str, statistics: statistics_pb2.DatasetFeatureStatisticsList | None
) -> tuple[float, float] | None:
    """The smallest and the largest value in any split; None where there are no values."""
    found = [
        extremes(seen)
        for dataset in (statistics.datasets if statistics is not None else ())
        if (seen := columns_of(dataset).get(column)) is not None and common_stats(seen).tot_num_values
    ]
    return (min(low for low, _ in found), max(high for _, high in found)) if found else None


def _unused_value(low: float, high: float) -> int:
    """0 where it is not among the values, else the next below or above them that an int64 holds."""
    if low > 0 or high < 0:
        return 0
    return int(low) - 1 if low > -(2**63) else min(int(high) + 1, 2**63 - 1)
