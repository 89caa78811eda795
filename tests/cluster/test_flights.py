"""The flights example on the real Argo and the real Kubeflow Pipelines: from CSV files in S3 to the pushed model in S3.

The compiled file is submitted from a folder that has nothing of the source. What the cluster makes is compared with
what a local run makes of the same files: equal content up to the transform, the same model but for the order of sums.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.cluster.cluster import HERE, Cluster, script

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]
REPOSITORY = HERE.parents[1]
BUCKET = {"argo": "argo", "kfp": "mlpipeline"}
SECRET = {"argo": "s3", "kfp": "mlpipeline-minio-artifact"}
# Of these, the content must be the same wherever they are made. Weights differ by the order of sums.
SAME = ("SqlExampleGen", "StatisticsGen", "SchemaGen", "ExampleValidator", "Transform")
STEPS = (*SAME, "Trainer", "Resolver", "Evaluator", "SkewValidator", "InfraValidator", "Pusher")


@dataclass
class Flights:
    """The example on one target.

    Args:
        cluster: The cluster.
        target: ``"argo"`` or ``"kfp"``.
        server: Where it is, as the command takes it.
        project: The folder with the source, compiled from and baked into the image.
        empty: A folder with nothing of it, submitted from.
        s3: The cluster's S3.
    """

    cluster: Cluster
    target: str
    server: tuple[str, ...]
    project: Path
    empty: Path
    s3: Any

    @property
    def data(self) -> str:
        return f"s3://{BUCKET[self.target]}/flights-data"

    @property
    def root(self) -> str:
        return f"s3://{BUCKET[self.target]}/flights-root"

    def image(self, tag: str) -> str:
        name = f"{self.cluster.registry}/flights-{self.target}:{tag}"
        command = str(Path(sys.executable).with_name("headrace"))
        script("headrace_image.sh", name, str(self.project), command, timeout=3600)
        return name

    def compile(self, image: str) -> None:
        secrets = {
            "AWS_ACCESS_KEY_ID": f"{SECRET[self.target]}/accesskey",
            "AWS_SECRET_ACCESS_KEY": f"{SECRET[self.target]}/secretkey",
        }
        env = {"AWS_ENDPOINT_URL": self.cluster.s3_in_pods, "AWS_DEFAULT_REGION": "us-east-1"}
        deployment = {"image": image, "root": self.root, "settings": {"secrets": secrets, "env": env}}
        (self.project / "deployment.yaml").write_text(yaml.safe_dump(deployment))
        words = ["--target", self.target, "--deployment", "deployment.yaml", "-o", str(self.empty / "flights.yaml")]
        self.headrace(
            "compile", "examples/flights/pipeline.py", *words, folder=self.project, env={"FLIGHTS_DATA": self.data}
        )

    def submit(self, *words: str, ends: int = 0) -> str:
        """Submits the compiled file, waits, and gives what is said."""
        words = ("--target", self.target, *self.server, "--follow", *words)
        return self.headrace("submit", "flights.yaml", *words, folder=self.empty, ends=ends)

    def headrace(self, *words: str, folder: Path, ends: int = 0, env: dict[str, str] | None = None) -> str:
        environment = {**os.environ, "KUBECONFIG": self.cluster.kubeconfig, **(env or {})}
        command = [sys.executable, "-m", "headrace.pipelines.cli", *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=2400)
        said = done.stdout + done.stderr
        print(said)
        assert done.returncode == ends, f"{' '.join(words)}: {done.returncode}, expected {ends}\n{said}"
        return said

    def manifests(self) -> dict[str, dict[str, Any]]:
        """The newest manifest of each output, by ``Step/output``."""
        return newest(self.s3, self.root.removeprefix("s3://"))

    def served(self) -> list[str]:
        """The versions at the push destination."""
        base = f"{BUCKET[self.target]}/serving"
        return sorted(Path(path).parent.name for path in self.s3.glob(f"{base}/*/saved_model.pb"))


def newest(files: Any, root: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in files.glob(f"{root}/flights/*/*/*/artifact.json"):
        manifest = json.loads(files.cat_file(path))
        name = "/".join(Path(path).parts[-3:-1])
        if name not in found or found[name]["created"] < manifest["created"]:
            found[name] = manifest | {"path": str(Path(path).parent)}
    return found


def copied_project(folder: Path) -> Path:
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    shutil.copytree(REPOSITORY / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def data() -> dict[str, Path]:
    """The CSV files of the PyPI package."""
    from examples.flights.data import TABLES, tables

    found = tables()
    return {TABLES[name]: Path(path) for name, path in found.items()}


@pytest.fixture(scope="module")
def local(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a run on this machine, on the same files."""
    import fsspec

    folder = tmp_path_factory.mktemp("local")
    command = [sys.executable, "-m", "headrace.pipelines.cli", "run", "examples/flights/pipeline.py", "--no-report"]
    command += ["--root", str(folder / "root"), "-p", f"serving={folder}/serving"]
    project = copied_project(tmp_path_factory.mktemp("source"))
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert fsspec.filesystem("file").exists(f"{folder}/serving/1/saved_model.pb")
    return folder


