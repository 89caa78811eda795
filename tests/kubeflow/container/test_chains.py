"""Whole small chains through `headrace-step`, as Argo and as KFP hand over, against the local runner."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from headrace.kubeflow.step_document import VERDICT
from headrace.pipelines.plan import Plan
from headrace.pipelines.runner import run as run_local
from headrace.pipelines.store import Store

from tests.kubeflow.container.by_hand import Cluster

Load = Callable[[str], Plan]

AUTHOR = """
from typing import NamedTuple

from headrace.pipelines import Artifact, Function, Input, InputFiles, Output, component, pipeline, step_context


class Notes(Artifact):
    def write(self, text): (self.path / "notes.txt").write_text(text, encoding="utf-8")
    def read(self): return (self.path / "notes.txt").read_text(encoding="utf-8")


class Said(NamedTuple):
    times: int
    words: str
    share: float


def shout(text): return text.upper()


@component
def Make(notes: Output[Notes], *, text: str, times: int = 2, change: Function | None = None) -> Said:
    notes.write((change or str)(text) * times)
    print("made by", step_context().step)
    return Said(times, text, 3.0)


@component
def Use(
    notes: Input[Notes], out: Output[Notes], *, times: int, words: str, share: float, more: list[str] | None
) -> None:
    out.write(f"{notes.read()}|{times!r}|{words}|{share!r}|{more!r}")


@component
def Join(notes: Input[list[Notes]], out: Output[Notes], extra: Input[Notes] | None = None) -> None:
    out.write("+".join(n.read() for n in notes) + ("" if extra is None else "&" + extra.read()))


@component
def Maybe(notes: Output[Notes], other: Output[Notes]) -> None:
    other.write("there")
    notes.leave_out()


@component
def Judge(notes: Input[Notes], verdict: Output[Notes]) -> None:
    verdict.write("no")
    step_context().refuse("not good enough")


@component
def Stop(notes: Input[Notes], verdict: Output[Notes]) -> None:
    verdict.write("seen")
    step_context().warn("look at it")
    step_context().reject("wrong data")


@component
def Fail(notes: Input[Notes], out: Output[Notes]) -> None:
    (out.path / "half").write_text("half")
    broken = {}
    broken["missing"]


@component
def Read(out: Output[Notes], *, files: InputFiles) -> None:
    from pathlib import Path
    out.write("".join(Path(path).read_text() for path in files.paths))


@component
def Note(notes: Input[Notes], out: Output[Notes]) -> None:
    out.write(notes.read())


@pipeline
def chain(text: str = "a", more: list[str] | None = None):
    made = Make(text=text, change=shout)
    used = Use(
        notes=made.outputs["notes"],
        times=made.outputs["times"],
        words=made.outputs["words"],
        share=made.outputs["share"],
        more=more,
    )
    second = Make(text="b", times=1).with_id("Second")
    Join(notes=[used.outputs["out"], second.outputs["notes"], used.outputs["out"]])


@pipeline
def absent():
    maybe = Maybe()
    join = Join(notes=[maybe.outputs["other"]], extra=maybe.outputs["notes"])
    note = Note(notes=maybe.outputs["notes"])
    Note(notes=note.outputs["out"]).with_id("After")
    Note(notes=join.outputs["out"]).with_id("Still")


@pipeline
def refused():
    judged = Judge(notes=Make(text="a").outputs["notes"])
    Note(notes=judged.outputs["verdict"])


@pipeline
def rejected():
    stopped = Stop(notes=Make(text="a").outputs["notes"])
    Note(notes=stopped.outputs["verdict"])


@pipeline
def failing():
    Fail(notes=Make(text="a").outputs["notes"])


@pipeline
def reading(pattern: str = "data/*.txt"):
    Read(files=pattern)
