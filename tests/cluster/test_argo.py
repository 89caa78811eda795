"""That the cluster is one: a workflow runs there, its artifact passes through S3, a failure is seen."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.cluster import Cluster, Workflow, messages, nodes

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


def workflow(*templates: dict[str, Any], entrypoint: str = "main") -> Workflow:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "hello-"},
        "spec": {"entrypoint": entrypoint, "templates": list(templates)},
    }


def shell(cluster: Cluster, name: str, script: str, **settings: Any) -> dict[str, Any]:
    container = {"image": f"{cluster.registry}/busybox:1", "command": ["sh", "-c"], "args": [script]}
    return {"name": name, "container": container, **settings}


def test_an_artifact_passes_from_pod_to_pod_through_s3(
    cluster: Cluster, submit: Callable[..., Workflow], pod_logs: Callable[..., dict[str, str]], s3: Any
) -> None:
    word, key = uuid.uuid4().hex, f"hello/{uuid.uuid4().hex}"
    at = {"path": "/tmp/data"}
    written = {"name": "data", **at, "archive": {"none": {}}, "s3": {"key": key}}
    make = shell(cluster, "make", f"mkdir /tmp/data && echo {word} >/tmp/data/word", outputs={"artifacts": [written]})
    use = shell(
        cluster,
        "use",
        "echo read $(cat /tmp/data/word)",
        inputs={"artifacts": [{"name": "data", **at}]},
    )
    given = {"artifacts": [{"name": "data", "from": "{{tasks.make.outputs.artifacts.data}}"}]}
    tasks = [
        {"name": "make", "template": "make"},
        {"name": "use", "template": "use", "depends": "make", "arguments": given},
    ]
    done = submit(workflow({"name": "main", "dag": {"tasks": tasks}}, make, use))

    assert done["status"]["phase"] == "Succeeded", messages(done)
    assert s3.cat_file(f"argo/{key}/word").decode().strip() == word
    assert any(f"read {word}" in log for log in pod_logs(done).values())


def test_a_step_that_fails_says_so(cluster: Cluster, submit: Callable[..., Workflow]) -> None:
    script = "echo the disk is on fire >/dev/termination-log; exit 7"
    failed = submit(workflow(shell(cluster, "main", script)))

    assert failed["status"]["phase"] == "Failed"
    (node,) = nodes(failed).values()
    assert "(exit code 7)" in node["message"]
    assert node["outputs"]["exitCode"] == "7"


def test_the_image_runs_a_step_as_another_user_on_a_read_only_root(
    cluster: Cluster, flights_image: str, submit: Callable[..., Workflow], pod_logs: Callable[..., dict[str, str]]
) -> None:
    confined = {"readOnlyRootFilesystem": True, "runAsNonRoot": True, "allowPrivilegeEscalation": False}
    script = "headrace-step --help && python -c 'import examples.flights.pipeline, s3fs, tensorflow' && ! touch /app/x"
    step = shell(cluster, "main", script, volumes=[{"name": "tmp", "emptyDir": {}}])
    mounts = {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}
    step["container"] |= {"image": flights_image, "securityContext": confined, "workingDir": "/app"} | mounts
    done = submit(workflow(step))

    assert done["status"]["phase"] == "Succeeded", (messages(done), pod_logs(done))
