"""A step in a process of its own: what it reports, how it ends, and what is said when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest
from headrace.pipelines import own_process
from headrace.pipelines.errors import HeadraceError
from headrace.pipelines.execution import StepRequest, execute
from headrace.pipelines.function_ref import FunctionRef

from tests.command_line import headrace_in

PREPARED = """
import os
def is_needed(functions, root):
    return any(ref.qualname.startswith("apart") for ref in functions)
def said(functions, root):
    return "apart: " + ", ".join(ref.qualname for ref in functions)
def prepare():
    if os.environ.get("PREPARE") == "fails":
        raise OSError("it cannot be prepared")
    os.environ["PREPARED"] = str(os.getpid())
"""
STEPS = """
import os, signal, time
from headrace.pipelines import Function, component, step_context
from typing import NamedTuple
class Where(NamedTuple):
    pid: int
    prepared: str
@component(process="prepared", imports=("json",))
def Ask(*, function: Function) -> Where:
    step_context().progress(1, 2)
    return Where(os.getpid(), function())
def apart():
    return os.environ.get("PREPARED", "")
def here():
    return os.environ.get("PREPARED", "")
def apart_dies():
    os.kill(os.getpid(), signal.SIGKILL)
def apart_raises():
    raise ValueError("of its own")
def apart_sleeps():
    print("asleep", os.getpid(), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def request_of(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "prepared.py").write_text(PREPARED)
    (tmp_path / "own_steps.py").write_text(STEPS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def make(function: str) -> StepRequest:
        ref = FunctionRef.of(f"own_steps:{function}", root=tmp_path)
        return StepRequest(
            pipeline="p",
            run="r",
            step="Ask",
            component=FunctionRef.of("own_steps:Ask", root=tmp_path),
            inputs={},
            outputs={},
            parameters={"function": {"function": ref.to_json()}},
            root=str(tmp_path / "root"),
            project=str(tmp_path),
        )

    yield make
    for name in ("prepared", "own_steps"):
        sys.modules.pop(name, None)


def test_a_step_whose_functions_need_it_runs_in_a_prepared_process(request_of, capsys):
    events: list[dict] = []
    result = execute(request_of("apart"), events.append)
    assert result.state == "succeeded", result.error
    assert result.results["prepared"] == str(result.results["pid"]) and result.results["pid"] != os.getpid()
    assert [event["kind"] for event in events] == ["progress"]
    assert "PREPARED" not in os.environ and "apart: apart\n" in capsys.readouterr().out


def test_plan_says_which_step_runs_so(request_of, tmp_path):
    request_of("apart")
    text = "from own_steps import Ask, apart, here\n" + dedent(
        """
        from headrace.pipelines import pipeline
        @pipeline
        def flow():
            Ask(function=apart).with_id("First")
            Ask(function=here).with_id("Second")
        """
    )
    (tmp_path / "flow.py").write_text(text)
    said = headrace_in(tmp_path, ["plan", "flow.py", "--root", str(tmp_path / "none")])
    assert said.code == 0, said.err
    assert [line for line in said.out.splitlines() if line.startswith("note")] == ["note: First: apart: apart"]


def test_another_function_runs_in_the_worker(request_of):
    result = execute(request_of("here"))
    assert result.results == {"pid": os.getpid(), "prepared": ""}


def test_what_the_function_raises_is_told_as_ever(request_of):
    result = execute(request_of("apart_raises"))
    assert result.state == "failed" and result.error is not None
    assert result.error.message == "ValueError: of its own" and "apart_raises" in result.error.traceback


def test_a_process_that_dies_is_told(request_of):
    result = execute(request_of("apart_dies"))
    assert result.state == "failed" and result.error is not None
    assert "Ask: its process ended by signal 9 and gave no result" in result.error.message


def test_one_that_cannot_be_prepared_is_told(request_of, monkeypatch):
    monkeypatch.setenv("PREPARE", "fails")
    result = execute(request_of("apart"))
    assert result.state == "failed" and result.error is not None and "cannot be prepared" in result.error.message


def test_a_root_in_memory_is_refused(request_of):
    from dataclasses import replace

    result = execute(replace(request_of("apart"), root="memory://here"))
    assert result.state == "failed" and result.error is not None and "cannot see memory://here" in result.error.message


def test_it_ends_when_whoever_asked_dies(request_of, tmp_path):
    (tmp_path / "request.json").write_text(request_of("apart_sleeps").to_json())
    code = (
        "from pathlib import Path\nfrom headrace.pipelines.execution import StepRequest, execute\n"
        "execute(StepRequest.from_json(Path('request.json').read_text()))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "apart: apart_sleeps\n"
        pid = int(worker.stdout.readline().split()[1])
        worker.kill()
        deadline = time.monotonic() + 20
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            if "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1]:
                break
            time.sleep(0.05)
        else:
            assert not Path(f"/proc/{pid}").exists()


def test_there_is_nothing_to_ask_of_a_component_without_a_process():
    from headrace.pipelines import component

    @component
    def Plain() -> None:
        """Nothing."""

    assert own_process.process_of(Plain, [FunctionRef("json", "dumps", "x.y")], None) is None
    assert issubclass(own_process.HeadraceError, HeadraceError)
