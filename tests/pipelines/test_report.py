"""The report: self-contained, escaped, deterministic, and silent about what it must not tell."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest
from headrace.pipelines import storage
from headrace.pipelines.artifact import Artifact
from headrace.pipelines.artifact_types import (
    Anomalies,
    Blessing,
    Evaluation,
    Model,
    PushedModel,
    Schema,
    Statistics,
)
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.plan import ArtifactSlot, Channel, Const, Interface, Parameter, Plan, Settings, Step
from headrace.pipelines.report import ErrorReport, ReportData, StepReport, render, report_data, write_run_report
from headrace.pipelines.report.charts.forest import Estimate, Forest
from headrace.pipelines.report.charts.series import Curve, curves
from headrace.pipelines.report.charts.svg import Scale, ticks
from headrace.pipelines.report.evaluation_section import evaluation_report
from headrace.pipelines.report.privacy import Privacy, privacy_from
from headrace.pipelines.report.statistics_section import Bucket, _below, _quantile, feature_row, statistics_table
from headrace.pipelines.report.training_section import training
from headrace.pipelines.runs import Run, StepRun
from headrace.pipelines.store.records import RunState, StepState
from headrace.transforms.statistics import StatisticsSummarizer
from headrace.transforms.statistics.proto import to_proto
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

SSN = ["111-22-3333", "444-55-6666"]
DIARY = "dear diary number {} today was another very long day with much to tell about it"
SECRET = "hunter2hunter2"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
STARTED = datetime(2024, 5, 1, 12, 0, 3, tzinfo=UTC)


def batch(rows: int, shift: float = 0.0) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "carrier": [("UA", "B6", "EV")[k % 3] for k in range(rows)],
            "temp": [None if k % 10 == 0 else k % 40 + shift for k in range(rows)],
            "ssn": [SSN[k % 2] for k in range(rows)],
            "salary": [91_234.5 + (k % 7) for k in range(rows)],
            "diary": [DIARY.format(k) for k in range(rows)],
            "late": [k % 4 == 0 for k in range(rows)],
        }
    )


def statistics(**splits: pa.RecordBatch) -> Any:
    summaries = {}
    for name, rows in splits.items():
        summarizer = StatisticsSummarizer(rows.schema)
        summaries[name] = summarizer.finish(summarizer.summarize(rows))
    return to_proto(summaries)


def schema(*sensitive: str) -> schema_pb2.Schema:
    message = schema_pb2.Schema()
    for name, kind in (
        ("carrier", "BYTES"),
        ("temp", "FLOAT"),
        ("ssn", "BYTES"),
        ("salary", "FLOAT"),
        ("diary", "BYTES"),
    ):
        feature = message.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind))
        feature.presence.min_fraction = 1.0
        if name in sensitive:
            feature.annotation.tag.append("sensitive")
    message.feature[0].string_domain.value.extend(["UA", "B6", "EV"])
    message.feature[2].string_domain.value.extend(SSN)
    message.feature[3].float_domain.min = 91_234.5
    message.feature[1].annotation.tag.append("default=12.5")
    return message


def anomalies() -> anomalies_pb2.Anomalies:
    found = anomalies_pb2.Anomalies()
    for column, value in (("carrier", "ZZ"), ("ssn", SSN[0]), ("diary", DIARY.format(77))):
        info = found.anomaly_info[column]
        info.path.step.append(column)
        info.severity = anomalies_pb2.AnomalyInfo.ERROR
        info.short_description = "Unexpected string values"
        info.description = f"Examples contain values missing from the schema: {value} (~1%)."
        info.reason.add(type=1, short_description=info.short_description, description=info.description)
    return found


def entry(name: str, slice_: Mapping[str, Any], count: int, auc: float) -> dict[str, Any]:
    return {
        "name": name, "by": list(slice_), "slice": dict(slice_), "count": count, "few_rows": count < 100,
        "metrics": {"auc": {"value": auc, "lower": auc - 0.02, "upper": auc + 0.02}, "positives": {"value": 12.0}},
    }  # fmt: skip


def asked(slice_: str, value: float, passed: bool) -> dict[str, Any]:
    shown = {"output": "late", "metric": "auc", "slice": slice_, "rows": 800, "value": value, "asked": "0.6 or more"}
    return {**shown, "passed": passed, "margin": value - 0.6}


def evaluation() -> dict[str, Any]:
    slices = [entry("carrier=UA", {"carrier": "UA"}, 5000, 0.7), entry("carrier=EV", {"carrier": "EV"}, 60, 0.61)]
    slices += [entry(f"ssn={value}", {"ssn": value}, 800, 0.5) for value in SSN]
    return {
        "schema_version": 1, "rows": 8000, "split": "eval", "confidence": 0.95,
        "outputs": {"late": {
            "task": "binary", "label": "late", "overall": entry("overall", {}, 8000, 0.687), "slices": slices,
            "quantities": {"auc": {"higher_is_better": True, "constant": 0.5}, "positives": {"higher_is_better": None}},
            "plots": {"calibration": [{"from": 0, "to": 0.5, "weight": 7.0, "prediction": 0.2, "label": 0.25}],
                      "roc": {"false_positive_rate": [0, 0.2, 1], "true_positive_rate": [0, 0.6, 1]},
                      "confusion": [[5, 1], [2, 3]]}}},
        "thresholds": [asked(f"ssn={SSN[0]}", 0.5, False), asked("overall", 0.687, True)],
        "warnings": [f"ssn={SSN[0]} has few rows"],
        "blessed": False, "reason": f"auc is 0.5 for ssn={SSN[0]} (800 rows), expected 0.6 or more",
    }  # fmt: skip


HISTORY = {
    "epochs": [{"epoch": k, "loss": 1 / k, "val_loss": 1.2 / k} for k in (1, 2, 3)],
    "steps": [{"step": k * 10, "loss": 2 / k} for k in range(1, 10)],
}


class Maker:
    """Makes committed artifacts under a root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, type_: type[Any], name: str, value: Any = None, **properties: Any) -> Any:
        artifact = type_(str(self.root / "flights" / "r1" / name))
        artifact.properties.update(properties)
        if value is not None:
            artifact.write(value)
        else:
            (artifact.path / "data").write_text("x")
        artifact.commit({"step": name})
        return artifact


