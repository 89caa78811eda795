"""Whether the process that wrote a record still lives: a run whose driver was killed cannot say so itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """What names this process among all that may write to the store, now and after a reboot."""
    return {"host": socket.gethostname(), **_boot(), "pid": os.getpid(), "start": _start(os.getpid())}


def surely_dead(process: Mapping[str, Any]) -> bool:
    """Whether the process is known to be gone. One on another host, or in another container, may live: False.

    >>> surely_dead(this_process())
    False
    """
    pid = process.get("pid")
    if not isinstance(pid, int) or process.get("host") != socket.gethostname():
        return False
    here = _boot()
    if process.get("boot") != here["boot"]:
        return True
    if process.get("namespace") != here["namespace"]:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    # The number may have been given to another process since.
    return process.get("start") != _start(pid)


def _boot() -> dict[str, str]:
    """The boot of the machine and the container's pid namespace; both empty where there is no /proc (macOS)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return {"boot": boot, "namespace": os.readlink("/proc/self/ns/pid")}  # noqa: PTH115 - not a path
    except OSError:
        return {"boot": "", "namespace": ""}


def _start(pid: int) -> str:
    """When the process started, in clock ticks since boot; a zombie counts as another, no /proc as ""."""
    try:
        # The name in parentheses may itself hold spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "zombie" if fields[0] == "Z" else fields[19]
