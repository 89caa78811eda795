"""A step in a process of its own: for functions whose modules import what changes the process they are imported into.

TensorFlow Transform, for one, makes `tf.keras` Keras 2 for the whole process. A worker that was forked from one with
Keras in it, or a driver that debugs, cannot run such a function; so `execute` hands the step to a fresh interpreter,
which prepares itself, runs it, and reports as the worker would have.

    worker: execute() --request file--> python: prepare(), execute()
                      <--events, result (pipe)--
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from headrace.pipelines.errors import HeadraceError
from headrace.pipelines.plan_values import Function

if TYPE_CHECKING:
    from headrace.pipelines.component import Component
    from headrace.pipelines.execution import StepRequest, StepResult
    from headrace.pipelines.function_ref import FunctionRef
    from headrace.pipelines.plan import Step

# Names the module that this process was prepared by.
INSIDE = "HEADRACE_OWN_PROCESS"
GRACE = 5.0
_RUN = f"import sys; from {__name__} import main; main(sys.argv[1:])"


def process_of(component: Component, functions: Sequence[FunctionRef], root: str | None) -> str | None:
    """The module that prepares a process for a component with these functions; None for the usual worker.

    Args:
        component: Its `process` names a module with `is_needed(functions, root)`, `said(functions, root)` and
            `prepare()`.
        functions: The functions among its arguments.
        root: The project's root.
    """
    if component.process is None or not functions:
        return None
    return component.process if importlib.import_module(component.process).is_needed(functions, root) else None


def wanted_by(request: StepRequest) -> str | None:
    """The module that prepares the process of a step; None for a step that runs here."""
    _, *functions = request.functions()
    if INSIDE in os.environ or not functions:
        return None
    component = request.component.load(root=request.project, code_path=request.code_path)
    return process_of(component, functions, request.project)


def told_of(step: Step, root: str | None) -> str | None:
    """One line about a step of a Plan that will run in a process of its own, and why; None for any other.

    Raises:
        HeadraceError: What its functions import is not installed.
    """
    functions = [value.ref for _, value in step.arguments if isinstance(value, Function)]
    if not functions:
        return None
    module = process_of(step.component.load(root=root), functions, root)
    return None if module is None else importlib.import_module(module).said(functions, root)


def run_apart(module: str, request: StepRequest, report: Callable[[dict[str, Any]], None]) -> StepResult:
    """Runs a step in a fresh interpreter and gives its result.

    Args:
        module: Whose `prepare()` is called there before anything else is imported.
        request: What to run.
        report: Called with what the step reports.

    Raises:
        HeadraceError: The process ended without a result, or could not see the pipeline root.
    """
    if request.root.startswith("memory://"):
        raise HeadraceError(
            f"{request.step} runs in a process of its own, which cannot see {request.root}\n    fix: give a root that "
            "is a folder or a URL"
        )
    _, *functions = request.functions()
    print(importlib.import_module(module).said(functions, request.project), flush=True)
    sys.stderr.flush()
    (events, write), (lifeline, ours) = os.pipe(), os.pipe()
    with tempfile.NamedTemporaryFile("w", suffix=".request.json") as file:
        file.write(request.to_json())
        file.flush()
        process = subprocess.Popen(
            # Not -m: Headrace has imported this module by the time it would run as __main__.
            [sys.executable, "-c", _RUN, module, file.name, str(write), str(lifeline)],
            pass_fds=[write, lifeline],
            env=os.environ | {INSIDE: module},
        )
        os.close(write)
        os.close(lifeline)
        try:
            result = _follow(events, report)
            status = process.wait()
        finally:
            _end(process)
            os.close(ours)
    if result is None:
        how = f"by signal {-status}" if status < 0 else f"with exit code {status}"
        raise HeadraceError(f"{request.step}: its process ended {how} and gave no result\n    fix: read the step's log")
    return result


def _follow(events: int, report: Callable[[dict[str, Any]], None]) -> StepResult | None:
    from headrace.pipelines.execution import StepResult

    result = None
    with open(events, encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)
            if event["kind"] == "result":
                result = StepResult.from_json(event["result"])
            else:
                report(event)
    return result


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asked to end, this process' group was asked as a whole; what does not listen is killed."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    if process.poll() is None:
        process.kill()
        process.wait()


def main(argv: Sequence[str]) -> None:
    """Runs the step of a request file: `argv` is the preparing module, the file, and the descriptors of two pipes."""
    module, file, events, lifeline = argv
    threading.Thread(target=_end_with_parent, args=(int(lifeline),), daemon=True).start()
    signal.signal(signal.SIGTERM, _interrupt)
    from headrace.pipelines.execution import StepRequest, StepResult, describe, execute
    from headrace.pipelines.runner.child import event_writer

    report = event_writer(int(events))
    try:
        importlib.import_module(module).prepare()
        result = execute(StepRequest.from_json(Path(file).read_text(encoding="utf-8")), report)
    except Exception as error:
        result = StepResult("failed", error=describe(error))
    report({"kind": "result", "result": result.to_json()})
    sys.stdout.flush()
    sys.stderr.flush()
    # TensorFlow's and Beam's threads may not end by themselves.
    os._exit(0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_with_parent(lifeline: int) -> None:
    while os.read(lifeline, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)
