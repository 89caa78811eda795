"""Evaluator: metrics of a model by slice, with confidence intervals, and whether it may be pushed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from headrace.pipelines import (
    Blessing,
    Evaluation,
    Examples,
    Function,
    Input,
    Model,
    Output,
    Predictions,
    Schema,
    component,
    step_context,
)
from headrace.transforms.metrics.thresholds import (
    BetterThanConstant,
    ChangeThreshold,
    ValueThreshold,
    asked_slicings,
    thresholds_of,
)

__all__ = ["BetterThanConstant", "ChangeThreshold", "Evaluator", "ValueThreshold"]

HEADLINES = 6


def _arguments(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    model, predictions = given.get("model"), given.get("predictions")
    if model is None and predictions is None:
        yield "expected model= or predictions=, received neither", "pass what is to be evaluated"
    if model is not None and predictions is not None:
        yield "expected model= or predictions=, received both", "leave one of them out"
    if model is not None and given.get("examples") is None:
        yield "model= needs examples=: the raw rows to call it on", "pass examples="
    if predictions is not None and given.get("label") is None:
        yield "predictions= needs label=: they do not say what they predict", "name the label's column"
    if predictions is not None and given.get("baseline_model") is not None:
        yield "baseline_model= is compared with model=, received predictions=", "leave one of them out"
    yield from _modalities_fit(given)
    if isinstance(thresholds := given.get("thresholds"), Mapping):
        try:
            thresholds_of(thresholds)
        except ValueError as error:
            yield f"thresholds=: {error}", 'write metric -> threshold, such as {"auc": ValueThreshold(lower=0.7)}'


def _modalities_fit(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    modalities = given.get("modalities")
    if modalities is not None and given.get("predictions") is not None:
        yield "modalities= withholds columns from a model, received predictions=", "pass model=, or leave it out"
    for name, columns in modalities.items() if isinstance(modalities, Mapping) else ():
        if not columns or isinstance(columns, str):
            yield (
                f"modalities= has no list of columns for {name!r}, but {columns!r}",
                f'write {{"{name}": ["column", ...]}}',
            )


@component(
    imports=("apache_beam", "keras", "headrace.transforms.beam_pass", "headrace.components.evaluation.outputs"),
    check=_arguments,
)
def Evaluator(
    evaluation: Output[Evaluation],
    blessing: Output[Blessing],
    examples: Input[Examples] | None = None,
    model: Input[Model] | None = None,
    baseline_model: Input[Model] | None = None,
    predictions: Input[Predictions] | None = None,
    schema: Input[Schema] | None = None,
    *,
    label: str | dict[str, str] | None = None,
    weight: str | None = None,
    eval_split: str = "eval",
    metrics: list[str | dict[str, Any]] | None = None,
    custom_metrics: Function | None = None,
    slices: list[str | list[str]] | None = None,
    thresholds: dict[str, Any] | None = None,
    task: str | dict[str, str] | None = None,
    classes: list[str] | None = None,
    prediction: str | dict[str, str] | None = None,
    confidence: float = 0.95,
    few_rows: int = 100,
    modalities: dict[str, list[str]] | None = None,
) -> None:
    """Computes metrics overall and by slice, and blesses the model if every threshold passes.

    Args:
        evaluation: The metrics; `headrace.transforms.metrics.document` describes the document.
        blessing: The verdict, with the reason in one sentence.
        examples: Raw rows: the model takes raw inputs. With `predictions` they may give label and slices, row by row.
        model: The exported model.
        baseline_model: What change thresholds compare with, such as the latest blessed model.
        predictions: Predictions made elsewhere, instead of `model`: Parquet with a column of them.
        schema: Schema of the rows; values of columns marked sensitive are not written.
        label: The label's name: a raw column, or an output of `preprocessing_fn`. With several outputs: output ->
            label. The Trainer's, if not given.
        weight: Weight of a row, as `label`. The Trainer's, if not given.
        eval_split: The split to evaluate on.
        metrics: Names, or dicts with arguments, as `headrace.transforms.metrics.registry.select` reads them, such as
            ``["auc", {"metric": "recall", "threshold": 0.3}, {"metric": "keras.metrics.AUC", "name": "keras_auc"}]``.
            None for the usual ones of what is predicted.
        custom_metrics: A function without arguments that gives a dict of new `keras.metrics.Metric` by name.
        slices: Columns to slice by; a list of columns for their cross: ``["carrier", ["carrier", "origin"]]``.
        thresholds: Metric -> `ValueThreshold`, `ChangeThreshold` or `BetterThanConstant`, or a list of them. With
            several outputs the key is ``"output:metric"``.
        task: What is predicted, "binary", "multiclass" or "regression"; with several outputs: output -> task. None: it
            is seen from the first rows.
        classes: Values of a label of strings, in the order of the model's outputs.
        prediction: The column of `predictions` with the predictions; with several outputs: output -> column.
        confidence: Of the intervals.
        few_rows: A slice with fewer rows is marked.
        modalities: Modality -> raw columns of the model, such as ``{"text": ["remarks"]}``. The metrics with the
            columns of each missing in turn, and how far they change, with a paired bootstrap interval, so that a branch
            of the model that does nothing is seen; the baseline model is compared in the same way. On at most 20,000
            rows, each predicted once more for every modality, which takes seconds.

    Raises:
        DataError: The rows lack a label, or there is none to evaluate.
        ValueError: A name that is not known, or rows that the task cannot have.

    >>> Evaluator(                                                                       # doctest: +SKIP
    ...     examples=example_gen.outputs["examples"],
    ...     model=trainer.outputs["model"],
    ...     slices=["carrier"],
    ...     thresholds={
    ...         "auc": ValueThreshold(lower=0.65),
    ...         "log_loss": BetterThanConstant(relative=0.02, slices=["overall", "carrier"], rows_above=1000),
    ...     },
    ... )
    """
    from headrace.components.evaluation import sources
    from headrace.components.evaluation.ablation import ablation
    from headrace.components.evaluation.outputs import chosen_outputs
    from headrace.transforms.metrics.document import document
    from headrace.transforms.metrics.evaluation import Evaluation as EvaluationOfRows
    from headrace.transforms.metrics.slicing import Slicing
    from headrace.transforms.metrics.verdict import decide

    asked = thresholds_of(thresholds)
    slicings = [*(Slicing.of(one) for one in slices or []), *(Slicing(columns) for columns in asked_slicings(asked))]
    sliced = list(dict.fromkeys(column for slicing in slicings for column in slicing.columns))
    if predictions is not None:
        source = sources.of_predictions(predictions, examples, eval_split, label, weight, prediction, classes, sliced)
    else:
        assert model is not None and examples is not None
        source = sources.of_models(model, baseline_model, examples, schema, eval_split, label, weight, classes, sliced)
    outputs = chosen_outputs(source, task, metrics, custom_metrics, list(asked))
    rows = EvaluationOfRows(outputs, slicings, source.score)
    found = document(
        rows,
        source.evaluate(rows),
        confidence=confidence,
        few_rows=few_rows,
        masked=sources.sensitive_columns(schema, model),
    )
    if modalities:
        found["ablation"] = ablation(source, outputs, modalities, confidence)
        found["warnings"] += found["ablation"].pop("warnings")
    verdict = decide(found, asked)
    found |= {
        "split": eval_split,
        "thresholds": [asdict(check) for check in verdict.checks],
        "warnings": [*found["warnings"], *verdict.warnings],
        "blessed": verdict.blessed,
        "reason": verdict.reason,
    }
    for warning in found["warnings"]:
        step_context().warn(warning)
    evaluation.write(found)
    evaluation.properties.update(_headlines(found))
    evaluation.link(model=model, baseline_model=baseline_model, predictions=predictions, examples=examples)
    blessing.blessed, blessing.reason = verdict.blessed, verdict.reason
    blessing.write({name: found[name] for name in ("blessed", "reason", "thresholds", "warnings")})
    blessing.link(model=model, baseline_model=baseline_model, predictions=predictions, examples=examples)
    if not verdict.blessed:
        # Also where nothing pushes: a model that failed its threshold must not end with exit code 0.
        step_context().refuse(verdict.reason)


def _headlines(document: Mapping[str, Any]) -> dict[str, Any]:
    """The first metrics overall, for a list of runs."""
    several = len(document["outputs"]) > 1
    found: dict[str, Any] = {"rows": document["rows"]}
    for output, one in document["outputs"].items():
        for name in list(one["overall"]["metrics"])[:HEADLINES]:
            if (value := one["overall"]["metrics"][name]["value"]) is not None:
                found[f"{output}:{name}" if several else name] = value
    return found
