"""A step that is asked to end, or whose process dies: what is left, what is said, and how soon."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from headrace.pipelines.plan import Plan
from headrace.pipelines.store import Store

from tests.kubeflow.container.by_hand import Cluster, Outcome

AUTHOR = """
import os, signal, subprocess, sys, time
from headrace.pipelines import Artifact, Output, component, pipeline


class Notes(Artifact):
    def write(self, text): (self.path / "notes.txt").write_text(text)


@component
def Wait(whole: Output[Notes], half: Output[Notes], *, deaf: bool = False):
    try:
        (half.path / "begun").write_text("half")
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print("begun", child.pid, flush=True)
        if deaf:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    finally:
        print("tidied up", flush=True)


@component
def Die(notes: Output[Notes], *, by: int):
    os.kill(os.getpid(), by)
    time.sleep(60)


@component
def Leave(notes: Output[Notes]):
    os._exit(7)


@pipeline
def waiting(): Wait()

@pipeline
def dying(by: int = 9): Die(by=by)

@pipeline
def leaving(): Leave()
"""


def begin(argo: Cluster, plan: Plan) -> tuple[subprocess.Popen[bytes], Path, int]:
    """Starts the only step; gives its process, its pod and the pid of what it started, once it works."""
    process, pod = argo.start_step(plan, plan.steps[0], "r1", {}, {})
    assert process.stdout is not None
    while b"begun" not in (line := process.stdout.readline()):
        assert line, "it ended before it began"
    return process, pod, int(line.split()[-1])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_sigterm_ends_a_step_at_once_and_leaves_nothing_half(
    load: Callable[[str], Plan], argo: Cluster, tmp_path: Path
) -> None:
    plan, store = load("waiting"), tmp_path / "store.db"
    argo.more = (f"--store={store}",)
    process, pod, child = begin(argo, plan)
    began = time.monotonic()
    # As Argo's executor does: to the whole group.
    os.killpg(process.pid, signal.SIGTERM)
    rest, _ = process.communicate(timeout=60)
    outcome = argo.collect(plan.steps[0], pod, process.returncode, rest.decode())
    assert outcome.code == 143 and time.monotonic() - began < 20
    assert "tidied up" in outcome.log and "Wait was ended from outside" in outcome.message
    assert not outcome.references and not is_alive(child)
    assert not [path for path in Path(argo.root).rglob("*") if path.is_file()]
    with Store.open(store) as opened:
        assert [step.state.value for step in opened.steps("r1")] == ["interrupted"]
        assert opened.run("r1").state.value == "interrupted"


def test_sigterm_before_the_step_has_begun(load: Callable[[str], Plan], argo: Cluster) -> None:
    plan = load("waiting")
    process, _ = argo.start_step(plan, plan.steps[0], "r1", {}, {})
    # After the imports, before the worker's first line.
    time.sleep(0.4)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode in (143, -signal.SIGTERM)


def ended(argo: Cluster, plan: Plan, **given: object) -> Outcome:
    return argo.run_step(plan, plan.steps[0], "r1", given, {})


def test_a_killed_process_is_told_from_one_that_crashed_or_left(load: Callable[[str], Plan], argo: Cluster) -> None:
    killed = ended(argo, load("dying"), by=9)
    assert killed.code == 1 and "SIGKILL" in killed.message and "`memory`" in killed.message
    crashed = ended(argo, load("dying"), by=11)
    assert crashed.code == 1 and "SIGSEGV" in crashed.message
    left = ended(argo, load("leaving"))
    assert left.code == 1 and "status 7" in left.message