def step(id_: str, reads: Mapping[str, str], outputs: Mapping[str, str], **more: Any) -> Step:
    channels = tuple((name, Channel(*channel.split("."))) for name, channel in reads.items())
    interface = Interface(tuple((n, ArtifactSlot("Artifact")) for n in reads), tuple(outputs.items()))
    return Step(id_, FunctionRef("headrace.components", id_, "0" * 64), interface, channels, **more)


PLAN = Plan(
    "flights",
    (
        step("CsvExampleGen", {}, {"examples": "Artifact"}, arguments=(("query", Const("SELECT 1")),)),
        step("StatisticsGen", {"examples": "CsvExampleGen.examples"}, {"statistics": "Statistics"}),
        step("SchemaGen", {"statistics": "StatisticsGen.statistics"}, {"schema": "Schema"}),
        step("ExampleValidator", {"schema": "SchemaGen.schema"}, {"anomalies": "Anomalies"}),
        step(
            "Trainer",
            {"examples": "CsvExampleGen.examples"},
            {"model": "Model"},
            arguments=(("api_key", Const(SECRET)), ("epochs", Parameter("epochs"))),
            settings=Settings(env=(("DB_PASSWORD", SECRET), ("MODE", "quiet-mode")), secrets=(("TOKEN", "vault/key"),)),
        ),
        step("Evaluator", {"model": "Trainer.model"}, {"evaluation": "Evaluation", "blessing": "Blessing"}),
        step("Pusher", {"model": "Trainer.model", "blessing": "Evaluator.blessing"}, {"pushed_model": "PushedModel"}),
    ),
)


