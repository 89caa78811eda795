"""Ten kills of the whole demo, each within another tenth of it: the next run completes with the same digests."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from headrace.pipelines.artifact import read_manifest
from headrace.pipelines.store import RunState, StepState, Store

from tests.whole_artifacts import check_artifacts, what_is_left

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = 10
STEPS = 11
# What these give has a version or a time in it.
MEASURES = ("Pusher", "InfraValidator")
# It asks the store in every run.
ASKS = "Resolver"


Event = tuple[str, str]


def event_in(line: str) -> dict[str, Any]:
    """What a line of `--json` tells; nothing for another line."""
    return json.loads(line) if line.startswith("{") else {}


@dataclass
class Ran:
    """A run that was let run: when each step began and ended, in seconds, and its state at last."""

    timeline: list[tuple[float, Event]] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class Demo:
    """The demo with a root and a serving folder of its own."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "headrace.pipelines.cli", "run", "examples/flights/pipeline.py", "--json"]
        where = ["--root", str(self.root), "-p", f"serving={self.folder / 'serving'}"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen([*command, *where], cwd=REPOSITORY, process_group=0, text=True, **pipes)

    def run(self) -> Ran:
        """Runs to the end, which must be a good one."""
        began, said, ran = time.monotonic(), [], Ran()
        process = self.start()
        for line in process.stdout:
            said.append(line)
            event = event_in(line)
            if event.get("event") in ("step_started", "step_finished"):
                ran.timeline.append((time.monotonic() - began, (event["event"], event["step"])))
                ran.states[event["step"]] = event.get("state", "running")
        assert process.wait() == 0, "".join(said)[-4000:]
        ran.seconds = time.monotonic() - began
        return ran

    def digests(self) -> dict[str, list[str]]:
        """The semantic digests of what the newest run has, but for the receipt of the push: it names run and folder."""
        with Store.open(self.root / "store.db", create=False) as store:
            steps = [step for step in store.steps(store.runs(1)[0].id) if step.key.path not in MEASURES]
        made = {f"{step.key.path}.{name}": of for step in steps for name, of in step.outputs.items()}
        return {channel: [one.digest for one in of] for channel, of in made.items()}

    def succeeded(self) -> set[str]:
        """The steps that the store has as done, whatever became of the run."""
        if not (self.root / "store.db").exists():
            return set()
        with Store.open(self.root / "store.db", create=False) as store:
            steps = [step for run in store.runs(None) for step in store.steps(run.id)]
        return {step.key.path for step in steps if step.state is StepState.SUCCEEDED}

    def check_served(self) -> None:
        """A model server sees one version, with every file of the model that the newest run has."""
        serving = self.folder / "serving"
        versions = [path.name for path in serving.iterdir() if not path.name.startswith(".")]
        assert versions == ["1"]
        with Store.open(self.root / "store.db", create=False) as store:
            (trainer,) = [step for step in store.steps(store.runs(1)[0].id) if step.key.path == "Trainer"]
        (model,) = trainer.outputs["model"]
        for name, entry in read_manifest(str(self.root / model.uri)).files.items():
            if name.startswith("serving/"):
                assert (serving / "1" / name.removeprefix("serving/")).stat().st_size == entry.size, name

    def state(self) -> str:
        """What a kill left, in words."""
        if not (self.root / "store.db").exists():
            return "no store yet"
        with Store.open(self.root / "store.db", create=False) as store:
            runs = store.runs(1)
            if not runs:
                return "the run was not recorded yet"
            if runs[0].state is RunState.SUCCEEDED:
                return "the run had ended, and its report was being written"
            steps = store.steps(runs[0].id)
        folder = self.root / "flights" / runs[0].id
        done = sum(step.state is StepState.SUCCEEDED for step in steps)
        names = sorted(step.key.path for step in steps if step.state is StepState.RUNNING)
        begun = [f"{name} has {what_is_left(folder / name)}" for name in names]
        return f"{done} of {STEPS} steps done; {', '.join(begun) or 'none begun'}"


def killed(demo: Demo, ran: Ran, at: float, everything: bool) -> bool:
    """Kills a run where another one was after some seconds, however fast this one is; False if it had ended by then.

    Either all of its processes at one moment, or the driver alone, with which its workers must end.
    """
    passed = [(seconds, event) for seconds, event in ran.timeline if seconds <= at]
    since, last = passed[-1] if passed else (0.0, None)
    process = demo.start()
    if last is not None:
        events = map(event_in, process.stdout)
        assert any((event.get("event"), event.get("step")) == last for event in events), f"it ended without {last}"
    time.sleep(at - since)
    if process.poll() is not None:
        return False
    below = psutil.Process(process.pid).children(recursive=True)
    for one in below if everything else ():
        with contextlib.suppress(psutil.NoSuchProcess):
            one.suspend()
    os.killpg(process.pid, signal.SIGKILL)
    for one in below if everything else ():
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while any(map(runs, below)):
        assert time.monotonic() < deadline, "a worker outlives its driver"
        time.sleep(0.05)
    return True


def runs(process: psutil.Process) -> bool:
    """Whether a process is there; one that only waits to be reaped is not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_kills_of_the_whole_demo(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"\nseed {seed}")
    chance = random.Random(seed)
    undisturbed = Demo(tmp_path / "undisturbed")
    ran = undisturbed.run()
    assert set(ran.states.values()) == {"succeeded"} and len(ran.timeline) == 2 * STEPS
    undisturbed.check_served()
    digests = undisturbed.digests()
    assert len(digests) >= 9
    hit: Counter[str] = Counter()
    for number in range(KILLS):
        demo = Demo(tmp_path / str(number))
        at = ran.seconds * (number + chance.random()) / KILLS
        while not killed(demo, ran, at, everything=number % 2 == 0):
            # This machine is quicker now than it was when the time was taken.
            shutil.rmtree(demo.folder)
            at *= 0.9
        hit[demo.state()] += 1
        checked: set[Path] = set()
        check_artifacts(demo.root, checked)
        done = demo.succeeded()
        states = demo.run().states
        assert len(states) == STEPS
        for step in done - {ASKS}:
            assert states[step] == "cached", f"{step} had succeeded and ran again"
        check_artifacts(demo.root, checked)
        assert demo.digests() == digests
        demo.check_served()
        assert {state for step, state in demo.run().states.items() if step != ASKS} == {"cached"}
        shutil.rmtree(demo.folder)
    print(f"an undisturbed run takes {ran.seconds:.1f} s; states hit:")
    for state, count in hit.most_common():
        print(f"  {count:4}  {state}")
    assert sum(hit.values()) == KILLS and len(hit) > KILLS / 2
