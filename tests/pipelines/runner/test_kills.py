"""Fifty kills, at named points and at random: the next run completes, no half artifact is seen, all is cached at last.

One process forks a driver for each run, so that a run costs no imports. A point is named to the driver and its workers
by the environment: `sitecustomize`, which exists in this test alone, wraps the function there and ends the process
before or after it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from headrace.pipelines.artifact import MANIFEST
from headrace.pipelines.store import RunState, StepState, Store

from tests.whole_artifacts import check_artifacts, what_is_left

AUTHOR = """
import pyarrow as pa
import pyarrow.compute as pc
from headrace.pipelines import Examples, HyperParameters, Input, Output, component, pipeline


@component
def Gen(examples: Output[Examples], *, number: int) -> None:
    rows = 40_000
    with examples.writer(pa.schema([("x", pa.int64()), ("y", pa.float64()), ("s", pa.string())])) as writer:
        for start in range(0, rows, 10_000):
            x = pa.array(range(start + number, start + number + 10_000))
            batch = pa.record_batch({"x": x, "y": pc.divide(x.cast(pa.float64()), 7), "s": x.cast(pa.string())})
            writer.write("train" if start < 30_000 else "eval", batch)


@component
def Keep(examples: Input[Examples], kept: Output[Examples]) -> None:
    with kept.writer(examples.schema) as writer:
        for split in examples.splits:
            for batch in examples.batches(split):
                writer.write(split, batch.filter(pc.equal(pc.bit_wise_and(batch["x"], 1), 0)))


@component
def Count(examples: Input[Examples], counts: Output[HyperParameters]) -> None:
    counts.write({split: pc.sum(examples.read(split)["x"]).as_py() for split in examples.splits})


@component
def Join(kept: Input[Examples], counts: Input[HyperParameters], joined: Output[HyperParameters]) -> None:
    joined.write({"rows": kept.rows, "counts": counts.read()})


@pipeline
def flow(number: int):
    examples = Gen(number=number).outputs["examples"]
    Join(kept=Keep(examples=examples).outputs["kept"], counts=Count(examples=examples).outputs["counts"])
"""
STEPS = ("Gen", "Keep", "Count", "Join")

# Where a process ends itself: (module, owner, function, when, which of its calls).
POINTS = {
    "worker: before the payload": ("execution", "", "_call_function", "before", None),
    "worker: in the payload": ("examples", "_SplitWriter", "_write_group", "after", None),
    "worker: after the payload, before the digests": ("execution", "", "commit_outputs", "before", None),
    "worker: before the manifest": ("storage", "", "write_bytes", "before", "artifact.json"),
    "worker: half of the manifest's draft": ("storage", "", "write_bytes", "half", "artifact.json"),
    "worker: after the manifest": ("storage", "", "write_bytes", "after", "artifact.json"),
    "worker: before the result is sent": ("execution", "StepResult", "to_json", "before", None),
    "driver: before a step is recorded as begun": ("store.steps", "Steps", "start_step", "before", None),
    "driver: after a step is recorded as begun": ("store.steps", "Steps", "start_step", "after", None),
    "driver: before a step is committed": ("store.steps", "Steps", "finish_step", "before", None),
    "driver: inside a step's transaction": ("store.steps", "Steps", "_record_artifact", "after", None),
    "driver: after a step is committed": ("store.steps", "Steps", "finish_step", "after", None),
    "driver: before the run is ended": ("store.runs", "Runs", "finish_run", "before", None),
}
SITE = """
import json, os, signal, sys

