"""That Kubeflow Pipelines runs on the cluster: its own server, compiler, driver and launcher, and its own SDK here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


def pipeline_file(cluster: Cluster, folder: Path) -> str:
    """Two container components, with a parameter and an artifact between them, compiled to IR."""
    dsl = pytest.importorskip("kfp.dsl")
    compiler = pytest.importorskip("kfp.compiler")
    image = f"{cluster.registry}/busybox:1"

    def make(count: int, numbers: Any, last: Any) -> Any:
        script = 'mkdir -p "${1%/*}" "${2%/*}" && seq 1 "$0" >"$1" && printf %s "$0" >"$2"'
        return dsl.ContainerSpec(image=image, command=["sh", "-c"], args=[script, count, numbers.path, last])

    def check(numbers: Any, last: int) -> Any:
        script = '[ "$(tail -n 1 "$0")" = "$1" ] && echo "the last is $1"'
        return dsl.ContainerSpec(image=image, command=["sh", "-c"], args=[script, numbers.path, last])

    # set here, as an annotation written above would be a name that the SDK can not look up
    make.__annotations__ = {"count": int, "numbers": dsl.Output[dsl.Dataset], "last": dsl.OutputPath(int)}
    check.__annotations__ = {"numbers": dsl.Input[dsl.Dataset], "last": int}
    make_task, check_task = dsl.container_component(make), dsl.container_component(check)

    def hello(count: int = 5) -> None:
        made = make_task(count=count)
        check_task(numbers=made.outputs["numbers"], last=made.outputs["last"])

    hello.__annotations__ = {"count": int}
    file = folder / "hello.yaml"
    compiler.Compiler().compile(dsl.pipeline(hello, name="hello"), str(file))
    return str(file)


def test_a_pipeline_runs_with_its_artifact_in_s3(cluster: Cluster, kfp_host: str, s3: Any, tmp_path: Path) -> None:
    kfp = pytest.importorskip("kfp")
    client = kfp.Client(host=kfp_host)
    submitted = client.create_run_from_pipeline_package(
        pipeline_file(cluster, tmp_path), arguments={"count": 7}, enable_caching=False
    )
    run = client.wait_for_run_completion(submitted.run_id, timeout=600)

    assert run.state == "SUCCEEDED", run.error
    (numbers,) = s3.glob(f"mlpipeline/v2/artifacts/hello/{run.run_id}/*/numbers")
    assert s3.cat_file(numbers).split() == [str(n).encode() for n in range(1, 8)]
