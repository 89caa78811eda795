"""Runs a command and measures all that it starts: wall time, processor time, anonymous memory, lines with their time.

Processor time is that of the command and of every process below it, those included that outlive their parent: the
measuring process is their reaper (Linux). Memory is `RssAnon` of /proc, sampled: file pages, which the system can drop,
do not count, and pages that a forked process shares with its parent count in both.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SET_CHILD_SUBREAPER = 36
SAMPLE_SECONDS = 0.05
MEBIBYTE = 1 << 20


@dataclass
class Measured:
    """What a command took.

    Args:
        wall: Seconds from its start to its end.
        cpu: Seconds of user and system time of it and all processes below it.
        lines: Each line of its output with the second at which it came.
        peak_process: Largest anonymous resident set of one process, in MiB; 0 when memory was not watched.
        peak_together: Largest sum of the anonymous resident sets of all processes at one time, in MiB.
    """

    wall: float
    cpu: float
    exit_code: int
    lines: list[tuple[float, str]] = field(default_factory=list)
    peak_process: float = 0.0
    peak_together: float = 0.0

    @property
    def output(self) -> str:
        return "\n".join(line for _, line in self.lines)


def measure(
    command: Sequence[str],
    *,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    memory: bool = False,
    allowed: Sequence[int] = (0,),
) -> Measured:
    """Runs a command to its end.

    Args:
        command: Program and arguments.
        cwd: Where it runs.
        env: Environment variables beside this process's own.
        memory: Whether to sample the memory of its processes.
        allowed: Exit codes that are no error.

    Raises:
        RuntimeError: It ended with another exit code; the message has the end of its output.
    """
    _become_reaper()
    # Byte code is written, as on a machine that was not told otherwise; both sides of a ratio profit.
    surroundings = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = _child_seconds()
    began = time.perf_counter()
    process = subprocess.Popen(
        list(command),
        cwd=cwd,
        env=surroundings | {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watch = _MemoryWatch(process.pid) if memory else None
    assert process.stdout is not None
    lines = [(time.perf_counter() - began, line.rstrip("\n")) for line in process.stdout]
    code = process.wait()
    wall = time.perf_counter() - began
    peaks = watch.stop() if watch else (0.0, 0.0)
    _reap_orphans()
    cpu = _child_seconds() - before
    found = Measured(wall, cpu, code, lines, *peaks)
    if code not in allowed:
        tail = "\n".join(found.output.splitlines()[-30:])
        raise RuntimeError(f"{' '.join(command)} ended with exit code {code}:\n{tail}")
    return found


def _become_reaper() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "prctl") or libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("expected Linux: processor time of processes that outlive their parent is read by its prctl")


def _reap_orphans() -> None:
    """Waits for what the command left behind, so that its time is counted."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class _MemoryWatch:
    """A thread that samples the anonymous memory of a process and all below it."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._done = threading.Event()
        self._peaks = (0.0, 0.0)
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> tuple[float, float]:
        self._done.set()
        self._thread.join()
        return self._peaks

    def _sample(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            each = [anonymous_mebibytes(process.pid) for process in self._family()]
            if each:
                self._peaks = (max(self._peaks[0], *each), max(self._peaks[1], sum(each)))

    def _family(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return [self._root, *self._root.children(recursive=True)]
        return []


def anonymous_mebibytes(pid: int) -> float:
    """Anonymous resident memory of a process in MiB; 0 when it is gone."""
    with contextlib.suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        if "RssAnon:" in status:
            return int(status.partition("RssAnon:")[2].split()[0]) / 1024
    return 0.0