"""
HOSTILE = "{{workflow.name}} {{$}} {{=sprig.env('HOME')}} $(HOME) $HOME `id` '\"\\ no 1e3 !!python\n--step=x 🎈\x01"


def digests(run: Any) -> dict[str, dict[str, str]]:
    return {step: {name: made.digest for name, made in run[step].outputs.items()} for step in run}


def cluster_digests(outcomes: Any) -> dict[str, dict[str, str]]:
    return {
        step: {name: made["digest"] for name, made in outcome.references.items() if "digest" in made}
        for step, outcome in outcomes.items()
    }


def local_keys(root: Path, run_id: str) -> dict[str, str | None]:
    with Store.open(root / "store.db") as store:
        return {step.key.path: step.cache_key for step in store.steps(run_id)}


def test_a_chain_makes_what_a_local_run_makes_and_the_next_run_takes_it(
    load: Load, cluster: Cluster, tmp_path: Path
) -> None:
    plan = load("chain")
    parameters = {"text": HOSTILE, "more": ["no", HOSTILE]}
    first = cluster.run(plan, "r1", parameters)
    assert {step: (outcome.code, outcome.verdict) for step, outcome in first.items()} == {
        step.id: (0, "succeeded") for step in plan.steps
    }, [outcome.log for outcome in first.values()]
    local = run_local(plan, root=tmp_path / "local", report=False, parameters=parameters)
    assert cluster_digests(first) == digests(local)
    written = json.loads(first["Make"].texts["words"])
    assert written == HOSTILE and "{{" not in first["Make"].texts["words"] and "$" not in first["Make"].texts["words"]
    assert (first["Make"].texts["times"], first["Make"].texts["share"]) == ("2", "3.0")
    # The cache's key is the local runner's: nothing of the machine or the target is in it.
    kept = {path.stem for path in (Path(cluster.root) / "chain" / "cache").iterdir()}
    assert kept == set(local_keys(tmp_path / "local", local.id).values())

    second = cluster.run(plan, "r2", parameters)
    assert {outcome.verdict for outcome in second.values()} == {"cached"}
    assert cluster_digests(second) == cluster_digests(first)
    assert {step: outcome.texts for step, outcome in second.items()} == {
        step: {**outcome.texts, VERDICT: "cached"} for step, outcome in first.items()
    }
    assert not (Path(cluster.root) / "chain" / "r2").exists()


def test_other_parameters_other_files_and_lost_artifacts_are_no_hits(load: Load, argo: Cluster, project: Path) -> None:
    (project / "data").mkdir()
    (project / "data" / "a.txt").write_text("one")
    plan = load("reading")
    assert argo.run(plan, "r1")["Read"].verdict == "succeeded"
    assert argo.run(plan, "r2")["Read"].verdict == "cached"
    (project / "data" / "b.txt").write_text("two")
    third = argo.run(plan, "r3")["Read"]
    assert third.verdict == "succeeded"
    (Path(third.references["out"]["uri"]) / "artifact.json").unlink()
    assert argo.run(plan, "r4")["Read"].verdict == "succeeded"
    missing = argo.run(plan, "r5", {"pattern": "nothing/*.csv"})["Read"]
    assert missing.code == 1 and "nothing to read" in missing.message and "fix:" in missing.message


def test_what_was_left_out_skips_those_that_need_it_and_no_others(load: Load, cluster: Cluster, tmp_path: Path) -> None:
    plan = load("absent")
    outcomes = cluster.run(plan, "r1")
    local = run_local(plan, root=tmp_path / "local", report=False)
    assert cluster_digests(outcomes) == digests(local)
    assert {step: outcome.verdict for step, outcome in outcomes.items()} == {
        "Maybe": "succeeded",
        "Join": "succeeded",
        "Note": "skipped",
        "After": "skipped",
        "Still": "succeeded",
    }
    assert outcomes["Maybe"].texts["digest-notes"] == outcomes["Note"].texts["digest-out"] == "absent"
    assert "Maybe made no notes: Maybe left it out" in outcomes["Note"].message
    assert "Maybe made no notes" in outcomes["After"].references["out"]["absent"]


def test_a_refusal_is_said_and_costs_the_exit_code_only_where_it_is_asked_for(load: Load, argo: Cluster) -> None:
    plan = load("refused")
    first = argo.run(plan, "r1")
    assert (first["Judge"].code, first["Judge"].verdict, first["Note"].verdict) == (0, "refused", "succeeded")
    assert "Judge refused: not good enough" in first["Judge"].message
    assert argo.run(plan, "r2")["Judge"].verdict == "refused"
    argo.more = ("--fail-if-not-blessed",)
    third = argo.run(plan, "r3")
    assert third["Judge"].code == 3 and third["Judge"].verdict == "refused" and "Note" not in third


def test_a_rejection_stops_the_run_and_is_looked_at_again(load: Load, argo: Cluster) -> None:
    plan = load("rejected")
    for run in ("r1", "r2"):
        outcomes = argo.run(plan, run)
        assert list(outcomes) == ["Make", "Stop"]
        assert outcomes["Stop"].code == 1 and "Stop failed: wrong data" in outcomes["Stop"].message
        assert "warning: look at it" in outcomes["Stop"].log
        assert Path(outcomes["Stop"].references["verdict"]["uri"], "artifact.json").exists()


def test_a_failure_says_what_and_where_and_a_new_attempt_writes_elsewhere(load: Load, argo: Cluster) -> None:
    plan = load("failing")
    first = argo.run(plan, "r1")["Fail"]
    assert first.code == 1 and not first.references
    assert first.message.startswith("Fail failed: KeyError: 'missing'")
    assert 'author.py", line' in first.message and 'broken["missing"]' in first.message
    assert len(first.message.encode()) <= 4096
    again = argo.run(plan, "r1")["Fail"]
    assert again.code == 1 and "attempt 2 of run r1" in again.log
    assert (Path(argo.root) / "failing" / "r1" / "Fail.2" / "out" / "half").exists()


def test_an_image_with_other_code_is_refused_before_anything_is_taken_from_the_cache(
    load: Load, argo: Cluster, project: Path
) -> None:
    plan = load("chain")
    assert argo.run(plan, "r1")["Second"].verdict == "succeeded"
    file = project / "author.py"
    file.write_text(file.read_text().replace("return text.upper()", "return text.lower()"))
    outcomes = argo.run(plan, "r2")
    assert outcomes["Second"].verdict == "cached"
    assert outcomes["Make"].code == 1
    assert "author:shout" in outcomes["Make"].message and "build the image from the code" in outcomes["Make"].message


@pytest.mark.parametrize("prefix", [True, False])
def test_the_log_has_the_steps_own_lines(load: Load, argo: Cluster, prefix: bool) -> None:
    argo.more = () if prefix else ("--no-log-prefix",)
    plan = load("failing")
    log = argo.run(plan, "r1")["Make"].log.splitlines()
    assert ("[Make] made by Make" if prefix else "made by Make") in log
    assert all(line.startswith("[Make] ") == prefix for line in log)
