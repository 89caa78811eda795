"""Argo's own linter, if there is one on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Lint = Callable[[Mapping[str, str]], dict[str, str]]


@pytest.fixture(scope="session")
def argo_lint(tmp_path_factory: pytest.TempPathFactory) -> Lint:
    """Gives a function that lints files by name, strictly, and gives the complaints by name: all in one call."""
    binary = Path(os.environ.get("HEADRACE_ARGOLINT") or "~/.cache/headrace-cluster/bin/argolint").expanduser()
    if not binary.exists():
        pytest.skip("no argolint on this machine: tests/cluster/build.sh makes it, HEADRACE_ARGOLINT names it")

    def lint(files: Mapping[str, str]) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("lint")
        for name, text in files.items():
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        paths, complaints = {name: folder / f"{name}.yaml" for name in files}, {}
        while paths:
            ended = subprocess.run([binary, *paths.values()], capture_output=True, text=True, timeout=250)
            said = ended.stdout + ended.stderr
            if not said.startswith("failed to parse YAML from file"):
                break
            # The first file that it cannot read ends it: on with the others.
            unread = next(name for name, path in paths.items() if f"{path}:" in said)
            complaints[unread] = said
            del paths[unread]
        for name, path in paths.items():
            if lines := [line for line in said.splitlines() if f"{path}:" in line]:
                complaints[name] = "\n".join(lines)
        assert complaints or ended.returncode == 0, said
        return complaints

    return lint
