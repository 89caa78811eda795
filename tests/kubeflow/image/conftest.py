"""A Docker daemon of our own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).absolute().parents[3]
SCRIPT = REPOSITORY / "tests" / "cluster" / "docker.sh"
UNABLE = 77


@pytest.fixture(scope="session")
def docker() -> Iterator[dict[str, str]]:
    """The environment in which `docker` is found: a daemon of our own, which ends with the tests."""
    up = subprocess.run(
        ["bash", SCRIPT, "up", "--while", str(os.getpid())], capture_output=True, text=True, check=False
    )
    if up.returncode == UNABLE:
        pytest.skip((up.stderr or up.stdout).strip().splitlines()[-1].removeprefix("skipped: "))
    assert up.returncode == 0, up.stdout + up.stderr
    host = up.stdout.strip().splitlines()[-1].removeprefix("DOCKER_HOST=")
    env = {"DOCKER_HOST": host, "DOCKER_BUILDKIT": "1", "PATH": f"/usr/bin:{os.environ['PATH']}"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        yield env


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout
