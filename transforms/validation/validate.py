"""A dataset's statistics against its schema, the previous statistics and the serving data's: the Anomalies proto."""

from __future__ import annotations

from typing import TypeAlias

from headrace.transforms.schema.inputs import in_environment
from headrace.transforms.schema.tags import is_sensitive
from headrace.transforms.statistics.fields import columns_of, common_stats
from headrace.transforms.validation.columns import Reason, column_reasons
from headrace.transforms.validation.distances import (
    category_divergence,
    category_shares,
    l_infinity,
    number_divergence,
)
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

Types = anomalies_pb2.AnomalyInfo
# What harms no model that is trained or served on the data: more than was expected, or nothing to compare with.
WARNINGS = (Types.SCHEMA_NEW_COLUMN, Types.COMPARATOR_CONTROL_DATA_MISSING)
Measurement = anomalies_pb2.DriftSkewInfo.Measurement
Dataset: TypeAlias = statistics_pb2.DatasetFeatureStatistics


def validate(
    statistics: statistics_pb2.DatasetFeatureStatisticsList,
    schema: schema_pb2.Schema,
    *,
    previous: statistics_pb2.DatasetFeatureStatisticsList | None = None,
    serving: statistics_pb2.DatasetFeatureStatisticsList | None = None,
    environment: str | None = None,
) -> anomalies_pb2.Anomalies:
    """What contradicts the schema, has drifted, or is skewed; nothing of clean data.

    Drift and skew are measured where the schema states a threshold, as in TensorFlow Data Validation:
    `drift_comparator` against `previous` and `skew_comparator` against `serving`; `infinity_norm` (L-infinity, strings)
    and `jensen_shannon_divergence` (strings and numbers). What was measured is in `drift_skew_info`.

    Args:
        statistics: Of the data to validate, one dataset a split. Every split is checked; with several, each
            description names its split.
        schema: What is expected.
        previous: Statistics of an earlier run. A split is compared with the one of its name; where `previous` is of
            one dataset alone, with that.
        serving: Statistics of serving data, compared in the same way; of several splits only "train", where there is
            one, is compared with it.
        environment: Such as "SERVING": columns that the schema leaves out of it are not expected.

    Returns:
        The standard proto: `anomaly_info` by column, each with its reasons; `dataset_anomaly_info` for numbers of rows.
        The severity is `WARNING` of a column that the schema does not have and where there is nothing to compare with,
        otherwise `ERROR`.

    Example:
        >>> import pyarrow as pa
        >>> from headrace.transforms.schema import infer_schema
        >>> from headrace.transforms.statistics import StatisticsSummarizer, to_proto
        >>> def statistics(**columns):
        ...     batch = pa.record_batch(columns)
        ...     return to_proto({"train": StatisticsSummarizer(batch.schema).summarize(batch)})
        >>> schema = infer_schema(statistics(carrier=["AA", "UA"] * 10))
        >>> validate(statistics(carrier=["AA", "??"]), schema).anomaly_info["carrier"].description
        "values that the schema does not list: '??' (50.0%)"
    """
    anomalies = anomalies_pb2.Anomalies(anomaly_name_format=anomalies_pb2.Anomalies.SERIALIZED_PATH)
    anomalies.baseline.CopyFrom(schema)
    anomalies.data_missing = not any(dataset.num_examples for dataset in statistics.datasets)
    several = len(statistics.datasets) > 1
    for dataset in statistics.datasets:
        found: dict[str, list[Reason]] = {}
        if dataset.num_examples:
            _against_schema(found, dataset, schema, environment)
            _compare(found, anomalies, dataset, schema, _control(previous, dataset.name), "drift")
            if _is_training(dataset, statistics):
                _compare(found, anomalies, dataset, schema, _control(serving, dataset.name), "skew")
        where = f"split {dataset.name!r}: " if several else ""
        for column, reasons in found.items():
            for reason in reasons:
                _add(anomalies.anomaly_info[column], reason, where)
            anomalies.anomaly_info[column].path.step[:] = [column]
        for reason in _rows(dataset, schema):
            _add(anomalies.dataset_anomaly_info, reason, where)
    for info in anomalies.anomaly_info.values():
        _summarize(info)
    if anomalies.HasField("dataset_anomaly_info"):
        _summarize(anomalies.dataset_anomaly_info)
    return anomalies


