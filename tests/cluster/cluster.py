"""The cluster as the tests see it: where its parts are, and what a workflow that ended says."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SKIPPED = 77  # what the scripts end with where the machine does not allow a cluster

Workflow = dict[str, Any]


def script(name: str, *arguments: str, timeout: float = 900) -> str:
    """Runs a script of this folder; skips the test where the machine does not allow it."""
    ran = subprocess.run([HERE / name, *arguments], capture_output=True, text=True, timeout=timeout)
    if ran.returncode == SKIPPED:
        pytest.skip(ran.stderr.strip())
    assert ran.returncode == 0, f"{name} ended with {ran.returncode}: {ran.stdout}{ran.stderr}"
    return ran.stdout


@dataclass(frozen=True)
class Cluster:
    """Where everything is; what ends in `_in_pods` is the same thing as a pod reaches it."""

    home: str
    kubeconfig: str
    s3: str
    s3_in_pods: str
    s3_key: str
    s3_secret: str
    kfp: str
    kfp_in_pods: str
    registry: str
    namespace: str = "argo"

    def kubectl(self, *arguments: str) -> str:
        return script("kubectl.sh", *arguments)

    @property
    def is_built(self) -> bool:
        return Path(self.home, "bin", "hyper").exists()

    @property
    def is_up(self) -> bool:
        return Path(self.home, "run", "ok").exists()


def describe() -> Cluster:
    """The cluster that the scripts' settings name, up or not."""
    said = subprocess.run(["bash", "-c", ". ./settings.sh && describe"], cwd=HERE, capture_output=True, check=True)
    return Cluster(**json.loads(said.stdout))


def nodes(workflow: Workflow) -> dict[str, dict[str, Any]]:
    """A workflow's nodes by the name that its author gave them."""
    return {node["displayName"]: node for node in workflow.get("status", {}).get("nodes", {}).values()}


def messages(workflow: Workflow) -> dict[str, str]:
    """Why each node is in the state it is in."""
    return {name: f"{node['phase']}: {node.get('message', '')}" for name, node in nodes(workflow).items()}
