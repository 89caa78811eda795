"""The command `headrace` in this process, where it costs no imports."""

from __future__ import annotations

import contextlib
import io
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from headrace.pipelines.cli import main


class Said(NamedTuple):
    """What came of a command: its exit code, and what it printed."""

    code: int
    out: str
    err: str


def headrace_in(folder: Path, arguments: Sequence[str]) -> Said:
    """Runs a command in a folder."""
    out, err = io.StringIO(), io.StringIO()
    kept, before = Path.cwd(), signal.getsignal(signal.SIGTERM)
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    finally:
        os.chdir(kept)
        signal.signal(signal.SIGTERM, before)
    return Said(code, out.getvalue(), err.getvalue())
