"""Whatever a step does to its process is that step's failure, with its log kept; the others finish."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

AUTHOR = """
import os, signal, sys, threading, time
from pathlib import Path
from typing import NamedTuple
from headrace.pipelines import HyperParameters, Input, Output, component, step_context

class Unpicklable(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.lock = threading.Lock()

@component
def Bad(out: Output[HyperParameters], *, how: str) -> None:
    print("before", how, flush=True)
    print("to stderr", file=sys.stderr)
    os.write(2, b"from C\\n")
    out.write({"half": True})
    if how == "abort":
        os.abort()
    if how == "segfault":
        import ctypes
        ctypes.string_at(0)
    if how == "exit":
        sys.exit(3)
    if how == "exit 0":
        sys.exit()
    if how == "_exit":
        os._exit(7)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "memory":
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        bytearray(1 << 34)
    if how == "unpicklable":
        raise Unpicklable(1, 2)
    if how == "import":
        import a_module_that_is_not_here
    if how == "recursion":
        def down(): down()
        down()
    if how == "surrogate":
        raise ValueError("\\udc80 is no text \\x00")
    if how == "closes its descriptors":
        os.closerange(3, 100)

@component
def Fine(out: Output[HyperParameters]) -> None:
    time.sleep(0.3)
    out.write({})

@component
def After(bad: Input[HyperParameters], out: Output[HyperParameters]) -> None:
    out.write({})

@component
def Loud(out: Output[HyperParameters], *, megabytes: int) -> None:
    for number in range(megabytes):
        print("x" * (1 << 20))
    for number in range(3000):
        step_context().progress(number, 3000)
    out.write({})

@component
def LeavesOneBehind(out: Output[HyperParameters], *, pid_file: str) -> None:
    pid = os.fork()
    if pid == 0:
        # It holds the pipe to the driver and the log open.
        time.sleep(60)
        os._exit(0)
    Path(pid_file).write_text(str(pid))
    out.write({})

class Numbers(NamedTuple):
    rows: int

@component
def WrongResult(out: Output[HyperParameters]) -> Numbers:
    out.write({})
    return Numbers("three")

@component
def WritesNothing(out: Output[HyperParameters]) -> None:
    pass

@component
def Where(out: Output[HyperParameters]) -> None:
    out.write({"pid": os.getpid(), "env": dict(os.environ), "stdin": sys.stdin.read(), "cwd": os.getcwd()})
"""

ENDS = {
    "abort": "its process was ended by SIGABRT",
    "segfault": "its process was ended by SIGSEGV",
    "exit": "Bad called sys.exit(3); raise an exception instead",
    "exit 0": "Bad called sys.exit(None); raise an exception instead",
    "_exit": "its process exited with status 7 and gave no result; see the log",
    "kill": "its process was ended by SIGKILL: the system may have been out of memory",
    "memory": "MemoryError",
    "unpicklable": "Unpicklable: 1",
    "import": "ModuleNotFoundError: No module named 'a_module_that_is_not_here'",
    "recursion": "RecursionError: maximum recursion depth exceeded",
    "surrogate": "ValueError: ",
    "closes its descriptors": "gave no result",
}


@pytest.mark.parametrize("how", ENDS)
def test_an_end_is_the_steps_own(author, run, how):
    bad = author.Bad(how=how)
    done = run(bad, author.Fine(), author.After(bad=bad.outputs["out"]))
    assert {id_: step.state.value for id_, step in done.steps.items()} == {
        "Bad": "failed",
        "Fine": "succeeded",
        "After": "skipped",
    }
    assert done.exit_code == 1
    assert ENDS[how] in done["Bad"].error["message"], done["Bad"].error
    log = Path(done["Bad"].log).read_text(errors="replace")
    assert f"before {how}" in log and "to stderr" in log and "from C" in log
    if how != "closes its descriptors":  # that one ended well, and could not say so
        assert not (Path(done.folder) / "Bad" / "out" / "artifact.json").exists(), "no half artifact"
    assert done["After"].error["message"] == "Bad failed"


@pytest.mark.parametrize("how", ["abort", "exit", "kill", "unpicklable", "_exit"])
def test_spawned_processes_end_alike(author, run, how):
    done = run(author.Bad(how=how), author.Fine(), isolation="spawn")
    assert done["Bad"].state == "failed" and done["Fine"].state == "succeeded"
    assert ENDS[how] in done["Bad"].error["message"]
    assert f"before {how}" in Path(done["Bad"].log).read_text()


def test_fork_and_spawn_give_equal_artifacts(author, run):
    forked = run(author.Fine(), cache=False)
    spawned = run(author.Fine(), isolation="spawn", cache=False)
    assert forked["Fine"].outputs["out"].digest == spawned["Fine"].outputs["out"].digest


def test_the_users_traceback_is_in_the_log_and_begins_with_their_line(author, run):
    done = run(author.Bad(how="unpicklable"))
    traceback = Path(done["Bad"].log).read_text().partition("Traceback")[2]
    assert "raise Unpicklable(1, 2)" in traceback
    first = next(line for line in traceback.splitlines() if line.strip().startswith("File"))
    assert "author_of_" in first, traceback


def test_megabytes_of_output_and_thousands_of_reports(author, run):
    done = run(author.Loud(megabytes=20))
    assert done["Loud"].state == "succeeded" and done["Loud"].rows == 2999
    assert Path(done["Loud"].log).stat().st_size > 20 << 20


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_what_a_step_leaves_behind_ends_with_it(author, run, tmp_path, alive, isolation):
    """A grandchild that holds the pipe to the driver open keeps nobody waiting, and does not live on."""
    began = time.monotonic()
    done = run(author.LeavesOneBehind(pid_file=str(tmp_path / "pid")), isolation=isolation)
    assert done["LeavesOneBehind"].state == "succeeded" and time.monotonic() - began < 30
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(pid)


def test_what_a_step_returns_is_checked(author, run):
    done = run(author.WrongResult())
    assert done["WrongResult"].state == "failed"
    assert (
        "output parameter of WrongResult: expected int at rows, received str 'three'"
        in done["WrongResult"].error["message"]
    )


def test_an_output_that_was_not_written_is_an_error(author, run):
    done = run(author.WritesNothing())
    assert "WritesNothing wrote nothing to its output 'out'" in done["WritesNothing"].error["message"]
    assert "out.leave_out()" in done["WritesNothing"].error["message"]


def test_each_step_has_a_process_its_env_and_no_input(author, run):
    one, other = author.Where().with_settings(env={"MINE": "1"}), author.Where().with_id("Other")
    done = run(one, other)
    here, there = (done[id_].outputs["out"].read() for id_ in ("Where", "Other"))
    assert len({here["pid"], there["pid"], os.getpid()}) == 3
    assert here["env"]["MINE"] == "1" and "MINE" not in there["env"] and "MINE" not in os.environ
    assert here["stdin"] == "" and here["cwd"] == str(Path.cwd())


def test_no_process_is_left_after_a_run(author, run):
    run(author.Fine())
    children = subprocess.run(
        ["ps", "-o", "pid=,stat=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True
    )
    assert "runner.zygote" not in children.stdout, children.stdout
