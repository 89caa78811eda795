"""Did a bird strike change the flight? From the remarks of its report, from its table, and from both.

    headrace run examples/bird_strikes/pipeline.py

The remarks were written after the event, and many say how it ended: the model codes reports that have come in, it
foretells nothing. Trained on the reports of 1990 to 1995 and evaluated on those of 1996 to 1999. The model of both is
pushed only if it beats the one of the remarks alone, which beats the one of the table alone.
"""

from __future__ import annotations

from headrace.components import Evaluator, Filesystem, Pusher, SchemaGen, StatisticsGen, Trainer, Transform
from headrace.components.evaluator import ChangeThreshold, ValueThreshold
from headrace.pipelines import pipeline

from examples.bird_strikes.reports import LABEL, TABLE, TEXT, StrikeReports


@pipeline
def bird_strikes(serving: str = "serving/bird_strikes", epochs: int = 4, seed: int = 0) -> None:
    """Free text and a table in one model.

    Args:
        serving: Where a blessed model is pushed to.
        epochs: Passes over the training reports.
        seed: Of the trainings.
    """
    examples = StrikeReports().outputs["examples"]
    statistics = StatisticsGen(examples=examples).outputs["statistics"]
    schema = SchemaGen(statistics=statistics).outputs["schema"]
    transform = Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="examples.bird_strikes.preprocessing:preprocessing_fn",
        labels=[LABEL],
    )
    models = {}
    for name, modalities in (("both", ["text", "table"]), ("text", ["text"]), ("table", ["table"])):
        trainer = Trainer(
            examples=transform.outputs["transformed_examples"],
            transform_graph=transform.outputs["transform_graph"],
            schema=schema,
            build_model="examples.bird_strikes.model:build_model",
            hyperparameters={"modalities": modalities},
            label=LABEL,
            epochs=epochs,
            batch_size=256,
            seed=seed,
        ).with_id(f"train_{name}")
        models[name] = trainer.outputs["model"]
    evaluator = Evaluator(
        examples=examples,
        model=models["both"],
        baseline_model=models["text"],
        metrics=["auc", "pr_auc", "log_loss", "calibration"],
        slices=["phase_of_flt"],
        modalities={"text": TEXT, "table": TABLE},
        thresholds={"auc": [ValueThreshold(lower=0.9), ChangeThreshold(absolute=0.02)]},
    ).with_id("against_text")
    Evaluator(
        examples=examples,
        model=models["both"],
        baseline_model=models["table"],
        metrics=["auc", "pr_auc", "log_loss"],
        modalities={"text": TEXT},
        thresholds={"auc": ChangeThreshold(absolute=0.02)},
    ).with_id("against_table")
    Pusher(
        model=models["both"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=Filesystem(base_directory=serving),
    )
