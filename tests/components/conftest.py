"""Small real pipelines of standard components, run in this process unless a test asks for workers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from headrace.pipelines import Blessing, Pipeline
from headrace.pipelines.artifact import FileEntry, Manifest
from headrace.pipelines.component import RecordedStep
from headrace.pipelines.runs import Run


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """Runs recorded steps as one pipeline on one root: a second call is its next run."""

    def run_steps(*steps: RecordedStep, name: str = "p", **options: Any) -> Run:
        options = {"root": tmp_path / "root", "debug": True, "report": False} | options
        return Pipeline(name, steps, root=str(tmp_path)).run(**options)

    return run_steps


@pytest.fixture
def exported() -> Callable[[Path, str], str]:
    """Writes a Model artifact as a Trainer would, but that no TensorFlow can load: its digest is that of its text."""

    def write(folder: Path, text: str) -> str:
        files = {"serving/saved_model.pb": text.encode(), "serving/variables/variables.index": b"index" * 100}
        entries = {}
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
            entries[name] = FileEntry(len(data), hashlib.sha256(data).hexdigest())
        digest = hashlib.sha256(text.encode()).hexdigest()
        (folder / "artifact.json").write_text(Manifest("Model", "1", digest, entries).to_json())
        return str(folder)

    return write


@pytest.fixture
def verdict() -> Callable[..., str]:
    """Writes a Blessing, or one of its subclasses, as an artifact."""

    def write(folder: Path, blessed: bool, reason: str, kind: type[Blessing] = Blessing) -> str:
        blessing = kind(str(folder))
        blessing.blessed, blessing.reason = blessed, reason
        blessing.write({"blessed": blessed, "reason": reason})
        blessing.commit({})
        return str(folder)

    return write
