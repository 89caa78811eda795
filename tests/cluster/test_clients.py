"""The command line against real servers: what it uploads, starts, follows, ends and schedules, and its exit codes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
import yaml

from tests.cluster.author_project import AuthorProject, Target, run_of
from tests.cluster.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
AUTHOR = """
from headrace.pipelines import Blessing, HyperParameters, Input, Output, component, pipeline, step_context


@component
def Gen(out: Output[HyperParameters], *, number: int) -> None:
    print("Gen says", number)
    out.write({"number": number})


@component
def Gate(of: Input[HyperParameters], blessing: Output[Blessing]) -> None:
    number = of.read()["number"]
    if number == 7:
        raise ValueError("seven is odd")
    while number == 8:
        import time
        time.sleep(1)
    blessing.blessed = number < 10
    blessing.reason = "fine" if blessing.blessed else "too large"
    blessing.write({})
    if not blessing.blessed:
        step_context().refuse("too large")


@pipeline
def NAME(number: int = 1):
    Gate(of=Gen(number=number).outputs["out"])
"""


@pytest.fixture(scope="module")
def project(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AuthorProject:
    files = {"flow.py": AUTHOR.replace("NAME", f"clients{os.getpid()}")}
    return AuthorProject.built(cluster, tmp_path_factory.mktemp("clients"), "clients", files)


@pytest.fixture
def on_argo(project: AuthorProject) -> Target:
    return project.on_argo()


@pytest.fixture
def on_kfp(project: AuthorProject, kfp_host: str) -> Target:
    return project.on_kfp(kfp_host)


def until(true: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to be in time"
        time.sleep(1)


def every_way_that_a_run_ends(target: Target) -> None:
    """Success, refusal, failure, and a person's end: the exit code, the lines of steps, the message, the log."""
    fine = target.submit("--follow", "-p", "number=2")
    run = run_of(fine)
    assert "Gen  " in fine and fine.splitlines()[-1].startswith("done: 2 steps"), fine
    assert "Gen says 2" in target.on("logs", run, "gen")
    assert "has ended already" in target.on("terminate", run, ends=2)

    refused = target.submit("--wait", "-p", "number=11", ends=3)
    assert refused.splitlines()[-1].startswith("not blessed: Gate"), refused

    failed = target.submit("--follow", "-p", "number=7", ends=1)
    assert "ValueError: seven is odd" in failed, failed
    assert failed.splitlines()[-1].startswith("failed: Gate"), failed
    assert "seven is odd" in target.on("logs", run_of(failed))

    endless = run_of(target.submit("-p", "number=8"))
    until(lambda: "running" in target.on("status", endless).splitlines()[2])
    assert "has not ended within 1 s" in target.on("status", endless, "--wait", "--timeout", "1", ends=2)
    target.on("terminate", endless)
    assert "terminated: " in target.on("status", endless, "--wait", "--timeout", "300", ends=130)
    assert "there is no run" in target.on("status", "00000000-0000-4000-8000-000000000099", ends=2)


def test_every_way_that_a_run_ends_on_argo(on_argo: Target) -> None:
    every_way_that_a_run_ends(on_argo)


def test_every_way_that_a_run_ends_on_kubeflow(on_kfp: Target) -> None:
    every_way_that_a_run_ends(on_kfp)


def test_a_template_is_uploaded_run_and_scheduled_on_argo(on_argo: Target) -> None:
    name = yaml.safe_load((on_argo.folder / "flow.yaml").read_text())["metadata"]["generateName"].rstrip("-")
    assert "uploaded" in on_argo.on("upload", "flow.yaml")
    assert "was there already" in on_argo.on("upload", "flow.yaml")
    assert on_argo.on("submit", "--pipeline", name, "-p", "number=2", "--wait").splitlines()[-1].startswith("done: ")
    for hour in ("6", "7"):
        on_argo.on("schedule", "flow.yaml", "--cron", f"0 {hour} * * *", "--timezone", "Europe/Zurich")
    on_argo.on("schedule", "--delete", name)
    assert "there is no schedule" in on_argo.on("schedule", "--delete", name, ends=2)


def test_a_version_is_uploaded_once_run_and_scheduled_on_kubeflow(on_kfp: Target) -> None:
    text = (on_kfp.folder / "flow.yaml").read_text()
    name = next(iter(yaml.safe_load_all(text)))["pipelineInfo"]["name"]
    assert "uploaded" in on_kfp.on("upload", "flow.yaml", "--version", "a1")
    assert "was there already" in on_kfp.on("upload", "flow.yaml", "--version", "a1")
    changed = text.replace("AWS_DEFAULT_REGION", "AWS_REGION")
    assert changed != text
    (on_kfp.folder / "other.yaml").write_text(changed)
    assert "with another content" in on_kfp.on("upload", "other.yaml", "--version", "a1", ends=2)
    assert "uploaded" in on_kfp.on("upload", "other.yaml", "--version", "a2")
    words = ("--pipeline", name, "--version", "a1", "-p", "number=2", "--experiment", "clients")
    assert on_kfp.on("submit", *words, "--wait").splitlines()[-1].startswith("done: ")
    for hour in ("6", "7"):
        on_kfp.on("schedule", "flow.yaml", "--cron", f"0 {hour} * * *")
    on_kfp.on("schedule", "--delete", name)
    assert "there is no schedule" in on_kfp.on("schedule", "--delete", name, ends=2)
