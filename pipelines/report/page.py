"""The report as one self-contained file: no network, and a Content-Security-Policy that would forbid it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from headrace.pipelines import storage
from headrace.pipelines.errors import MissingExtra
from headrace.pipelines.graph_drawing import to_svg
from headrace.pipelines.graph_drawing.svg import stylesheet as graph_style
from headrace.pipelines.report.charts import timeline
from headrace.pipelines.report.charts.svg import Svg
from headrace.pipelines.report.data import ReportData, report_data
from headrace.pipelines.report.evaluation_section import evaluations
from headrace.pipelines.report.number_format import number, seconds
from headrace.pipelines.report.privacy import Privacy, privacy_of
from headrace.pipelines.report.schema_section import anomaly_tables, schema_tables
from headrace.pipelines.report.statistics_section import statistics_tables
from headrace.pipelines.report.steps_section import anchor, artifact_rows, parameters_shown, step_rows, verdict
from headrace.pipelines.report.training_section import trainings

if TYPE_CHECKING:
    from headrace.pipelines.runs import Run

FILE = "report.html"


def write_report(data: ReportData, path: str) -> None:
    """Writes the report of a run as one HTML file that needs nothing from outside itself.

    Args:
        data: What to tell.
        path: Where to: a path or any URL that fsspec writes.

    Raises:
        MissingExtra: jinja2 or grandalf is not installed.
    """
    storage.write_bytes(path, render(data).encode("utf-8", "replace"))


def write_run_report(run: Run, *, free_text: bool = False) -> Run:
    """Writes `report.html` into the run's folder.

    Returns:
        The run, with the report's place in `report`.
    """
    path = storage.join(run.folder, FILE)
    write_report(report_data(run, free_text=free_text), path)
    return dataclasses.replace(run, report=path)


def render(data: ReportData) -> str:
    """Gives the report's HTML; the same run gives the same bytes."""
    style, script = _resource("report.css") + graph_style(), _resource("report.js")
    html: str = page_template().render(
        **contents(data),
        style=Svg(style),
        script=Svg(script),
        policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; form-action 'none'",
    )
    return html


@cache
def page_template() -> Any:
    """The page as a jinja2 template: a tenth of a second to import and compile, which may be done beforehand."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtra("run", "jinja2") from error
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("report.html.j2")


def contents(data: ReportData) -> dict[str, Any]:
    """Everything that the page shows, laid out, with nothing in it that it may not show."""
    privacy = privacy_of(data)
    rows = step_rows(data, privacy)
    return {
        "data": data,
        "verdict": verdict(data, privacy),
        "facts": _facts(data),
        "graph": _graph(data),
        "steps": rows,
        "axis": timeline.axis(data.seconds),
        "statistics": statistics_tables(data, privacy),
        "schemas": schema_tables(data, privacy),
        "anomalies": anomaly_tables(data, privacy),
        "trainings": trainings(data),
        "evaluations": evaluations(data, privacy),
        "artifacts": artifact_rows(data, privacy),
        "parameters": parameters_shown(data),
        "privacy": _told(privacy),
    }


def _facts(data: ReportData) -> list[tuple[str, str]]:
    cached = sum(step.state == "cached" for step in data.steps)
    rows = max((step.rows for step in data.steps if step.rows is not None), default=None)
    facts = [
        ("run", data.run_id),
        ("started", data.started.strftime("%Y-%m-%d %H:%M:%S %Z").strip() if data.started else ""),
        ("took", seconds(data.seconds) if data.seconds else ""),
        ("steps", f"{len(data.steps)}, {cached} from the cache" if cached else str(len(data.steps))),
        ("rows", number(rows, 15) if rows is not None else ""),
        ("sample", f"{number(data.sample, 15)} rows of each split" if data.sample is not None else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _graph(data: ReportData) -> Svg | None:
    if data.plan is None:
        return None
    ran = {step.id: step for step in data.steps}
    notes = {
        id_: seconds(step.seconds) if step.state == "succeeded" and step.began is not None else step.state
        for id_, step in ran.items()
    }
    hrefs = {id_: f"#{anchor(id_)}" for id_ in ran}
    return Svg(to_svg(data.plan, data.states, notes=notes, hrefs=hrefs, style=False))


def _told(privacy: Privacy) -> str:
    """What the foot of the page says of what it leaves out."""
    parts = []
    if privacy.all_sensitive:
        parts.append("The schema cannot be read, so the values of every column are hidden.")
    elif privacy.sensitive:
        parts.append(f"Values of columns marked sensitive are hidden: {', '.join(sorted(privacy.sensitive))}.")
    if not privacy.free_text and privacy.strings - privacy.categorical:
        parts.append("Values of free-text columns are hidden.")
    return " ".join(parts)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
