"""The verdict, the figures at the top, what each step did and when, and what was made from what."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.pipelines import storage
from headrace.pipelines.artifact import Artifact
from headrace.pipelines.artifact_types import Blessing, PushedModel
from headrace.pipelines.plan import (
    Channel,
    Collected,
    Const,
    Function,
    ListOf,
    MapOf,
    Parameter,
    PropertyOf,
    Step,
    Value,
)
from headrace.pipelines.redaction import HIDDEN, is_secret_name, redact, redact_parameters, redact_url
from headrace.pipelines.report.charts import timeline
from headrace.pipelines.report.charts.svg import Svg
from headrace.pipelines.report.data import ErrorReport, ReportData, StepReport
from headrace.pipelines.report.number_format import number, seconds, size
from headrace.pipelines.report.privacy import Privacy

LONGEST_VALUE = 2000
LONGEST_TRACEBACK = 8000


@dataclass(frozen=True)
class Verdict:
    """What became of the run: `kind` is ``good``, ``no``, ``bad`` or ``plain``."""

    kind: str
    title: str
    sentence: str


@dataclass(frozen=True)
class StepRow:
    """One step as text ready to be shown."""

    id: str
    anchor: str
    component: str
    state: str
    bar: Svg | None
    time: str
    seconds: float
    rows: str
    memory: str
    why: str
    warnings: tuple[str, ...]
    refusal: str
    error: ErrorReport | None
    arguments: tuple[tuple[str, str], ...]
    results: tuple[tuple[str, str], ...]
    log: str
    attempt: int


@dataclass(frozen=True)
class ArtifactRow:
    channel: str
    type: str
    digest: str
    made_from: tuple[str, ...]
    read_by: tuple[str, ...]
    properties: tuple[tuple[str, str], ...]
    uri: str
    cached: bool


def verdict(data: ReportData, privacy: Privacy) -> Verdict:
    """Says in a few words what became of the run."""
    failed = [step for step in data.steps if step.state == "failed"]
    refused = [step for step in data.steps if step.refusal]
    if failed or data.state == "failed":
        first = failed[0] if failed else None
        why = str(first.error) if first and first.error else ""
        if first and len(failed) > 1 and why:
            why = f"{first.id}: {why}"
        names = ", ".join(step.id for step in failed)
        return Verdict("bad", "Failed", f"{names} failed. {_first_line(privacy.text(why))}" if failed else "")
    if data.state == "interrupted":
        return Verdict("bad", "Interrupted", "Run it again: it goes on from what succeeded.")
    if refused or data.state == "not_blessed":
        said = list(dict.fromkeys(str(step.refusal) for step in refused))
        # What pushes says again what each gate said.
        whole = [one for one in said if not any(one != other and one in other for other in said)]
        return Verdict("no", "Not blessed", " ".join(privacy.text(one) for one in whole[:2]))
    if data.state == "running":
        return Verdict("plain", "Running", "")
    pushed = next((artifact for _, artifact in data.made(PushedModel)), None)
    if pushed is not None:
        version = pushed.properties.get("version")
        place = redact_url(str(pushed.properties.get("destination", "")))
        return Verdict("good", "Blessed and pushed" if _blessed(data) else "Pushed", f"Version {version} is at {place}")
    if _blessed(data):
        return Verdict("good", "Blessed", "")
    return Verdict("good", "Succeeded", "")


def _blessed(data: ReportData) -> bool:
    verdicts = [blessing.properties.get("blessed") for _, blessing in data.made(Blessing)]
    return bool(verdicts) and all(verdicts)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:400]


def step_rows(data: ReportData, privacy: Privacy) -> list[StepRow]:
    """Gives a row for each step."""
    planned = {step.id: step for step in data.plan.steps} if data.plan is not None else {}
    total = data.seconds
    return [_step_row(step, planned.get(step.id), data, privacy, total) for step in data.steps]


def _step_row(step: StepReport, planned: Step | None, data: ReportData, privacy: Privacy, total: float) -> StepRow:
    ran = step.began is not None and step.state not in ("skipped", "waiting")
    took = seconds(step.seconds) if ran else ""
    told = f"{step.id}: {step.state}, {took}"
    arguments = tuple(_arguments(planned, data)) if planned is not None else ()
    error = step.error
    if error is not None:
        told_error = privacy.text(f"{error.message}\n{error.traceback}")
        left_out = privacy.mentions(f"{error.message}\n{error.traceback}")
        message = told_error if left_out else privacy.text(error.message)
        traceback = "" if left_out else privacy.text(error.traceback)[-LONGEST_TRACEBACK:]
        error = ErrorReport(error.type, message, traceback)
    return StepRow(
        id=step.id,
        anchor=anchor(step.id),
        component=step.component if step.component != step.id else "",
        state=step.state,
        bar=timeline.bar(step.began or 0.0, step.seconds, total, step.state, told) if ran else None,
        time=took,
        seconds=step.seconds,
        rows=number(step.rows, 15) if step.rows is not None else "",
        memory=size(step.peak_rss) if step.peak_rss and step.state != "cached" else "",
        why=privacy.text(step.cache_reason),
        warnings=tuple(map(privacy.text, step.warnings)),
        refusal=privacy.text(step.refusal) if step.refusal else "",
        error=error,
        arguments=arguments,
        results=tuple((name, _shown(name, value)) for name, value in step.results.items()),
        log=redact_url(step.log) if step.log else "",
        attempt=step.attempt,
    )


def anchor(step: str) -> str:
    """The id of a step's row in the page.

    >>> anchor("Trainer"), anchor('a "b"')
    ('step-Trainer', 'step-a-20-22b-22')
    """
    return "step-" + "".join(c if (c.isascii() and c.isalnum()) or c == "_" else f"-{ord(c):x}" for c in step)


def _arguments(step: Step, data: ReportData) -> Iterator[tuple[str, str]]:
    for name, value in step.arguments:
        if value != Const(None):
            yield name, HIDDEN if is_secret_name(name) else redact(_told(name, value, data))[:LONGEST_VALUE]
    for name, _ in (*step.settings.env, *step.settings.secrets):
        yield f"env {name}", HIDDEN


def _told(name: str, value: Value, data: ReportData) -> str:
    match value:
        case Const(item):
            return _shown(name, item)
        case Parameter(parameter):
            return _shown(parameter, data.parameters.get(parameter)) + f"  (parameter {parameter})"
        case Function(ref):
            return f"{ref.module}:{ref.qualname}"
        case Channel(step, output) | PropertyOf(Channel(step, output)) | Collected(Channel(step, output)):
            return f"{step}.{output}"
        case ListOf(items):
            return ", ".join(_told(name, item, data) for item in items)
        case MapOf(pairs):
            return ", ".join(f"{key}: {_told(key, item, data)}" for key, item in pairs)
        case _:
            return type(value).__name__


def _shown(name: str, value: Any) -> str:
    redacted = redact_parameters({name: value})[name]
    return redacted if isinstance(redacted, str) else json.dumps(redacted, ensure_ascii=False, default=str)


def parameters_shown(data: ReportData) -> list[tuple[str, str]]:
    """The run's parameters as text, secrets hidden."""
    return [(name, _shown(name, value)) for name, value in sorted(data.parameters.items())]


