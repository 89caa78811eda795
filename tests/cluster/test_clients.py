"""The command line against real servers: what it uploads, starts, follows, ends and schedules, and its exit codes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.cluster.cluster import Cluster, script

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


@dataclass
class Project:
    """A project, the image made of it, and the command on a target of the cluster."""

    folder: Path
    target: str
    server: tuple[str, ...]
    env: dict[str, str]

    def headrace(self, *words: str, ends: int = 0) -> str:
        command = [sys.executable, "-m", "headrace.pipelines.cli", *words]
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=900)
        assert done.returncode == ends, (
            f"{' '.join(words)}: {done.returncode}, expected {ends}\n{done.stdout}{done.stderr}"
        )
        return done.stdout + done.stderr

    def submit(self, *words: str, ends: int = 0) -> str:
        return self.headrace("submit", "flow.yaml", "--target", self.target, *self.server, *words, ends=ends)

    def on(self, verb: str, *words: str, ends: int = 0) -> str:
        return self.headrace(verb, *words, "--target", self.target, *self.server, ends=ends)


@pytest.fixture(scope="module")
def folder(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's folder, and its image in the cluster. Of Headrace's command only the module is needed here."""
    made = tmp_path_factory.mktemp("clients")
    (made / "pyproject.toml").write_text("")
    (made / "flow.py").write_text(textwrap.dedent(AUTHOR).replace("NAME", f"clients{os.getpid()}"))
    command = made / "headrace"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m headrace.pipelines.cli "$@"\n')
    command.chmod(0o755)
    (made / ".dockerignore").write_text("headrace\n")
    if shutil.which("docker") is None:
        pytest.skip("no docker to build the image with")
    script("headrace_image.sh", f"{cluster.registry}/clients:1", str(made), str(command), timeout=1500)
    return made


def deployment(cluster: Cluster, secret: str, root: str) -> dict[str, object]:
    secrets = {"AWS_ACCESS_KEY_ID": f"{secret}/accesskey", "AWS_SECRET_ACCESS_KEY": f"{secret}/secretkey"}
    env = {"AWS_ENDPOINT_URL": cluster.s3_in_pods, "AWS_DEFAULT_REGION": "us-east-1"}
    image = f"{cluster.registry}/clients:1"
    return {"image": image, "root": root, "settings": {"secrets": secrets, "env": env}}


def compiled(
    folder: Path, target: str, document: dict[str, object], env: dict[str, str], server: tuple[str, ...]
) -> Project:
    """The project in a folder of its own that has the compiled file and nothing of the source."""
    (folder / f"{target}.deployment.yaml").write_text(yaml.safe_dump(document))
    there = Project(folder, target, server, env)
    out = folder / f"of-{target}"
    words = ("compile", "flow.py", "--target", target, "--deployment", f"{target}.deployment.yaml")
    there.headrace(*words, "-o", f"{out}/flow.yaml")
    return Project(out, target, server, env)


@pytest.fixture
def on_argo(cluster: Cluster, folder: Path) -> Project:
    env = {**os.environ, "KUBECONFIG": cluster.kubeconfig}
    document = deployment(cluster, "s3", "s3://argo/clients")
    return compiled(folder, "argo", document, env, ("--namespace", cluster.namespace))


@pytest.fixture
def on_kfp(cluster: Cluster, kfp_host: str, folder: Path) -> Project:
    pytest.importorskip("kfp.client")
    document = deployment(cluster, "mlpipeline-minio-artifact", "s3://mlpipeline/clients")
    return compiled(folder, "kfp", document, {**os.environ}, ("--host", kfp_host))


def run_of(said: str) -> str:
    """The run's name in what submit printed."""
    return said.splitlines()[0].rpartition(" ")[2]


def until(true: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to be in time"
        time.sleep(1)


def every_way_that_a_run_ends(project: Project) -> None:
    """Success, refusal, failure, and a person's end: the exit code, the lines of steps, the message, the log."""
    fine = project.submit("--follow", "-p", "number=2")
    run = run_of(fine)
    assert "Gen  " in fine and fine.splitlines()[-1].startswith("done: 2 steps"), fine
    assert "Gen says 2" in project.on("logs", run, "gen")
    assert "has ended already" in project.on("terminate", run, ends=2)

    refused = project.submit("--wait", "-p", "number=11", ends=3)
    assert refused.splitlines()[-1].startswith("not blessed: Gate"), refused

    failed = project.submit("--follow", "-p", "number=7", ends=1)
    assert "ValueError: seven is odd" in failed, failed
    assert failed.splitlines()[-1].startswith("failed: Gate"), failed
    assert "seven is odd" in project.on("logs", run_of(failed))

    endless = run_of(project.submit("-p", "number=8"))
    until(lambda: "running" in project.on("status", endless).splitlines()[2])
    assert "has not ended within 1 s" in project.on("status", endless, "--wait", "--timeout", "1", ends=2)
    project.on("terminate", endless)
    assert "terminated: " in project.on("status", endless, "--wait", "--timeout", "300", ends=130)
    assert "there is no run" in project.on("status", "00000000-0000-4000-8000-000000000099", ends=2)


def test_every_way_that_a_run_ends_on_argo(on_argo: Project) -> None:
    every_way_that_a_run_ends(on_argo)


def test_every_way_that_a_run_ends_on_kubeflow(on_kfp: Project) -> None:
    every_way_that_a_run_ends(on_kfp)


def test_a_template_is_uploaded_run_and_scheduled_on_argo(on_argo: Project) -> None:
    name = yaml.safe_load((on_argo.folder / "flow.yaml").read_text())["metadata"]["generateName"].rstrip("-")
    assert "uploaded" in on_argo.on("upload", "flow.yaml")
    assert "was there already" in on_argo.on("upload", "flow.yaml")
    assert on_argo.on("submit", "--pipeline", name, "-p", "number=2", "--wait").splitlines()[-1].startswith("done: ")
    for hour in ("6", "7"):
        on_argo.on("schedule", "flow.yaml", "--cron", f"0 {hour} * * *", "--timezone", "Europe/Zurich")
    on_argo.on("schedule", "--delete", name)
    assert "there is no schedule" in on_argo.on("schedule", "--delete", name, ends=2)


def test_a_version_is_uploaded_once_run_and_scheduled_on_kubeflow(on_kfp: Project) -> None:
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
