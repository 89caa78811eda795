"""The API server's own compiler, if there is one on this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Server = Callable[[str], str]


@pytest.fixture(scope="session")
def kfp_server(tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Gives a function that lets Kubeflow's Go code 2.0.5 parse and compile a file, and gives what it complains of."""
    binary = Path(os.environ.get("HEADRACE_KFPCOMPILE") or "~/.cache/headrace-cluster/bin/kfpcompile").expanduser()
    if not binary.exists():
        pytest.skip("no kfpcompile on this machine: tests/cluster/build.sh makes it, HEADRACE_KFPCOMPILE names it")
    file = tmp_path_factory.mktemp("kfp") / "pipeline.yaml"

    def compile_file(text: str) -> str:
        file.write_text(text, encoding="utf-8")
        ended = subprocess.run([binary, "-root", "s3://bucket/kfp", file], capture_output=True, text=True, timeout=60)
        return "" if ended.returncode == 0 else ended.stderr or ended.stdout

    return compile_file
