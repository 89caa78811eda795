"""What lies beside a pushed model, and what `headrace model show` makes of it, after a chain from CSV to serving."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from headrace.components import (
    CsvExampleGen,
    Pusher,
    SchemaGen,
    ServingSignature,
    StatisticsGen,
    Trainer,
    Transform,
)
from headrace.components.pusher import Filesystem
from headrace.pipelines import Model, Pipeline, Schema
from headrace.pipelines.cli import main
from tensorflow_metadata.proto.v0 import schema_pb2

from tests import small_chain
from tests.served_models import Server, served

pytest.importorskip("tensorflow")
SIGNATURES = [
    ServingSignature("serving_keyed", key="id", key_dtype="int64", labels=["on time", "late"], top_k=1),
    ServingSignature("late", labels=["on time", "late"], method="classify"),
    ServingSignature("chance", method="regress"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Git repository with the author's functions, its data and, run once, a pushed model in `serving/late`."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").write_text("")
    (folder / ".gitignore").write_text("*\n!author.py\n")
    shutil.copy(small_chain.__file__, folder / "author.py")
    data = small_chain.write_rows(folder / "data")
    for command in (["init", "-q"], ["add", "author.py"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=folder, check=True)

    examples = CsvExampleGen(input_base=data).with_id("Rows")
    statistics = StatisticsGen(examples=examples.outputs["examples"])
    schema = SchemaGen(statistics=statistics.outputs["statistics"], sensitive=["carrier"])
    transform = Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="author:preprocessing_fn",
        labels=["late"],
    )
    trainer = Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        build_model="author:build_model",
        label="late",
        signatures=SIGNATURES,
    )
    pusher = Pusher(
        model=trainer.outputs["model"],
        without_blessing=True,
        skew_gate=False,
        infra_gate=False,
        push_destination=Filesystem(str(folder / "serving" / "late")),
    )
    steps = [examples, statistics, schema, transform, trainer, pusher]
    Pipeline("lateness", steps, root=str(folder)).run(root=str(folder / "root"), debug=True, report=False)
    return folder


def test_the_record_says_what_the_model_was_made_from(project: Path) -> None:
    record = json.loads((project / "serving/late/1/assets.extra/headrace.json").read_text())
    made = record["made"]
    assert (made["label"], made["train_split"], record["pipeline"]) == ("late", "train", "lateness")
    by_step = {one["step"]: one for one in made["made_from"]} | {made["model"]["step"]: made["model"]}
    assert set(by_step) == {"Rows", "StatisticsGen", "SchemaGen", "Transform", "Trainer"}
    # What the manifests themselves say.
    model = Model.open(made["model"]["uri"])
    assert model.digest == record["model"] == made["model"]["digest"]
    assert Schema.open(by_step["SchemaGen"]["uri"]).digest == by_step["SchemaGen"]["digest"]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=project, capture_output=True, text=True).stdout.strip()
    code = by_step["Trainer"]["code"]
    assert (code["commit"], code["changed"]) == (commit, False)
    assert {"author:build_model"} < set(code["functions"])
    assert "author:preprocessing_fn" in by_step["Transform"]["code"]["functions"]
    assert record["gates"]["skew"] == {"passed": False, "reason": "switched off in the pipeline's code"}
    assert made["headrace"] and record["verdict"].startswith("pushed without a blessing")


def test_the_schema_travels_without_the_values_of_sensitive_columns(project: Path) -> None:
    text = (project / "serving/late/1/assets.extra/schema.pbtxt").read_text()
    schema = text_format.Parse(text, schema_pb2.Schema())
    record = json.loads((project / "serving/late/1/assets.extra/headrace.json").read_text())
    [link] = [one for one in record["made"]["made_from"] if one["type"] == "Schema"]
    whole = Schema.open(link["uri"]).read()
    assert "AA" in str(whole) and "AA" not in text
    assert [one.name for one in schema.feature] == [one.name for one in whole.feature]
    untouched = {one.name: one for one in schema.feature if one.name != "carrier"}
    assert untouched == {one.name: one for one in whole.feature if one.name != "carrier"}


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[Server]:
    with served(project / "serving" / "late") as running:
        yield running


def test_what_is_shown_of_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "show", str(project / "serving" / "late")]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[1].startswith("pushed by pipeline lateness, run ")
    assert any("transform_graph TransformGraph" in line and "by Transform in run" in line for line in lines)
    assert any(line.startswith("code:") and "author:build_model" in line and "commit" in line for line in lines)
    assert "skew gate: switched off in the pipeline's code" in lines
    assert any(line.startswith("carrier string [rows] sensitive") for line in lines)
    assert any(line.startswith("distance float32 [rows]") and line.endswith('"nan" *') for line in lines)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the requests are printed for curl")
def test_every_printed_request_works_as_printed(
    project: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{server.port}"
    assert main(["model", "show", str(project / "serving" / "late"), "--url", url, "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    names = [one["name"] for one in card["signatures"]]
    always = ["serving_default", "serving_examples", "transform_features"]
    assert sorted(names) == sorted([*always, "serving_keyed", "late", "chance"])
    programs = []
    for signature in card["signatures"]:
        requests = signature["requests"]
        answers = {key: answer(requests[key]) for key in ("rest", "kserve")}
        outputs = {one["name"]: one["data"] for one in answers["kserve"]["outputs"]}
        if signature["name"] == "late":
            [row] = answers["rest"]["results"]
            assert [name for name, _ in row] == outputs["classes"] == ["on time", "late"]
        elif signature["name"] == "chance":
            assert answers["rest"]["results"] == outputs["outputs"]
        else:
            [row] = answers["rest"]["predictions"]
            assert "error" not in answers["rest"] and row
        programs.append(requests["python"])
    done = subprocess.run([sys.executable, "-I", "-c", "\n\n".join(programs)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("<tf.Tensor") >= len(programs)


def answer(command: str) -> Any:
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert "error" not in found, (command, found)
    return found