if "KILL_AT" in os.environ:
    import importlib

    def install(module, owner, name, when, argument, count, step):
        from headrace.pipelines.step_context import step_context

        holder = importlib.import_module("headrace.pipelines." + module)
        holder = getattr(holder, owner) if owner else holder
        whole = getattr(holder, name)
        left = [count]

        def end():
            left[0] -= 1
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def wrapped(*args, **kwargs):
            if argument is not None and not str(args[0]).endswith(argument):
                return whole(*args, **kwargs)
            if step is not None and step_context().step != step:
                return whole(*args, **kwargs)
            if when == "before":
                end()
            if when == "half":
                open(str(args[0]).replace("artifact.json", ".artifact.json.draft"), "wb").write(args[1][:50])
                end()
            result = whole(*args, **kwargs)
            if when == "after":
                end()
            return result

        setattr(holder, name, wrapped)

    # The driver's points must not hold in its workers, nor theirs in it.
    spec = json.loads(os.environ["KILL_AT"])
    if spec.pop("of") == ("worker" if "headrace.pipelines.runner.zygote" in " ".join(sys.orig_argv) else "driver"):
        install(**spec)
"""
HARNESS = """
import json, os, random, signal, sys, time
sys.path.insert(0, os.getcwd())
from headrace.pipelines.author_file import load_plan
from headrace.pipelines.runner import run
from headrace.pipelines.store import Store
plan = load_plan("flow.py")

def drive(number, kill_at=None, debug=False, **_):
    if kill_at:
        os.environ["KILL_AT"] = json.dumps(kill_at)
        exec(open("site/sitecustomize.py").read(), {})
    done = run(plan, parameters={"number": number}, report=False, jobs=2, debug=debug)
    print(json.dumps({id_: step.state.value for id_, step in done.steps.items()}), flush=True)
    os._exit(done.exit_code)

def children(pid):
    try:
        return [int(child) for child in open(f"/proc/{pid}/task/{pid}/children").read().split()]
    except OSError:
        return []

def below(pid):
    return [one for child in children(pid) for one in (child, *below(child))]

for line in sys.stdin:
    job = json.loads(line)
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        drive(**job)
    if "after" in job:
        time.sleep(job["after"])
        victims = {"driver": [pid], "zygote": children(pid)[:1], "worker": below(pid)[1:]}[job["victim"]]
        for victim in victims[-1:]:
            os.kill(victim, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    print(json.dumps({"code": os.waitstatus_to_exitcode(status), "seconds": time.monotonic() - began}), flush=True)
"""


class Harness:
    """The process that forks drivers; `run` gives (exit code, seconds, states of the steps)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pyproject.toml").write_text("")
        (folder / "site").mkdir()
        for name, text in {"flow.py": AUTHOR, "harness.py": HARNESS, "site/sitecustomize.py": SITE}.items():
            (folder / name).write_text(textwrap.dedent(text))
        env = {**os.environ, "PYTHONPATH": str(folder / "site")}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([sys.executable, "harness.py"], cwd=folder, env=env, **pipes)

    def run(self, number: int, **kill: Any) -> tuple[int, float, dict[str, str]]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"number": number, **kill}) + "\n")
        self.process.stdin.flush()
        states: dict[str, str] = {}
        while line := self.process.stdout.readline():
            document = json.loads(line)
            if "code" in document:
                return document["code"], document["seconds"], states
            states = document
        raise AssertionError("the harness ended")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture
def harness(tmp_path):
    made = Harness(tmp_path)
    yield made
    made.close()


def state_after(root: Path, code: int, number: int) -> str:
    """What a kill left, in words, for the histogram."""
    if not (root / "store.db").exists():
        return "no store yet"
    with Store.open(str(root / "store.db"), create=False) as store:
        runs = [run for run in store.runs(1) if run.parameters["number"] == number]
        if not runs:
            return "the run was not recorded yet"
        if runs[0].state is RunState.SUCCEEDED:
            return "the run had ended"
        steps = store.steps(runs[0].id)
    folder = root / "flow" / runs[0].id
    done = [step.key.path for step in steps if step.state is StepState.SUCCEEDED]
    begun = [
        step.key.path for step in steps if step.state is not StepState.SUCCEEDED and step.state is not StepState.SKIPPED
    ]
    kinds = [what_is_left(folder / name) for name in begun]
    said = "driver killed" if code < 0 else "worker killed"
    return f"{said}; {len(done)} of 4 steps done" + (f"; begun: {', '.join(sorted(kinds))}" if kinds else "")


