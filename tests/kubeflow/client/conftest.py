"""A pipeline, compiled to both targets, and the servers it is sent to."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.command_line import Said, headrace_in
from tests.kubeflow.client.loopback import KubeflowStandin, KubernetesStandin, serving

AUTHOR = """
from headrace.pipelines import HyperParameters, Input, Output, component, pipeline


@component
def Gen(out: Output[HyperParameters], *, number: int, name: str, unused: float | None = None) -> None:
    out.write({})


@component
def TrainModel(of: Input[HyperParameters], out: Output[HyperParameters], *, rate: float) -> None:
    out.write({})


@component
def Gate(of: Input[HyperParameters]) -> None:
    pass


@pipeline
def flow(number: int, name: str = "n", rates: list[float] = [0.5], rate: float = 0.1, idle: bool = False):
    gen = Gen(number=number, name=name)
    train = TrainModel(of=gen.outputs["out"], rate=rate)
    Gate(of=train.outputs["out"])
"""
OPTIONS = ("--image", "repo/flow:1", "--root", "s3://bucket/root")


@dataclass
class Cluster:
    """A folder with the author's file in it, and the command that is run there."""

    folder: Path
    server: KubeflowStandin | KubernetesStandin

    def headrace(self, *arguments: str) -> Said:
        return headrace_in(self.folder, arguments)

    def compiled(self, target: str, *more: str, output: str | None = None) -> str:
        """Compiles the author's file."""
        output = output or f"{target}.yaml"
        done = self.headrace("compile", "flow.py", "--target", target, "-o", output, *OPTIONS, *more)
        assert done.code == 0, done.err
        return output


def _project(folder: Path) -> Path:
    (folder / "pyproject.toml").write_text("")
    (folder / "flow.py").write_text(textwrap.dedent(AUTHOR))
    return folder


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What this machine knows of clusters is none of a test's."""
    for name in ("KF_PIPELINES_ENDPOINT", "HEADRACE_TOKEN", "HEADRACE_COOKIES", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))


@pytest.fixture
def kfp(tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("kfp.client", reason="the extra kfp is not installed")
    with serving(KubeflowStandin()) as server:
        assert isinstance(server, KubeflowStandin)
        yield Cluster(_project(tmp_path), server)


@pytest.fixture
def argo(tmp_path: Path) -> Iterator[Cluster]:
    pytest.importorskip("kubernetes", reason="the extra argo is not installed")
    with serving(KubernetesStandin()) as server:
        assert isinstance(server, KubernetesStandin)
        write_kubeconfig(tmp_path / "kubeconfig", server.url)
        yield Cluster(_project(tmp_path), server)


def write_kubeconfig(path: Path, url: str, namespace: str = "ours", token: str | None = None) -> None:
    user = {"token": token} if token is not None else {}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
        "current-context": "here",
    }
    path.write_text(yaml.safe_dump(config))
