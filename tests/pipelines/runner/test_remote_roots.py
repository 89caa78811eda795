"""A pipeline root that is no folder: in memory (one process), and an object store (forked workers, over HTTP)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from headrace.pipelines import storage
from headrace.pipelines.artifact import MANIFEST

from tests.s3_server import s3_bucket

AUTHOR = """
import pyarrow as pa
from headrace.pipelines import Examples, HyperParameters, Input, Output, component, pipeline


@component
def Gen(examples: Output[Examples], *, rows: int) -> None:
    print("hello from Gen")
    with examples.writer(pa.schema([("x", pa.int64())])) as writer:
        writer.write("train", pa.record_batch({"x": pa.array(range(rows))}))


@component
def Sum(examples: Input[Examples], total: Output[HyperParameters]) -> None:
    total.link(examples=examples)
    total.write({"sum": sum(examples.read("train")["x"].to_pylist())})


@component
def Path(total: Input[HyperParameters], copied: Output[HyperParameters], *, fail: bool = False) -> None:
    (copied.path / "hyperparameters.json").write_bytes((total.path / "hyperparameters.json").read_bytes())
    if fail:
        raise ValueError("on purpose")


@pipeline
def flow(rows: int = 10, fail: bool = False):
    total = Sum(examples=Gen(rows=rows).outputs["examples"])
    Path(total=total.outputs["total"], fail=fail)
"""
STEPS = ("Gen", "Sum", "Path")


@pytest.fixture(scope="module")
def bucket() -> Iterator[tuple[str, dict[str, str]]]:
    """The URI of a bucket, and the environment in which it is found."""
    with s3_bucket() as bucket:
        yield bucket


def test_an_object_store_with_forked_workers(project, bucket):
    project.write(flow=AUTHOR)
    uri, env = bucket
    root = f"{uri}/{uuid.uuid4().hex}"
    first = project.headrace("run", "flow.py", "--root", root, "--json", env=env)
    assert first.code == 0, first.out + first.err
    assert first.states == dict.fromkeys(STEPS, "succeeded")
    names = [name for name, _ in storage.walk(root)]
    assert sum(name.endswith(MANIFEST) for name in names) == 3
    again = project.headrace("run", "flow.py", "--root", root, "--json", env=env)
    assert again.states == dict.fromkeys(STEPS, "cached")
    assert "hello from Gen" in project.headrace("logs", "Gen", env=env).out

    [manifest] = [name for name in names if name.endswith(f"Sum/total/{MANIFEST}")]
    assert '"../../Gen/examples"' in storage.read_bytes(storage.join(root, manifest)).decode()
    # What is gone from the bucket is made again, and what hangs on it is not.
    storage.remove_tree(storage.join(root, manifest.removesuffix(f"/{MANIFEST}")))
    third = project.headrace("run", "flow.py", "--root", root, "--json", env=env)
    assert third.states == {"Gen": "cached", "Sum": "succeeded", "Path": "cached"}


def test_a_failure_leaves_no_manifest_there(project, bucket):
    project.write(flow=AUTHOR)
    uri, env = bucket
    root = f"{uri}/{uuid.uuid4().hex}"
    done = project.headrace("run", "flow.py", "--root", root, "--json", "-p", "fail=true", env=env)
    assert done.code == 1 and done.states == {"Gen": "succeeded", "Sum": "succeeded", "Path": "failed"}
    manifests = [name for name, _ in storage.walk(root) if name.endswith(MANIFEST)]
    assert len(manifests) == 2 and not any("/Path/" in name for name in manifests)


def test_a_root_in_memory_runs_in_one_process(tmp_path, monkeypatch):
    from headrace.pipelines.author_file import load_plan
    from headrace.pipelines.runner import run

    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "memory_flow.py").write_text(AUTHOR)
    monkeypatch.chdir(tmp_path)
    plan = load_plan("memory_flow.py")
    root = f"memory://{uuid.uuid4().hex}"
    first = run(plan, root=root)
    assert [step.state for step in first.steps.values()] == ["succeeded"] * 3, first
    assert first["Sum"].outputs["total"].read() == {"sum": 45}
    assert first["Gen"].outputs["examples"].uri.startswith(root)
    assert "hello from Gen" in (tmp_path / ".headrace" / "logs" / first.id / "Gen.1.log").read_text()
    assert [step.state for step in run(plan, root=root).steps.values()] == ["cached"] * 3
    other = run(plan, root=root, parameters={"rows": 3})
    assert other["Sum"].outputs["total"].read() == {"sum": 3}
