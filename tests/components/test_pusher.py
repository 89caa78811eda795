"""Pusher: versions that appear whole and increase, verdicts that are obeyed, and what runs again."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path

import fsspec
import pytest
from headrace.components import Importer, Pusher
from headrace.components.pusher import RECEIPT, Filesystem
from headrace.pipelines import Blessing, InfraBlessing, Model, Pipeline, PipelineError, PipelineParameter, SkewBlessing
from headrace.pipelines.errors import DataError

# Its models are no SavedModels that a server could load; what the gates do is tested with them.
NO_GATES = {"infra_gate": False, "skew_gate": False}


def take(uri: str, kind=Model):
    return Importer(source_uri=uri, artifact_type=kind).with_id(kind.__name__)


@pytest.fixture
def parts(tmp_path, exported, verdict):
    exported(tmp_path / "m1", "one")
    exported(tmp_path / "m2", "two")
    verdict(tmp_path / "yes", True, "auc is 0.8, above 0.7")
    verdict(tmp_path / "no", False, "auc is 0.6, below 0.7")
    return tmp_path


def pipeline(parts: Path, model: str = "m1", blessing: str = "yes", **options):
    candidate, judged = take(str(parts / model)), take(str(parts / blessing), Blessing)
    options = NO_GATES | {"push_destination": Filesystem(str(parts / "serving"))} | options
    pusher = Pusher(model=candidate.outputs["result"], model_blessing=judged.outputs["result"], **options)
    return candidate, judged, pusher


def versions(parts: Path) -> list[str]:
    return sorted(path.name for path in (parts / "serving").iterdir())


def test_a_blessed_model_is_pushed_where_a_server_finds_it(parts, run):
    step = run(*pipeline(parts))["Pusher"]
    pushed = step.outputs["pushed_model"]
    assert step.results == {"pushed": True, "version": 1, "verdict": "auc is 0.8, above 0.7"}
    assert (pushed.destination, pushed.version) == (f"{parts}/serving/1", 1)
    assert (parts / "serving/1/saved_model.pb").read_text() == "one"
    assert (parts / "serving/1/variables/variables.index").exists()
    receipt = json.loads((parts / "serving/1" / RECEIPT).read_text())
    assert (
        receipt["model"] == Model.open(str(parts / "m1")).digest and receipt["pipeline"] == "p" and receipt["blessed"]
    )
    assert pushed.read()["verdict"] == "auc is 0.8, above 0.7" and pushed.links["model"]["type"] == "Model"


def test_versions_increase_and_one_model_is_not_pushed_twice(parts, run):
    assert run(*pipeline(parts))["Pusher"].results["version"] == 1
    assert run(*pipeline(parts))["Pusher"].state.value == "cached"
    again = run(*pipeline(parts), cache=False)["Pusher"]
    assert again.state.value == "succeeded" and again.results["version"] == 1 and versions(parts) == ["1"]
    assert run(*pipeline(parts, "m2"))["Pusher"].results["version"] == 2
    (parts / "serving" / "41").mkdir()
    (parts / "serving" / "notes").mkdir()
    assert run(*pipeline(parts), cache=False)["Pusher"].results["version"] == 42
    assert versions(parts) == ["1", "2", "41", "42", "notes"]


def test_going_back_to_an_earlier_model_pushes_it_again(parts, run):
    run(*pipeline(parts))
    run(*pipeline(parts, "m2"))
    back = run(*pipeline(parts))["Pusher"]
    assert back.state.value == "succeeded" and back.results["version"] == 3, "2 would go on being served"
    assert (parts / "serving/3/saved_model.pb").read_text() == "one"
    assert run(*pipeline(parts))["Pusher"].state.value == "cached"


def test_where_the_destination_was_removed_it_is_pushed_again(parts, run):
    run(*pipeline(parts))
    (parts / "serving").rename(parts / "gone")
    step = run(*pipeline(parts))["Pusher"]
    assert step.state.value == "succeeded" and versions(parts) == ["1"]
    (parts / "serving/1/saved_model.pb").unlink()
    assert run(*pipeline(parts))["Pusher"].results["version"] == 2


def test_a_model_that_is_not_blessed_is_not_pushed(parts, run):
    found = run(*pipeline(parts, blessing="no"))
    step = found["Pusher"]
    assert found.exit_code == 3 and step.state.value == "not_blessed"
    assert step.refusal == "auc is 0.6, below 0.7"
    assert step.results == {"pushed": False, "version": 0, "verdict": "auc is 0.6, below 0.7"}
    assert not step.outputs and not (parts / "serving").exists()
    again = run(*pipeline(parts, blessing="no"))
    assert again["Pusher"].state.value == "cached" and again.exit_code == 3, "a cached refusal is still a refusal"
    assert again["Pusher"].refusal == step.refusal


@pytest.mark.parametrize(("argument", "kind"), [("infra_blessing", InfraBlessing), ("skew_blessing", SkewBlessing)])
def test_each_blessing_may_refuse(parts, verdict, tmp_path, argument, kind):
    given = {
        "model": Model.open(str(parts / "m1")),
        "model_blessing": Blessing.open(str(parts / "yes")),
        "push_destination": Filesystem(str(parts / "serving")),
    }
    refuses = kind.open(verdict(tmp_path / "other", False, "differs in row 7", kind))
    result = Pusher.call(**given, **{argument: refuses}, out_dir=tmp_path / "a")
    assert result.refusal == "differs in row 7" and not result.pushed
    agrees = kind.open(verdict(tmp_path / "agrees", True, "same", kind))
    assert Pusher.call(**given, **{argument: agrees}, out_dir=tmp_path / "b").version == 1


def test_without_a_blessing_only_if_the_pipeline_says_so(parts, run):
    candidate = take(str(parts / "m1"))
    destination = Filesystem(str(parts / "serving"))
    with pytest.raises(PipelineError, match="a model nobody evaluated is not pushed"):
        Pipeline("p", [candidate, Pusher(model=candidate.outputs["result"], push_destination=destination)])
    pusher = Pusher(model=candidate.outputs["result"], push_destination=destination, without_blessing=True, **NO_GATES)
    step = run(candidate, pusher)["Pusher"]
    assert step.results["pushed"] and step.warnings == ("pushed without a blessing, as the pipeline says",)
    receipt = json.loads((parts / "serving/1" / RECEIPT).read_text())
    assert receipt["blessed"] is False and step.outputs["pushed_model"].read()["blessed"] is False


def test_a_destination_that_cannot_be_written(parts, run):
    (parts / "serving").write_text("a file, no folder")
    step = run(*pipeline(parts))["Pusher"]
    assert step.state.value == "failed"
    assert f"{parts}/serving: the push destination cannot be written" in step.error["message"]
    assert "fix: give a base_directory you may write to" in step.error["message"]
    (parts / "serving").unlink()
    assert run(*pipeline(parts)).exit_code == 0


def test_a_model_that_no_server_can_load_is_refused(tmp_path, verdict):
    model = Model(str(tmp_path / "m"))
    (model.path / "model.pickle").write_text("x")
    model.commit({})
    given = {"model": Model.open(model.uri), "model_blessing": Blessing.open(verdict(tmp_path / "b", True, "good"))}
    with pytest.raises(DataError, match="expected a SavedModel, found none"):
        Pusher.call(**given, push_destination=Filesystem(str(tmp_path / "serving")), out_dir=tmp_path / "o")
    assert not (tmp_path / "serving").exists()


def test_the_destination_may_be_a_parameter_and_a_url(parts, run):
    destination = PipelineParameter("serving", str)
    steps = pipeline(parts, push_destination=Filesystem(base_directory=destination))
    for _ in range(2):
        step = run(*steps, parameters={"serving": "memory://pushed/flights"}, cache=False)["Pusher"]
        assert step.results["version"] == 1
    files = fsspec.filesystem("memory").find("/pushed/flights")
    assert "/pushed/flights/1/saved_model.pb" in files and f"/pushed/flights/1/{RECEIPT}" in files
    assert (
        run(*pipeline(parts, "m2", push_destination=Filesystem("memory://pushed/flights")))["Pusher"].results["version"]
        == 2
    )
    fsspec.filesystem("memory").rm("/pushed", recursive=True)


def push_some(parts: str, number: int, same: bool, start) -> None:
    out = Path(parts) / f"pusher-{number}"
    start.wait()
    for turn in range(1 if same else 5):
        Pusher.call(
            model=Model.open(f"{parts}/{'m1' if same else f'm-{number}-{turn}'}"),
            model_blessing=Blessing.open(f"{parts}/yes"),
            push_destination=Filesystem(f"{parts}/serving"),
            out_dir=out / str(turn),
        )


def race(parts: Path, same: bool) -> set[str]:
    """Four processes push at once; gives the versions that a reader saw without their SavedModel."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(5)
    pushers = [context.Process(target=push_some, args=(str(parts), n, same, start)) for n in range(4)]
    for pusher in pushers:
        pusher.start()
    (parts / "serving").mkdir(exist_ok=True)
    start.wait()
    broken: set[str] = set()
    while any(pusher.is_alive() for pusher in pushers):
        for name in [path.name for path in (parts / "serving").iterdir()]:
            if name.isdigit():
                there = {path.name for path in (parts / "serving" / name).iterdir()}
                broken |= {name} if not {"saved_model.pb", "variables", "assets.extra"} <= there else set()
        time.sleep(0.001)
    for pusher in pushers:
        pusher.join()
        assert pusher.exitcode == 0
    return broken


def test_concurrent_pushers_of_different_models_each_get_a_version_that_appears_whole(parts, exported):
    for number in range(4):
        for turn in range(5):
            exported(parts / f"m-{number}-{turn}", f"model {number} {turn}")
    assert race(parts, same=False) == set()
    assert sorted(versions(parts), key=int) == [str(number) for number in range(1, 21)]
    assert len({(parts / "serving" / name / "saved_model.pb").read_text() for name in versions(parts)}) == 20


def test_concurrent_pushers_of_one_model_make_one_version(parts):
    assert race(parts, same=True) == set()
    assert versions(parts) == ["1"]
