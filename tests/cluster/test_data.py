"""What a step reads in the cluster: more than its pod may hold, and files that change behind their URI."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.cluster.author_project import AuthorProject, Target, run_of
from tests.cluster.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
# 384 MiB that no codec makes smaller, for pods that may hold 256 MiB, of which Argo's own parts take 120.
LARGE = """
import os
import time

import pyarrow as pa
from headrace.pipelines import Examples, HyperParameters, Input, Output, component, pipeline

PIECES, PIECE = 96, 4 << 20


@component
def Make(examples: Output[Examples]) -> None:
    with examples.writer(pa.schema([("bytes", pa.binary())])) as writer:
        for _ in range(PIECES):
            writer.write("train", pa.record_batch({"bytes": [os.urandom(PIECE)]}))


@component
def Count(examples: Input[Examples], counts: Output[HyperParameters], *, stage: bool) -> None:
    if stage:
        print("staged", examples.path)
        time.sleep(90)  # longer than the kubelet takes to look at what a pod holds
    sizes = [len(value) for batch in examples.batches("train") for value in batch.column(0).to_pylist()]
    assert sizes == [PIECE] * PIECES
    counts.write({"rows": len(sizes)})


@pipeline
def NAME(stage: bool = False):
    Count(examples=Make().outputs["examples"], stage=stage).with_settings(storage="256Mi")
"""
LINES = """
from headrace.pipelines import HyperParameters, InputFiles, Output, component, pipeline, storage


@component
def Lines(data: InputFiles, counts: Output[HyperParameters]) -> None:
    text = storage.read_bytes(data.paths[0]).decode()
    print("Lines says", text.strip())
    counts.write({"lines": len(text.splitlines())})


@pipeline
def NAME():
    Lines(data="URI")
"""


@pytest.fixture(scope="module")
def project(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AuthorProject:
    folder = tmp_path_factory.mktemp("data")
    files = {"large.py": LARGE.replace("NAME", f"large{os.getpid()}")}
    for target in ("argo", "kfp"):
        lines = LINES.replace("NAME", f"lines{os.getpid()}").replace("URI", lines_on(target))
        files[f"lines_{target}.py"] = lines
    return AuthorProject.built(cluster, folder, "data", files)


def lines_on(target: str) -> str:
    return f"s3://argo/lines-{os.getpid()}-{target}/lines.csv"


def test_examples_larger_than_the_pod_are_read_by_range(project: AuthorProject) -> None:
    """The control, a step that brings them into its pod, shows that the limit is one."""
    target = project.on_argo("large.py")
    assert target.submit("--follow").splitlines()[-1].startswith("done: 2 steps")
    evicted = target.submit("--follow", "-p", "stage=true", ends=1)
    assert "ephemeral" in evicted, evicted


def a_changed_file_is_read_again(target: Target, s3: Any) -> None:
    uri = lines_on(target.target).removeprefix("s3://")
    s3.pipe_file(uri, b"one\n")
    assert step(target.submit("--follow")) == "done"
    assert step(target.submit("--follow")) == "cached"
    s3.pipe_file(uri, b"two\n")
    said = target.submit("--follow")
    assert step(said) == "done"
    run = run_of(said)
    assert "Lines says two" in target.on("logs", run, "Lines")
    assert step(target.submit("--follow")) == "cached"


def step(said: str) -> str:
    """What `--follow` said of the one step: done or cached."""
    (line,) = [line for line in said.splitlines() if line.split()[:1] == ["Lines"]]
    return "cached" if "cached" in line.split()[1:] else line.split()[1]


def test_a_changed_file_behind_its_uri_is_read_again_on_argo(project: AuthorProject, s3: Any) -> None:
    a_changed_file_is_read_again(project.on_argo("lines_argo.py"), s3)


def test_a_changed_file_behind_its_uri_is_read_again_on_kubeflow(
    project: AuthorProject, kfp_host: str, s3: Any
) -> None:
    a_changed_file_is_read_again(project.on_kfp(kfp_host, "lines_kfp.py"), s3)
