"""The whole chain on a folder, in memory, and on an object store: the same digests wherever the root is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3
import fsspec
import pytest
from headrace.components import (
    BulkInferrer,
    CsvExampleGen,
    Evaluator,
    ExampleValidator,
    Pusher,
    Resolver,
    SchemaGen,
    StatisticsGen,
    Trainer,
    Transform,
)
from headrace.components.evaluator import BetterThanConstant, ValueThreshold
from headrace.components.pusher import Filesystem
from headrace.pipelines import Pipeline
from headrace.pipelines.component import RecordedStep
from headrace.pipelines.runs import Run

from tests import small_chain
from tests.s3_server import s3_bucket


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A project with the author's functions and data in it."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pyproject.toml").write_text("")
    shutil.copy(small_chain.__file__, folder / "author.py")
    small_chain.write_rows(folder / "data")
    return folder


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of an S3 server on this machine."""
    with s3_bucket() as (uri, _):
        yield uri


@pytest.fixture(scope="module")
def memory() -> Iterator[str]:
    yield "memory://headrace"
    fsspec.filesystem("memory").rm("/headrace", recursive=True)


@pytest.fixture(scope="module")
def roots(tmp_path_factory, memory, bucket) -> dict[str, str]:
    return {"folder": str(tmp_path_factory.mktemp("root")), "memory": memory, "s3": bucket}


def data_steps(data: str) -> list[RecordedStep]:
    example_gen = CsvExampleGen(input_base=data, splits={"train": 2, "eval": 1})
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = SchemaGen(statistics=statistics_gen.outputs["statistics"])
    validator = ExampleValidator(
        statistics=statistics_gen.outputs["statistics"],
        schema=schema_gen.outputs["schema"],
        examples=example_gen.outputs["examples"],
    )
    return [example_gen, statistics_gen, schema_gen, validator]


def chain(data: str, serving: str) -> list[RecordedStep]:
    example_gen, _, schema_gen, _ = steps = data_steps(data)
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="author:preprocessing_fn",
        labels=["late"],
    )
    trainer = Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        build_model="author:build_model",
        label="late",
        epochs=8,
        batch_size=16,
    )
    baseline = Resolver(candidate=trainer.outputs["model"])
    evaluator = Evaluator(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["resolved"],
        slices=["carrier"],
        thresholds={"auc": ValueThreshold(lower=0.8), "log_loss": BetterThanConstant(relative=0.1)},
    )
    inferrer = BulkInferrer(
        examples=example_gen.outputs["examples"], model=trainer.outputs["model"], output_columns=["id"]
    )
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=Filesystem(serving),
    )
    return [*steps, transform, trainer, baseline, evaluator, inferrer, pusher]


def run(project: Path, steps: list[RecordedStep], root: str, store: Path, **options) -> Run:
    options = {"debug": True, "report": False} | options
    return Pipeline("chain", steps, root=str(project)).run(root=root, store=str(store), **options)


def failures(found: Run) -> dict[str, object]:
    return {id_: step.error or step.refusal for id_, step in found.steps.items() if step.error or step.refusal}


def digests(found: Run) -> dict[str, str]:
    return {
        f"{id_}.{name}": artifact.digest
        for id_, step in found.steps.items()
        for name, artifact in step.outputs.items()
        if name != "pushed_model"
    }


@pytest.fixture(scope="module")
def runs(project, roots, tmp_path_factory) -> dict[str, tuple[Run, Run]]:
    """Two runs on each root."""
    stores = tmp_path_factory.mktemp("stores")
    found = {}
    for name, root in roots.items():
        steps = chain(str(project / "data"), f"{root}/serving")
        found[name] = tuple(run(project, steps, root, stores / f"{name}.db") for _ in range(2))
    return found


@pytest.mark.parametrize("where", ["folder", "memory", "s3"])
def test_the_chain_ends_with_a_pushed_model(runs, roots, where):
    first, _ = runs[where]
    assert first.exit_code == 0, failures(first)
    assert first["Pusher"].results["version"] == 1 and first["Evaluator"].outputs["blessing"].blessed
    files, folder = fsspec.core.url_to_fs(f"{roots[where]}/serving/1")
    assert files.exists(f"{folder}/saved_model.pb") and files.exists(f"{folder}/variables/variables.index")
    predictions = first["BulkInferrer"].outputs["predictions"].read()
    assert predictions.num_rows == small_chain.ROWS and "id" in predictions.column_names
    assert all(
        artifact.uri.startswith(roots[where]) for step in first.steps.values() for artifact in step.outputs.values()
    )


@pytest.mark.parametrize("where", ["folder", "memory", "s3"])
def test_a_second_run_takes_everything_from_the_cache(runs, where):
    _, second = runs[where]
    states = {id_: step.state.value for id_, step in second.steps.items()}
    assert states.pop("Resolver") == "succeeded" and set(states.values()) == {"cached"}, failures(second)
    assert second.exit_code == 0 and "resolved" not in second["Resolver"].outputs


def test_the_digests_are_the_same_on_every_root(runs):
    on_folder, in_memory, on_s3 = (digests(runs[where][0]) for where in ("folder", "memory", "s3"))
    assert len(on_folder) == 12
    assert on_folder == in_memory == on_s3


def test_workers_read_and_write_an_object_store(project, bucket, runs, tmp_path):
    """With the data itself in the bucket too, and no TensorFlow."""
    fsspec.filesystem("s3").put(str(project / "data" / "rows.csv"), f"{bucket}/data/rows.csv")
    steps = data_steps(f"{bucket}/data")
    found = run(project, steps, f"{bucket}/workers", tmp_path / "store.db", debug=False)
    assert found.exit_code == 0, failures(found)
    expected = digests(runs["folder"][0])
    assert digests(found) == {name: expected[name] for name in digests(found)}
    again = run(project, steps, f"{bucket}/workers", tmp_path / "store.db", debug=False)
    assert {step.state.value for step in again.steps.values()} == {"cached"}
    fsspec.filesystem("s3").pipe(
        f"{bucket}/data/rows.csv", (project / "data" / "rows.csv").read_bytes() + b"300,AA,1.5,3,0\n"
    )
    changed = run(project, steps, f"{bucket}/workers", tmp_path / "store.db", debug=False)
    assert sum(changed["CsvExampleGen"].outputs["examples"].rows.values()) == small_chain.ROWS + 1


def test_what_another_client_changes_is_seen(runs, bucket):
    """In a process that lives on, such as a notebook's: fsspec remembers listings."""
    s3, name = boto3.client("s3"), bucket.removeprefix("s3://")
    first, _ = runs["s3"]
    assert first["Pusher"].outputs["pushed_model"].is_live() and first["Trainer"].outputs["model"].is_live()
    s3.delete_object(Bucket=name, Key="serving/1/saved_model.pb")
    assert not first["Pusher"].outputs["pushed_model"].is_live()
    statistics = first["StatisticsGen"].outputs["statistics"]
    s3.delete_object(Bucket=name, Key=statistics.uri.removeprefix(f"{bucket}/") + "/artifact.json")
    assert not statistics.is_live()