@pytest.fixture
def run(tmp_path: Path) -> ReportData:
    """A run in which every section of the report has something to show."""
    make = Maker(tmp_path)
    examples = make(Artifact, "examples", rows={"train": 300, "eval": 100})
    measured = make(Statistics, "statistics", statistics(train=batch(300), eval=batch(100, 15.0)))
    marked = make(Schema, "schema", schema("ssn", "salary"))
    found = make(Anomalies, "anomalies", anomalies(), found=3)
    rows = [{"split": "eval", "file": "part-0", "row": 7, "column": c, "value": v, "reason": ""} for c, v in
            (("ssn", SSN[0]), ("carrier", "ZZ"))]  # fmt: skip
    (found.path / "offending_rows.json").write_text(json.dumps(rows))
    model = make(Model, "model")
    (model.path / "training").mkdir()
    (model.path / "training" / "history.json").write_text(json.dumps(HISTORY))
    evaluated = make(Evaluation, "evaluation", evaluation())
    verdict = {"blessed": False, "reason": evaluation()["reason"]}
    blessing = make(Blessing, "blessing", verdict, **verdict)
    error = ErrorReport("ValueError", f"no such host postgresql://ann:{SECRET}@db/x", f"api_key='{SECRET}'\n{SECRET}")

    def done(
        id_: str, state: str, began: float, reads: dict[str, Any], outputs: dict[str, Any], **more: Any
    ) -> StepReport:
        inputs = {name: (artifact,) for name, artifact in reads.items()}
        return StepReport(id_, state, id_, began, 1.0, inputs=inputs, outputs=outputs, **more)

    return ReportData(
        run_id="20240501-120003-7f3a",
        pipeline="flights",
        state="not_blessed",
        plan=PLAN,
        parameters={"epochs": 2, "db_password": SECRET, "store": f"https://u:{SECRET}@h/"},
        root=str(tmp_path),
        started=STARTED,
        ended=STARTED + timedelta(seconds=8),
        steps=(
            done("CsvExampleGen", "cached", 0.1, {}, {"examples": examples}, cache_reason="from run r0", rows=400),
            done("StatisticsGen", "succeeded", 0.2, {"examples": examples}, {"statistics": measured}),
            done("SchemaGen", "succeeded", 1.2, {"statistics": measured}, {"schema": marked}),
            done("ExampleValidator", "succeeded", 2.2, {"schema": marked}, {"anomalies": found},
                 warnings=(f"ssn: value {SSN[1]}", f"the value {SSN[1]} is odd")),
            done("Trainer", "failed", 2.2, {"examples": examples}, {"model": model}, error=error,
                 cache_reason="epochs changed"),
            done("Evaluator", "succeeded", 3.2, {"model": model}, {"evaluation": evaluated, "blessing": blessing}),
            done("Pusher", "refused", 4.2, {"model": model}, {}, refusal=f"auc is 0.5 for ssn={SSN[0]}"),
        ),
    )  # fmt: skip


