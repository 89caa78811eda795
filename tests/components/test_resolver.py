"""Resolver: as of the moment the candidate was first produced, over run, same run, edit, run, same run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from headrace.pipelines.author_file import load_plan
from headrace.pipelines.runner import run as run_plan
from headrace.pipelines.runs import Run

AUTHOR = '''
from headrace.components import Resolver
from headrace.pipelines import Blessing, Input, Model, Output, Pipeline, PipelineParameter, component


@component
def Train(model: Output[Model], *, quality: int) -> None:
    (model.path / "weights.txt").write_text(str(quality))


@component
def Judge(model: Input[Model], blessing: Output[Blessing], baseline: Input[Model] | None = None) -> None:
    """Blesses what is better than the baseline."""
    mine = int((model.path / "weights.txt").read_text())
    other = int((baseline.path / "weights.txt").read_text()) if baseline is not None else None
    blessing.blessed, blessing.reason = other is None or mine > other, f"{mine} against {other}"
    blessing.write({"mine": mine, "baseline": other})


train = Train(quality=PipelineParameter("quality", int))
baseline = Resolver(candidate=train.outputs["model"], strategy=STRATEGY)
judge = Judge(model=train.outputs["model"], baseline=baseline.outputs["resolved"])
p = Pipeline("p", [train, baseline, judge])
'''


@pytest.fixture
def author(tmp_path: Path) -> Callable[..., Run]:
    def run(quality: int, strategy: str = "latest_blessed_model", edit: tuple[str, str] = ("", ""), **options) -> Run:
        (tmp_path / "author.py").write_text(AUTHOR.replace("STRATEGY", repr(strategy)).replace(*edit))
        plan = load_plan(str(tmp_path / "author.py"), root=str(tmp_path))
        return run_plan(
            plan,
            parameters={"quality": quality},
            **{"root": tmp_path / "root", "debug": True, "report": False} | options,
        )

    return run


def reason(run: Run) -> str:
    assert run.exit_code == 0, [step.error for step in run.steps.values()]
    return run["Judge"].outputs["blessing"].reason


def states(run: Run) -> list[str]:
    return [run[id_].state.value for id_ in ("Train", "Judge")]


def test_over_run_same_run_edit_run_same_run(author):
    first = author(5)
    assert reason(first) == "5 against None" and "resolved" not in first["Resolver"].outputs
    same = author(5)
    assert states(same) == ["cached", "cached"] and reason(same) == "5 against None"
    assert "resolved" not in same["Resolver"].outputs, "never the candidate itself"
    edited = author(7)
    assert states(edited) == ["succeeded", "succeeded"] and reason(edited) == "7 against 5"
    again = author(7)
    assert states(again) == ["cached", "cached"] and reason(again) == "7 against 5"
    back = author(5)
    assert states(back) == ["cached", "cached"] and reason(back) == "5 against None", "compared with what it was then"


def test_a_model_that_was_refused_is_no_baseline(author):
    author(5)
    assert reason(author(3)) == "3 against 5"
    assert reason(author(4)) == "4 against 5", "3 was not blessed"
    assert reason(author(9)) == "9 against 5"
    assert reason(author(6)) == "6 against 9"


def test_latest_is_what_the_same_step_made_last_blessed_or_not(author):
    assert reason(author(5, "latest")) == "5 against None"
    assert reason(author(3, "latest")) == "3 against 5"
    assert reason(author(4, "latest")) == "4 against 3"
    assert reason(author(4, "latest")) == "4 against 3"


def test_the_same_model_trained_anew_is_compared_with_what_it_was_then(author):
    """An edit that reruns the Trainer and gives the same model is no new candidate."""
    author(5)
    edited = author(7)
    assert reason(edited) == "7 against 5"
    comment = author(7, edit=("str(quality)", "str(quality + 0)"))
    assert states(comment) == ["succeeded", "cached"] and reason(comment) == "7 against 5"


def test_a_model_that_is_gone_is_no_baseline(author, tmp_path):
    author(5)
    gone = author(7)["Train"].outputs["model"]
    (Path(gone.uri) / "weights.txt").unlink()
    author(7)  # is told that the artifact is gone, and trains it again
    assert reason(author(8)) == "8 against 7"


def test_samples_and_other_pipelines_do_not_mix(author, tmp_path):
    author(5)
    assert reason(author(6, sample=10)) == "6 against None", "a model of a sample is not compared with one of all rows"
    assert reason(author(7)) == "7 against 5"
    assert reason(author(8, edit=('Pipeline("p"', 'Pipeline("q"'))) == "8 against None"


def test_in_workers_too(author):
    author(5, debug=False)
    assert reason(author(7, debug=False)) == "7 against 5"
    assert states(author(7, debug=False)) == ["cached", "cached"]
