"""What is recorded of runs and steps is read back the same, on both databases."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from headrace.pipelines.errors import StoreError
from headrace.pipelines.store import NewArtifact, RunState, StepKey, StepState, Store
from headrace.pipelines.store.liveness import surely_dead, this_process
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NESTED = {"nan": math.nan, "inf": math.inf, "nul": "a\0b", "text": "zürich ✈ \ud800", "deep": [{"x": [1, None, True]}]}


def same(left, right) -> bool:
    return json.dumps(left) == json.dumps(right)


def test_a_run_is_read_back(store):
    plan = {"steps": [NESTED]}
    run = store.create_run(
        "flights",
        root="gs://bucket/ü",
        plan_digest="p1",
        plan=plan,
        parameters=NESTED,
        experiment="e",
        scope="sample=200",
        labels={"who": "ann"},
    )
    read = store.run(run.id)
    assert same(read.parameters, NESTED)
    assert (read.state, read.ended, read.root) == (RunState.RUNNING, None, "gs://bucket/ü")
    assert (read.experiment, read.scope, read.labels) == ("e", "sample=200", {"who": "ann"})
    assert read.started == run.started
    assert read.sequence == run.sequence
    assert same(store.plan(run.id), plan)
    store.finish_run(run.id, RunState.FAILED, error={"message": "boom"})
    read = store.run(run.id)
    assert (read.state, read.error) == (RunState.FAILED, {"message": "boom"})
    assert read.ended > read.started


def test_a_plan_is_kept_once(store):
    first = store.create_run("p", root=".", plan_digest="d", plan={"a": 1})
    second = store.create_run("p", root=".", plan_digest="d", plan={"a": 1})
    bare = store.create_run("p", root=".")
    assert store.plan(first.id) == store.plan(second.id) == {"a": 1}
    assert store.plan(bare.id) is None


def test_a_run_ends_once(store):
    run = store.create_run("p", root=".")
    with pytest.raises(StoreError, match="expected a final state"):
        store.finish_run(run.id, RunState.RUNNING)
    store.finish_run(run.id, RunState.SUCCEEDED)
    with pytest.raises(StoreError, match="already ended"):
        store.finish_run(run.id, RunState.FAILED)
    assert store.run(run.id).state is RunState.SUCCEEDED


def test_runs_are_found(store):
    made = [store.create_run("ab"[i % 2], root=".", experiment=str(i)) for i in range(4)]
    store.finish_run(made[0].id, RunState.SUCCEEDED)
    assert [run.id for run in store.runs()] == [run.id for run in made[::-1]]
    assert [run.id for run in store.runs(2)] == [run.id for run in made[:1:-1]]
    assert [run.id for run in store.runs(pipeline="a")] == [made[2].id, made[0].id]
    assert [run.id for run in store.runs(experiment="1")] == [made[1].id]
    assert [run.id for run in store.runs(state=RunState.SUCCEEDED)] == [made[0].id]
    assert store.run().id == made[3].id
    assert store.run(made[1].id[:-2]).id == made[1].id
    with pytest.raises(StoreError, match="beginning of several"):
        store.run("20")
    for unknown in ("x", "%", "_"):
        with pytest.raises(StoreError, match="has no run"):
            store.run(unknown)
    with pytest.raises(StoreError, match="has no run"):
        store.steps("x")


def test_sequence_and_time_grow_together(store):
    runs = [store.create_run("p", root=".") for _ in range(50)]
    assert sorted(runs, key=lambda run: run.started) == sorted(runs, key=lambda run: run.sequence)
    assert len({run.started for run in runs}) == 50


def test_a_step_is_read_back(store):
    run = store.create_run("p", root="root")
    source = store.start_step(run.id, "Gen", component="CsvExampleGen")
    shards = [NewArtifact(f"Gen/{i}", "Examples", f"d{i}", {"rows": i}, {"schema": "s"}) for i in range(12)]
    made = store.finish_step(source, StepState.SUCCEEDED, outputs={"examples": shards})
    assert [artifact.digest for artifact in made["examples"]] == [f"d{i}" for i in range(12)]

    order = [artifact.id for artifact in made["examples"]][::-1]
    step = store.start_step(
        run.id,
        "Tune/Trainer",
        component="Trainer",
        loop_index="2.1",
        attempt=3,
        cache_key="k",
        key_fields={"code": "c"},
        parameters=NESTED,
        inputs={"examples": order, "one": [order[0]]},
        log_uri="logs/1",
    )
    running = store.step(step)
    assert (running.state, running.ended, running.outputs) == (StepState.RUNNING, None, {})
    store.report_progress(step, {"epoch": 2})
    model = NewArtifact("Tune/Trainer/model", "Model", "m", {"a": None})
    store.finish_step(
        step,
        StepState.NOT_BLESSED,
        outputs={"model": [model], "nothing": []},
        output_parameters={"auc": 0.7},
        refusal="not good\0 enough",
        error={"message": "x"},
        peak_rss=3 << 32,
    )
    found = store.steps(run.id)
    assert [one.id for one in found] == [source, step]
    read = found[1]
    assert read == store.step(step) or same(str(read), str(store.step(step)))
    assert read.key == StepKey(run.id, "Tune/Trainer", "2.1", 3)
    assert store.step(read.key).id == step
    assert (read.pipeline, read.component, read.state) == ("p", "Trainer", StepState.NOT_BLESSED)
    assert (read.cache_key, read.key_fields, read.log_uri) == ("k", {"code": "c"}, "logs/1")
    assert same(read.parameters, NESTED)
    assert (read.output_parameters, read.refusal, read.error) == (
        {"auc": 0.7},
        "not good\\x00 enough",
        {"message": "x"},
    )
    assert (read.progress, read.peak_rss, read.cached_from) == ({"epoch": 2}, 3 << 32, None)
    assert read.started < read.ended
    assert {name: [one.id for one in all_] for name, all_ in read.inputs.items()} == {
        "examples": order,
        "one": [order[0]],
    }
    (artifact,) = read.outputs["model"]
    assert (artifact.root, artifact.uri, artifact.type, artifact.digest) == ("root", model.uri, "Model", "m")
    assert (artifact.producer, artifact.output, artifact.live) == (read.key, "model", True)
    assert artifact.id > max(order)


def test_finish_gives_what_is_then_read(store):
    run = store.create_run("p", root="r")
    step = store.start_step(run.id, "s", component="C")
    made = store.finish_step(step, StepState.SUCCEEDED, outputs={"y": [NewArtifact("u", "T", "d", {"a": [1]})]})
    assert store.artifact(made["y"][0].id) == made["y"][0]
    assert store.step(step).outputs == made


def test_each_attempt_is_recorded_once(store):
    run = store.create_run("p", root=".")
    step = store.start_step(run.id, "s", component="C")
    with pytest.raises(StoreError, match="recorded in this run before"):
        store.start_step(run.id, "s", component="C")
    store.finish_step(step, StepState.FAILED, error={"message": "x"})
    with pytest.raises(StoreError, match="not running"):
        store.finish_step(step, StepState.SUCCEEDED)
    store.start_step(run.id, "s", component="C", attempt=2)
    store.start_step(run.id, "s", component="C", loop_index="0")
    assert [one.state for one in store.steps(run.id)] == [StepState.FAILED, StepState.RUNNING, StepState.RUNNING]
    with pytest.raises(StoreError, match="expected a final state"):
        store.finish_step(step, StepState.RUNNING)
    with pytest.raises(StoreError, match="has no step"):
        store.step(99)


def test_what_is_refused_leaves_nothing(store):
    """One transaction: an output that cannot be written takes the step's end with it."""
    run = store.create_run("p", root=".")
    step = store.start_step(run.id, "s", component="C")
    good, bad = NewArtifact("u", "T", "d"), NewArtifact("v", "T", "d", {"not JSON": object()})
    with pytest.raises(StoreError, match="not JSON serializable"):
        store.finish_step(step, StepState.SUCCEEDED, outputs={"y": [good, bad]})
    assert store.step(step).state is StepState.RUNNING
    assert store.artifacts() == ()
    with pytest.raises(StoreError):
        store.start_step(run.id, "t", component="C", inputs={"x": [12345]})
    assert len(store.steps(run.id)) == 1


