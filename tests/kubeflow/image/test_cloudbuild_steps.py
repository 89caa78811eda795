"""cloudbuild.yaml run for real: each step's own command, in order, in containers as Cloud Build starts them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from headrace.kubeflow.argo import check_argo
from headrace.kubeflow.kfp.check import check_kfp
from headrace.kubeflow.kfp.protos import pipeline_spec_pb2

from tests.kubeflow.client.loopback import KubeflowStandin, serving
from tests.kubeflow.image.conftest import REPOSITORY
from tests.kubeflow.image.registry import Registry
from tests.kubeflow.test_cloudbuild import BUILT_IN, BuildStep, steps

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]

BASE = "python:3.11-slim"
# Cloud Build gives the containers of a build its own network, by a word of the same kind.
DOCKER = """#!/bin/sh
[ "$1" != build ] || { shift; set -- build --network=host "$@"; }
exec /usr/bin/docker "$@"
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The repository as Cloud Build lays it out: the files that git knows, which are root's."""
    found = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(found, capture_output=True, check=True, text=True).stdout.split("\0")
    folder = tmp_path / "workspace"
    for name in filter(None, names):
        source, target = REPOSITORY / name, folder / name
        if source.is_symlink() or source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target, follow_symlinks=False)
    folder.chmod(0o755)
    return folder


class CloudBuild:
    """Runs steps, each in a container of its image, with the workspace and a home that are root's."""

    def __init__(self, workspace: Path, docker: str) -> None:
        self._workspace, self._socket = workspace, docker.removeprefix("unix://")
        self._home, self._docker = workspace.parent / "home", workspace.parent / "docker"
        self._home.mkdir(mode=0o755)
        self._docker.write_text(DOCKER)
        self._docker.chmod(0o755)

    def run(self, step: BuildStep) -> str:
        mounts = [f"{self._workspace}:/workspace", f"{self._home}:/builder/home"]
        if step.image == BASE:
            # The image of Cloud Build's in which there is a docker command.
            mounts += [f"{self._docker}:/usr/local/bin/docker:ro", "/usr/bin/docker:/usr/bin/docker:ro"]
            mounts += [f"{self._socket}:/var/run/docker.sock"]
        options = [f"--volume={mount}" for mount in mounts]
        options += [f"--env={text}" for text in ("HOME=/builder/home", *step.env)]
        command = ["docker", "run", "--rm", "--network=host", "--workdir=/workspace", *options]
        first, *rest = step.words
        command += [f"--entrypoint={first}", step.image, *rest]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        print(f"== {step.id}: {done.returncode}\n{done.stdout[-3000:]}", flush=True)
        assert done.returncode == 0, f"{step.id}: {done.returncode}\n{done.stdout[-6000:]}"
        return done.stdout


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        yield server


@pytest.fixture
def kubeflow() -> Iterator[KubeflowStandin]:
    with serving(KubeflowStandin()) as server:
        assert isinstance(server, KubeflowStandin)
        yield server


def test_each_step_of_the_build_does_what_it_is_for(
    docker: dict[str, str], workspace: Path, registry: Registry, kubeflow: KubeflowStandin
) -> None:
    image = f"{registry.host}/pipelines/flights"
    given = {"_IMAGE": image, "_DOCKER": BASE, "_PYTHON": BASE, "_EXTRAS": "cpu,s3,postgres"}
    given |= {"_KFP_HOST": kubeflow.url, "_SUBMIT": "true", "_ROOT": "s3://bucket/root"}
    build, said = CloudBuild(workspace, docker["DOCKER_HOST"]), {}
    try:
        for step in steps(**given):
            said[step.id] = build.run(step)
        upload = next(step for step in steps(**given) if step.id == "upload")
        assert "version abc1234: was there already" in build.run(upload)
    finally:
        names = (
            f"{image}{name}" for name in (":latest", "-base:latest", "-base:abc1234", ":abc1234", "-tools:abc1234")
        )
        subprocess.run(["docker", "image", "rm", *names], capture_output=True, check=False)
    assert re.search(r"\d+ passed", said["test"]) and "failed" not in said["test"]
    # Pushed was the image that the compiled files name, and no other.
    commit = BUILT_IN["SHORT_SHA"]
    assert list(registry.manifests) == [f"pipelines/flights:{commit}"]
    kfp = (workspace / "compiled" / "kfp" / "flights.yaml").read_text()
    argo = (workspace / "compiled" / "argo" / "flights.yaml").read_text()
    assert check_kfp(kfp) == [] and check_argo(argo) == []
    templates = [one for one in yaml.safe_load(argo)["spec"]["templates"] if "container" in one]
    executors = yaml.safe_load(kfp)["deploymentSpec"]["executors"].values()
    assert {one["container"]["image"] for one in (*templates, *executors)} == {f"{image}:{commit}"}
    assert yaml.safe_load(argo)["kind"] == "WorkflowTemplate"
    ((version,), (run,)) = (kubeflow.versions.values(), kubeflow.runs.values())
    assert version["display_name"] == commit and version["pipeline_spec"] == yaml.safe_load(kfp)
    # KFP's client leaves out what has its default.
    read, spec = json_format.ParseDict, pipeline_spec_pb2().PipelineSpec
    assert read(run["pipeline_spec"], spec()) == read(version["pipeline_spec"], spec())
    (experiment,) = kubeflow.experiments.values()
    assert experiment["display_name"] == "cloud-build" and run["experiment_id"] in kubeflow.experiments