def _against_schema(
    found: dict[str, list[Reason]], dataset: Dataset, schema: schema_pb2.Schema, environment: str | None
) -> None:
    columns = columns_of(dataset)
    for feature in schema.feature:
        expected = in_environment(schema, feature, environment)
        stats = columns.pop(feature.name, None)
        if not expected:
            continue
        if stats is not None:
            reasons = column_reasons(stats, feature, dataset.num_examples, schema)
        elif feature.presence.min_fraction or feature.presence.min_count:
            text = "the schema expects the column, the data lacks it"
            reasons = [Reason(Types.SCHEMA_MISSING_COLUMN, "Missing column", text)]
        else:
            reasons = []
        if reasons:
            found[feature.name] = reasons
    for name in columns:
        text = "the data has the column, the schema does not: add it to the schema, or drop it"
        found[name] = [Reason(Types.SCHEMA_NEW_COLUMN, "New column", text)]


def _rows(dataset: Dataset, schema: schema_pb2.Schema) -> list[Reason]:
    constraints = schema.dataset_constraints
    rows = dataset.num_examples
    if rows < constraints.min_examples_count:
        text = f"expected at least {constraints.min_examples_count} rows, there are {rows}"
        return [Reason(Types.DATASET_LOW_NUM_EXAMPLES, "Too few rows", text)]
    if constraints.HasField("max_examples_count") and rows > constraints.max_examples_count:
        text = f"expected at most {constraints.max_examples_count} rows, there are {rows}"
        return [Reason(Types.DATASET_HIGH_NUM_EXAMPLES, "Too many rows", text)]
    return []


def _control(statistics: statistics_pb2.DatasetFeatureStatisticsList | None, split: str) -> Dataset | None:
    """The dataset to compare a split with: of the same name, or the only one."""
    if statistics is None:
        return None
    named = [dataset for dataset in statistics.datasets if dataset.name == split]
    if named:
        return named[0]
    return statistics.datasets[0] if len(statistics.datasets) == 1 else None


def _is_training(dataset: Dataset, statistics: statistics_pb2.DatasetFeatureStatisticsList) -> bool:
    return dataset.name == "train" or all(one.name != "train" for one in statistics.datasets)


def _compare(
    found: dict[str, list[Reason]],
    anomalies: anomalies_pb2.Anomalies,
    dataset: Dataset,
    schema: schema_pb2.Schema,
    control: Dataset | None,
    comparison: str,
) -> None:
    if control is None or not control.num_examples:
        return
    columns, controls = columns_of(dataset), columns_of(control)
    for feature in schema.feature:
        comparator = getattr(feature, f"{comparison}_comparator")
        stats, other = columns.get(feature.name), controls.get(feature.name)
        if stats is None or not feature.HasField(f"{comparison}_comparator"):
            continue
        against = "the previous statistics" if comparison == "drift" else "the serving data"
        if other is None or not common_stats(other).tot_num_values:
            text = f"{against} have no values of the column to compare with"
            reasons = [Reason(Types.COMPARATOR_CONTROL_DATA_MISSING, f"No {comparison} to measure", text)]
        else:
            measured, reasons = _measure(stats, other, feature, comparator, against, comparison)
            if measured:
                _record(anomalies, feature.name, measured, comparison)
        if reasons:
            found.setdefault(feature.name, []).extend(reasons)


