"""The process that runs one step in a container, apart from the one that watches over it."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

from headrace.kubeflow.container.user_types import import_types
from headrace.pipelines.runner.child import run_request


def main() -> None:
    """Runs the step given on standard input; its first argument is the descriptor of the pipe for events."""
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_watcher, args=(os.dup(0),), daemon=True).start()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    for problem in import_types(job["types"], job["project"]):
        print(problem, file=sys.stderr)
    status = 1
    try:
        status = run_request(job["request"], int(sys.argv[1]))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 143
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Threads of libraries that do not end keep no container alive.
        os._exit(status)


def _end_with_watcher(lifeline: int) -> None:
    """Ends this process and all it started when the other end of its standard input closes."""
    while os.read(lifeline, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