def go_through(harness: Harness, kills: list[dict[str, Any]]) -> Counter[str]:
    """Kills a run in each way, looks at what is left, and runs again to the end."""
    root, checked = harness.folder / ".headrace", set[Path]()
    hit: Counter[str] = Counter()
    for number, kill in enumerate(kills):
        code, _, _ = harness.run(number, **kill)
        hit[state_after(root, code, number)] += 1
        check_artifacts(root, checked)
        recorded = committed(root, number)
        # Most of the runs that go on do so in one process, which is quicker; what they find is the same.
        again, _, states = harness.run(number, debug=number % 4 != 0)
        assert again == 0, (kill, states)
        assert set(states) == set(STEPS)
        for step in recorded:
            assert states[step] == "cached", (kill, step, "had succeeded and ran again")
    check_artifacts(root, checked)
    for number in range(len(kills)):
        code, _, states = harness.run(number)
        assert code == 0 and set(states.values()) == {"cached"}, (kills[number], states)
    with Store.open(str(root / "store.db"), create=False) as store:
        assert not store.runs(None, state=RunState.RUNNING)
        live = store.artifacts(live=True, limit=None)
    assert len(live) >= 4 * len(kills)
    assert all((root / made.uri / MANIFEST).exists() for made in live)
    return hit


def committed(root: Path, number: int) -> list[str]:
    """The steps that the store has as done for a number, whatever became of the process."""
    if not (root / "store.db").exists():
        return []
    with Store.open(str(root / "store.db"), create=False) as store:
        runs = [run for run in store.runs(None) if run.parameters.get("number") == number]
        return [step.key.path for run in runs for step in store.steps(run.id) if step.state is StepState.SUCCEEDED]


def named(chance: random.Random) -> list[dict[str, Any]]:
    """Each point twice: at the first step that comes there, and at a later one."""
    kills = []
    for point, (module, owner, name, when, argument) in POINTS.items():
        for later in (False, True):
            of = point.partition(":")[0]
            # A worker is in one step, but for when it sends its result; a driver's calls are counted.
            in_step = of == "worker" and name != "to_json"
            step = (chance.choice(["Keep", "Count", "Join"]) if later else "Gen") if in_step else None
            if name == "_write_group" and later:
                step = "Keep"
            count = chance.randrange(2, 5) if later and of == "driver" and name != "finish_run" else 1
            spec = {"module": module, "owner": owner, "name": name, "when": when, "argument": argument, "step": step}
            kills.append({"kill_at": {"of": of, "count": count, **spec}})
    return kills


def at_random(chance: random.Random, count: int, seconds: float) -> list[dict[str, Any]]:
    victims = ("driver", "driver", "worker", "zygote")
    return [{"after": chance.uniform(0, seconds), "victim": chance.choice(victims)} for _ in range(count)]


def report(hit: Counter[str]) -> None:
    print("\nstates hit:")
    for state, count in hit.most_common():
        print(f"  {count:4}  {state}")


@pytest.mark.timeout(900)
def test_fifty_kills(harness):
    chance = random.Random(20)
    seconds = min(harness.run(-1)[1], harness.run(-2)[1], harness.run(-3)[1])
    kills = named(chance)
    kills += at_random(chance, 50 - len(kills), seconds)
    chance.shuffle(kills)
    hit = go_through(harness, kills)
    report(hit)
    assert sum(hit.values()) == 50
    words = " ".join(hit)
    assert "artifact without record" in words and "payload without manifest" in words
    assert "nothing written" in words and "3 of 4 steps done" in words


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_hundred_kills_at_random(harness):
    seed = random.randrange(10**6)
    print(f"\nseed {seed}")
    seconds = min(harness.run(-1)[1], harness.run(-2)[1], harness.run(-3)[1])
    report(go_through(harness, at_random(random.Random(seed), 500, seconds)))