def _measure(
    stats: statistics_pb2.FeatureNameStatistics,
    other: statistics_pb2.FeatureNameStatistics,
    feature: schema_pb2.Feature,
    comparator: schema_pb2.FeatureComparator,
    against: str,
    comparison: str,
) -> tuple[list[anomalies_pb2.DriftSkewInfo.Measurement], list[Reason]]:
    """Distances of the two, and a reason for each that is above its threshold."""
    measured, reasons = [], []
    kinds = {stats.WhichOneof("stats"), other.WhichOneof("stats")}
    if len(kinds) > 1:
        text = f"the column's type differs from that in {against}: no distance can be measured"
        return [], [Reason(Types.UNEXPECTED_DATA_TYPE, "Type changed", text)]
    strings = kinds == {"string_stats"}
    short = "High drift" if comparison == "drift" else "High training/serving skew"
    known = ("infinity_norm", "jensen_shannon_divergence")
    if other_kinds := [field.name for field, _ in comparator.ListFields() if field.name not in known]:
        text = f"{comparison}_comparator has {other_kinds[0]}; what can be measured is {' and '.join(known)}"
        return [], [Reason(Types.INVALID_SCHEMA_SPECIFICATION, "No such distance", text)]
    if comparator.HasField("infinity_norm"):
        if not strings:
            text = f"{comparison}_comparator has an infinity_norm, which is of strings; state jensen_shannon_divergence"
            return [], [Reason(Types.INVALID_SCHEMA_SPECIFICATION, "No such distance", text)]
        distance, value = l_infinity(category_shares(stats), category_shares(other))
        threshold = comparator.infinity_norm.threshold
        measured.append(Measurement(type=Measurement.L_INFTY, value=distance, threshold=threshold))
        if distance > threshold:
            shares = (category_shares(stats).get(value, 0.0), category_shares(other).get(value, 0.0))
            shown = "a category" if is_sensitive(feature) else repr(value)
            text = (
                f"the L-infinity distance to {against} is {distance:.6g}, above {threshold:.6g}: the share of {shown} "
                f"is {shares[0]:.1%}, there it is {shares[1]:.1%}"
            )
            reasons.append(Reason(Types.COMPARATOR_L_INFTY_HIGH, short, text))
    if comparator.HasField("jensen_shannon_divergence"):
        distance = category_divergence(stats, other) if strings else number_divergence(stats, other)
        threshold = comparator.jensen_shannon_divergence.threshold
        measured.append(Measurement(type=Measurement.JENSEN_SHANNON_DIVERGENCE, value=distance, threshold=threshold))
        if distance > threshold:
            text = f"the Jensen-Shannon divergence from {against} is {distance:.6g}, above {threshold:.6g}"
            if not strings and not is_sensitive(feature):
                text += f": the median is {stats.num_stats.median:.6g}, there it is {other.num_stats.median:.6g}"
            reasons.append(Reason(Types.COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH, short, text))
    return measured, reasons


def _record(
    anomalies: anomalies_pb2.Anomalies,
    column: str,
    measured: list[anomalies_pb2.DriftSkewInfo.Measurement],
    comparison: str,
) -> None:
    for info in anomalies.drift_skew_info:
        if info.path.step[0] == column:
            break
    else:
        info = anomalies.drift_skew_info.add()
        info.path.step.append(column)
    (info.drift_measurements if comparison == "drift" else info.skew_measurements).extend(measured)


def _add(info: anomalies_pb2.AnomalyInfo, reason: Reason, where: str) -> None:
    severity = Types.WARNING if reason.type in WARNINGS else Types.ERROR
    info.severity = max(info.severity, severity)
    info.reason.add(type=reason.type, short_description=reason.short, description=f"{where}{reason.text}")


def _summarize(info: anomalies_pb2.AnomalyInfo) -> None:
    shorts = list(dict.fromkeys(reason.short_description for reason in info.reason))
    info.short_description = shorts[0] if len(shorts) == 1 else "Multiple errors"
    info.description = "; ".join(reason.description for reason in info.reason)