class Page(HTMLParser):
    """Collects what a page consists of."""

    VOID = frozenset({"meta", "br", "input", "path", "rect", "circle", "img", "link"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_page_is_whole_and_says_what_is_known(run: ReportData) -> None:
    html = render(run)
    page = Page(html)
    assert not page.wrong and not page.open
    headings = re.findall(r"<h2[^>]*>(\w+)", html)
    assert headings == ["Graph", "Steps", "Evaluation", "Training", "Statistics", "Schema", "Anomalies", "Lineage"]
    for said in (
        "Failed",
        "from run r0",
        "epochs changed",
        "0.6870",
        "carrier=UA",
        "default",
        "12.5",
        "ZZ",
        "UA 33.3",
    ):
        assert said in html, said
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = [str(attributes["href"]) for tag, attributes in page.tags if tag == "a"]
    assert links and all(link.startswith("#") and link[1:] in ids for link in links)


def test_nothing_comes_from_the_network(run: ReportData) -> None:
    html = render(run)
    page = Page(html)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket", html)
    assert not {tag for tag, _ in page.tags} & {
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "audio",
        "video",
        "form",
    }
    for tag, attributes in page.tags:
        assert not attributes.keys() & {"src", "srcset", "action", "background", "poster", "xlink:href"}, tag
        assert not [name for name in attributes if name.startswith("on") or name == "style"], attributes
    policies = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1 and str(policies[0]).startswith("default-src 'none'") and "unsafe" not in str(policies[0])


def test_every_picture_is_xml_and_has_a_name(run: ReportData) -> None:
    pictures = re.findall(r"<svg.*?</svg>", render(run), re.DOTALL)
    assert len(pictures) > 20
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert root.get("aria-label") or root.get("aria-hidden") == "true"
        assert "NaN" not in picture.replace("NaNs", "") and "inf" not in re.sub(
            r"<title>.*?</title>|aria-label=\"[^\"]*\"", "", picture
        )


def test_no_value_of_a_sensitive_column(run: ReportData) -> None:
    html = render(dataclasses.replace(run, free_text=True))
    for value in (*SSN, "91,23", "91234", "9.123"):
        assert value not in html, value
    assert "ssn=hidden 1" in html and "ssn=hidden 2" in html
    assert "values hidden: sensitive" in html and "left out" in html


def test_the_same_values_are_there_when_nothing_is_marked(run: ReportData, tmp_path: Path) -> None:
    """The test above can fail: what it looks for is in the run."""
    unmarked = Maker(tmp_path / "other")(Schema, "schema", schema())
    steps = tuple(
        dataclasses.replace(s, inputs={n: (unmarked,) if n == "schema" else a for n, a in s.inputs.items()},
                            outputs={n: unmarked if n == "schema" else a for n, a in s.outputs.items()})
        for s in run.steps
    )  # fmt: skip
    html = render(dataclasses.replace(run, steps=steps))
    for value in (*SSN, "91,23"):
        assert value in html, value


def test_a_schema_that_cannot_be_read_hides_every_column(run: ReportData) -> None:
    uri = next(artifact for channel, artifact in run.made(Schema)).uri
    storage.write_bytes(storage.join(uri, "schema.pbtxt"), b"feature { name: ")
    html = render(run)
    assert "UA 33.3" not in html and not any(value in html for value in SSN)
    assert "The schema cannot be read" in html


def test_columns_declared_sensitive_are_hidden_though_the_schema_was_never_made(run: ReportData) -> None:
    declared = step(
        "SchemaGen", {"s": "StatisticsGen.statistics"}, {"schema": "Schema"}, arguments=(("sensitive", Const(["ssn"])),)
    )
    plan = Plan("flights", tuple(declared if s.id == "SchemaGen" else s for s in PLAN.steps))
    steps = tuple(
        dataclasses.replace(s, inputs={}, outputs={} if s.id == "SchemaGen" else s.outputs)
        for s in run.steps
        if s.id != "Pusher"
    )
    html = render(dataclasses.replace(run, plan=plan, steps=steps))
    assert not any(value in html for value in SSN)


def test_free_text_is_shown_only_when_asked(run: ReportData) -> None:
    assert "dear diary" not in render(run)
    assert "dear diary" in render(dataclasses.replace(run, free_text=True))


def test_no_secret(run: ReportData) -> None:
    html = render(run)
    assert SECRET not in html and "quiet-mode" not in html and "vault" not in html
    assert "***" in html and "no such host" in html


def test_hostile_names_stay_text(run: ReportData, tmp_path: Path) -> None:
    make = Maker(tmp_path / "hostile")
    hostile = pa.record_batch({HOSTILE: [HOSTILE, HOSTILE, "b"], "x": [1.0, 2.0, 3.0]})
    document = json.loads(json.dumps(evaluation()).replace("carrier", "y").replace("UA", "<img src=x>"))
    bad = StepReport(
        HOSTILE, "failed", HOSTILE, 0.1, 1.0, HOSTILE, 3, (HOSTILE,), ErrorReport(HOSTILE, HOSTILE, HOSTILE), HOSTILE,
        outputs={HOSTILE: make(Statistics, "s", statistics(**{"a<b>": hostile})), "e": make(Evaluation, "e", document)},
        results={HOSTILE: HOSTILE}, log=HOSTILE,
    )  # fmt: skip
    plan = Plan(HOSTILE, (step(HOSTILE, {}, {HOSTILE: "Statistics"}, arguments=((HOSTILE, Const(HOSTILE)),)),))
    html = render(dataclasses.replace(run, pipeline=HOSTILE, plan=plan, steps=(bad,), parameters={HOSTILE: HOSTILE}))
    page = Page(html)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not {tag for tag, _ in page.tags} & {"img", "b<", "a<b"}
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]


def test_the_same_run_gives_the_same_bytes(run: ReportData) -> None:
    assert render(run) == render(run)


def test_payloads_that_are_gone_cost_their_section_only(run: ReportData) -> None:
    for step_ in run.steps:
        for artifact in step_.outputs.values():
            storage.remove_tree(artifact.uri)
    html = render(run)
    assert "Lineage" in html and "Statistics</h2>" not in html


def test_a_run_that_has_hardly_begun() -> None:
    html = render(ReportData("r", "p", "interrupted", (StepReport("a", "waiting"),)))
    assert "Interrupted" in html and not Page(html).wrong


def test_the_run_object_fits(tmp_path: Path) -> None:
    pushed = Maker(tmp_path)(PushedModel, "pushed", {"version": 3}, version=3, destination="s3://k:secret@bucket/m")
    ended = STARTED + timedelta(seconds=2)
    first = StepRun(
        "Pusher",
        "headrace.components.pusher:Pusher",
        StepState.SUCCEEDED,
        {"pushed_model": pushed},
        started=STARTED,
        ended=ended,
    )
    refused = StepRun("Gate", "m:Gate", StepState.NOT_BLESSED, error=None, refusal="no")
    plan = Plan("flights", (step("Gate", {}, {}), step("Pusher", {}, {"pushed_model": "PushedModel"})))
    run = Run(
        "r1",
        "flights",
        RunState.NOT_BLESSED,
        {"Pusher": first, "Gate": refused},
        plan,
        {},
        str(tmp_path),
        STARTED,
        ended,
    )
    data = report_data(run)
    assert [(s.id, s.state, s.component) for s in data.steps] == [
        ("Gate", "refused", "Gate"),
        ("Pusher", "succeeded", "Pusher"),
    ]
    assert data.steps[1].began == 0.0 and data.steps[1].seconds == 2.0
    written = write_run_report(run)
    assert written.report is not None
    html = Path(written.report).read_text()
    assert Path(written.report).name == "report.html" and "Not blessed" in html and "secret" not in html


def test_why_a_step_did_not_run_is_no_error_and_an_errors_type_is_said_once() -> None:
    failed, skipped, interrupted = StepState.FAILED, StepState.SKIPPED, StepState.INTERRUPTED
    errors = {
        "Named": (failed, {"type": "ImportError", "message": "ImportError: no module x", "traceback": "t"}),
        "Bare": (failed, {"type": "ImportError", "message": "ImportError: ", "traceback": "t"}),
        "Other": (failed, {"type": "DataError", "message": "a.csv: empty", "traceback": ""}),
        "After": (skipped, {"message": "Named failed"}),
        "Stopped": (interrupted, {"message": "interrupted"}),
    }
    steps = {
        name: StepRun(name, f"m:{name}", state, error=error, cache_reason="" if state is skipped else "it is new")
        for name, (state, error) in errors.items()
    }
    run = Run("r1", "p", RunState.FAILED, steps, None, {}, "", STARTED, STARTED)
    data = report_data(run)
    told = {found.id: (str(found.error) if found.error else None, found.cache_reason) for found in data.steps}
    assert told == {
        "Named": ("ImportError: no module x", "it is new"),
        "Bare": ("ImportError", "it is new"),
        "Other": ("DataError: a.csv: empty", "it is new"),
        "After": (None, "Named failed"),
        "Stopped": (None, "it is new"),
    }
    html = render(data)
    assert html.count("note is-bad") == 3 and "ImportError: ImportError" not in html
    assert "Named, Bare, Other failed. Named: ImportError: no module x" in html


# --- figures and charts ----------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_data() -> None:
    table = statistics_table("s", statistics(train=batch(300), eval=batch(100, 15.0)), Privacy())
    temp = next(row for row in table.features if row.name == "temp")
    train = temp.splits[0]
    assert (train.get("count"), train.get("missing"), train.get("min"), train.get("max")) == (
        "270",
        "10\u202f%",
        "1",
        "39",
    )
    assert float(temp.keys["shift"]) == pytest.approx(15 / 40, abs=0.1)
    carrier = next(row for row in table.features if row.name == "carrier")
    assert carrier.top == "B6 33.3\u202f%, EV 33.3\u202f%, UA 33.3\u202f%" or sorted(carrier.top.split(", "))[
        0
    ].startswith("B6")
    late = next(row for row in table.features if row.name == "late")
    assert late.splits[0].chart is not None and late.type == "bool"


def test_dates_and_times_are_told_as_such() -> None:
    days = [datetime(2013, 1, 1).date(), datetime(2013, 9, 30).date()]
    instants = pa.array([STARTED, STARTED + timedelta(days=2)], pa.timestamp("ns", tz="UTC"))
    table = statistics_table("s", statistics(train=pa.record_batch({"day": days, "at": instants})), Privacy())
    day, at = (row.splits[0] for row in table.features)
    assert (day.get("earliest"), day.get("latest")) == ("2013-01-01", "2013-09-30")
    assert (at.get("earliest"), at.get("mean date")) == ("2024-05-01 12:00", "2024-05-02 12:00")
    assert table.features[0].top == "train 2013-01-01 to 2013-09-30"


def test_a_split_without_a_feature_and_a_feature_without_values() -> None:
    left = pa.record_batch({"a": pa.array([None, None], pa.float64()), "b": [1, 2]})
    right = pa.record_batch({"a": pa.array([None], pa.float64())})
    table = statistics_table("s", statistics(train=left, eval=right), Privacy())
    rows = {row.name: row for row in table.features}
    assert [split.split for split in rows["b"].splits] == ["train"]
    assert rows["a"].splits[0].get("missing") == "100\u202f%" and rows["a"].splits[0].chart is None


def test_not_a_number_and_infinity_are_drawn_around() -> None:
    odd = pa.record_batch({"x": [float("nan"), float("inf"), -float("inf"), 1.0, 2.0, 5.0]})
    row = feature_row("x", [statistics(a=odd).datasets[0].features[0]], ["a"], Privacy())
    assert row.splits[0].chart is not None
    ElementTree.fromstring(row.splits[0].chart)
    assert (row.splits[0].get("min"), row.splits[0].get("max")) == ("−∞", "∞")


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60), st.floats(0, 1))
def test_a_quantile_and_the_share_below_it_are_inverse(values: list[float], q: float) -> None:
    edges = sorted(set(values))
    buckets = [Bucket(low, high, 1 / (len(edges) - 1)) for low, high in pairwise(edges)]
    if buckets and min(b.high - b.low for b in buckets) > 1e-6:
        assert _below(buckets, _quantile(buckets, q)) == pytest.approx(q, abs=1e-6)


