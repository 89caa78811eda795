"""A project of an author's own, and a stand-in for a cluster that runs its steps with `headrace-step`."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from headrace.pipelines.author_file import load_plan
from headrace.pipelines.plan import Plan

from tests.kubeflow.container.by_hand import Cluster
from tests.pipelines.store.conftest import postgres, postgres_database  # noqa: F401 - fixtures


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with the test module's `AUTHOR` as author.py."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    (folder / "author.py").write_text(textwrap.dedent(request.module.AUTHOR))
    return folder


@pytest.fixture
def load(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Plan]:
    """Reads one of the author's pipelines, compiled from the file as it is now."""

    def go(name: str) -> Plan:
        sys.modules.pop("author", None)
        return load_plan(f"{project / 'author.py'}:{name}")

    monkeypatch.chdir(project)
    return go


@pytest.fixture(params=["argo", "kfp"])
def cluster(request: pytest.FixtureRequest, tmp_path: Path, project: Path) -> Cluster:
    """A cluster of either target, with a root of its own in a folder."""
    return Cluster(tmp_path / "pods", str(tmp_path / "root"), project, request.param)


@pytest.fixture
def argo(tmp_path: Path, project: Path) -> Cluster:
    """A cluster that hands over as Argo does, for what does not depend on the target."""
    return Cluster(tmp_path / "pods", str(tmp_path / "root"), project)
