"""The lines of a step's log: its own and those of its process, each with the step's name before it."""

from __future__ import annotations

import sys
import threading


class Log:
    """Writes lines to standard output.

    Args:
        prefix: Before each line; empty for none.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix.encode()
        self._writing = threading.Lock()

    def line(self, text: str) -> None:
        """Writes a text, each of its lines with the prefix."""
        for line in text.splitlines():
            self.raw(line.encode(errors="replace") + b"\n")

    def raw(self, line: bytes) -> None:
        """Writes one line as it is, its end included."""
        with self._writing:
            sys.stdout.buffer.write(self._prefix + (line if line.endswith(b"\n") else line + b"\n"))
            sys.stdout.buffer.flush()
