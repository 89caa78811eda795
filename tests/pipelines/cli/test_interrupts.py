"""Ctrl-C, SIGTERM and kill -9 of a real `headrace run`: nothing is left running, and the next run goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

AUTHOR = """
import os, signal, subprocess, sys, time
from pathlib import Path
from headrace.pipelines import HyperParameters, Input, Output, component, pipeline, step_context


@component
def First(out: Output[HyperParameters]) -> None:
    out.write({})


@component
def Long(first: Input[HyperParameters], out: Output[HyperParameters], *, pids: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(pids, step_context().step).write_text(f"{os.getpid()} {child.pid}")
    print("long begins", flush=True)
    time.sleep(60)


@pipeline
def flow(pids: str):
    first = First()
    Long(first=first.outputs["out"], pids=pids)
    Long(first=first.outputs["out"], pids=pids).with_id("Long2")
"""


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def pids_of(*files: Path) -> list[int]:
    return [int(pid) for file in files for pid in file.read_text().split()]


def zygotes_of(folder: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            is_here = path.resolve() == folder.resolve()
            if is_here and b"headrace" in path.with_name("cmdline").read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.fixture
def begun(project):
    """A run whose two long steps are running."""
    project.write(flow=AUTHOR)
    files = [project.folder / name for name in ("Long", "Long2")]
    process = project.start("run", "flow.py", "-p", f"pids={project.folder}", "--jobs", "2")
    wait_for(lambda: all(file.exists() and len(file.read_text().split()) == 2 for file in files))
    yield process, pids_of(*files)
    process.kill()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_everything_and_is_recorded(project, begun, alive, number):
    process, pids = begun
    assert all(alive(pid) for pid in pids)
    began = time.monotonic()
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130, out
    assert time.monotonic() - began < 10
    assert "interrupted: " in out.splitlines()[-1] and "Traceback" not in out
    wait_for(lambda: not any(alive(pid) for pid in pids), 5)
    wait_for(lambda: not zygotes_of(project.folder), 5)
    shown = project.headrace("show", "--json").out
    assert '"state": "interrupted"' in shown and '"First": {"state": "succeeded"' in shown
    assert "interrupted" in project.headrace("runs").out
    assert "long begins" in project.headrace("logs", "Long").out

    plan = project.headrace("plan", "flow.py", "-p", f"pids={project.folder}").out
    assert "cached" in plan.splitlines()[0]
    assert "its last attempt was interrupted" in plan.splitlines()[1]


def test_a_driver_that_is_killed_takes_its_steps_along_and_the_next_run_goes_on(project, begun, alive):
    process, pids = begun
    process.kill()
    process.wait()
    wait_for(lambda: not any(alive(pid) for pid in pids), 10)
    wait_for(lambda: not zygotes_of(project.folder), 10)
    project.edit("flow", "time.sleep(60)\n", "out.write({})\n")
    done = project.headrace("run", "flow.py", "-p", f"pids={project.folder}", "--json")
    assert done.states == {"First": "cached", "Long": "succeeded", "Long2": "succeeded"}, done.out
    states = [line.split()[1] for line in project.headrace("runs").out.splitlines()]
    assert states == ["succeeded", "interrupted"]


def test_an_interrupt_while_the_steps_are_only_beginning(project, alive):
    """At any moment: also while the zygote still starts."""
    project.write(flow=AUTHOR)
    for delay in (0.1, 0.4, 0.7, 1.0):
        process = project.start("run", "flow.py", "-p", f"pids={project.folder}")
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        # Before Python runs our code at all, its own answer to the signal is what comes.
        assert process.returncode in (130, -signal.SIGINT), out
        wait_for(lambda: not zygotes_of(project.folder), 10)
    listed = project.headrace("runs").out
    assert "running" not in listed


def test_two_runs_at_once_on_one_store(project):
    text = AUTHOR.replace("time.sleep(60)\n", "time.sleep(0.2); out.write({'pid': os.getpid()})\n")
    project.write(flow=text)
    arguments = ["run", "flow.py", "-p", f"pids={project.folder}", "--json"]
    processes = [project.start(*arguments) for _ in range(3)]
    outs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outs
    done = project.headrace(*arguments)
    assert set(done.states.values()) == {"cached"}
    assert len(project.headrace("runs").out.splitlines()) == 4
