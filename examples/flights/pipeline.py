"""Will a flight arrive 15 minutes late or more, from what is known before it departs?

    headrace run examples/flights/pipeline.py

Trained on January to September of 2013 and evaluated on the months after: a random split would leak the weather of an
hour from one
flight into the next. The model is pushed only if it beats the best constant, overall and for every large carrier.
"""

from __future__ import annotations

from headrace.components import (
    Evaluator,
    ExampleValidator,
    Filesystem,
    Pusher,
    Resolver,
    SchemaGen,
    SqlExampleGen,
    StatisticsGen,
    Trainer,
    Transform,
)
from headrace.components.evaluator import BetterThanConstant, ValueThreshold
from headrace.pipelines import pipeline

from examples.flights.data import QUERY, tables


@pipeline
def flights(serving: str = "serving/flights", epochs: int = 1, seed: int = 0, weather: bool = True) -> None:
    """The main example: CSV files in, a SavedModel that takes raw fields out.

    Args:
        serving: Where a blessed model is pushed to.
        epochs: Passes over the training rows.
        seed: Of the training.
        weather: False trains on the schedule alone: such a model is not good enough, and is refused.
    """
    example_gen = SqlExampleGen(
        query=QUERY.read_text(encoding="utf-8"),
        tables=tables(),
        split_by_time="flight_date",
        boundaries=["2013-10-01"],
    )
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
        hyperparameters={"weather": weather},
        label="late",
        epochs=epochs,
        seed=seed,
    )
    baseline = Resolver(candidate=trainer.outputs["model"])
    evaluator = Evaluator(
        examples=examples,
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["resolved"],
        metrics=["auc", "log_loss", "calibration", "calibration_error"],
        slices=["carrier", "origin"],
        thresholds={
            "auc": ValueThreshold(lower=0.67),
            "log_loss": [
                BetterThanConstant(relative=0.05),
                BetterThanConstant(relative=0.01, slices=["carrier"], rows_above=1000),
            ],
        },
    )
    Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=Filesystem(base_directory=serving),
    )
