"""What a report may show.

Never: a value of a column that the schema marks sensitive (`annotation { tag: "sensitive" }`), a secret, and, unless it
is asked for, a value of a string column that holds free text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headrace.pipelines.artifact_types import Schema, Statistics
from headrace.pipelines.plan import Const, ListOf, Plan, Value
from headrace.pipelines.redaction import is_secret_name, redact
from headrace.pipelines.report.data import ReportData
from headrace.pipelines.report.payloads import payload

SENSITIVE = "sensitive"
HIDDEN = "hidden"

# A string column is categorical, not free text, when it has so few values and they are so short.
CATEGORIES = 200
CATEGORY_LENGTH = 40.0
_SHORTEST_KNOWN_VALUE = 3


@dataclass(frozen=True)
class Privacy:
    """What may be shown.

    Args:
        sensitive: Columns whose values are never shown.
        values: Values of those columns that are known, from domains and statistics: hidden in any text.
        secrets: Values of secret parameters: hidden in any text.
        categorical: String columns with a domain or with few, short values.
        strings: All string columns.
        free_text: Whether free text is shown.
        all_sensitive: Whether every column counts as sensitive, since the schema that marks them cannot be read.
    """

    sensitive: frozenset[str] = frozenset()
    values: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    categorical: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()
    free_text: bool = False
    all_sensitive: bool = False

    def is_sensitive(self, column: str) -> bool:
        return self.all_sensitive or column in self.sensitive

    def shows_values(self, column: str) -> bool:
        """Whether values of the column may be shown."""
        if self.is_sensitive(column):
            return False
        return self.free_text or column not in self.strings or column in self.categorical

    def text(self, text: str) -> str:
        """A message as it may be shown; one that names a sensitive column may quote its values and is left out."""
        named = self.mentions(text)
        if named:
            return f"(A message about the sensitive column {named} is left out here; the step's log has it.)"
        for value in sorted(self.values, key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", HIDDEN, text)
        return redact(text, self.secrets)

    def mentions(self, text: str) -> str | None:
        """The sensitive column that a text names, if any."""
        for column in sorted(self.sensitive):
            if re.search(rf"(?<!\w){re.escape(column)}(?!\w)", text):
                return column
        return None


def privacy_of(data: ReportData) -> Privacy:
    """Reads from a run's schemas, statistics and parameters what its report may show."""
    found = [artifact for artifact in data.artifacts() if isinstance(artifact, Schema)]
    schemas = [payload(artifact) for artifact in found]
    sensitive = {name for schema in schemas if schema is not None for name in sensitive_columns(schema)}
    sensitive |= set(_declared_sensitive(data.plan)) if data.plan is not None else set()
    statistics = [payload(a) for a in data.artifacts() if isinstance(a, Statistics)]
    features = [
        f for listed in statistics if listed is not None for dataset in listed.datasets for f in dataset.features
    ]
    strings, categorical = set(), set()
    for feature in features:
        if feature.HasField("string_stats") or feature.HasField("bytes_stats"):
            strings.add(feature_name(feature))
            if _few_and_short(feature):
                categorical.add(feature_name(feature))
    # A column that is short in one split and free text in another is free text.
    categorical -= {feature_name(f) for f in features if feature_name(f) in strings and not _few_and_short(f)}
    domains = {name: values for schema in schemas if schema is not None for name, values in domains_of(schema).items()}
    known = {value for name in sensitive & set(domains) for value in domains[name]}
    known |= {value for f in features if feature_name(f) in sensitive for value, _ in ranked_values(f)}
    return Privacy(
        sensitive=frozenset(sensitive),
        values=frozenset(value for value in known if len(value) >= _SHORTEST_KNOWN_VALUE),
        secrets=frozenset(_secret_values(data)),
        categorical=frozenset(categorical | set(domains)),
        strings=frozenset(strings),
        free_text=data.free_text,
        all_sensitive=any(schema is None for schema in schemas),
    )


def sensitive_columns(schema: Any) -> list[str]:
    """Names of the columns that a schema marks sensitive."""
    return [feature.name for feature in schema.feature if SENSITIVE in feature.annotation.tag]


def domains_of(schema: Any) -> dict[str, list[str]]:
    """The values that a schema allows, by string column."""
    shared = {domain.name: list(domain.value) for domain in schema.string_domain}
    domains = {}
    for feature in schema.feature:
        kind = feature.WhichOneof("domain_info")
        if kind == "string_domain":
            domains[feature.name] = list(feature.string_domain.value)
        elif kind == "domain" and feature.domain in shared:
            domains[feature.name] = shared[feature.domain]
    return domains


def feature_name(feature: Any) -> str:
    """A feature's name, in whichever of the proto's two fields it stands."""
    return ".".join(feature.path.step) if feature.path.step else str(feature.name)


def ranked_values(feature: Any) -> list[tuple[str, float]]:
    """The most frequent values of a string column and how often each stands there."""
    ranks = [(bucket.label, bucket.sample_count) for bucket in feature.string_stats.rank_histogram.buckets]
    return ranks or [(top.value, top.frequency) for top in feature.string_stats.top_values]


def _few_and_short(feature: Any) -> bool:
    if not feature.HasField("string_stats"):
        return False
    stats = feature.string_stats
    longest = next((custom.num for custom in feature.custom_stats if custom.name == "max_length"), stats.avg_length)
    few = stats.unique <= CATEGORIES and (stats.unique <= 20 or stats.unique * 5 <= stats.common_stats.num_non_missing)
    return bool(few and longest <= CATEGORY_LENGTH)


def _declared_sensitive(plan: Plan) -> Iterator[str]:
    """Columns that a step was told are sensitive, in case the step that writes the schema did not come that far."""
    for step in plan.steps:
        for name, value in step.arguments:
            if name in (SENSITIVE, f"{SENSITIVE}_columns"):
                yield from (item for item in _constants(value) if isinstance(item, str))


def _constants(value: Value) -> Iterator[Any]:
    match value:
        case Const(list() | tuple() as items):
            yield from items
        case Const(item):
            yield item
        case ListOf(values):
            for one in values:
                yield from _constants(one)
        case _:
            pass


def _secret_values(data: ReportData) -> Iterator[str]:
    named: list[tuple[str, Any]] = list(data.parameters.items())
    for step in data.plan.steps if data.plan is not None else ():
        named += [(name, item) for name, value in step.arguments for item in _constants(value)]
        named += step.settings.env
    for name, value in named:
        if isinstance(value, str) and is_secret_name(name):
            yield value
