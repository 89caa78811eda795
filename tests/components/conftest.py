"""Small real pipelines of standard components, run in this process unless a test asks for workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from headrace.pipelines import Pipeline, PipelineParameter
from headrace.pipelines.component import RecordedStep
from headrace.pipelines.runs import Run

__all__ = ["PipelineParameter"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Runs recorded steps as one pipeline on one root: a second call is its next run."""

    def run_steps(*steps: RecordedStep, name: str = "p", **options: Any) -> Run:
        options = {"root": tmp_path / "root", "debug": True, "report": False} | options
        return Pipeline(name, steps, root=str(tmp_path)).run(**options)

    yield run_steps


def states(run: Run) -> dict[str, str]:
    return {id_: step.state.value for id_, step in run.steps.items()}
