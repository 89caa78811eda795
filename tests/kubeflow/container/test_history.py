"""What the root remembers of earlier runs answers a Resolver as a local store does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from headrace.kubeflow.container.step_history import read_past_steps, write_past_step
from headrace.pipelines.plan import Plan
from headrace.pipelines.runner import run as run_local
from headrace.pipelines.store import ArtifactRecord, History, NewArtifact, PastStep, StepKey, StepState, Store
from headrace.pipelines.store.from_records import fill
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kubeflow.container.by_hand import Cluster

AUTHOR = """
from headrace.pipelines import Blessing, HyperParameters, Input, Model, Output, component, pipeline, step_context
from headrace.components import Resolver


@component
def Train(model: Output[Model], *, content: str):
    (model.path / "weights").write_text(content)

@component
def Bless(model: Input[Model], blessing: Output[Blessing], *, good: bool):
    blessing.blessed, blessing.reason = good, "because"
    blessing.write({"blessed": good})
    if not good:
        step_context().refuse("no good")

@component
def Compare(out: Output[HyperParameters], blessed: Input[Model] | None = None, latest: Input[Model] | None = None):
    def said(model): return None if model is None else (model.path / "weights").read_text()
    out.write({"blessed": said(blessed), "latest": said(latest)})


@pipeline
def flow(content: str = "a", good: bool = True):
    model = Train(content=content).outputs["model"]
    blessed = Resolver(candidate=model).with_id("Blessed")
    latest = Resolver(candidate=model, strategy="latest").with_id("Latest")
    Compare(blessed=blessed.outputs["resolved"], latest=latest.outputs["resolved"])
    Bless(model=model, good=good)
"""
RUNS = (("a", True), ("b", False), ("a", True), ("c", True), ("b", True))


def test_resolvers_in_containers_find_what_local_ones_find(
    load: Callable[[str], Plan], argo: Cluster, tmp_path: Path
) -> None:
    plan, found = load("flow"), []
    for number, (content, good) in enumerate(RUNS):
        given = {"content": content, "good": good}
        local = run_local(plan, root=tmp_path / "local", report=False, parameters=given)
        outcomes = argo.run(plan, f"r{number}", given)
        assert all(outcome.code == 0 for outcome in outcomes.values()), [o.log for o in outcomes.values()]
        expected = {
            (step, name): made.digest for step in local if step != "Bless" for name, made in local[step].outputs.items()
        }
        received = {
            (step, name): made["digest"]
            for step, outcome in outcomes.items()
            if step != "Bless"
            for name, made in outcome.references.items()
            if "digest" in made
        }
        assert received == expected
        found.append(("Blessed", "resolved") in received)
    # The first has none before it, an unblessed one is passed over, and a rerun has what it had at first.
    assert found == [False, True, False, True, True]


@dataclass(frozen=True)
class Event:
    """One run: what it trains, whether that is blessed, what of it comes from the cache, and how it ends."""

    content: int
    blessed: bool
    cached: bool
    rejected: bool


events = st.lists(
    st.builds(Event, st.integers(0, 3), st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=8
)


@settings(max_examples=40, deadline=None)
@given(events)
def test_a_filled_store_answers_as_the_one_that_watched(runs: list[Event]) -> None:
    with TemporaryDirectory() as folder, Store.open(Path(folder, "a.db")) as watched:
        root = str(Path(folder, "root"))
        made: dict[tuple[int, bool], dict[str, tuple[ArtifactRecord, ...]]] = {}
        clock = datetime(2026, 1, 1, tzinfo=UTC)
        for number, event in enumerate(runs):
            run = watched.create_run("flow", root=root).id
            known = made.get((event.content, event.blessed)) if event.cached else None
            uri, state = f"flow/{run}", StepState.CACHED if known else StepState.SUCCEEDED
            model = [NewArtifact(f"{uri}/model", "Model", f"m{event.content}")]
            train = watched.start_step(run, "Train", component="Train")
            models = watched.finish_step(
                train, state, outputs={"model": [_again(known["model"][0])] if known else model}
            )
            clock = _write(root, run, "Train", state, {}, models, clock)
            judged = StepState.FAILED if event.rejected and not known else state
            bless = watched.start_step(run, "Bless", component="Bless", inputs={"model": [models["model"][0].id]})
            new = NewArtifact(f"{uri}/blessing", "Blessing", f"b{number}", {"blessed": event.blessed})
            blessings = watched.finish_step(
                bless, judged, outputs={"blessing": [_again(known["blessing"][0])] if known else [new]}
            )
            clock = _write(root, run, "Bless", judged, models, blessings, clock)
            if not event.rejected:
                made.setdefault((event.content, event.blessed), {**models, **blessings})
        with Store.open(Path(folder, "b.db")) as filled:
            fill(filled, read_past_steps(root, "flow"), pipeline="flow", root=root)
            for content in range(4):
                assert _answers(filled, root, f"m{content}") == _answers(watched, root, f"m{content}")


def _again(artifact: ArtifactRecord) -> NewArtifact:
    return NewArtifact(artifact.uri, artifact.type, artifact.digest, artifact.properties)


def _write(
    root: str,
    run: str,
    path: str,
    state: StepState,
    inputs: dict[str, tuple[ArtifactRecord, ...]],
    outputs: dict[str, tuple[ArtifactRecord, ...]],
    clock: datetime,
) -> datetime:
    ended = clock + timedelta(seconds=1)
    write_past_step(root, "flow", PastStep(StepKey(run, path), path, state, clock, ended, inputs, outputs))
    return ended


def _answers(store: Store, root: str, digest: str) -> object:
    """All that a Resolver asks of a candidate; moments as the artifact that was first then."""
    history = History("flow", root)
    before = store.first_produced(history, "Model", digest)
    blessed = store.latest_blessed_model(history, before=before, not_digest=digest)
    latest = store.latest_artifact(history, "Model", path="Train", output="model", before=before, not_digest=digest)
    first = None if before is None else store.artifact(before)
    return [one and (one.uri, one.digest, one.producer.run_id, one.output) for one in (first, blessed, latest)]


def test_an_artifact_that_only_a_reader_knows_of_is_there_as_its_maker_made_it() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    maker = StepKey("before", "Train", "", 2)
    model = ArtifactRecord(0, "", "flow/before/Train.2/model", "Model", "m", {}, {}, True, now, maker, "model")
    reader = PastStep(StepKey("r", "Bless"), "Bless", StepState.SUCCEEDED, now, now + timedelta(1), {"model": (model,)})
    with TemporaryDirectory() as folder, Store.open(Path(folder, "a.db")) as store:
        fill(store, [reader], pipeline="flow", root="s3://b")
        [found] = store.artifacts()
        assert (found.producer.run_id, found.producer.path, found.producer.attempt) == ("before", "Train", 2)
        assert found.output == "model"