def artifact_rows(data: ReportData, privacy: Privacy) -> list[ArtifactRow]:
    """Gives a row for each artifact that the run made or took from the cache."""
    made = {artifact.uri: f"{step.id}.{name}" for step in data.steps for name, artifact in step.outputs.items()}
    readers: dict[str, list[str]] = {}
    for step in data.steps:
        for uri in dict.fromkeys(a.uri for several in step.inputs.values() for a in several):
            readers.setdefault(uri, []).append(step.id)
    rows = []
    for step in data.steps:
        sources = [_source(a, made, data.root) for several in step.inputs.values() for a in several]
        for name, artifact in step.outputs.items():
            rows.append(
                ArtifactRow(
                    channel=f"{step.id}.{name}",
                    type=artifact.type_name(),
                    digest=artifact.manifest.digest if artifact.manifest else "",
                    made_from=tuple(dict.fromkeys(sources)),
                    read_by=tuple(readers.get(artifact.uri, ())),
                    properties=tuple(_properties(artifact.properties, privacy)),
                    uri=redact_url(storage.relative_to_root(artifact.uri, data.root) if data.root else artifact.uri),
                    cached=step.state == "cached",
                )
            )
    return rows


def _source(artifact: Artifact, made: Mapping[str, str], root: str) -> str:
    return made.get(artifact.uri) or redact_url(storage.relative_to_root(artifact.uri, root) if root else artifact.uri)


def _properties(properties: Mapping[str, Any], privacy: Privacy) -> Iterator[tuple[str, str]]:
    for name, value in sorted(properties.items()):
        if isinstance(value, Mapping):
            text = ", ".join(f"{key}: {number(item, 15) if _is_number(item) else item}" for key, item in value.items())
        else:
            text = (
                number(value, 15)
                if _is_number(value)
                else str(value).lower()
                if isinstance(value, bool)
                else str(value)
            )
        yield name, HIDDEN if is_secret_name(name) else privacy.text(text)[:200]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
