"""Plans, artifacts and runs as small pieces of HTML, which notebooks show for them.

Each piece stands by itself: its own style, no script, nothing from the network, and every text escaped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headrace.pipelines.artifact import Artifact
from headrace.pipelines.artifact_types import (
    Anomalies,
    Blessing,
    Evaluation,
    Examples,
    JsonArtifact,
    Model,
    Schema,
    Statistics,
)
from headrace.pipelines.errors import ArtifactError, MissingExtra
from headrace.pipelines.plan import Plan
from headrace.pipelines.redaction import redact_parameters, redact_url
from headrace.pipelines.report.charts.svg import Svg, el, text_of
from headrace.pipelines.report.number_format import number, seconds, size
from headrace.pipelines.report.payloads import payload

if TYPE_CHECKING:
    from headrace.pipelines.report.privacy import Privacy
    from headrace.pipelines.runs import Run

ROWS = 5
COLUMNS = 200
LONGEST_CELL = 60

_STYLE = (
    ".headrace{font-size:13px;line-height:1.45;font-variant-numeric:tabular-nums}"
    ".headrace .hr-head{margin:0 0 6px;font-size:15px}.headrace .hr-soft{opacity:.65}"
    ".headrace table{border-collapse:collapse;margin:6px 0;font-size:12.5px}"
    ".headrace td,.headrace th{padding:2px 14px 2px 0;text-align:left;vertical-align:top;background:none}"
    ".headrace thead th{opacity:.65;font-weight:400;border-bottom:1px solid #8888}"
    ".headrace td.hr-num{text-align:right}.headrace code{font-size:12px;background:none}"
    ".headrace .bar{fill:#0f7384}.headrace .bar.s1{fill:#d9822b}.headrace .bar.s2{fill:#7b61b0}"
    ".headrace .axis,.headrace .whisker{stroke:#888;fill:none}.headrace .box{stroke:#8888;stroke-width:4}"
    ".headrace .median{fill:#888}.headrace .curve{fill:none;stroke:#0f7384;stroke-width:1.8}"
    ".headrace .curve.s1{stroke:#d9822b}.headrace .curve.faint{opacity:.4}.headrace .dot{fill:#0f7384}"
    ".headrace .dot.s1{fill:#d9822b}.headrace .grid{stroke:#8884}.headrace svg text{fill:#888;font-size:10.5px}"
    ".headrace .end{text-anchor:end}.headrace .middle{text-anchor:middle}.headrace .hr-good{color:#1d7f63}"
    ".headrace .hr-no{color:#b7791f}.headrace .hr-bad{color:#c2402f}.headrace .hr-charts svg{margin-right:10px}"
)


def plan_html(plan: Plan) -> str:
    """A Plan: its graph, or where grandalf is not installed the graph as text."""
    from headrace.pipelines.graph_drawing import to_svg, to_text

    head = _head(plan.name, f"pipeline of {len(plan.steps)} step{'s' * (len(plan.steps) != 1)}")
    parameters = ((p.name, p.kind, "required" if p.required else _shown(p.name, p.default)) for p in plan.parameters)
    table = _table(("parameter", "type", "default"), parameters) if plan.parameters else ""
    try:
        picture = to_svg(plan)
    except MissingExtra:
        picture = el("pre", text_of(to_text(plan)))
    return _piece(head, table, picture)


def artifact_html(artifact: Artifact, schema: Any | None = None) -> str:
    """An artifact: type, digest, properties and links, and by its type a look inside.

    Args:
        artifact: What to show.
        schema: A `Schema` message that says which columns are sensitive. Rows of Examples are shown only when there is
            one and it marks none; values of columns that it marks are never shown.
    """
    head = _head(artifact.type_name(), f"digest {artifact.digest[:12]}" if artifact.manifest else "not committed yet")
    place = el("p", el("code", text_of(redact_url(artifact.uri))), class_="hr-soft")
    properties = [(name, _shown(name, value)) for name, value in sorted(artifact.properties.items())]
    links = [(name, _link(value)) for name, value in sorted(artifact.links.items())]
    facts = _table((), [(name, value) for name, value in (*properties, *links)])
    inside = _inside(artifact, schema) if artifact.manifest else ""
    return _piece(head, place, facts, inside)


def run_html(run: Run) -> str:
    """A run: what became of it, and each step with its state, time and cache reason."""
    from headrace.pipelines.report.data import report_data
    from headrace.pipelines.report.privacy import privacy_of
    from headrace.pipelines.report.steps_section import step_rows, verdict

    data = report_data(run)
    privacy = privacy_of(data)
    found = verdict(data, privacy)
    title = el("b", text_of(found.title), class_=f"hr-{found.kind}")
    head = _head(data.pipeline, f"run {data.run_id}, {seconds(data.seconds)}")
    rows = []
    for step in step_rows(data, privacy):
        kind = {"failed": "bad", "interrupted": "bad", "refused": "no"}.get(step.state, "")
        problem = str(step.error) if step.error else step.refusal
        told = "\n".join(part for part in (step.why, problem, *step.warnings) if part)
        state = el("span", text_of(step.state), class_=f"hr-{kind}" if kind else None)
        rows.append((step.id, state, step.time, step.rows, told))
    table = _table(("step", "state", "time", "rows", "why"), rows, right=(2, 3))
    report = el("p", "report: ", el("code", text_of(redact_url(run.report))), class_="hr-soft") if run.report else ""
    return _piece(head, el("p", title, " ", text_of(found.sentence)), table, report)


def _inside(artifact: Artifact, schema: Any | None) -> str:
    """A look inside, by the first of the types that the artifact is one of."""
    looks: Sequence[tuple[type[Artifact], Callable[[Any, Any | None], str]]] = (
        (Examples, _examples),
        (Statistics, _statistics),
        (Schema, _schema),
        (Anomalies, _anomalies),
        (Evaluation, _evaluation),
        (Blessing, _blessing),
        (Model, _model),
        (JsonArtifact, _json),
    )
    for type_, look in looks:
        if isinstance(artifact, type_):
            try:
                return look(artifact, schema)
            except (OSError, ValueError, KeyError, ArtifactError, MissingExtra) as error:
                return el("p", text_of(f"its content cannot be shown: {type(error).__name__}"), class_="hr-soft")
    return _files(artifact)


def _privacy(schema: Any | None, statistics: Any | None = None) -> Privacy:
    from headrace.pipelines.report.privacy import privacy_from

    return privacy_from([] if schema is None else [schema], [statistics])


def _examples(examples: Examples, schema: Any | None) -> str:
    index = examples.index()
    splits = [
        (name, number(sum(sum(shard["row_groups"]) for shard in shards), 15), str(len(shards)))
        for name, shards in index["splits"].items()
    ]
    columns = list(index["columns"].items())
    parts = [_table(("split", "rows", "files"), splits, right=(1, 2))]
    privacy = _privacy(schema)
    if schema is not None and not privacy.sensitive and splits:
        parts.append(_first_rows(examples, splits[0][0], [name for name, _ in columns]))
    else:
        parts.append(_table(("column", "type"), columns[:COLUMNS]))
    if len(columns) > COLUMNS:
        parts.append(el("p", text_of(f"and {len(columns) - COLUMNS} columns more"), class_="hr-soft"))
    return "".join(parts)


def _first_rows(examples: Examples, split: str, columns: list[str]) -> str:
    names = columns[:COLUMNS]
    batch = next(examples.batches(split, names), None)
    rows = batch.slice(0, ROWS).to_pylist() if batch is not None else []
    return _table(names, [[_cell(row[name]) for name in names] for row in rows])


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def _statistics(artifact: Statistics, schema: Any | None) -> str:
    from headrace.pipelines.report.statistics_section import statistics_table

    listed = artifact.read()
    table = statistics_table("", listed, _privacy(schema, listed))
    names = ("missing", "zeros", "unique", "mean", "std", "min", "median", "max")
    rows = []
    for feature in table.features:
        charts = Svg("".join(split.chart for split in feature.splits if split.chart))
        shown = el("div", charts, class_="hr-charts") if charts else feature.note
        figures = [Svg("<br>".join(text_of(split.get(name)) for split in feature.splits)) for name in names]
        rows.append((feature.name, feature.type, shown, *figures))
    splits = ", ".join(f"{name} ({rows_} rows)" for name, rows_, _ in table.splits)
    head = ("feature", "type", f"distribution: {splits}", *names)
    return _table(head, rows, right=range(3, 3 + len(names)))


def _schema(artifact: Schema, schema: Any | None) -> str:
    from headrace.pipelines.report.schema_section import schema_table

    message = artifact.read()
    rows = schema_table("", message, _privacy(message)).rows
    head = ("feature", "type", "presence", "shape", "domain", "default", "marks")
    return _table(head, [(r.name, r.type, r.presence, r.shape, r.domain, r.default, ", ".join(r.marks)) for r in rows])


def _anomalies(artifact: Anomalies, schema: Any | None) -> str:
    from headrace.pipelines.report.schema_section import anomaly_table

    rows = anomaly_table("", artifact.read(), _privacy(schema)).rows
    if not rows:
        return el("p", "no anomalies", class_="hr-good")
    return _table(
        ("feature", "severity", "what"), [(r.feature, r.severity, "\n".join([r.title, *r.reasons])) for r in rows]
    )


def _evaluation(artifact: Evaluation, schema: Any | None) -> str:
    from headrace.pipelines.report.evaluation_section import evaluation_report

    found = evaluation_report("", artifact.read(), _privacy(schema))
    parts = [_verdict(found.blessed, found.reason)] if found.blessed is not None else []
    for output in found.outputs:
        metrics = [(row.name, row.value, row.interval) for row in output.metrics]
        parts.append(_table((f"{output.name}: metric", "value", "interval"), metrics, right=(1,)))
        slices = {row.slice: row.count for forest in output.forests for row in forest.rows}
        by_metric = {forest.metric: {row.slice: row.value for row in forest.rows} for forest in output.forests}
        rows = [(name, count, *(by_metric[m].get(name, "") for m in by_metric)) for name, count in slices.items()]
        if rows:
            parts.append(_table(("slice", "rows", *by_metric), rows, right=range(1, 2 + len(by_metric))))
    return "".join(parts)


def _blessing(artifact: Blessing, schema: Any | None) -> str:
    document = payload(artifact) or {}
    blessed = artifact.properties.get("blessed", document.get("blessed"))
    return _verdict(
        bool(blessed), _privacy(schema).text(str(document.get("reason") or artifact.properties.get("reason", "")))
    )


def _verdict(blessed: bool, reason: str) -> str:
    title = el("b", "blessed" if blessed else "not blessed", class_="hr-good" if blessed else "hr-no")
    return el("p", title, " ", text_of(reason))


def _model(artifact: Model, schema: Any | None) -> str:
    from headrace.pipelines.report.payloads import json_file
    from headrace.pipelines.report.training_section import HISTORY, training

    history = json_file(artifact, HISTORY)
    curves = training("", history).curves if isinstance(history, Mapping) else ()
    charts = [el("td", el("b", text_of(curve.name)), el("br"), curve.chart) for curve in curves]
    return (el("table", el("tr", *charts)) if charts else "") + _files(artifact)


def _json(artifact: JsonArtifact, schema: Any | None) -> str:
    document = artifact.read()
    shown = redact_parameters(document) if isinstance(document, Mapping) else document
    return el("pre", text_of(json.dumps(shown, indent=1, ensure_ascii=False)[:4000]))


def _files(artifact: Artifact) -> str:
    files = artifact.manifest.files if artifact.manifest else {}
    if not files:
        return ""
    total = sum(entry.size for entry in files.values())
    return el("p", text_of(f"{len(files)} files, {size(total)}"), class_="hr-soft")


def _link(value: Any) -> str:
    if isinstance(value, Mapping) and "digest" in value:
        return f"{value.get('type', '')} {str(value['digest'])[:12]}"
    return _cell(value)


def _shown(name: str, value: Any) -> str:
    redacted = redact_parameters({name: value})[name]
    if isinstance(redacted, Mapping):
        return ", ".join(f"{key}: {number(item, 15) if _is_number(item) else item}" for key, item in redacted.items())
    return number(redacted, 15) if _is_number(redacted) else _cell(redacted)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _piece(*parts: str) -> str:
    return el("div", el("style", _STYLE), *parts, class_="headrace")


def _head(title: str, rest: str) -> str:
    return el("p", el("b", text_of(title)), " ", el("span", text_of(rest), class_="hr-soft"), class_="hr-head")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> str:
    """A table; a cell that is markup already stays as it is, every other one is text."""
    aligned = set(right)
    body = [
        el("tr", *(el("td", _markup(cell), class_="hr-num" if k in aligned else None) for k, cell in enumerate(row)))
        for row in rows
    ]
    if not body:
        return ""
    top = el("thead", el("tr", *(el("th", text_of(name)) for name in head))) if head else ""
    return el("table", top, el("tbody", *body))


def _markup(cell: str) -> str:
    return cell if isinstance(cell, Svg) else text_of(cell).replace("\n", "<br>")
