"""Plans, artifacts and runs as notebooks show them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from headrace.pipelines.artifact import Artifact
from headrace.pipelines.artifact_types import (
    Anomalies,
    Blessing,
    Evaluation,
    Examples,
    HyperParameters,
    Model,
    PushedModel,
    Schema,
    Statistics,
)
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.html import artifact_html, plan_html, run_html
from headrace.pipelines.plan import ArtifactSlot, Channel, Interface, Plan, PlanParameter, Step
from headrace.pipelines.runs import Run, StepRun
from headrace.pipelines.store.records import RunState, StepState
from headrace.transforms.statistics import StatisticsSummarizer
from headrace.transforms.statistics.proto import to_proto
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
ROWS = pa.record_batch(
    {"carrier": ["UA", "B6", "UA"], "delay": [1.5, None, 30.0], "ssn": ["111-22", "333-44", "111-22"]}
)


def step(id_: str, reads: dict[str, str], outputs: list[str]) -> Step:
    interface = Interface(tuple((n, ArtifactSlot("Artifact")) for n in reads), tuple((o, "Artifact") for o in outputs))
    channels = tuple((name, Channel(*channel.rsplit(".", 1))) for name, channel in reads.items())
    return Step(id_, FunctionRef("m", id_, "0" * 64), interface, channels)


def made(folder: Path, type_: type[Any], value: Any = None, **properties: Any) -> Any:
    artifact = type_(str(folder / type_.__name__))
    artifact.properties.update(properties)
    if value is not None:
        artifact.write(value)
    artifact.commit({"step": "s"})
    return artifact


def examples(folder: Path) -> Examples:
    artifact = Examples(str(folder / "examples"))
    with artifact.writer(ROWS.schema) as writer:
        writer.write("train", ROWS)
        writer.write("eval", ROWS.slice(0, 1))
    artifact.commit({})
    return artifact


def statistics() -> Any:
    summarizer = StatisticsSummarizer(ROWS.schema)
    return to_proto({"train": summarizer.finish(summarizer.summarize(ROWS))})


def schema(*sensitive: str) -> schema_pb2.Schema:
    message = schema_pb2.Schema()
    for name in ROWS.schema.names:
        feature = message.feature.add(name=name, type=schema_pb2.BYTES if name != "delay" else schema_pb2.FLOAT)
        if name in sensitive:
            feature.annotation.tag.append("sensitive")
    message.feature[2].string_domain.value.extend(["111-22", "333-44"])
    return message


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def check_piece(html: str) -> None:
    """Nothing loads, nothing runs."""
    tags = Tags(html).found
    assert tags[0] == ("div", {"class": "headrace"})
    assert not {tag for tag, _ in tags} & {"script", "img", "link", "iframe", "object", "embed"}
    for _, attributes in tags:
        assert not attributes.keys() & {"src", "href"} and not any(name.startswith("on") for name in attributes)
    assert "url(" not in html and "@import" not in html


def test_plan() -> None:
    plan = Plan("flights", (step("Gen", {}, ["examples"]), step("Train", {"x": "Gen.examples"}, [])),
                (PlanParameter("epochs", "int", 3), PlanParameter("api_key", "str", "hunter2hunter2")))  # fmt: skip
    html = plan_html(plan)
    check_piece(html)
    assert "Gen" in html and "epochs" in html and "<svg" in html and "hunter2" not in html
    assert plan._repr_html_() == html


def test_a_plan_without_grandalf_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grandalf.graphs", None)
    html = plan_html(Plan("flights", (step("Gen", {}, ["examples"]), step("Train", {"x": "Gen.examples"}, []))))
    assert "<pre>" in html and "╮ examples" in html


def test_examples_show_rows_only_when_no_column_is_sensitive(tmp_path: Path) -> None:
    artifact = examples(tmp_path)
    for known, shown in ((None, False), (schema("ssn"), False), (schema(), True)):
        html = artifact_html(artifact, known)
        check_piece(html)
        assert ("111-22" in html) is shown
        assert "train" in html and "carrier" in html
    assert artifact._repr_html_() == artifact_html(artifact)


def test_statistics(tmp_path: Path) -> None:
    artifact = made(tmp_path, Statistics, statistics())
    html = artifact_html(artifact)
    check_piece(html)
    assert "33.3" in html and "<svg" in html and "111-22" in html
    hidden = artifact_html(artifact, schema("ssn", "delay"))
    assert "111-22" not in hidden and "values hidden: sensitive" in hidden and "1.5" not in hidden


def test_schema_hides_the_domain_of_what_it_marks(tmp_path: Path) -> None:
    assert "111-22" in artifact_html(made(tmp_path / "a", Schema, schema()))
    marked = artifact_html(made(tmp_path / "b", Schema, schema("ssn")))
    assert "111-22" not in marked and "sensitive" in marked


def test_anomalies(tmp_path: Path) -> None:
    found = anomalies_pb2.Anomalies()
    assert "no anomalies" in artifact_html(made(tmp_path / "none", Anomalies, found, found=0))
    info = found.anomaly_info["ssn"]
    info.description, info.short_description = "value 111-22", "Unexpected"
    artifact = made(tmp_path, Anomalies, found, found=1)
    assert "111-22" in artifact_html(artifact)
    assert "111-22" not in artifact_html(artifact, schema("ssn")) and "Unexpected" in artifact_html(
        artifact, schema("ssn")
    )


def test_evaluation_blessing_model(tmp_path: Path) -> None:
    metrics = {"auc": {"value": 0.687, "lower": 0.68, "upper": 0.69}}
    slices = [{"name": "carrier=UA", "slice": {"carrier": "UA"}, "count": 9, "few_rows": True, "metrics": metrics}]
    document = {"outputs": {"late": {"overall": {"count": 99, "metrics": metrics}, "slices": slices}}, "blessed": True}
    html = artifact_html(made(tmp_path, Evaluation, document | {"reason": "all passed"}))
    check_piece(html)
    assert "0.6870" in html and "carrier=UA" in html and "all passed" in html
    html = artifact_html(made(tmp_path, Blessing, {"blessed": False, "reason": "auc is 0.5"}, blessed=False))
    assert "not blessed" in html and "auc is 0.5" in html
    model = Model(str(tmp_path / "model"))
    (model.path / "training").mkdir()
    (model.path / "training" / "history.json").write_text(json.dumps({"epochs": [{"epoch": 1, "loss": 0.5}]}))
    model.commit({})
    assert "loss" in artifact_html(model) and "1 files" in artifact_html(model)


def test_secrets_and_hostile_text(tmp_path: Path) -> None:
    pushed = made(tmp_path, PushedModel, {"version": 1}, destination="s3://key:hunter2hunter2@bucket/m", version=1)
    assert "hunter2" not in artifact_html(pushed)
    chosen = made(tmp_path, HyperParameters, {"api_key": "hunter2hunter2", HOSTILE: HOSTILE}, **{HOSTILE: HOSTILE})
    html = artifact_html(chosen)
    check_piece(html)
    assert "hunter2" not in html and "&lt;script&gt;" in html


def test_what_is_gone_or_not_committed_is_said(tmp_path: Path) -> None:
    assert "not committed yet" in artifact_html(Artifact(str(tmp_path / "x")))
    artifact = made(tmp_path, Statistics, statistics())
    (artifact.path / Statistics.file).unlink()
    assert "cannot be shown: FileNotFoundError" in artifact_html(artifact)


def test_run(tmp_path: Path) -> None:
    began = datetime(2024, 5, 1, tzinfo=UTC)
    error = {"type": "ValueError", "message": f"{HOSTILE} password=hunter2hunter2", "traceback": ""}
    ended = began + timedelta(seconds=2)
    gen = StepRun("Gen", "m:Gen", StepState.CACHED, started=began, ended=ended, cache_reason="from run r0")
    train = StepRun("Train", "m:Train", StepState.FAILED, started=began, ended=ended, error=error)
    plan = Plan("flights", (step("Gen", {}, ["examples"]), step("Train", {"x": "Gen.examples"}, [])))
    run = Run("r1", "flights", RunState.FAILED, {"Gen": gen, "Train": train}, plan, {}, str(tmp_path), began, ended)
    html = run_html(run)
    check_piece(html)
    assert re.search(r"from run r0.*Train.*ValueError", html) and "Failed" in html and "hunter2" not in html
    assert run._repr_html_() == html


def test_importing_html_is_cheap() -> None:
    heavy = ["pyarrow", "tensorflow", "jinja2", "numpy", "google.protobuf", "apache_beam", "sqlalchemy", "grandalf"]
    imports = "import sys, headrace.pipelines.html, headrace.pipelines.report"
    program = f"{imports}; print([module for module in {heavy} if module in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