def test_free_text_is_told_from_categories() -> None:
    measured = statistics(train=batch(300))
    found = privacy_from([], [measured])
    assert found.shows_values("carrier") and not found.shows_values("diary") and found.shows_values("temp")
    assert privacy_from([], [measured], free_text=True).shows_values("diary")
    assert not privacy_from([None], [measured]).shows_values("temp")


def test_evaluation_without_thresholds_or_slices() -> None:
    document = {
        "outputs": {"y": {"overall": {"count": 3, "metrics": {"rmse": {"value": 1.5, "lower": None, "upper": None}}}}}
    }
    found = evaluation_report("e", document, Privacy())
    assert found.blessed is None and not found.checks
    assert [(row.name, row.value) for row in found.outputs[0].metrics] == [("rmse", "1.500")]


def compared(auc: float, change: float | None = None) -> dict[str, Any]:
    around = {"metrics": {"auc": {"value": auc, "lower": auc - 0.01, "upper": auc + 0.01}}, "change": {}}
    if change is not None:
        around["change"] = {"auc": {"value": change, "lower": change - 0.004, "upper": change + 0.004}}
    return {**around, "not_finite": 0}


def test_an_ablation_shows_each_modality_withheld_and_the_change(run: ReportData, tmp_path: Path) -> None:
    document = evaluation()
    withheld = [
        {"modality": "text", "columns": ["remarks", "<b>"], **compared(0.62, -0.067)},
        {"modality": "table", "columns": ["speed"], **compared(0.687, 0.0)},
    ]
    output = {"rows": 8000, "complete": compared(0.687), "withheld": withheld, "baseline": compared(0.7, 0.013)}
    document["ablation"] = {"rows": 8000, "replicates": 400, "outputs": {"late": output}}
    [table] = evaluation_report("e", document, Privacy()).outputs[0].ablations
    assert (table.metric, table.counted, table.replicates) == ("auc", "8,000", "400")
    assert [(row.name, row.columns, row.value, row.change, row.change_interval) for row in table.rows] == [
        ("complete rows", "", "0.6870", "", ""),
        ("without text", "remarks, <b>", "0.6200", "−0.0670", "−0.0710 to −0.0630"),
        ("without table", "speed", "0.6870", "0", "−0.0040 to 0.0040"),
        ("baseline model", "", "0.7000", "+0.0130", "0.0090 to 0.0170"),
    ]
    made = Maker(tmp_path / "ablation")(Evaluation, "e", document)
    step_ = StepReport("Evaluator", "succeeded", "Evaluator", 0.1, 1.0, outputs={"e": made})
    page = render(dataclasses.replace(run, steps=(step_,)))
    assert "auc without each modality" in page
    assert "remarks, &lt;b&gt;" in page
    assert not evaluation_report("e", evaluation(), Privacy()).outputs[0].ablations