def test_a_skipped_step_says_why(store):
    run = store.create_run("p", root=".")
    store.record_skipped_step(run.id, "Pusher", component="Pusher", reason="Trainer failed")
    (step,) = store.steps(run.id)
    assert (step.state, step.error) == (StepState.SKIPPED, {"message": "Trainer failed"})


def test_series_are_read_back(store):
    run = store.create_run("p", root=".")
    step = store.start_step(run.id, "s", component="C")
    store.record_metrics(step, {"loss": [(0, 1.5), (1, math.nan)], "auc": [(1, math.inf)], "none": []})
    store.record_metrics(step, {"loss": [(1, 0.1), (2, 1 / 3)]})
    assert store.metrics(step) == {"auc": [(1, math.inf)], "loss": [(0, 1.5), (1, 0.1), (2, 1 / 3)]}
    store.record_metrics(step, {"loss": [(0, math.nan)]})
    assert math.isnan(store.metrics(step)["loss"][0][1])


def test_the_end_of_a_run_ends_its_steps(store):
    run, other = store.create_run("p", root="."), store.create_run("p", root=".")
    for one in (run, other):
        store.start_step(one.id, "s", component="C")
    store.finish_run(run.id, RunState.INTERRUPTED)
    assert store.steps(run.id)[0].state is StepState.INTERRUPTED
    assert store.steps(other.id)[0].state is StepState.RUNNING


