"""What the cache and the resolvers are told: the newest that is still there, as of the right moment."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from headrace.pipelines.errors import StoreError
from headrace.pipelines.store import ArtifactRecord, FileStamp, History, NewArtifact, RunState, StepState, Store

HISTORY = History("p", "root")


def run_step(store: Store, run: str, path: str, outputs=(), *, key=None, inputs=None, state=StepState.SUCCEEDED, **kw):
    """A step that makes one artifact for each (output, type, digest); gives them."""
    step = store.start_step(run, path, component=path, cache_key=key, key_fields=key and {"key": key}, inputs=inputs)
    made = store.finish_step(
        step,
        state,
        outputs={name: [NewArtifact(f"{run}/{path}/{name}", kind, digest)] for name, kind, digest in outputs},
        **kw,
    )
    return {name: all_[0] for name, all_ in made.items()}


def new_run(store: Store, *, pipeline="p", root="root", scope="") -> str:
    return store.create_run(pipeline, root=root, scope=scope).id


def test_a_hit_is_the_newest_that_is_still_there(store):
    first, second = new_run(store), new_run(store)
    old = run_step(store, first, "s", [("y", "T", "d")], key="k", output_parameters={"n": 1})
    new = run_step(store, second, "s", [("y", "T", "d"), ("z", "T", "e")], key="k", output_parameters={"n": 2})
    hit = store.lookup_cache("k", root="root")
    assert {name: all_[0] for name, all_ in hit.outputs.items()} == new
    assert store.lookup_cache("k", root="elsewhere") is None
    assert (hit.output_parameters, hit.key.run_id, hit.state, hit.refusal) == (
        {"n": 2},
        second,
        StepState.SUCCEEDED,
        None,
    )
    store.mark_artifact_gone(new["z"].id)
    assert store.lookup_cache("k", root="root").outputs == {"y": (old["y"],)}
    store.mark_artifact_gone(old["y"].id)
    assert store.lookup_cache("k", root="root") is None
    assert store.lookup_cache("j", root="root") is None


def test_made_again_is_there_again(store):
    run = new_run(store)
    made = run_step(store, run, "s", [("y", "T", "d")], key="k")["y"]
    store.mark_artifact_gone(made.id)
    step = store.start_step(run, "s", component="s", attempt=2, cache_key="k")
    again = store.finish_step(step, StepState.SUCCEEDED, outputs={"y": [NewArtifact(made.uri, "T", "d")]})["y"][0]
    assert again == made
    assert store.lookup_cache("k", root="root").outputs == {"y": (made,)}


def test_other_content_at_the_same_place_replaces_it(store):
    run = new_run(store)
    old = store.finish_step(
        store.start_step(run, "Importer", component="Importer", cache_key="k1"),
        StepState.SUCCEEDED,
        outputs={"y": [NewArtifact("s3://x/model", "Model", "d1")]},
    )["y"][0]
    new = store.finish_step(
        store.start_step(run, "Importer", component="Importer", attempt=2, cache_key="k2"),
        StepState.SUCCEEDED,
        outputs={"y": [NewArtifact("s3://x/model", "Model", "d2")]},
    )["y"][0]
    assert new.id > old.id
    assert store.artifact(old.id).live is False
    assert store.artifact(old.id).digest == "d1"
    assert store.lookup_cache("k1", root="root") is None
    assert store.lookup_cache("k2", root="root").outputs == {"y": (new,)}


@pytest.mark.parametrize(
    ("state", "refusal", "hit"),
    [
        (StepState.SUCCEEDED, None, True),
        (StepState.NOT_BLESSED, "AUC 0.5 is under 0.6", True),
        (StepState.FAILED, "3 anomalies", True),
        (StepState.FAILED, None, False),
        (StepState.INTERRUPTED, None, False),
    ],
)
def test_what_may_be_taken_again(store, state, refusal, hit):
    """A refusal is a result like another; a step that broke is none."""
    run = new_run(store)
    made = run_step(store, run, "s", [("y", "T", "d")], key="k", state=state, refusal=refusal)
    found = store.lookup_cache("k", root="root")
    assert (found is not None) is hit
    if found:
        assert (found.state, found.refusal) == (state, refusal)
        again = new_run(store)
        step = store.record_cached_step(again, "s", found, component="s", cache_key="k", inputs={"x": [made["y"].id]})
        read = store.step(step)
        assert (read.state, read.refusal, read.cached_from) == (StepState.CACHED, refusal, found.key)
        assert read.outputs == found.outputs
        assert read.inputs == {"x": (made["y"],)}
        assert read.key_fields == {"key": "k"}
        # A hit on a hit is a hit on the step that ran.
        assert store.lookup_cache("k", root="root").key == found.key


def test_a_running_step_is_no_hit(store):
    store.start_step(new_run(store), "s", component="s", cache_key="k")
    assert store.lookup_cache("k", root="root") is None


def test_the_previous_step_is_what_why_compares_with(store):
    runs = [new_run(store) for _ in range(3)]
    run_step(store, runs[0], "s", key="k0")
    run_step(store, runs[1], "s", key="k1", state=StepState.FAILED)
    run_step(store, runs[2], "s", key="k2")
    run_step(store, runs[2], "other", key="k3")
    run_step(store, new_run(store, pipeline="q"), "s", key="k4")
    run_step(store, new_run(store, scope="sample"), "s", key="k5")
    assert store.previous_step(HISTORY, "s").key_fields == {"key": "k2"}
    assert store.previous_step(HISTORY, "s", before_run=runs[2]).key_fields == {"key": "k1"}
    done = store.previous_step(HISTORY, "s", before_run=runs[2], states=[StepState.SUCCEEDED])
    assert done.key_fields == {"key": "k0"}
    assert store.previous_step(HISTORY, "s", before_run=runs[0]) is None
    assert store.previous_step(HISTORY, "missing") is None
    assert store.previous_step(History("p", "root", "sample"), "s").key_fields == {"key": "k5"}


def test_lineage_goes_both_ways(store):
    run = new_run(store)
    examples = run_step(store, run, "Gen", [("examples", "Examples", "e")])["examples"]
    statistics = run_step(store, run, "Stats", [("s", "Statistics", "s")], inputs={"examples": [examples.id]})["s"]
    schema = run_step(store, run, "SchemaGen", [("schema", "Schema", "c")], inputs={"s": [statistics.id]})["schema"]
    model = run_step(
        store, run, "Trainer", [("model", "Model", "m")], inputs={"e": [examples.id], "schema": [schema.id]}
    )["model"]
    alone = run_step(store, run, "Other", [("o", "Other", "o")])["o"]
    assert store.ancestors(model.id) == (schema, statistics, examples)
    assert store.ancestors(examples.id) == store.ancestors(alone.id) == ()
    assert store.descendants(examples.id) == (statistics, schema, model)
    assert store.descendants(model.id) == ()
    assert store.artifacts(type="Model") == (model,)
    assert store.artifacts(digest="c") == (schema,)
    assert store.artifacts(uri=alone.uri, root="root", live=True) == (alone,)
    assert store.artifacts(live=False) == ()
    assert store.artifacts(limit=2) == (alone, model)
    with pytest.raises(StoreError, match="no artifact 999"):
        store.artifact(999)


@dataclass
class Project:
    """A pipeline Trainer -> Evaluator on a store, as the runner would drive it: cached when nothing changed."""

    store: Store
    baselines: list[str | None] = field(default_factory=list)
    states: list[StepState] = field(default_factory=list)

    def run(self, code: str, *, blessed: bool = True, history: History = HISTORY) -> None:
        run = self.store.create_run(history.pipeline, root=history.root, scope=history.scope)
        model = self._step(run.id, "Trainer", f"train {code}", ("model", "Model", f"model of {code}"), {})
        before = self.store.first_produced(history, "Model", model.digest)
        baseline = self.store.latest_blessed_model(history, before=before, not_digest=model.digest)
        self.baselines.append(baseline and baseline.digest.removeprefix("model of "))
        inputs = {"model": [model.id], **({"baseline_model": [baseline.id]} if baseline else {})}
        key = f"evaluate {model.digest} against {baseline and baseline.digest}"
        self._step(run.id, "Evaluator", key, ("blessing", "Blessing", key), inputs, {"blessed": blessed})
        self.store.finish_run(run.id, RunState.SUCCEEDED)

    def _step(self, run: str, path: str, key: str, output, inputs, properties=None) -> ArtifactRecord:
        root = self.store.run(run).root
        hit = self.store.lookup_cache(key, root=root)
        if hit:
            self.store.record_cached_step(run, path, hit, component=path, cache_key=key, inputs=inputs)
            self.states.append(StepState.CACHED)
            return next(iter(hit.outputs.values()))[0]
        name, kind, digest = output
        step = self.store.start_step(run, path, component=path, cache_key=key, inputs=inputs)
        new = NewArtifact(f"{run}/{path}", kind, digest, properties or {})
        self.states.append(StepState.SUCCEEDED)
        return self.store.finish_step(step, StepState.SUCCEEDED, outputs={name: [new]})[name][0]


RAN, HIT = [StepState.SUCCEEDED] * 2, [StepState.CACHED] * 2


def test_a_baseline_is_as_of_the_candidate(store):
    """Run, same run, edit, run, same run, back to the first, another edit: DESIGN's rule for resolvers."""
    project = Project(store)
    for code in ("a", "a", "b", "b", "a", "b", "c"):
        project.run(code)
    assert project.baselines == [None, None, "a", "a", None, "a", "b"]
    assert project.states == [*RAN, *HIT, *RAN, *HIT, *HIT, *HIT, *RAN]


