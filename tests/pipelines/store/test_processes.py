"""Several processes on one store, and processes that are killed: nothing is lost, nothing is half there."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from headrace.pipelines.store import NewArtifact, RunState, StepState, Store

WRITERS, STEPS = 3, 40


def start(what: str, *arguments: object) -> subprocess.Popen[str]:
    """Runs a function of this file in a process of its own, up to its `ready`."""
    command = [sys.executable, __file__, what, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def ready() -> None:
    print("ready", flush=True)


def go(process: subprocess.Popen[str]) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()


def write(url: str, number: str) -> None:
    ready()
    sys.stdin.readline()
    with Store.open(url) as store:
        run = store.create_run(f"p{number}", root=str(number), plan_digest="same", plan={"same": True})
        read: list[int] = []
        for i in range(STEPS):
            key = f"k{i}"
            step = store.start_step(
                run.id, f"s{i}", component="C", cache_key=key, key_fields={"i": i}, inputs={"x": read}
            )
            new = [NewArtifact(f"s{i}/{j}", "T", f"{number}-{i}-{j}") for j in range(2)]
            made = store.finish_step(step, StepState.SUCCEEDED, outputs={"y": new}, output_parameters={"i": i})
            read = [artifact.id for artifact in made["y"]]
            assert store.lookup_cache(key, root=str(number)).outputs == made
        store.finish_run(run.id, RunState.SUCCEEDED)


def test_processes_share_a_store_from_its_making_on(store_url):
    """All of them open, and so make, the store at once; then each writes its runs."""
    writers = [start("write", store_url, number) for number in range(WRITERS)]
    for writer in writers:
        go(writer)
    assert [writer.wait(120) for writer in writers] == [0] * WRITERS
    with Store.open(store_url) as store:
        runs = store.runs(None)
        assert sorted(run.pipeline for run in runs) == [f"p{number}" for number in range(WRITERS)]
        artifacts = store.artifacts(limit=None)
        assert len({artifact.digest for artifact in artifacts}) == len(artifacts) == WRITERS * STEPS * 2
        for run in runs:
            steps = store.steps(run.id)
            assert run.state is RunState.SUCCEEDED
            assert store.plan(run.id) == {"same": True}
            assert [step.output_parameters for step in steps] == [{"i": i} for i in range(STEPS)]
            for before, after in itertools.pairwise(steps):
                assert after.inputs["x"] == before.outputs["y"]
                assert after.key_fields == {"i": int(after.key.path[1:])}


def test_threads_share_a_store(store):
    """The driver's thread and a pool on one object."""
    run = store.create_run("p", root="root")

    def one(i: int) -> int:
        step = store.start_step(run.id, f"s{i}", component="C", cache_key=f"k{i}")
        made = store.finish_step(step, StepState.SUCCEEDED, outputs={"y": [NewArtifact(f"{i}", "T", f"{i}")]})
        store.report_progress(step, {"i": i})
        assert store.lookup_cache(f"k{i}", root="root").outputs == made
        return made["y"][0].id

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(one, range(120)))
    assert len(set(made)) == 120
    assert Counter(step.state for step in store.steps(run.id)) == {StepState.SUCCEEDED: 120}


def test_numbers_grow_in_the_order_of_commits(store):
    """Once a number was seen, no smaller one may appear: an "as of" that was answered stays as it was."""
    run = store.create_run("p", root="root")
    stop, late = threading.Event(), []

    def watch() -> None:
        seen: set[int] = set()
        while not stop.is_set():
            now = {artifact.id for artifact in store.artifacts(limit=None)}
            late.extend(one for one in now - seen if seen and one < max(seen))
            seen |= now

    def one(i: int) -> None:
        step = store.start_step(run.id, f"s{i}", component="C")
        new = [NewArtifact(f"{i}/{j}", "T", "d") for j in range(4)]
        store.finish_step(step, StepState.SUCCEEDED, outputs={"y": new})

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(one, range(60)))
    stop.set()
    watcher.join()
    assert late == []


def write_until_killed(url: str) -> None:
    with Store.open(url) as store:
        run = store.create_run("p", root="root")
        for i in itertools.count():
            step = store.start_step(run.id, f"s{i}", component="C", cache_key=f"{run.id}-{i}", key_fields={"i": i})
            new = [NewArtifact(f"{run.id}/{i}/{j}", "T", f"{i}-{j}") for j in range(5)]
            store.finish_step(step, StepState.SUCCEEDED, outputs={"y": new}, output_parameters={"i": i})
            ready()


