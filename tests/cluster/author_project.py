"""A small project as an author has it: its image in the cluster, its compiled files, the command against a target."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.cluster.cluster import Cluster, script

# Of each target: the secret with S3's keys in the namespace of its runs, and the bucket of its artifacts.
SECRET = {"argo": "s3", "kfp": "mlpipeline-minio-artifact"}
BUCKET = {"argo": "argo", "kfp": "mlpipeline"}


@dataclass
class Target:
    """A folder that has a compiled file, and the command on a target of the cluster."""

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


@dataclass
class AuthorProject:
    """The source in a folder, and the image made of it in the cluster."""

    cluster: Cluster
    folder: Path
    image: str

    @classmethod
    def built(cls, cluster: Cluster, folder: Path, name: str, files: dict[str, str]) -> AuthorProject:
        if shutil.which("docker") is None:
            pytest.skip("no docker to build the image with")
        for file, text in {"pyproject.toml": "", ".dockerignore": "headrace\n", **files}.items():
            (folder / file).write_text(text)
        # Of Headrace's command only the module is needed here.
        command = folder / "headrace"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m headrace.pipelines.cli "$@"\n')
        command.chmod(0o755)
        image = f"{cluster.registry}/{name}:1"
        script("headrace_image.sh", image, str(folder), str(command), timeout=1500)
        return cls(cluster, folder, image)

    def on_argo(self, file: str = "flow.py") -> Target:
        server = ("--namespace", self.cluster.namespace)
        return self._compiled(file, "argo", server)

    def on_kfp(self, host: str, file: str = "flow.py") -> Target:
        pytest.importorskip("kfp.client")
        return self._compiled(file, "kfp", ("--host", host))

    def _compiled(self, file: str, target: str, server: tuple[str, ...]) -> Target:
        """Compiles a pipeline into a folder that has nothing of the source."""
        env = {**os.environ, "KUBECONFIG": self.cluster.kubeconfig}  # from Kubeflow too, logs are read by it
        root = f"s3://{BUCKET[target]}/{self.folder.name}"
        secrets = {
            "AWS_ACCESS_KEY_ID": f"{SECRET[target]}/accesskey",
            "AWS_SECRET_ACCESS_KEY": f"{SECRET[target]}/secretkey",
        }
        variables = {"AWS_ENDPOINT_URL": self.cluster.s3_in_pods, "AWS_DEFAULT_REGION": "us-east-1"}
        deployment = {"image": self.image, "root": root, "settings": {"secrets": secrets, "env": variables}}
        (self.folder / f"{target}.deployment.yaml").write_text(yaml.safe_dump(deployment))
        out = self.folder / f"{Path(file).stem}-on-{target}"
        words = ("compile", file, "--target", target, "--deployment", f"{target}.deployment.yaml")
        Target(self.folder, target, server, env).headrace(*words, "-o", f"{out}/flow.yaml")
        return Target(out, target, server, env)


def run_of(said: str) -> str:
    """The run's name in what submit printed."""
    return said.splitlines()[0].rpartition(" ")[2]