def test_a_model_that_was_not_blessed_is_no_baseline(store):
    project = Project(store)
    project.run("a")
    project.run("b", blessed=False)
    project.run("c")
    assert project.baselines == [None, "a", "a"]


def test_a_model_that_is_gone_is_no_baseline(store):
    project = Project(store)
    project.run("a")
    project.run("b")
    (gone,) = store.artifacts(type="Model", digest="model of b")
    store.mark_artifact_gone(gone.id)
    project.run("c")
    assert project.baselines == [None, "a", "a"]


@pytest.mark.parametrize("other", [History("q", "root"), History("p", "elsewhere"), History("p", "root", "sample=200")])
def test_another_history_gives_no_baseline(store, other):
    project = Project(store)
    project.run("a", history=other)
    project.run("b")
    assert project.baselines == [None, None]
    assert store.first_produced(HISTORY, "Model", "model of a") is None
    assert store.latest_blessed_model(other).digest == "model of a"


def test_a_baseline_is_not_the_blessed_one(store):
    """The Evaluator reads the baseline too; its blessing is of the model alone."""
    project = Project(store)
    for code, blessed in (("a", False), ("b", False)):
        project.run(code, blessed=blessed)
    run = new_run(store)
    baseline = store.artifacts(digest="model of a")[0]
    model = store.artifacts(digest="model of b")[0]
    step = store.start_step(
        run, "Evaluator", component="E", inputs={"baseline_model": [baseline.id], "model": [model.id]}
    )
    yes = NewArtifact("yes", "Blessing", "yes", {"blessed": True})
    store.finish_step(step, StepState.SUCCEEDED, outputs={"blessing": [yes]})
    assert store.latest_blessed_model(HISTORY) == model
    assert store.latest_blessed_model(HISTORY, not_digest=model.digest) is None


