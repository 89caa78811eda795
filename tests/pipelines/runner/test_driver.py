"""The driver: in parallel, retries, timeouts, what is left out, refusals, the cache."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from headrace.pipelines.errors import PipelineError
from headrace.pipelines.runner import Listener
from headrace.pipelines.store import RunState

AUTHOR = """
import os, signal, subprocess, sys, time
from pathlib import Path
from typing import NamedTuple
from headrace.pipelines import Blessing, HyperParameters, Input, InputFiles, Output, component, step_context

@component
def Sleep(out: Output[HyperParameters], *, seconds: float = 0.5) -> None:
    began = time.monotonic()
    time.sleep(seconds)
    out.write({"began": began, "ended": time.monotonic()})

@component
def Flaky(out: Output[HyperParameters], *, counter: str, works_at: int) -> None:
    tries = int(Path(counter).read_text()) + 1 if Path(counter).exists() else 1
    Path(counter).write_text(str(tries))
    print("try", tries, "attempt", step_context().attempt)
    if tries < works_at:
        raise ValueError(f"try {tries}")
    out.write({"tries": tries})

@component
def Stubborn(out: Output[HyperParameters], *, pids: str, ignore: bool = False) -> None:
    if ignore:
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(
        [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"])
    scratch = step_context().scratch
    Path(pids).write_text(f"{os.getpid()} {child.pid} {scratch}")
    time.sleep(60)

@component
def Maybe(out: Output[HyperParameters], *, make: bool) -> None:
    out.write({"made": True}) if make else out.leave_out()

@component
def Needs(of: Input[HyperParameters], out: Output[HyperParameters]) -> None:
    out.write(of.read())

@component
def CanDoWithout(out: Output[HyperParameters], of: Input[HyperParameters] | None = None) -> None:
    out.write({"of": of.read() if of is not None else None})

@component
def Fails(out: Output[HyperParameters]) -> None:
    raise ValueError("no")

@component
def Refuses(blessing: Output[Blessing]) -> None:
    blessing.blessed, blessing.reason = False, "AUC 0.5 is below 0.7"
    blessing.write({})
    step_context().refuse("AUC 0.5 is below 0.7")

@component
def Link(before: Input[HyperParameters], out: Output[HyperParameters]) -> None:
    out.write({"depth": before.read()["depth"] + 1})

@component
def Start(out: Output[HyperParameters]) -> None:
    out.write({"depth": 0})

class Numbers(NamedTuple):
    rows: int
    share: float

@component
def Measures(out: Output[HyperParameters], *, rows: int) -> Numbers:
    out.write({})
    return Numbers(rows, rows)

@component
def Takes(out: Output[HyperParameters], *, rows: int, options: dict[str, float]) -> None:
    out.write({"rows": rows, "options": options})

@component
def Reads(out: Output[HyperParameters], *, files: InputFiles) -> None:
    out.write({"text": [Path(entry.path).read_text() for entry in files.files]})

@component
def Many(of: Input[list[HyperParameters]], out: Output[HyperParameters]) -> None:
    out.write({"of": [one.read() for one in of]})
"""


def states(run) -> dict[str, str]:
    return {id_: step.state.value for id_, step in run.steps.items()}


def test_independent_steps_run_side_by_side(author, run):
    done = run(author.Sleep(), author.Sleep().with_id("Other"), jobs=2)
    first, second = (done[id_].outputs["out"].read() for id_ in ("Sleep", "Other"))
    assert first["began"] < second["ended"] and second["began"] < first["ended"]
    alone = run(author.Sleep(), author.Sleep().with_id("Other"), jobs=1, cache=False)
    first, second = sorted(
        (alone[id_].outputs["out"].read() for id_ in ("Sleep", "Other")), key=lambda one: one["began"]
    )
    assert first["ended"] <= second["began"]


def test_retries(author, run, tmp_path):
    counter = str(tmp_path / "counter")
    done = run(author.Flaky(counter=counter, works_at=3).with_settings(retries=2))
    step = done["Flaky"]
    assert (step.state.value, step.attempt, step.outputs["out"].read()) == ("succeeded", 3, {"tries": 3})
    logs = [Path(step.log).with_name(f"Flaky.{number}.log").read_text() for number in (1, 2, 3)]
    assert [f"try {n} attempt {n}" in text for n, text in enumerate(logs, 1)] == [True] * 3
    assert "ValueError: try 1" in logs[0]


def test_retries_end(author, run, tmp_path):
    done = run(author.Flaky(counter=str(tmp_path / "counter"), works_at=9).with_settings(retries=1))
    assert done["Flaky"].state == "failed" and done["Flaky"].error["message"] == "ValueError: try 2"


@pytest.mark.parametrize(("isolation", "ignore"), [("fork", False), ("spawn", False), ("fork", True)])
def test_a_timeout_ends_the_step_and_all_it_started(author, run, tmp_path, alive, isolation, ignore, monkeypatch):
    import headrace.pipelines.runner.attempt as attempt

    monkeypatch.setattr(attempt, "GRACE", 1.0)
    began = time.monotonic()
    step = author.Stubborn(pids=str(tmp_path / "pids"), ignore=ignore).with_settings(timeout=1)
    done = run(step, isolation=isolation)
    assert time.monotonic() - began < 20
    assert done["Stubborn"].error["message"] == "ended after its timeout of 1 s"
    pid, child, scratch = (tmp_path / "pids").read_text().split()
    time.sleep(0.2)
    assert not alive(int(pid)) and not alive(int(child))
    if not ignore:
        assert not Path(scratch).exists(), "a step that was asked to end clears up"
        assert "KeyboardInterrupt" in Path(done["Stubborn"].log).read_text(), "and its log says where it was"


def test_a_timeout_that_is_not_reached(author, run):
    assert run(author.Sleep(seconds=0.1).with_settings(timeout=30))["Sleep"].state == "succeeded"


def test_what_is_left_out(author, run):
    """A step that can do without runs; one that cannot is skipped, with the reason; after that one, the same again."""
    maybe = author.Maybe(make=False)
    needs = author.Needs(of=maybe.outputs["out"])
    done = run(
        maybe,
        needs,
        author.CanDoWithout(of=maybe.outputs["out"]),
        author.CanDoWithout(of=needs.outputs["out"]).with_id("AfterSkipped"),
        author.Needs(of=needs.outputs["out"]).with_id("NeedsSkipped"),
    )
    assert states(done) == {
        "Maybe": "succeeded",
        "CanDoWithout": "succeeded",
        "Needs": "skipped",
        "AfterSkipped": "succeeded",
        "NeedsSkipped": "skipped",
    }
    assert done["CanDoWithout"].outputs["out"].read() == {"of": None}
    assert done["Needs"].error["message"] == "Maybe made no out"
    assert done["NeedsSkipped"].error["message"] == "Needs made no out: Maybe made no out"
    assert done.exit_code == 0
    assert "out" not in done["Maybe"].outputs


def test_what_is_made_after_all(author, run):
    maybe = author.Maybe(make=True)
    done = run(maybe, author.CanDoWithout(of=maybe.outputs["out"]))
    assert done["CanDoWithout"].outputs["out"].read() == {"of": {"made": True}}


def test_after_a_failure_nothing_runs_not_even_what_could_do_without(author, run):
    fails = author.Fails()
    done = run(fails, author.CanDoWithout(of=fails.outputs["out"]), author.Sleep(seconds=0))
    assert states(done) == {"Fails": "failed", "CanDoWithout": "skipped", "Sleep": "succeeded"}
    assert done["CanDoWithout"].error["message"] == "Fails failed" and done.exit_code == 1


def test_a_refusal_is_3_and_a_cached_one_too(author, run):
    for state in ("not_blessed", "cached"):
        done = run(author.Refuses())
        assert states(done) == {"Refuses": state}
        assert (done.state, done.exit_code) == (RunState.NOT_BLESSED, 3)
        assert done["Refuses"].refusal == "AUC 0.5 is below 0.7"


def test_a_deep_chain(author, run):
    steps = [author.Start()]
    for number in range(60):
        steps.append(author.Link(before=steps[-1].outputs["out"]).with_id(f"L{number}"))
    done = run(*reversed(steps))
    assert done["L59"].outputs["out"].read() == {"depth": 60}
    assert set(states(run(*steps)).values()) == {"cached"}


def test_output_parameters_are_arguments_and_count(author, run):
    def go(rows):
        measures = author.Measures(rows=rows)
        options = {"share": measures.outputs["share"], "half": 0.5}
        return run(measures, author.Takes(rows=measures.outputs["rows"], options=options))

    first = go(3)
    assert first["Takes"].outputs["out"].read() == {"rows": 3, "options": {"share": 3.0, "half": 0.5}}
    assert first["Measures"].results == {"rows": 3, "share": 3.0}
    assert states(go(3)) == {"Measures": "cached", "Takes": "cached"}
    assert go(3)["Measures"].results == {"rows": 3, "share": 3.0}
    assert states(go(4)) == {"Measures": "succeeded", "Takes": "succeeded"}


def test_lists_of_inputs_keep_their_order(author, run):
    two = [author.Measures(rows=1).with_id("B"), author.Start().with_id("A")]
    done = run(*two, author.Many(of=[step.outputs["out"] for step in two]))
    assert done["Many"].outputs["out"].read() == {"of": [{}, {"depth": 0}]}


def test_files_that_are_not_there_fail_their_step_alone(author, run, tmp_path):
    done = run(author.Reads(files=str(tmp_path / "nothing" / "*.csv")), author.Sleep(seconds=0))
    assert states(done) == {"Reads": "failed", "Sleep": "succeeded"}
    assert "nothing" in done["Reads"].error["message"]


def test_no_cache_and_cache_of_a_step(author, run):
    assert states(run(author.Sleep(seconds=0))) == {"Sleep": "succeeded"}
    assert states(run(author.Sleep(seconds=0))) == {"Sleep": "cached"}
    assert states(run(author.Sleep(seconds=0), cache=False)) == {"Sleep": "succeeded"}
    off = run(author.Sleep(seconds=0).with_settings(cache=False))
    assert states(off) == {"Sleep": "succeeded"} and off["Sleep"].cache_reason == "cache is off for this step"


@pytest.mark.parametrize("damage", ["deleted", "shortened"])
def test_what_is_damaged_is_made_again(author, run, damage):
    first = run(author.Start())
    [payload] = Path(first["Start"].outputs["out"].uri).glob("hyper*")
    payload.unlink() if damage == "deleted" else payload.write_text("")
    again = run(author.Start())
    assert states(again) == {"Start": "succeeded"}
    assert again["Start"].cache_reason == "its earlier outputs are gone or damaged"
    assert states(run(author.Start())) == {"Start": "cached"}


def test_debug_runs_here_and_a_named_step_although_it_is_cached(author, run, capfd):
    steps = lambda: (author.Start(), author.Sleep(seconds=0))  # noqa: E731
    run(*steps())
    done = run(*steps(), debug="Start", jobs=1)
    assert states(done) == {"Start": "succeeded", "Sleep": "cached"}
    flaky = run(author.Flaky(counter=str(Path(done.folder) / "c"), works_at=1), debug=True)
    assert "try 1 attempt 1" in capfd.readouterr().out and flaky["Flaky"].state == "succeeded"


def test_a_worker_that_dies_with_its_zygote_is_a_failure_and_the_next_starts_anew(author, run):
    """As when the system ends the zygote for lack of memory."""

    class KillsZygote(Listener):
        def step_started(self, step, reason, attempt):
            if step == "Sleep":
                threading.Timer(1.0, kill_zygotes).start()

    def kill_zygotes() -> None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with_parent = path.with_name("stat").read_text().rpartition(")")[2].split()[1]
            if b"runner.zygote" in path.read_bytes() and int(with_parent) == os.getpid():
                os.kill(int(path.parent.name), signal.SIGKILL)

    sleep = author.Sleep(seconds=20)
    after = author.Start().with_id("Z")
    began = time.monotonic()
    done = run(sleep, after, author.Link(before=after.outputs["out"]), jobs=1, listener=KillsZygote())
    assert time.monotonic() - began < 15
    assert states(done) == {"Sleep": "failed", "Z": "succeeded", "Link": "succeeded"}
    assert "SIGKILL" in done["Sleep"].error["message"]


def test_a_listener_that_breaks_ends_the_run_and_its_steps(author, run, tmp_path, alive):
    class Breaks(Listener):
        def step_started(self, step, reason, attempt):
            if step == "Z":
                raise ZeroDivisionError

    pids = tmp_path / "pids"
    with pytest.raises(ZeroDivisionError):
        run(author.Stubborn(pids=str(pids)), author.Start().with_id("Z"), jobs=2, listener=Breaks())
    deadline = time.monotonic() + 5
    while pids.exists() and any(alive(int(pid)) for pid in pids.read_text().split()[:2]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_unknown_run_time_parameter_starts_nothing(author, run, tmp_path):
    with pytest.raises(PipelineError, match="has no parameter 'x'"):
        run(author.Start(), parameters={"x": 1})
    assert not (tmp_path / "home").exists()