def test_hiding_thousands_of_values_is_quick() -> None:
    privacy = Privacy(values=frozenset(f"value{k}" for k in range(3000)))
    assert privacy.text("a value77, and value77b " * 400) == "a hidden, and value77b " * 400


def test_the_verdict_of_many_thresholds_puts_what_failed_first() -> None:
    document = evaluation()
    passed = document["thresholds"][1]
    document["thresholds"] = [passed] * 20 + [document["thresholds"][0]]
    found = evaluation_report("e", document, Privacy())
    assert not found.checks[0].passed and len(found.checks) == 3 and len(found.folded) == 18


def test_training_of_one_epoch_is_drawn_by_step() -> None:
    one = {
        "epochs": [{"epoch": 1, "loss": 0.5, "val_loss": None}],
        "steps": [{"step": k, "loss": 1 / k} for k in range(1, 9)],
    }
    drawn = training("m", one)
    assert drawn.curves[0].last == "0.5" and "by step" in str(drawn.curves[0].chart)
    assert "by epoch" in str(training("m", HISTORY).curves[0].chart)
    assert training("m", {"epochs": [], "steps": []}).curves == ()


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9))
def test_ticks_are_in_the_range_and_few(low: float, width: float) -> None:
    high = low + width
    if high > low and width > abs(low) * 1e-9:
        found = ticks(low, high)
        assert 1 <= len(found) <= 12
        assert all(low - width * 1e-6 <= value <= high + width * 1e-6 for value in found)