def test_a_failed_evaluation_blesses_nothing(store):
    run = new_run(store)
    model = run_step(store, run, "Trainer", [("model", "Model", "m")])["model"]
    step = store.start_step(run, "Evaluator", component="E", inputs={"model": [model.id]})
    yes = NewArtifact("yes", "Blessing", "yes", {"blessed": True})
    store.finish_step(step, StepState.FAILED, outputs={"blessing": [yes]}, error={"message": "x"})
    assert store.latest_blessed_model(HISTORY) is None


def test_the_latest_artifact_is_as_of(store):
    """The previous statistics, for drift: newest of that step before the candidate, other than the candidate."""
    made = [
        run_step(store, new_run(store), "Stats", [("statistics", "Statistics", digest)])["statistics"]
        for digest in ("1", "2", "1", "3")
    ]
    run_step(store, new_run(store), "Other", [("statistics", "Statistics", "4")])
    run_step(store, new_run(store, scope="sample"), "Stats", [("statistics", "Statistics", "5")])

    def latest(candidate: str | None = None) -> ArtifactRecord | None:
        before = candidate and store.first_produced(HISTORY, "Statistics", candidate)
        return store.latest_artifact(
            HISTORY, "Statistics", path="Stats", output="statistics", before=before, not_digest=candidate
        )

    assert latest() == made[3]
    assert latest("3") == made[2]
    assert latest("2") == made[0]
    assert latest("1") is None
    store.mark_artifact_gone(made[2].id)
    assert latest("3") == made[1]
    assert store.latest_artifact(HISTORY, "Statistics").digest == "4"
    assert store.latest_artifact(HISTORY, "Statistics", path="Stats", output="no such") is None
    assert store.latest_artifact(HISTORY, "Schema") is None


