"""Projects of an author, and runs of their pipelines by the real command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import headrace_in

PYTHON = [sys.executable, "-m", "headrace.pipelines.cli"]


@dataclass
class Project:
    """A folder with an author's files in it."""

    folder: Path

    def write(self, **files: str) -> Path:
        """Writes modules by name; gives the file of the last."""
        path = self.folder
        for name, text in files.items():
            path = self.folder / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"))
        return path

    def edit(self, module: str, old: str, new: str) -> None:
        path = self.folder / f"{module}.py"
        text = path.read_text()
        assert old in text, f"{old!r} is not in {path}"
        path.write_text(text.replace(old, new))

    def headrace(self, *arguments: str, env: Mapping[str, str] | None = None, fresh: bool = False) -> Done:
        """Runs a command in the project's folder: in this process, where it costs no imports, or in a fresh one."""
        if fresh or env:
            return self._in_fresh_process(arguments, {**os.environ, **(env or {})})
        return Done(*headrace_in(self.folder, arguments))

    def _in_fresh_process(self, arguments: tuple[str, ...], env: Mapping[str, str]) -> Done:
        command = [*PYTHON, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=120)
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Starts the command and does not wait for it."""
        return subprocess.Popen(
            [*PYTHON, *arguments],
            cwd=self.folder,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@dataclass
class Done:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of `--json`."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def states(self) -> dict[str, str]:
        """The state of each step, from the lines of `--json`."""
        assert self.out, self.err
        return {event["step"]: event["state"] for event in self.events if event["event"] == "step_finished"}

    @property
    def errors(self) -> dict[str, str]:
        return {event["step"]: event["error"] for event in self.events if event.get("error")}


@pytest.fixture(scope="session")
def make_project() -> Callable[[Path], Project]:
    def make(folder: Path) -> Project:
        (folder / "pyproject.toml").write_text("")
        return Project(folder)

    return make


@pytest.fixture
def project(tmp_path: Path, make_project: Callable[[Path], Project]) -> Project:
    return make_project(tmp_path)


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Tells whether a process runs (a zombie does not)."""

    def runs(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    return runs
