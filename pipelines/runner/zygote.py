"""The process that steps are forked from.

    driver --socket--> zygote (imports done) --fork--> one child per step --pipe--> driver

Imports are paid once, beside the data steps, and a child starts in milliseconds. Zygotes form a chain (see `imports`):
each forks the next and that one imports more, so that a step waits only for the imports it needs. A zygote runs no code
of a step and no TensorFlow op, and so is safe to fork. When the driver's end of the socket closes, however the driver
died, the zygote and all its children end.

Requests are JSON lines with one file descriptor, the pipe to the driver. A zygote answers `{"started": id, "pid": n}`
and `{"exited": id, "status": n}`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from headrace.pipelines.code_digest.digest import digest_definitions
from headrace.pipelines.execution import StepRequest
from headrace.pipelines.runner.child import run_child
from headrace.pipelines.runner.imports import Level, preload, preload_later

LEVEL_READY = "ready"


def main(argv: list[str]) -> None:
    """Serves one level of imports after the other: `argv` is the sockets' descriptors, then the levels."""
    levels = [Level.from_json(document) for document in json.loads(argv[1])]
    sockets = [socket.socket(fileno=int(fd)) for fd in argv[0].split(",")]
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A collection would write to pages that the children share.
    gc.disable()
    for number, (level, connection) in enumerate(zip(levels, sockets)):
        failed = preload(level.module) if level.module else None
        _send(connection, {LEVEL_READY: number, "failed": failed})
        if number + 1 == len(levels):
            _serve(connection, level.later)
            return
        if os.fork() == 0:
            # The child goes on to the next level; this process serves the level that is ready.
            connection.close()
            continue
        for later in sockets[number + 1 :]:
            later.close()
        _serve(connection, level.later)
        return


def _serve(connection: socket.socket, later: Sequence[str]) -> None:
    idle_imports = deque(later)
    selector = selectors.DefaultSelector()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector.register(connection, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    children: dict[int, str] = {}
    pending = b""
    fds: list[int] = []
    while True:
        ready = selector.select(0 if idle_imports else None)
        if not ready:
            preload_later(idle_imports.popleft())
        for key, _ in ready:
            if key.fileobj is connection:
                data, received, _flags, _address = socket.recv_fds(connection, 1 << 16, 16)
                if not data:
                    _end_all(children)
                fds += received
                pending += data
                while b"\n" in pending:
                    line, pending = pending.split(b"\n", 1)
                    job = json.loads(line)
                    _index_code(job["request"])
                    pid = _fork_child(job, fds.pop(0), close=[connection.fileno(), wake_read, wake_write])
                    children[pid] = job["id"]
                    _send(connection, {"started": job["id"], "pid": pid})
            else:
                while _drain(wake_read):
                    pass
        _reap(children, lambda id_, status: _send(connection, {"exited": id_, "status": status}))


def _index_code(request: str) -> None:
    """Digests the functions of a request from their source, without importing them, for its children to inherit."""
    # What is wrong with them, the child will say.
    with contextlib.suppress(Exception):
        wanted = StepRequest.from_json(request)
        for ref in wanted.functions():
            digest_definitions(ref.module, ref.qualname, ref.roots(wanted.project, wanted.code_path))


def _drain(fd: int) -> bool:
    try:
        return bool(os.read(fd, 4096))
    except BlockingIOError:
        return False


def _fork_child(job: dict[str, Any], events: int, close: list[int]) -> int:
    gc.freeze()
    pid = os.fork()
    if pid:
        # Here too, so that it is done whoever comes first.
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        os.close(events)
        return pid
    status = 1
    try:
        gc.enable()
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for fd in close:
            os.close(fd)
        status = run_child(job, events)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: interpreter shutdown of a forked process would run the zygote's own exit handlers.
        os._exit(status)


def _reap(children: dict[int, str], report: Callable[[str, int], None]) -> None:
    while children:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None:
            return
        if ended.si_pid in children:
            # Before it is reaped, so that the group cannot be another's: what a step started ends with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(ended.si_pid, signal.SIGKILL)
        pid, status = os.waitpid(ended.si_pid, 0)
        if pid in children:
            report(children.pop(pid), status)


def _end_all(children: dict[int, str]) -> None:
    for pid in children:
        for target in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                target(pid, signal.SIGKILL)
    os._exit(0)


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    try:
        connection.sendall(json.dumps(message).encode() + b"\n")
    except BrokenPipeError:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