@given(st.lists(st.one_of(st.none(), st.floats()), max_size=60))
def test_any_series_gives_xml_with_numbers_only(values: list[float | None]) -> None:
    points = list(enumerate(values, 1))
    chart = curves([Curve("loss", points, dots=True)], "loss", "step")
    ElementTree.fromstring(chart)
    assert not re.search(r'(?:d|cx|cy|x|y)="[^"]*(?:nan|inf)', chart)


def test_a_forest_row_lies_where_its_value_is() -> None:
    forest = Forest.of([Estimate(0.5, 0.4, 0.6), Estimate(0.9, 0.85, 0.95)], [("overall", 0.6)])
    row = ElementTree.fromstring(forest.row(Estimate(0.5, 0.4, 0.6), "x"))
    circle = next(e for e in row.iter() if e.tag.endswith("circle"))
    assert float(circle.attrib["cx"]) == pytest.approx(forest.scale(0.5), abs=0.1)
    assert forest.scale(0.4) < forest.scale(0.6) and isinstance(forest.scale, Scale)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_chromium_shows_it_without_a_word_of_complaint(run: ReportData, tmp_path: Path) -> None:
    page, profile = tmp_path / "report.html", tmp_path / "profile"
    page.write_text(render(run))
    command = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={profile}", "--enable-logging=stderr",
        "--dump-dom", f"file://{page}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not complaints, complaints
    assert 'aria-sort="none"' in done.stdout, "the script did not run: its hash is not the policy's"
