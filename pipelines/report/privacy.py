"""What a report may show.

Never: a value of a column that the schema marks sensitive (`annotation { tag: "sensitive" }`), a secret, and, unless it
is asked for, a value of a string column that holds free text.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
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
        return redact(_words(self.values).sub(HIDDEN, text), self.secrets)

    def mentions(self, text: str) -> str | None:
        """The sensitive column that a text names, if any."""
        found = _words(self.sensitive).search(text)
        return found[0] if found else None


@cache
def _words(words: frozenset[str]) -> re.Pattern[str]:
    """Any of these words, where it stands by itself; of two that begin alike the longer."""
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    any_of = "|".join(map(re.escape, longest_first)) or "(?!)"
    return re.compile(rf"(?<!\w)(?:{any_of})(?!\w)")


def privacy_of(data: ReportData) -> Privacy:
    """Reads from a run's schemas, statistics and parameters what its report may show."""
    schemas = [payload(artifact) for artifact in data.artifacts() if isinstance(artifact, Schema)]
    statistics = [payload(artifact) for artifact in data.artifacts() if isinstance(artifact, Statistics)]
    declared = list(_declared_sensitive(data.plan)) if data.plan is not None else []
    found = privacy_from(schemas, statistics, sensitive=declared, free_text=data.free_text)
    return dataclasses.replace(found, secrets=frozenset(_secret_values(data)))


def privacy_from(
    schemas: Sequence[Any | None],
    statistics: Sequence[Any | None],
    *,
    sensitive: Iterable[str] = (),
    free_text: bool = False,
) -> Privacy:
    """Reads from schemas and statistics what may be shown.

    Args:
        schemas: `Schema` messages; None for one that cannot be read, which makes every column count as sensitive.
        statistics: `DatasetFeatureStatisticsList` messages, None where they cannot be read.
        sensitive: Columns that are sensitive besides those the schemas mark.
        free_text: Whether free text is shown.
    """
    read = [schema for schema in schemas if schema is not None]
    marked = {*sensitive, *(name for schema in read for name in sensitive_columns(schema))}
    datasets = [dataset for listed in statistics if listed is not None for dataset in listed.datasets]
    features = [feature for dataset in datasets for feature in dataset.features]
    strings = {feature_name(f) for f in features if f.HasField("string_stats") or f.HasField("bytes_stats")}
    # A column that is short in one split and free text in another is free text.
    free = {feature_name(f) for f in features if feature_name(f) in strings and not _few_and_short(f)}
    if len(read) < len(schemas):
        marked |= {feature_name(feature) for feature in features}
    domains = {name: values for schema in read for name, values in domains_of(schema).items()}
    known = {value for name in marked & set(domains) for value in domains[name]}
    known |= {value for f in features if feature_name(f) in marked for value, _ in ranked_values(f)}
    return Privacy(
        sensitive=frozenset(marked),
        values=frozenset(value for value in known if len(value) >= _SHORTEST_KNOWN_VALUE),
        categorical=frozenset((strings - free) | set(domains)),
        strings=frozenset(strings),
        free_text=free_text,
        all_sensitive=len(read) < len(schemas),
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
