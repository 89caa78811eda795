"""Pipelines of an author's components that misbehave, run in this process by the real runner."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from headrace.pipelines import Pipeline
from headrace.pipelines.runner import Listener
from headrace.pipelines.runner import run as run_plan
from headrace.pipelines.runs import Run


@pytest.fixture
def author(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The test module's `AUTHOR` as a module of a project of its own."""
    name = f"author_of_{request.node.name.split('[')[0]}"
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(request.module.AUTHOR))
    sys.path.insert(0, str(tmp_path))
    try:
        yield __import__(name)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop(name, None)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """Runs steps as one pipeline."""

    def go(*steps: Any, listener: Listener | None = None, **options: Any) -> Run:
        plan = Pipeline(name="flow", components=steps, root=str(tmp_path)).plan
        return run_plan(plan, listener=listener, root=tmp_path / "home", report=False, **options)

    return go


def said(run: Run, step: str) -> str:
    """A step's log."""
    return Path(run[step].log or "").read_text()