def kill_while_writing(store_url: str, chance: random.Random) -> None:
    """Kills a writer after its second step, at a moment that is within the two that follow on any machine."""
    writer = start("write_until_killed", store_url)
    began = time.monotonic()
    assert writer.stdout.readline() == "ready\n"
    time.sleep(chance.uniform(0, 2) * (time.monotonic() - began))
    writer.kill()
    writer.wait()
    writer.stdin.close()
    writer.stdout.close()


def killed_within_a_step(store_url: str) -> bool:
    """Whether one of the runs was killed when a step of it was not done yet."""
    with Store.open(store_url) as store:
        return any(step.state is StepState.RUNNING for run in store.runs(None) for step in store.steps(run.id))


def test_a_kill_leaves_each_step_whole(store_url):
    """kill -9 at random moments of writing: a step is running without outputs, or done with all five of them."""
    Store.open(store_url).close()
    chance, kills = random.Random(7), 0
    while kills < 4 or (kills < 20 and not killed_within_a_step(store_url)):
        kill_while_writing(store_url, chance)
        kills += 1
    assert killed_within_a_step(store_url), f"each of {kills} kills came between two steps"
    with Store.open(store_url) as store:
        runs = store.runs(None)
        assert len(runs) == len(store.recover_dead_runs()) == kills
        done = 0
        for run in runs:
            *whole, last = store.steps(run.id)
            for step in whole:
                assert step.state is StepState.SUCCEEDED
            assert last.state in (StepState.SUCCEEDED, StepState.INTERRUPTED)
            for step in (*whole, last):
                outputs = len(step.outputs.get("y", ()))
                assert (outputs, bool(step.output_parameters)) == (
                    (5, True) if step in whole else (outputs, outputs == 5)
                )
                hit = store.lookup_cache(step.cache_key, root="root")
                assert (hit is not None) is (step.state is StepState.SUCCEEDED)
                done += hit is not None
        assert done >= 8
        assert len(store.artifacts(limit=None)) == done * 5
    if store_url.startswith("sqlite"):
        with sqlite3.connect(store_url.removeprefix("sqlite:///")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def die_in_the_transaction(url: str, step: str) -> None:
    store = Store.open(url)
    ready()
    record = Store._record_artifact

    def second_dies(self, connection, new, *rest):
        if new.uri == "b":
            os.kill(os.getpid(), signal.SIGKILL)
        return record(self, connection, new, *rest)

    Store._record_artifact = second_dies  # type: ignore[method-assign]
    store.finish_step(
        step, StepState.SUCCEEDED, outputs={"y": [NewArtifact("a", "T", "d"), NewArtifact("b", "T", "d")]}
    )


def test_a_kill_inside_the_transaction_takes_all_of_it(store, store_url):
    run = store.create_run("p", root=".")
    step = store.start_step(run.id, "s", component="C")
    victim = start("die_in_the_transaction", store_url, step)
    assert victim.wait(60) == -signal.SIGKILL
    assert store.artifacts() == ()
    assert store.step(step).state is StepState.RUNNING
    store.finish_step(step, StepState.FAILED)


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_store_held_by_another_for_too_long_is_said(store_url, monkeypatch):
    monkeypatch.setattr("headrace.pipelines.store.database.BUSY_SECONDS", 0.1)
    from headrace.pipelines.errors import StoreError

    with Store.open(store_url) as store:
        holder = sqlite3.connect(store_url.removeprefix("sqlite:///"), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert store.runs() == (), "readers do not wait"
        with pytest.raises(StoreError, match=r"(?s)locked.*end the process"):
            store.create_run("p", root=".")
        holder.execute("ROLLBACK")
        store.create_run("p", root=".")
        holder.close()


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_lost_connection_is_said_and_then_made_again(store, store_url):
    import psycopg

    run = store.create_run("p", root=".")
    with psycopg.connect(store_url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headrace'")
    assert store.run(run.id) == run


if __name__ == "__main__":
    {"write": write, "write_until_killed": write_until_killed, "die_in_the_transaction": die_in_the_transaction}[
        sys.argv[1]
    ](*sys.argv[2:])
