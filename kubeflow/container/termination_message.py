"""The pod's termination message: the first lines of an error, which the cluster's pages show beside the step."""

from __future__ import annotations

import os
from pathlib import Path

from headrace.pipelines.execution import StepError
from headrace.pipelines.redaction import redact

PATH = "/dev/termination-log"
# Kubernetes keeps no more of it.
LIMIT = 4096


def termination_path() -> Path:
    """Where it is written; HEADRACE_TERMINATION_LOG moves it."""
    return Path(os.environ.get("HEADRACE_TERMINATION_LOG") or PATH)


def error_message(step: str, error: StepError) -> str:
    """What went wrong in a step, where, and what to do; then as much of the traceback's end as there is room for.

    >>> print(error_message("Trainer", StepError("DataError", "no rows\\n    fix: give some", "")))
    Trainer failed: no rows
        fix: give some
    """
    head = redact(f"{step} failed: {error.message}")
    trace = redact(error.traceback).strip()
    if not trace:
        return head
    return f"{head}\n{_tail(trace, LIMIT - len(head.encode()) - 1)}".rstrip()


def write_message(text: str) -> bool:
    """Writes the message, cut to what Kubernetes keeps; tells whether there was a place for it."""
    data = text.encode()
    if len(data) > LIMIT:
        data = data[: LIMIT - 3].decode(errors="ignore").encode() + "…".encode()
    try:
        termination_path().write_bytes(data)
    except OSError:
        return False
    return True


def _tail(text: str, limit: int) -> str:
    """The last whole lines of a text that fit."""
    lines: list[str] = []
    for line in reversed(text.splitlines()):
        limit -= len(line.encode()) + 1
        if limit < 0:
            break
        lines.insert(0, line)
    return "\n".join(lines)
