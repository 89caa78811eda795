"""Steps whose data are larger than their pod: shards stay in the object store, and are read there by range."""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from headrace.pipelines import storage
from headrace.pipelines.plan import Plan
from moto.moto_server import threaded_moto_server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication

from tests.kubeflow.container.by_hand import Cluster
from tests.s3_server import s3_bucket

AUTHOR = """
import numpy as np
import pyarrow as pa
from headrace.components import StatisticsGen
from headrace.pipelines import Examples, HyperParameters, Input, Output, component, pipeline
from headrace.transforms.row_groups import read

ROWS = 400_000

@component
def Gen(examples: Output[Examples]) -> None:
    rng = np.random.default_rng(1)
    with examples.writer(pa.schema([("x", pa.float64()), ("y", pa.float64())])) as writer:
        for _ in range(8):
            x, y = rng.normal(size=(2, ROWS // 8))
            writer.write("train", pa.record_batch({"x": x, "y": y}))

@component
def FirstOfEach(examples: Input[Examples], total: Output[HyperParameters]) -> None:
    groups = examples.row_groups("train")
    batch = read(groups[len(groups) // 2], columns=["x"])
    total.write({"groups": len(groups), "rows": batch.num_rows, "first": batch["x"][0].as_py()})

@pipeline
def flow():
    examples = Gen().outputs["examples"]
    FirstOfEach(examples=examples)
    StatisticsGen(examples=examples)
"""
# What a step may write to a file of its pod: room for a pass's summaries, and for no shard.
POD_BYTES = 2_000_000


class Read(NamedTuple):
    """One object, or a range of one, that was read from the server."""

    path: str
    range: str
    bytes: int


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, str], list[Read]]]:
    """A bucket's URI, the environment in which it is found, and what is read from it."""
    reads: list[Read] = []

    class Recording(DomainDispatcherApplication):
        def __call__(self, environ: Any, start_response: Any) -> Any:
            body = [*super().__call__(environ, start_response)]
            if environ["REQUEST_METHOD"] == "GET":
                reads.append(Read(environ["PATH_INFO"], environ.get("HTTP_RANGE", ""), sum(map(len, body))))
            return body

    monkeypatch.setattr(threaded_moto_server, "DomainDispatcherApplication", Recording)
    with s3_bucket() as (uri, env):
        yield uri, env, reads


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_a_step_reads_ranges_of_shards_and_keeps_none(
    load: Callable[[str], Plan], tmp_path: Path, project: Path, bucket: tuple[str, dict[str, str], list[Read]]
) -> None:
    uri, env, reads = bucket
    root = f"{uri}/{uuid.uuid4().hex}"
    within = ("prlimit", f"--fsize={POD_BYTES}")
    cluster = Cluster(tmp_path / "pods", root, project, env=env, within=within)
    plan = load("flow")
    outcomes = {"Gen": cluster.run_step(plan, plan.step("Gen"), "r1", {}, {})}
    assert outcomes["Gen"].code == 0, outcomes["Gen"].log
    made = outcomes["Gen"].references["examples"]["uri"]
    assert made == f"{root}/flow/r1/Gen/examples"
    shards = {name: size for name, size in storage.walk(made) if name.endswith(".parquet")}
    total = sum(shards.values())
    assert min(shards.values()) > 2 * POD_BYTES

    reads.clear()
    outcomes["FirstOfEach"] = cluster.run_step(plan, plan.step("FirstOfEach"), "r1", {}, outcomes)
    assert outcomes["FirstOfEach"].code == 0, outcomes["FirstOfEach"].log
    data = [one for one in reads if one.path.endswith(".parquet")]
    assert data and all(re.fullmatch(r"bytes=\d+-\d+", one.range) for one in data)
    groups = storage.read_bytes(f"{root}/flow/r1/FirstOfEach/total/hyperparameters.json")
    assert b'"rows"' in groups and sum(one.bytes for one in data) < total / 3

    reads.clear()
    outcomes["StatisticsGen"] = cluster.run_step(plan, plan.step("StatisticsGen"), "r1", {}, outcomes)
    assert outcomes["StatisticsGen"].code == 0, outcomes["StatisticsGen"].log
    data = [one for one in reads if one.path.endswith(".parquet")]
    assert all(one.range for one in data) and sum(one.bytes for one in data) >= total * 0.9
    # What passes through the target is a few kilobytes, however much the artifact is.
    assert all(path.stat().st_size < 65_536 for path in (tmp_path / "pods").rglob("*") if path.is_file())

    again = cluster.run_step(plan, plan.step("Gen"), "r2", {}, {})
    assert again.verdict == "cached" and again.references == outcomes["Gen"].references
