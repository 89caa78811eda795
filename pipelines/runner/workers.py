"""Where steps run: forked from a zygote, each in a process started for it, or in this process.

A worker is a pipe of events to read and a process to wait for or kill. All three ways give the driver the same events.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from headrace.pipelines.execution import StepRequest, execute
from headrace.pipelines.plan import Step
from headrace.pipelines.runner.imports import Level, import_levels, imports_of, level_for
from headrace.pipelines.runner.options import RunOptions

CHILD, ZYGOTE = "headrace.pipelines.runner.child", "headrace.pipelines.runner.zygote"
# How long a zygote may take to end, and how often the end of a process is looked for, in seconds.
GRACE, POLL = 5.0, 0.05


@dataclass
class Job:
    """One attempt at one step.

    Args:
        id: Names the attempt among those that run.
        request: What to run.
        log: Path of the step's log.
        env: Environment variables of the step.
        imports: Modules that are to be imported before.
    """

    id: str
    request: StepRequest
    log: str
    env: Mapping[str, str]
    imports: Sequence[str] = ()

    def message(self) -> dict[str, Any]:
        return {"id": self.id, "request": self.request.to_json(), "log": self.log, "env": dict(self.env)}


@dataclass
class Event:
    """Something a worker said: `kind` is ``started``, ``progress``, ``warning``, ``result`` or ``exited``."""

    job: str
    kind: str
    content: dict[str, Any] = field(default_factory=dict)


class Workers(Protocol):
    """What the driver needs of a way to run steps."""

    def start(self, job: Job) -> None:
        """Starts a job; its first event is ``started``, its last ``exited``."""

    def wait(self, seconds: float | None) -> list[Event]:
        """Gives what was said since, waiting at most so long for the first word."""

    def kill(self, job: str, *, hard: bool) -> None:
        """Ends a job and all it started: asks with SIGTERM, or with SIGKILL does not ask."""

    def close(self) -> None:
        """Ends whatever runs."""


def workers_for(steps: Sequence[Step], options: RunOptions, root: str, log: str) -> Workers:
    """Gives the way to run steps that the options ask for.

    Args:
        steps: All that may have to run.
        options: How.
        root: The pipeline root.
        log: Path of the zygotes' own log.
    """
    if options.debug:
        return InProcessWorkers(to_terminal=True)
    if root.startswith("memory://"):
        return InProcessWorkers()
    if options.isolation == "spawn":
        return SpawnedWorkers()
    return ForkedWorkers(import_levels([imports_of(step) for step in steps]), log)


class _Pipes:
    """The event pipes of the jobs that run."""

    def __init__(self) -> None:
        self._jobs: dict[int, str] = {}
        self._pending: dict[int, bytes] = {}

    def open(self, job: str) -> tuple[int, int]:
        read, write = os.pipe()
        self._jobs[read] = job
        self._pending[read] = b""
        return read, write

    def fds(self) -> list[int]:
        return list(self._jobs)

    def jobs(self) -> set[str]:
        return set(self._jobs.values())

    def read(self, fd: int) -> Iterator[Event]:
        data = os.read(fd, 1 << 16)
        job = self._jobs[fd]
        if not data:
            del self._jobs[fd], self._pending[fd]
            os.close(fd)
            return
        *lines, self._pending[fd] = (self._pending[fd] + data).split(b"\n")
        for line in lines:
            # A step may write to any descriptor it has: what is no event is not the driver's trouble.
            with contextlib.suppress(ValueError, KeyError, AttributeError):
                content = json.loads(line)
                yield Event(job, content.pop("kind"), content)

    def drain(self, job: str) -> Iterator[Event]:
        """Reads what a job that has ended left in its pipe."""
        for fd in [fd for fd, owner in self._jobs.items() if owner == job]:
            os.set_blocking(fd, False)
            try:
                while fd in self._jobs:
                    yield from self.read(fd)
            except BlockingIOError:
                # A grandchild still holds the pipe open; the job itself has ended.
                del self._jobs[fd], self._pending[fd]
                os.close(fd)


class ForkedWorkers:
    """Steps forked from a chain of zygotes.

    Args:
        levels: What `import_levels` gave.
        log: Path of the zygotes' own log.
    """

    def __init__(self, levels: Sequence[Level], log: str) -> None:
        self._levels, self._log = levels, log
        self._pipes = _Pipes()
        self._sent: dict[str, int] = {}
        self._pids: dict[str, int] = {}
        # Jobs that were to be ended before their zygote had started them.
        self._doomed: dict[str, bool] = {}
        self._pending: dict[socket.socket, bytes] = {}
        self._start_zygotes()

    def _start_zygotes(self) -> None:
        ours, theirs = zip(*(socket.socketpair() for _ in self._levels))
        self._sockets: list[socket.socket] = list(ours)
        fds = [end.fileno() for end in theirs]
        levels = json.dumps([level.to_json() for level in self._levels])
        with Path(self._log).open("ab") as log_file:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", ZYGOTE, ",".join(map(str, fds)), levels],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1")},
            )
        for end in theirs:
            end.close()

    def keep_log(self, log: str) -> None:
        """Moves the zygotes' log to another place."""
        self._log = str(Path(self._log).replace(log))

    def start(self, job: Job) -> None:
        level = level_for(self._levels, job.imports)
        if self._sockets[level].fileno() < 0:
            # It died, as of lack of memory; the steps that still run on other levels end with their zygotes.
            self._end_zygotes()
            self._start_zygotes()
        _, write = self._pipes.open(job.id)
        self._sent[job.id] = level
        try:
            # A zygote that has just died says so on its socket, and the job ends with it.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                socket.send_fds(self._sockets[level], [json.dumps(job.message()).encode() + b"\n"], [write])
        finally:
            os.close(write)

    def wait(self, seconds: float | None) -> list[Event]:
        by_fd = {connection.fileno(): connection for connection in self._sockets if connection.fileno() >= 0}
        events: list[Event] = []
        for fd in _readable([*self._pipes.fds(), *by_fd], seconds):
            if fd in by_fd:
                events += self._read_zygote(by_fd[fd])
            elif fd in self._pipes.fds():
                events += self._pipes.read(fd)
        return events

    def _read_zygote(self, connection: socket.socket) -> Iterator[Event]:
        try:
            data = connection.recv(1 << 16)
        except ConnectionResetError:
            data = b""
        if not data:
            yield from self._level_died(self._sockets.index(connection))
            return
        *lines, self._pending[connection] = (self._pending.get(connection, b"") + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "started" in message:
                self._pids[message["started"]] = message["pid"]
                if message["started"] in self._doomed:
                    _signal_group(message["pid"], self._doomed.pop(message["started"]))
                yield Event(message["started"], "started", {"pid": message["pid"]})
            elif "exited" in message:
                yield from self._ended(message["exited"], message["status"])

    def _level_died(self, level: int) -> Iterator[Event]:
        self._sockets[level].close()
        for job in [job for job, its_level in self._sent.items() if its_level == level]:
            self.kill(job, hard=True)
            yield from self._ended(job, signal.SIGKILL)

    def _ended(self, job: str, status: int) -> Iterator[Event]:
        yield from self._pipes.drain(job)
        self._sent.pop(job, None)
        self._pids.pop(job, None)
        yield Event(job, "exited", {"status": status})

    def kill(self, job: str, *, hard: bool) -> None:
        if job in self._pids:
            _signal_group(self._pids[job], hard)
        elif job in self._sent:
            self._doomed[job] = hard

    def close(self) -> None:
        for pid in self._pids.values():
            _signal_group(pid, hard=True)
        self._end_zygotes()

    def _end_zygotes(self) -> None:
        for connection in self._sockets:
            connection.close()
        try:
            self._zygote.wait(GRACE)
        except subprocess.TimeoutExpired:
            _signal_group(self._zygote.pid, hard=True)
            self._zygote.wait()


class SpawnedWorkers:
    """Each step in a Python process of its own: for systems where forking after imports is not safe, such as macOS."""

    def __init__(self) -> None:
        self._pipes = _Pipes()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._news: list[Event] = []

    def start(self, job: Job) -> None:
        _, write = self._pipes.open(job.id)
        process = subprocess.Popen(
            [sys.executable, "-m", CHILD, str(write)],
            stdin=subprocess.PIPE,
            pass_fds=[write],
            start_new_session=True,
        )
        os.close(write)
        assert process.stdin is not None
        # Its standard input stays open: when it closes, however the driver died, the step ends.
        process.stdin.write(json.dumps(job.message()).encode() + b"\n")
        process.stdin.flush()
        self._processes[job.id] = process
        self._news.append(Event(job.id, "started", {"pid": process.pid}))

    def wait(self, seconds: float | None) -> list[Event]:
        deadline = time.monotonic() + seconds if seconds is not None else math.inf
        events, self._news = self._news, []
        while not events:
            # Not all systems tell of a process' end by a descriptor, and a grandchild may hold its pipe open.
            for fd in _readable(self._pipes.fds(), min(POLL, max(0.0, deadline - time.monotonic()))):
                events += self._pipes.read(fd)
            for job, process in list(self._processes.items()):
                if process.poll() is not None:
                    events += self._ended(job, process)
            if time.monotonic() >= deadline:
                break
        return events

    def _ended(self, job: str, process: subprocess.Popen[bytes]) -> Iterator[Event]:
        _signal_group(process.pid, hard=True)
        yield from self._pipes.drain(job)
        if process.stdin is not None:
            process.stdin.close()
        del self._processes[job]
        code = process.returncode
        yield Event(job, "exited", {"status": -code if code < 0 else code << 8})

    def kill(self, job: str, *, hard: bool) -> None:
        if job in self._processes:
            _signal_group(self._processes[job].pid, hard)

    def close(self) -> None:
        for process in self._processes.values():
            _signal_group(process.pid, hard=True)
            process.wait()


class InProcessWorkers:
    """Steps one after the other in this process: for `--debug`, where `breakpoint()` works, and for roots in memory.

    Args:
        to_terminal: Whether what a step prints goes to the terminal instead of its log.
    """

    def __init__(self, *, to_terminal: bool = False) -> None:
        self._events: list[Event] = []
        self._to_terminal = to_terminal

    def start(self, job: Job) -> None:
        self._events.append(Event(job.id, "started", {"pid": os.getpid()}))
        Path(job.log).with_suffix(".request.json").write_text(job.request.to_json())
        kept = dict(os.environ)
        os.environ.update(job.env)

        def report(event: dict[str, Any]) -> None:
            content = dict(event)
            self._events.append(Event(job.id, content.pop("kind"), content))

        with Path(job.log).open("a", buffering=1) as log, contextlib.ExitStack() as stack:
            if self._to_terminal:
                log.write("ran in the driver's process: its output went to the terminal\n")
            else:
                stack.enter_context(contextlib.redirect_stdout(log))
                stack.enter_context(contextlib.redirect_stderr(log))
            try:
                # As a worker would receive it: a dict's order, for one, does not survive JSON.
                result = execute(StepRequest.from_json(job.request.to_json()), report)
            finally:
                os.environ.clear()
                os.environ.update(kept)
            if result.error is not None:
                log.write(result.error.traceback)
        self._events.append(Event(job.id, "result", {"result": result.to_json()}))
        self._events.append(Event(job.id, "exited", {"status": 0}))

    def wait(self, seconds: float | None) -> list[Event]:
        events, self._events = self._events, []
        return events

    def kill(self, job: str, *, hard: bool) -> None:
        """There is no process to end: an interrupt reaches the step itself."""

    def close(self) -> None:
        """Nothing runs between two calls."""


def _readable(fds: list[int], seconds: float | None) -> list[int]:
    selector = selectors.DefaultSelector()
    with selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        return [key.fd for key, _ in selector.select(seconds)]


def _signal_group(pid: int, hard: bool) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL if hard else signal.SIGTERM)
