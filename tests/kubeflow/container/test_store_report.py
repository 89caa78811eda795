"""Steps of a cluster that report to PostgreSQL: one run, its steps, artifacts and lineage, beside local ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from headrace.pipelines.cli import main as headrace
from headrace.pipelines.plan import Plan
from headrace.pipelines.runner import run as run_local
from headrace.pipelines.store import Store

from tests.kubeflow.container.by_hand import Cluster

AUTHOR = """
from headrace.pipelines import HyperParameters, Input, Output, component, pipeline, step_context


@component
def Make(made: Output[HyperParameters], *, n: int): made.write({"n": n})

@component
def Twice(made: Input[HyperParameters], out: Output[HyperParameters], *, fail: bool = False):
    if fail: raise ValueError("on purpose")
    out.write({"n": 2 * made.read()["n"]})

@component
def Judge(made: Input[HyperParameters], verdict: Output[HyperParameters]):
    verdict.write({"ok": False})
    step_context().refuse("not good enough")


@pipeline
def flow(n: int = 1, fail: bool = False):
    first = Make(n=n).with_id("First")
    Make(n=5).with_id("Second")
    Judge(made=Twice(made=first.outputs["made"], fail=fail).outputs["out"])
"""


def reporting(argo: Cluster, url: str) -> Cluster:
    """The cluster with a store whose password comes as in a pod: from the environment."""
    parts = urlsplit(url)
    argo.more = (f"--store=postgresql://{parts.username}@{parts.hostname}:{parts.port}{parts.path}",)
    argo.env = {"PGPASSWORD": unquote(parts.password or "")}
    return argo


def test_a_clusters_runs_are_listed_beside_local_ones(
    load: Callable[[str], Plan], argo: Cluster, postgres_database: str, capsys
) -> None:
    plan, cluster = load("flow"), reporting(argo, postgres_database)
    given = {"n": 1, "fail": False}
    # Two steps of one run start at once: one of them makes the run, the other joins it.
    started = [(step, *cluster.start_step(plan, step, "r1", given, {})) for step in plan.steps[:2]]
    first = {
        step.id: cluster.collect(step, pod, process.returncode, log.decode())
        for step, process, pod in started
        for log in [process.communicate(timeout=120)[0]]
    }
    assert {step.id for step, *_ in started} == {"First", "Second"}
    for step in plan.steps[2:]:
        first[step.id] = cluster.run_step(plan, step, "r1", given, first)
    assert [outcome.code for outcome in first.values()] == [0, 0, 0, 0], [o.log for o in first.values()]
    second = cluster.run(plan, "r2")
    assert {outcome.verdict for outcome in second.values()} == {"cached", "refused"}
    third = cluster.run(plan, "r3", {"n": 2, "fail": True})
    assert third["Twice"].code == 1
    local = run_local(plan, root=cluster.root, store=postgres_database, report=False)

    with Store.open(postgres_database) as store:
        runs = {record.id: record for record in store.runs()}
        assert {id_: record.state.value for id_, record in runs.items()} == {
            "r1": "not_blessed",
            "r2": "not_blessed",
            "r3": "failed",
            local.id: "not_blessed",
        }
        assert runs["r1"].labels == {"target": "argo"} and runs["r1"].parameters == {"n": 1, "fail": False}
        states = {step.key.path: step.state.value for step in store.steps("r1")}
        assert states == {"First": "succeeded", "Second": "succeeded", "Twice": "succeeded", "Judge": "not_blessed"}
        assert {step.state.value for step in store.steps("r2")} == {"cached"}
        failed = next(step for step in store.steps("r3") if step.key.path == "Twice")
        assert failed.error is not None and "on purpose" in failed.error["message"]
        judged = next(step for step in store.steps("r1") if step.key.path == "Judge")
        [verdict] = judged.outputs["verdict"]
        assert [made.producer.path for made in store.ancestors(verdict.id)] == ["Twice", "First"]
        assert judged.refusal == "not good enough" and verdict.uri == "flow/r1/Judge/verdict"
        # A local run takes what the cluster made: root, store and keys are the same.
        assert {step.state.value for step in store.steps(local.id)} == {"cached"}
        assert {step.cache_key for step in store.steps(local.id)} == {step.cache_key for step in store.steps("r1")}

    capsys.readouterr()
    assert headrace(["runs", "--store", postgres_database, "--json"]) == 0
    assert {json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()} >= {"r1", "r2", "r3"}
    assert headrace(["show", "r1", "--store", postgres_database]) == 0
    shown = capsys.readouterr().out
    assert "Judge   refused" in shown and "run r1: not_blessed" in shown
    assert headrace(["show", "r1", "Twice", "--store", postgres_database]) == 0
    assert "password" not in "".join(outcome.log for outcome in first.values())


def test_an_input_that_the_store_never_saw_made_is_recorded_with_its_maker(
    load: Callable[[str], Plan], argo: Cluster, postgres_database: str
) -> None:
    plan = load("flow")
    given = {"n": 1, "fail": False}
    before = {"First": argo.run_step(plan, plan.step("First"), "old", given, {})}
    cluster = reporting(argo, postgres_database)
    twice = cluster.run_step(plan, plan.step("Twice"), "new", given, before)
    assert twice.code == 0, twice.log
    with Store.open(postgres_database) as store:
        [step] = store.steps("new")
        [read] = step.inputs["made"]
        assert (read.producer.run_id, read.producer.path) == ("old", "First")
        assert read.digest == before["First"].references["made"]["digest"]


def test_a_store_that_cannot_be_reached_fails_the_step_before_it_works(
    load: Callable[[str], Plan], argo: Cluster, tmp_path: Path
) -> None:
    plan = load("flow")
    argo.more = ("--store=postgresql://nobody@127.0.0.1:1/nothing",)
    outcome = argo.run_step(plan, plan.step("First"), "r1", {"n": 1}, {})
    assert outcome.code == 1 and "StoreError" not in outcome.message
    assert "@127.0.0.1:1/nothing: connection failed" in outcome.message and "fix:" in outcome.message


def test_a_root_that_is_not_there_says_so_in_the_message_and_to_the_store(
    load: Callable[[str], Plan], argo: Cluster, tmp_path: Path
) -> None:
    plan, store = load("flow"), tmp_path / "store.db"
    argo.more, argo.root = (f"--store={store}",), "/proc/no/such/folder"
    outcome = argo.run_step(plan, plan.step("First"), "r1", {"n": 1}, {})
    assert outcome.code == 1 and "/proc/no/such/folder" in outcome.message
    with Store.open(store) as opened:
        assert [step.state.value for step in opened.steps("r1")] == ["failed"]
        assert opened.run("r1").state.value == "failed"
