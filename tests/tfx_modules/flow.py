"""Ways of training on what TensorFlow Transform gives: two of TFX's `run_fn`s, and `build_model`."""

from __future__ import annotations

from headrace.components import (
    Evaluator,
    ImportExampleGen,
    ParquetExampleGen,
    SchemaGen,
    StatisticsGen,
    Trainer,
    Transform,
)
from headrace.pipelines import pipeline


@pipeline(name="taxi")
def taxi() -> None:
    """Both functions in one module file."""
    example_gen = ParquetExampleGen(input_base="taxi.parquet")
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = SchemaGen(statistics=statistics_gen.outputs["statistics"])
    transform = Transform(
        examples=example_gen.outputs["examples"], schema=schema_gen.outputs["schema"], module_file="taxi.py"
    )
    Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema_gen.outputs["schema"],
        module_file="taxi.py",
        train_steps=12,
        eval_steps=2,
        custom_config={"units": 8},
        hyperparameters={"learning_rate": 0.01},
    )


@pipeline(name="penguins")
def penguins() -> None:
    """Trained on raw rows, from TFRecord files, in the steps of an epoch, for the pipeline gives none."""
    example_gen = ImportExampleGen(input_base={"train": "Split-train/*", "eval": "Split-eval/*"})
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = SchemaGen(statistics=statistics_gen.outputs["statistics"])
    transform = Transform(
        examples=example_gen.outputs["examples"],
        schema=schema_gen.outputs["schema"],
        preprocessing_fn="penguin_base:preprocessing_fn",
        materialize=False,
    )
    trainer = Trainer(
        examples=example_gen.outputs["examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema_gen.outputs["schema"],
        run_fn="penguin_keras:run_fn",
        batch_size=20,
    )
    Evaluator(examples=example_gen.outputs["examples"], model=trainer.outputs["model"], label="species")
