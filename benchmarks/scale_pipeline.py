"""The flights from sharded CSV files to an evaluated model: what `benchmarks/scale.py` runs with more and more rows."""

from __future__ import annotations

from headrace.components import (
    CsvExampleGen,
    Evaluator,
    ExampleValidator,
    SchemaGen,
    StatisticsGen,
    Trainer,
    Transform,
)
from headrace.pipelines import pipeline


@pipeline
def scale(input_base: str) -> None:
    """One epoch on the CSV files of a folder."""
    example_gen = CsvExampleGen(input_base=input_base, split_by_time="flight_date", boundaries=["2013-10-01"])
    examples = example_gen.outputs["examples"]
    statistics_gen = StatisticsGen(examples=examples)
    schema_gen = SchemaGen(statistics=statistics_gen.outputs["statistics"])
    schema = schema_gen.outputs["schema"]
    ExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema)
    transform = Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="examples.flights.preprocessing:preprocessing_fn",
        labels=["late"],
    )
    trainer = Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        build_model="examples.flights.model:build_model",
        label="late",
    )
    Evaluator(examples=examples, model=trainer.outputs["model"], schema=schema, slices=["carrier", "origin"])
