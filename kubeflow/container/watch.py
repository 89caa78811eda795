"""Watches over the process that runs a step: its output line by line, its events, its end, and a request to end it.

The watcher imports none of what the step needs. So it is alive, and can say why, when the step's process runs out of
memory or crashes in a library.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import IO, Any

from headrace.kubeflow.container.log_lines import Log
from headrace.pipelines.execution import StepError, StepResult

# How long a step that was asked to end may take; Kubernetes ends the container after 30 seconds.
GRACE = 20.0


class Interrupted(Exception):
    """The container was asked to end."""


class Watcher:
    """Runs a step in a process of its own.

    From its making on, a SIGTERM to this process ends the step, or raises `Interrupted` where none runs yet.

    Args:
        log: Where the step's output goes.
        on_event: Called with each event of the step that is not its result, from another thread.
    """

    def __init__(self, log: Log, on_event: Callable[[Mapping[str, Any]], None]) -> None:
        self._log, self._on_event = log, on_event
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False
        self._result: StepResult | None = None
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)
        signal.signal(signal.SIGALRM, self._kill)

    def run(self, request: str, types: list[str], project: str) -> StepResult:
        """Runs a StepRequest.

        Raises:
            Interrupted: The container was asked to end before the step had ended.
        """
        reading, writing = os.pipe()
        command = [sys.executable, "-P", "-m", "headrace.kubeflow.container.worker", str(writing)]
        self._process = process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
            start_new_session=True,
        )
        os.close(writing)
        assert process.stdin is not None and process.stdout is not None
        if self._asked:
            self._ask(signal.SIGTERM, None)
        threads = [
            threading.Thread(target=self._read_output, args=(process.stdout,), daemon=True),
            threading.Thread(target=self._read_events, args=(os.fdopen(reading),), daemon=True),
        ]
        for thread in threads:
            thread.start()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"request": request, "types": types, "project": project}).encode() + b"\n")
            process.stdin.flush()
        status = process.wait()
        signal.setitimer(signal.ITIMER_REAL, 0)
        # What the step has started and left behind would keep its output open.
        self._signal(signal.SIGKILL)
        for thread in threads:
            thread.join(5)
        if self._asked and (self._result is None or self._result.state == "failed"):
            raise Interrupted
        return self._result or StepResult("failed", error=_ended(status))

    def _read_output(self, output: IO[bytes]) -> None:
        for line in output:
            self._log.raw(line)

    def _read_events(self, events: IO[str]) -> None:
        for line in events:
            event = json.loads(line)
            if event["kind"] == "result":
                self._result = StepResult.from_json(event["result"])
            else:
                self._on_event(event)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if self._process is None:
            raise Interrupted
        self._signal(signal.SIGTERM)
        signal.setitimer(signal.ITIMER_REAL, GRACE)

    def _kill(self, number: int, frame: FrameType | None) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process is not None:
                os.killpg(self._process.pid, number)


def _ended(status: int) -> StepError:
    """Why a step gave no result: what became of its process."""
    if status >= 0:
        return StepError(
            "ProcessExited", f"its process exited with status {status} and gave no result; see the log", ""
        )
    name = signal.Signals(-status).name
    message = f"its process was ended by {name}"
    if name == "SIGKILL":
        message += ": most likely it had no more memory\n    fix: ask for more, with the step's setting `memory`"
    return StepError(name, message, "")
