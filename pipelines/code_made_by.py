"""What an artifact's manifest says of the code that made it: its functions' digests, and the commit they were in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.pipelines.function_ref import FunctionRef


def code_made_by(functions: Sequence[FunctionRef], project: str) -> dict[str, Any]:
    """The code of a step that runs functions of its author's.

    Args:
        functions: The component, and the author's functions.
        project: The project's root.

    Returns:
        `functions`: digest by name. `commit` and `changed`, where the project is a Git repository: its commit, and
        whether tracked files differed from it.
    """
    told: dict[str, Any] = {"functions": {str(one): one.code_digest for one in functions}}
    commit = _git(project, "rev-parse", "HEAD") if project else None
    if commit is not None:
        told |= {"commit": commit.strip(), "changed": bool(_git(project, "diff", "--name-only", "HEAD"))}
    return told


def _git(folder: str, *arguments: str) -> str | None:
    """What a Git command says; None where there is no Git or no repository."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, text=True, env=environment, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
