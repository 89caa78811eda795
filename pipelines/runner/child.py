"""The process that runs one step: its output goes to the step's log, its progress and its result to the driver."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from headrace.pipelines.execution import StepRequest, execute


def run_child(job: dict[str, Any], events: int) -> int:
    """Runs the step of a job.

    Args:
        job: `request` (a StepRequest as JSON text), `log` (the log's path) and `env`.
        events: Descriptor of the pipe to the driver; progress and the result are JSON lines on it.

    Returns:
        The process's exit status: 0 when the step gave a result, whichever it was.
    """
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.update(job["env"])
    Path(job["log"]).with_suffix(".request.json").write_text(job["request"])
    return run_request(job["request"], events)


def run_request(text: str, events: int) -> int:
    """Runs the step of a StepRequest; its progress and its result go to `events`.

    Returns:
        The process's exit status.
    """
    # Asked to end, a step ends as by Ctrl-C: its temporary files go, and its log says where it was.
    signal.signal(signal.SIGTERM, _interrupt)
    request = StepRequest.from_json(text)
    report = event_writer(events)
    result = execute(request, report)
    if result.error is not None:
        print(result.error.traceback, file=sys.stderr, flush=True)
    report({"kind": "result", "result": result.to_json()})
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def event_writer(fd: int) -> Callable[[dict[str, Any]], None]:
    def write(event: dict[str, Any]) -> None:
        data = json.dumps(event).encode() + b"\n"
        while data:
            data = data[os.write(fd, data) :]

    return write


def main() -> None:
    """Runs one job given on standard input: the way without fork."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_driver, args=(os.dup(0),), daemon=True).start()
    status = 1
    try:
        status = run_child(job, int(sys.argv[1]))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _end_with_driver(lifeline: int) -> None:
    """Ends this process and all it started when the driver's end of its standard input closes."""
    while os.read(lifeline, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
