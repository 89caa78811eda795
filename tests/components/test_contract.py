"""Every standard component keeps the contract, on one small data set that goes through the whole chain once."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import headrace.components
import pytest
from headrace.components import (
    BulkInferrer,
    CsvExampleGen,
    Evaluator,
    ExampleValidator,
    ImageExampleGen,
    Importer,
    ImportExampleGen,
    ImportSchemaGen,
    InfraValidator,
    ParquetExampleGen,
    Pusher,
    Resolver,
    SchemaGen,
    SkewValidator,
    SqlExampleGen,
    StatisticsGen,
    Trainer,
    Transform,
)
from headrace.components.pusher import Filesystem
from headrace.components.tfx.tf_records import write_tf_records
from headrace.pipelines import Schema
from headrace.pipelines.component import Component

from tests.contract import CHECKS, Case, check_caching, check_determinism
from tests.small_chain import build_model, preprocessing_fn, write_rows

NAMES = [name for name in headrace.components.__all__ if isinstance(getattr(headrace.components, name), Component)]
RUNS = (check_determinism, check_caching)


def write_images(folder: Path) -> str:
    """A dozen images of two kinds; gives the folder."""
    from PIL import Image

    for number in range(12):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 20 * number).save(path)
    return str(folder)


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Mapping[str, Case]:
    """A case for each component, each with what those before it made."""
    folder = tmp_path_factory.mktemp("chain")
    data = write_rows(folder / "data")
    made: dict[str, Case] = {}

    def add(component: Component, **arguments):
        made[component.spec.name] = Case(component, arguments)
        return component.call(**arguments, out_dir=folder / component.spec.name)

    examples = add(CsvExampleGen, input_base=data).examples
    (folder / "parquet").mkdir()
    shutil.copy(examples.path / "train" / "part-00000.parquet", folder / "parquet")
    add(ParquetExampleGen, input_base=str(folder / "parquet"))
    write_tf_records(examples, folder / "tfrecords", splits=["train"])
    add(ImportExampleGen, input_base=str(folder / "tfrecords" / "Split-train" / "*"))
    add(ImageExampleGen, input_base=write_images(folder / "images"), label_column="kind")
    add(SqlExampleGen, query="SELECT * FROM rows ORDER BY id", tables={"rows": data})
    statistics = add(StatisticsGen, examples=examples).statistics
    schema = add(SchemaGen, statistics=statistics).schema
    add(ImportSchemaGen, schema_file=str(schema.path / schema.file))
    add(ExampleValidator, statistics=statistics, schema=schema, examples=examples)
    made["Importer"] = Case(Importer, {"source_uri": schema.uri, "artifact_type": Schema})
    made["Resolver"] = Case(Resolver, {"candidate": statistics, "strategy": "latest"})
    transformed = add(Transform, examples=examples, schema=schema, preprocessing_fn=preprocessing_fn, labels=["late"])
    model = add(
        Trainer,
        examples=transformed.transformed_examples,
        transform_graph=transformed.transform_graph,
        build_model=build_model,
        label="late",
        epochs=3,
        batch_size=32,
    ).model
    blessing = add(Evaluator, examples=examples, model=model, slices=["carrier"]).blessing
    add(SkewValidator, model=model, examples=examples, rows=100, single_rows=3)
    add(InfraValidator, model=model, examples=examples, rows=10)
    add(BulkInferrer, examples=examples, model=model, output_columns=["id"])
    add(Pusher, model=model, model_blessing=blessing, push_destination=Filesystem(str(folder / "serving")))
    return made


def test_there_is_a_case_for_every_component(cases):
    assert sorted(cases) == sorted(NAMES)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_contract(cases, name, check, tmp_path: Path):
    check(cases[name], tmp_path)