def flights(
    cluster: Cluster, target: str, server: tuple[str, ...], s3: Any, data: dict[str, Path], folder: Path
) -> Flights:
    (folder / "project").mkdir()
    (folder / "empty").mkdir()
    made = Flights(cluster, target, server, copied_project(folder / "project"), folder / "empty", s3)
    for name, path in data.items():
        s3.put(str(path), f"{made.data}/{name}")
    return made


def from_csv_to_the_pushed_model(it: Flights, local: Path) -> None:
    """A run; the same again; an edited helper; a model that is not blessed; the files changed behind their URI."""
    it.compile(it.image("1"))
    serving = f"s3://{BUCKET[it.target]}/serving"
    said = it.submit("-p", f"serving={serving}")
    assert said.splitlines()[-1].startswith(f"done: {len(STEPS)} steps"), said
    assert it.served() == ["1"]
    compare(it, local)

    again = it.submit("-p", f"serving={serving}")
    assert states(again) == {step: "done" if step == "Resolver" else "cached" for step in STEPS}, again
    assert it.served() == ["1"]

    refused = it.submit("-p", f"serving={serving}", "-p", "weather=false", ends=3)
    assert refused.splitlines()[-1].startswith("not blessed: "), refused
    assert it.served() == ["1"]

    helper = it.project / "examples" / "flights" / "preprocessing.py"
    text = helper.read_text()
    helper.write_text(
        text.replace(
            "layers.Rescaling(1.0 / 720.0, offset=-1.0)(departure)",
            "layers.Rescaling(1.0 / 719.0, offset=-1.0)(departure)",
        )
    )
    assert helper.read_text() != text
    it.compile(it.image("2"))
    edited = states(it.submit("-p", f"serving={serving}"))
    assert {step: edited[step] for step in SAME} == dict.fromkeys(SAME[:-1], "cached") | {"Transform": "done"}
    assert edited["Trainer"] == "done" and it.served() == ["1", "2"]


def states(said: str) -> dict[str, str]:
    """What `--follow` said of each step: done or cached."""
    found = {}
    for line in said.splitlines():
        words = line.split()
        if words and words[0] in STEPS:
            found[words[0]] = "cached" if "cached" in words[1:] else words[1]
    return found


def compare(it: Flights, local: Path) -> None:
    import fsspec

    there, here = it.manifests(), newest(fsspec.filesystem("file"), str(local / "root"))
    for name in here:
        if name.partition("/")[0] in SAME:
            assert there[name]["digest"] == here[name]["digest"], f"{name} differs from the local run's"
    for metric in ("auc", "log_loss"):
        one, other = (found["Evaluator/evaluation"]["properties"][metric] for found in (there, here))
        assert abs(one - other) < 1e-3, f"{metric}: {one} in the cluster, {other} here"
    folder = local / "from-the-cluster"
    it.s3.get(f"{BUCKET[it.target]}/serving/1", str(folder), recursive=True)
    rows = sorted(Path(here["SqlExampleGen/examples"]["path"]).rglob("*.parquet"))[0]
    one, other = predictions(folder, rows), predictions(local / "serving" / "1", rows)
    assert (np.abs(one - other) <= 1e-5 + 1e-4 * np.abs(other)).all(), float(np.abs(one - other).max())


def predictions(saved_model: Path, rows: Path) -> np.ndarray:
    """Of 1,000 rows, by the model alone."""
    import pyarrow.parquet as pq
    from headrace.transforms.serving_model import ServingModel

    batch = pq.read_table(rows).slice(0, 1000).combine_chunks().to_batches()[0]
    model = ServingModel(saved_model)
    return next(iter(model(batch).values()))


def test_flights_on_argo(cluster: Cluster, s3: Any, data: Any, local: Path, tmp_path: Path) -> None:
    server = ("--namespace", cluster.namespace)
    from_csv_to_the_pushed_model(flights(cluster, "argo", server, s3, data, tmp_path), local)


def test_flights_on_kubeflow(cluster: Cluster, kfp_host: str, s3: Any, data: Any, local: Path, tmp_path: Path) -> None:
    pytest.importorskip("kfp.client")
    from_csv_to_the_pushed_model(flights(cluster, "kfp", ("--host", kfp_host), s3, data, tmp_path), local)
