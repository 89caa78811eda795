"""The evaluation as a JSON document, which `Evaluation` artifacts hold and the report reads.

    {"schema_version": 1,
     "rows": 84000, "split": "eval", "confidence": 0.95, "few_rows_below": 100, "baseline": false,
     "outputs": {
       "late": {
         "task": "binary", "label": "is_late",
         "quantities": {"auc": {"lowest": 0.0, "highest": 1.0, "higher_is_better": true, "constant": 0.5}, ...},
         "overall": ENTRY,
         "slices": [ENTRY, ...],
         "plots": {"roc": {...}, "precision_recall": {...}, "calibration": [...], "confusion": [[...]]},
         "baseline_plots": {...}}},
     "ablation": {"rows": 6500, "replicates": 400, "outputs": {"late": {
       "rows": 6500, "complete": COMPARED, "baseline": COMPARED or null,
       "withheld": [{"modality": "text", "columns": ["remarks"], **COMPARED}, ...]}}},
     "thresholds": [{"output", "metric", "slice", "rows", "value", "asked", "passed", "margin"}, ...],
     "warnings": ["..."],
     "blessed": true, "reason": "..."}

    ENTRY = {"name": "carrier=UA", "by": ["carrier"], "slice": {"carrier": "UA"},
             "count": 12000, "weight": 12000.0, "unlabelled": 0, "not_finite": 0, "few_rows": false,
             "metrics": {"auc": {"value": 0.69, "lower": 0.68, "upper": 0.70}, ...},
             "baseline": {...} or null}

    COMPARED = {"metrics": {"auc": {"value": 0.94, "lower": 0.93, "upper": 0.95}, ...},
                "change": {"auc": {"value": -0.05, "lower": -0.06, "upper": -0.04}, ...}, "not_finite": 0}

`ablation` is there where modalities are given: what the model reaches when the columns of one are missing, and the
change from the complete rows (`headrace.transforms.metrics.bootstrap`).

Slices come in the order of their slicing, then the one with most rows first. A number that is not defined, such as the
AUC of one class, is null. `constant` is what a model reaches that has learned nothing: a number, the name of another
quantity, or null. A count of a confusion table has a value and no interval.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from headrace.transforms.metrics.evaluation import (
    BASELINE,
    MODEL,
    NOT_FINITE,
    ROWS,
    UNLABELLED,
    WEIGHT,
    Evaluation,
    EvaluationState,
    Output,
)
from headrace.transforms.metrics.metric import Estimates
from headrace.transforms.metrics.slicing import SliceKeys

SCHEMA_VERSION = 1


def document(
    evaluation: Evaluation,
    state: EvaluationState,
    *,
    confidence: float = 0.95,
    few_rows: int = 100,
    masked: Collection[str] = (),
) -> dict[str, Any]:
    """Makes the document of a finished evaluation, without thresholds.

    Args:
        evaluation: What was computed.
        state: Its merged state.
        confidence: Of the intervals.
        few_rows: A slice with fewer rows is marked.
        masked: Columns whose values are not to be shown: a slice by them is named by a number.

    Raises:
        ValueError: There was no row with a label.
    """
    if masked:
        state = replace(state, keys=[_masked(keys, masked) for keys in state.keys])
    has_baseline = any(model == BASELINE for model, *_ in state.metrics)
    outputs = {
        output.name: _output(evaluation, state, output, confidence, few_rows, has_baseline)
        for output in evaluation.outputs
    }
    overall = [entry["overall"] for entry in outputs.values()]
    for output in evaluation.outputs:
        if not outputs[output.name]["overall"]["count"]:
            raise ValueError(f"nothing to evaluate: no row has a label in column {output.label!r}")
    return {
        "schema_version": SCHEMA_VERSION,
        "rows": max(entry["count"] + entry["unlabelled"] for entry in overall),
        "confidence": confidence,
        "few_rows_below": few_rows,
        "baseline": has_baseline,
        "outputs": outputs,
        "warnings": list(_warnings(outputs)),
    }


def _masked(keys: SliceKeys, columns: Collection[str]) -> SliceKeys:
    """The same slices under names that do not tell the values of some columns: their rank among the values seen."""
    ranks = [
        {value: f"#{rank}" for rank, value in enumerate(sorted({key[i] for key in keys.keys}, key=str), start=1)}
        for i in range(len(keys.slicing.columns))
    ]
    shown = [
        tuple(
            ranks[i][value] if name in columns else value
            for i, (name, value) in enumerate(zip(keys.slicing.columns, key))
        )
        for key in keys.keys
    ]
    return SliceKeys(keys.slicing, shown, {key: code for code, key in enumerate(shown)})


def _output(
    evaluation: Evaluation, state: EvaluationState, output: Output, confidence: float, few_rows: int, has_baseline: bool
) -> dict[str, Any]:
    entries: list[dict[str, Any]] = []
    for number in range(len(evaluation.slicings)):
        models = [MODEL, BASELINE] if has_baseline else [MODEL]
        estimates = {model: _estimates(state, model, output, number, confidence) for model in models}
        found = list(_entries(state, output, number, estimates, few_rows))
        entries += sorted(found, key=lambda entry: (-entry["count"], entry["name"]))
    plots = {model: _plots(state, model, output) for model in (MODEL, BASELINE)}
    return {
        "task": output.task,
        "label": output.label,
        "quantities": _quantities(output),
        "overall": entries[0],
        "slices": entries[1:],
        "plots": plots[MODEL],
        **({"baseline_plots": plots[BASELINE]} if has_baseline else {}),
    }


def _estimates(
    state: EvaluationState, model: str, output: Output, number: int, confidence: float
) -> dict[str, Estimates]:
    found = {}
    groups = len(state.keys[number])
    for position, metric in enumerate(output.selection.metrics):
        one = state.metrics.get((model, output.name, position, number))
        results = metric.result(metric.create() if one is None else one, groups, confidence)
        for quantity, estimate in results.items():
            shown = output.selection.names.get((metric.name, quantity))
            if shown is not None:
                found[shown] = estimate
    return {name: found[name] for name in output.selection.names.values() if name in found}


def _entries(
    state: EvaluationState, output: Output, number: int, estimates: Mapping[str, Mapping[str, Estimates]], few_rows: int
) -> Iterator[dict[str, Any]]:
    keys = state.keys[number]
    counts = state.counts.get((output.name, number), np.zeros((0, 5)))
    for code, key in enumerate(keys.keys):
        row = counts[code] if code < len(counts) else np.zeros(5)
        broken = {MODEL: row[NOT_FINITE], BASELINE: row[NOT_FINITE + 1]}
        shown = {
            model: {name: _interval(estimate, code, not broken[model]) for name, estimate in by_name.items()}
            for model, by_name in estimates.items()
        }
        yield {
            "name": keys.slicing.describe(key),
            "by": list(keys.slicing.columns),
            "slice": dict(zip(keys.slicing.columns, key)),
            "count": int(row[ROWS]),
            "weight": float(row[WEIGHT]),
            "unlabelled": int(row[UNLABELLED]),
            "not_finite": int(row[NOT_FINITE]),
            "few_rows": bool(row[ROWS] < few_rows),
            "metrics": shown[MODEL],
            "baseline": shown.get(BASELINE),
        }


def _interval(estimate: Estimates, code: int, sound: bool) -> dict[str, float | None]:
    ends = {"value": estimate.value, "lower": estimate.lower, "upper": estimate.upper}
    return {name: _number(end[code]) if sound else None for name, end in ends.items()}


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _quantities(output: Output) -> dict[str, Any]:
    names = output.selection.names
    known = {
        (metric.name, quantity.name): quantity for metric in output.selection.metrics for quantity in metric.quantities
    }
    shown_as = {quantity: shown for (_, quantity), shown in names.items()}
    return {
        shown: {
            "lowest": _number(known[key].lowest),
            "highest": _number(known[key].highest),
            "higher_is_better": known[key].higher_is_better,
            "constant": shown_as.get(constant) if isinstance(constant := known[key].constant, str) else constant,
        }
        for key, shown in names.items()
    }


def _plots(state: EvaluationState, model: str, output: Output) -> dict[str, Any]:
    plots: dict[str, Any] = {}
    for position, metric in enumerate(output.selection.metrics):
        if (one := state.metrics.get((model, output.name, position, 0))) is not None:
            plots |= metric.plot(one, 0)
    return plots


def _warnings(outputs: Mapping[str, Any]) -> Iterator[str]:
    for name, output in outputs.items():
        overall = output["overall"]
        if overall["unlabelled"]:
            yield f"{overall['unlabelled']:,} rows have no label for {name} and were left out"
        if overall["not_finite"]:
            broken = f"{overall['not_finite']:,} predictions of {name} are not finite numbers"
            yield f"{broken}: the metrics of their slices are undefined"
