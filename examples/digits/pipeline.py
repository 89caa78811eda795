"""Which digit is it? From a PNG file, and from what can be measured in it.

    headrace run examples/digits/pipeline.py

The image goes into the model twice, as a vector of pixels and by a convolution, and is joined with a row of numbers.
The pushed model takes the bytes of the file: `serving_default` with whatever else is known, `serving_bytes` alone. It
is pushed only if it is right about images that it was not trained on, of each digit.
"""

from __future__ import annotations

from headrace.components import (
    Evaluator,
    ExampleValidator,
    Filesystem,
    ImageExampleGen,
    ImportSchemaGen,
    Pusher,
    SchemaGen,
    StatisticsGen,
    Trainer,
    Transform,
)
from headrace.components.evaluator import BetterThanConstant, ValueThreshold
from headrace.components.trainer import ServingSignature
from headrace.pipelines import pipeline

from examples.digits.data import MEASURES, files


@pipeline
def digits(serving: str = "serving/digits", epochs: int = 30, seed: int = 0) -> None:
    """Images and a table of measures in, a SavedModel that takes a PNG out.

    Args:
        serving: Where a blessed model is pushed to.
        epochs: Passes over the training rows.
        seed: Of the training.
    """
    data = files()
    example_gen = ImageExampleGen(
        input_base=data.table,
        path_column="file",
        images=data.images,
        modes=["L"],
        splits={"train": 3, "eval": 1},
    )
    examples = example_gen.outputs["examples"]
    statistics_gen = StatisticsGen(examples=examples)
    schema_gen = SchemaGen(
        statistics=statistics_gen.outputs["statistics"],
        imported_schema=ImportSchemaGen(schema_file=data.schema).outputs["schema"],
    )
    schema = schema_gen.outputs["schema"]
    ExampleValidator(statistics=statistics_gen.outputs["statistics"], schema=schema)
    transform = Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="examples.digits.preprocessing:preprocessing_fn",
        labels=["digit"],
    )
    trainer = Trainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        build_model="examples.digits.model:build_model",
        label="digit",
        batch_size=64,
        epochs=epochs,
        seed=seed,
        signatures=[ServingSignature("serving_bytes", only="image")],
    )
    evaluator = Evaluator(
        examples=examples,
        model=trainer.outputs["model"],
        metrics=["accuracy", "crossentropy", "confusion"],
        slices=["digit"],
        modalities={"image": ["image"], "measures": list(MEASURES)},
        thresholds={
            "accuracy": [ValueThreshold(lower=0.96), ValueThreshold(lower=0.85, slices=["digit"])],
            "crossentropy": BetterThanConstant(relative=0.9),
        },
    )
    Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=Filesystem(base_directory=serving),
    )