def test_a_killed_driver_is_noticed(store, store_url):
    code = (
        "import os, signal, sys\nfrom headrace.pipelines.store import Store\n"
        "store = Store.open(sys.argv[1])\nrun = store.create_run('p', root='.')\n"
        "store.start_step(run.id, 's', component='C')\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    mine = store.create_run("p", root=".")
    assert store.recover_dead_runs() == ()
    assert subprocess.run([sys.executable, "-c", code, store_url], check=False).returncode == -9
    (dead,) = store.recover_dead_runs()
    assert dead.state is RunState.INTERRUPTED
    assert store.steps(dead.id)[0].state is StepState.INTERRUPTED
    assert store.run(mine.id).state is RunState.RUNNING
    assert store.recover_dead_runs() == ()


def test_only_a_process_known_to_be_dead_is_dead():
    here = this_process()
    assert not surely_dead(here)
    assert surely_dead({**here, "start": "1"})
    assert surely_dead({**here, "pid": 2**22 + 1})
    assert surely_dead({**here, "boot": "another"})
    assert not surely_dead({**here, "host": "another", "pid": 2**22 + 1})
    assert not surely_dead({**here, "namespace": "another container", "pid": 2**22 + 1})
    assert not surely_dead({})


text = st.text(st.characters(), max_size=30)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=text, uri=text, output=text, refusal=text)
def test_any_text_is_kept_or_escaped(store: Store, path, uri, output, refusal):
    """File names and messages hold anything; no database may refuse a record for it."""
    run = store.create_run("p", root=".")
    step = store.start_step(run.id, path, component="C")
    store.finish_step(step, StepState.FAILED, refusal=refusal, outputs={output: [NewArtifact(uri, "T", "d")]})
    read = store.step(step)
    if all(character not in path + refusal for character in "\0") and not _surrogates(path + refusal):
        assert (read.key.path, read.refusal) == (path, refusal)
    assert store.step(StepKey(run.id, path)).id == step
    assert len(read.outputs) == 1


def _surrogates(value: str) -> bool:
    return any(0xD800 <= ord(character) <= 0xDFFF for character in value)
