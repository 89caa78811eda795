"""docs/targets.md is what the tables of the targets give, and says something of every construct."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from headrace.kubeflow.portability import CONSTRUCTS

ROOT = Path(__file__).parents[2]


def test_the_committed_page_is_current_and_has_every_construct():
    command = [sys.executable, "docs/build_targets_page.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in (ROOT / "docs" / "targets.md").read_text().splitlines() if line.startswith("| ")]
    assert {row.split(" | ")[0].removeprefix("| ") for row in rows} >= set(CONSTRUCTS.values())
