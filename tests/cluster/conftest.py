"""A real Kubernetes with Argo Workflows, an S3 server and Kubeflow Pipelines, for the tests of this folder."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.cluster import HERE, Cluster, Workflow, describe, messages, script

ENDED = ("Succeeded", "Failed", "Error")
WORKFLOWS = {"group": "argoproj.io", "version": "v1alpha1", "plural": "workflows"}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster that is up; otherwise one that ends with this session, or with this process, however that ends."""
    found = describe()
    if not found.is_built:
        pytest.skip("no cluster is built: make cluster-up")
    was_up = found.is_up
    script("up.sh", "--while", str(os.getpid()))
    yield found
    if not was_up:
        script("down.sh")


@pytest.fixture(scope="session")
def kfp_host(cluster: Cluster) -> str:
    """The URL of Kubeflow Pipelines' API server, for `kfp.Client(host=)`."""
    script("up_kfp.sh")
    return cluster.kfp


@pytest.fixture(scope="session")
def kubernetes_api(cluster: Cluster) -> Any:
    """The official client: `kubernetes_api.CoreV1Api()` is this cluster's."""
    kubernetes = pytest.importorskip("kubernetes")
    kubernetes.config.load_kube_config(cluster.kubeconfig)
    return kubernetes.client


@pytest.fixture(scope="session")
def flights_image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of the flights example as its author would make it, in the cluster: the project is in /app."""
    repository, project = HERE.parents[1], tmp_path_factory.mktemp("flights")
    shutil.copy(repository / "pyproject.toml", project)
    shutil.copytree(repository / "examples", project / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    name = f"{cluster.registry}/flights:1"
    script("headrace_image.sh", name, str(project), str(Path(sys.executable).with_name("headrace")), timeout=3600)
    return name


@pytest.fixture
def finished(cluster: Cluster, kubernetes_api: Any) -> Callable[..., Workflow]:
    """Waits for a workflow by its name, and gives it as it ended."""

    def wait(name: str, timeout: float = 600, namespace: str = cluster.namespace) -> Workflow:
        until = time.monotonic() + timeout
        workflows = kubernetes_api.CustomObjectsApi()
        while True:
            workflow: Workflow = workflows.get_namespaced_custom_object(namespace=namespace, name=name, **WORKFLOWS)
            phase = workflow.get("status", {}).get("phase")
            if phase in ENDED:
                return workflow
            assert time.monotonic() < until, f"{name} is {phase} after {timeout} s: {messages(workflow)}"
            time.sleep(0.3)

    return wait


@pytest.fixture
def submit(cluster: Cluster, kubernetes_api: Any, finished: Callable[..., Workflow]) -> Callable[..., Workflow]:
    """Creates a workflow under a name of its own, waits for it, and gives it as it ended."""

    def run(workflow: Workflow, timeout: float = 600, namespace: str = cluster.namespace) -> Workflow:
        metadata = dict(workflow.get("metadata", {}))
        prefix = metadata.pop("generateName", "") or metadata.pop("name", "test") + "-"
        metadata.pop("name", None)
        body = {**workflow, "metadata": {**metadata, "generateName": prefix}}
        created = kubernetes_api.CustomObjectsApi().create_namespaced_custom_object(
            namespace=namespace, body=body, **WORKFLOWS
        )
        return finished(created["metadata"]["name"], timeout, namespace)

    return run


@pytest.fixture
def pod_logs(cluster: Cluster, kubernetes_api: Any) -> Callable[..., dict[str, str]]:
    """The logs of a workflow's pods, by the name of the pod."""

    def read(workflow: Workflow, container: str = "main") -> dict[str, str]:
        metadata = workflow["metadata"]
        core = kubernetes_api.CoreV1Api()
        pods = core.list_namespaced_pod(
            metadata["namespace"], label_selector=f"workflows.argoproj.io/workflow={metadata['name']}"
        )
        return {
            pod.metadata.name: core.read_namespaced_pod_log(
                pod.metadata.name, metadata["namespace"], container=container
            )
            for pod in pods.items
        }

    return read


@pytest.fixture(scope="session")
def s3(cluster: Cluster) -> Any:
    """The cluster's S3 server as an fsspec file system; the buckets are `argo` and `mlpipeline`."""
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("s3fs")
    return fsspec.filesystem(
        "s3",
        key=cluster.s3_key,
        secret=cluster.s3_secret,
        use_listings_cache=False,
        client_kwargs={"endpoint_url": cluster.s3, "region_name": "us-east-1"},
    )
