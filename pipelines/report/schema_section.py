"""The schema as a table, and what was found against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.pipelines.artifact_types import Anomalies, Schema
from headrace.pipelines.report.data import ReportData
from headrace.pipelines.report.number_format import number, percent
from headrace.pipelines.report.payloads import json_file, payload
from headrace.pipelines.report.privacy import HIDDEN, SENSITIVE, Privacy, domains_of

VALUES = 16
LONGEST_VALUE = 120
_DEFAULT = "default="
# Where ExampleValidator names rows: [{"split", "file", "row", "column", "value", "reason"}, …].
OFFENDING = "offending_rows.json"


@dataclass(frozen=True)
class SchemaRow:
    name: str
    type: str
    presence: str
    shape: str
    domain: str
    default: str
    marks: tuple[str, ...]


@dataclass(frozen=True)
class SchemaTable:
    channel: str
    rows: tuple[SchemaRow, ...]


@dataclass(frozen=True)
class AnomalyRow:
    """What is wrong with one feature.

    Args:
        severity: ``error`` or ``warning``.
        rows: Place and value of offending rows; without the value where it may not be shown.
    """

    feature: str
    severity: str
    title: str
    reasons: tuple[str, ...]
    rows: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class AnomalyTable:
    channel: str
    rows: tuple[AnomalyRow, ...]


def schema_tables(data: ReportData, privacy: Privacy) -> list[SchemaTable]:
    """Gives a table for each Schema that the run made."""
    read = ((channel, payload(artifact)) for channel, artifact in data.made(Schema))
    return [schema_table(channel, schema, privacy) for channel, schema in read if schema is not None]


def schema_table(channel: str, schema: Any, privacy: Privacy) -> SchemaTable:
    """Lays out a `Schema`."""
    domains = domains_of(schema)
    return SchemaTable(channel, tuple(_row(feature, domains, privacy) for feature in schema.feature))


def _row(feature: Any, domains: dict[str, list[str]], privacy: Privacy) -> SchemaRow:
    type_ = feature.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[feature.type].name.lower()
    kind = feature.WhichOneof("domain_info")
    shown = privacy.shows_values(feature.name)
    defaults = [tag.removeprefix(_DEFAULT) for tag in feature.annotation.tag if tag.startswith(_DEFAULT)]
    marks = [tag for tag in feature.annotation.tag if not tag.startswith(_DEFAULT)]
    if privacy.is_sensitive(feature.name) and SENSITIVE not in marks:
        marks.append(SENSITIVE)
    marks += [f"not in {name}" for name in feature.not_in_environment] + [
        f"only in {name}" for name in feature.in_environment
    ]
    tells_no_value, hidden = kind == "image_domain", HIDDEN if kind else ""
    return SchemaRow(
        name=feature.name,
        type={"bytes": "string", "type_unknown": "unknown"}.get(type_, type_) if kind != "bool_domain" else "bool",
        presence=_presence(feature),
        shape=_shape(feature),
        domain=_domain(feature, domains.get(feature.name), kind) if shown or tells_no_value else hidden,
        default=(defaults[-1] if shown else HIDDEN) if defaults else "",
        marks=tuple(marks),
    )


def _presence(feature: Any) -> str:
    presence = feature.presence
    if presence.min_fraction >= 1.0:
        return "required"
    return f"at least {percent(presence.min_fraction)}" if presence.min_fraction > 0 else "optional"


def _shape(feature: Any) -> str:
    if feature.HasField("shape"):
        return " × ".join(str(dim.size) if dim.size else "?" for dim in feature.shape.dim) or "scalar"
    if feature.HasField("value_count"):
        count = feature.value_count
        if count.min == count.max:
            return f"{count.min} value{'' if count.min == 1 else 's'}"
        return f"{count.min} to {count.max or 'any'} values"
    return ""


def _domain(feature: Any, values: list[str] | None, kind: str | None) -> str:
    if values is not None:
        rest = f" … {number(len(values))} in all" if len(values) > VALUES else ""
        return ", ".join(values[:VALUES]) + rest
    if kind == "int_domain":
        domain = feature.int_domain
        category = "categorical, " if domain.is_categorical else ""
        return f"{category}{_range(domain)}"
    if kind == "float_domain":
        domain = feature.float_domain
        bounded = domain.HasField("min") or domain.HasField("max")
        return ", ".join(([_range(domain)] if bounded else []) + (["no NaN"] if domain.disallow_nan else []))
    if kind == "bool_domain":
        return "true, false"
    return (kind or "").removesuffix("_domain").replace("_", " ")


def _range(domain: Any) -> str:
    low = number(domain.min, 15) if domain.HasField("min") else "−∞"
    high = number(domain.max, 15) if domain.HasField("max") else "∞"
    return f"{low} to {high}"


def anomaly_tables(data: ReportData, privacy: Privacy) -> list[AnomalyTable]:
    """Gives a table for each Anomalies that the run made."""
    read = ((channel, payload(artifact), json_file(artifact, OFFENDING)) for channel, artifact in data.made(Anomalies))
    return [anomaly_table(channel, found, privacy, rows or ()) for channel, found, rows in read if found is not None]


def anomaly_table(
    channel: str, found: Any, privacy: Privacy, offending: Sequence[Mapping[str, Any]] = ()
) -> AnomalyTable:
    """Lays out an `Anomalies`; of a column whose values are hidden only the kind of anomaly is told.

    Args:
        channel: The artifact's channel.
        found: The message.
        privacy: What may be shown.
        offending: Rows as in `OFFENDING`.
    """
    rows = []
    for key, info in sorted(found.anomaly_info.items()):
        name = ".".join(info.path.step) or key
        column = name.partition("@")[0].partition("/")[0]
        open_ = privacy.shows_values(name) and privacy.shows_values(column) and privacy.mentions(name) is None
        described = [(reason.short_description, reason.description) for reason in info.reason]
        reasons = described or [(info.short_description, info.description)]
        several = len({short for short, _ in reasons}) > 1
        told = (
            [f"{short}: {long}" if several else long for short, long in reasons if long and long != short]
            if open_
            else []
        )
        title = "; ".join(dict.fromkeys(short for short, _ in reasons if short)) or info.short_description
        severity = "error" if info.severity == 2 else "warning"
        reasons_told = tuple(map(privacy.text, told)) if open_ else ("values hidden",)
        places = tuple(
            (f"{row['file']}, row {number(row['row'], 15)}", repr(row["value"])[:LONGEST_VALUE] if open_ else HIDDEN)
            for row in offending
            if row.get("column") == key
        )
        rows.append(AnomalyRow(name, severity, title, reasons_told, places))
    if found.data_missing:
        rows.insert(0, AnomalyRow("", "error", "There is no data", ()))
    if found.HasField("dataset_anomaly_info"):
        info = found.dataset_anomaly_info
        rows.insert(0, AnomalyRow("", "error", info.short_description, (privacy.text(info.description),)))
    return AnomalyTable(channel, tuple(rows))