def test_digests_are_remembered_until_the_file_changes(store, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("1", encoding="utf-8")
    os.utime(file, ns=(10**18, 10**18))
    stamp = FileStamp.of(file)
    assert store.known_digests([stamp]) == {}
    store.remember_digests({stamp: "d1"})
    assert store.known_digests([FileStamp.of(str(file))]) == {str(file): "d1"}
    os.utime(file, ns=(10**18, 10**18 + 1))
    assert store.known_digests([FileStamp.of(file)]) == {}
    store.remember_digests({FileStamp.of(file): "d2"})
    assert store.known_digests([FileStamp.of(file), stamp]) == {}, "the last stamp of a path counts"
    assert store.known_digests([FileStamp.of(file)]) == {str(file): "d2"}
    replaced = tmp_path / "b.csv"
    replaced.write_text("2", encoding="utf-8")
    os.utime(replaced, ns=(10**18, 10**18 + 1))
    replaced.rename(file)
    assert store.known_digests([FileStamp.of(file)]) == {}, "same size and mtime, another inode"


def test_a_file_changed_just_now_is_not_trusted(store, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("1", encoding="utf-8")
    future = tmp_path / "b.csv"
    future.write_text("1", encoding="utf-8")
    os.utime(future, ns=(time.time_ns() + 10**12,) * 2)
    for path in (file, future):
        store.remember_digests({FileStamp.of(path): "d"})
        assert store.known_digests([FileStamp.of(path)]) == {}
    remote = FileStamp("s3://bucket/a.csv", 1, version='"etag"')
    store.remember_digests({remote: "d"})
    assert store.known_digests([remote, FileStamp("s3://bucket/a.csv", 1, version='"new"')]) == {}
    assert store.known_digests([remote]) == {remote.path: "d"}


def test_many_digests_at_once(store):
    stamps = [FileStamp(f"/data/{i}", i, 1, 2**64 - 1 - i) for i in range(1700)]
    store.remember_digests({stamp: f"d{stamp.size}" for stamp in stamps})
    known = store.known_digests(stamps)
    assert known == {stamp.path: f"d{stamp.size}" for stamp in stamps}


def test_a_folder_that_moves_keeps_its_cache(tmp_path: Path):
    """An embedded store in its root, of root ".", is as good at another place."""
    (tmp_path / "a").mkdir()
    with Store.open(tmp_path / "a") as store:
        made = run_step(store, new_run(store, root="."), "s", [("y", "T", "d")], key="k")
    (tmp_path / "a").rename(tmp_path / "b")
    with Store.open(tmp_path / "b", create=False) as store:
        assert store.lookup_cache("k", root=".").outputs == {"y": (made["y"],)}
