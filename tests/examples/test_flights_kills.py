"""Ten kills of the whole demo, each within another tenth of it: the next run completes with the same digests."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from headrace.pipelines.artifact import read_manifest
from headrace.pipelines.store import RunState, StepState, Store

from tests.whole_artifacts import check_artifacts, what_is_left

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = 10
# It asks the store in every run.
ASKS = "Resolver"


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

    def run(self) -> dict[str, str]:
        """Runs to the end, which must be a good one; gives the state of each step."""
        process = self.start()
        said, _ = process.communicate()
        assert process.returncode == 0, said[-4000:]
        events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
        return {event["step"]: event["state"] for event in events if event["event"] == "step_finished"}

    def digests(self) -> dict[str, list[str]]:
        """The semantic digests of what the newest run has, but for the receipt of the push: it names run and folder."""
        with Store.open(self.root / "store.db", create=False) as store:
            steps = [step for step in store.steps(store.runs(1)[0].id) if step.key.path != "Pusher"]
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
        return f"{done} of 9 steps done; {', '.join(begun) or 'none begun'}"


def killed(demo: Demo, after: float, everything: bool) -> bool:
    """Kills a run after some seconds; False if it had ended by then.

    Either all of its processes at one moment, or the driver alone, with which its workers must end.
    """
    process = demo.start()
    try:
        process.communicate(timeout=after)
        return False
    except subprocess.TimeoutExpired:
        below = psutil.Process(process.pid).children(recursive=True)
    for one in below if everything else ():
        one.suspend()
    os.killpg(process.pid, signal.SIGKILL)
    for one in below if everything else ():
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
    began = time.monotonic()
    assert set(undisturbed.run().values()) == {"succeeded"}
    seconds = time.monotonic() - began
    undisturbed.check_served()
    digests = undisturbed.digests()
    assert len(digests) == 9
    hit: Counter[str] = Counter()
    for number in range(KILLS):
        demo = Demo(tmp_path / str(number))
        after = seconds * (number + chance.random()) / KILLS
        while not killed(demo, after, everything=number % 2 == 0):
            # This machine is quicker now than it was when the time was taken.
            shutil.rmtree(demo.folder)
            after *= 0.8
        hit[demo.state()] += 1
        checked: set[Path] = set()
        check_artifacts(demo.root, checked)
        done = demo.succeeded()
        states = demo.run()
        assert len(states) == 9
        for step in done - {ASKS}:
            assert states[step] == "cached", f"{step} had succeeded and ran again"
        check_artifacts(demo.root, checked)
        assert demo.digests() == digests
        demo.check_served()
        assert {state for step, state in demo.run().items() if step != ASKS} == {"cached"}
        shutil.rmtree(demo.folder)
    print(f"an undisturbed run takes {seconds:.1f} s; states hit:")
    for state, count in hit.most_common():
        print(f"  {count:4}  {state}")
    assert sum(hit.values()) == KILLS and len(hit) > KILLS / 2
