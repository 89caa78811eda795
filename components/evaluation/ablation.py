"""What each modality adds: the model's metrics when the raw columns of one modality are missing."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from headrace.components.evaluation.scoring import ScoredByModels
from headrace.components.evaluation.sources import Source
from headrace.transforms.metrics.bootstrap import REPLICATES, Compared, compare
from headrace.transforms.metrics.evaluation import BASELINE, MODEL, Output, Predicted
from headrace.transforms.row_groups import RowGroup, read

ROWS = 20_000
GROUPS = 8
"""So many rows at most, evenly spread over so many row groups: the cost is bounded, however large the split is."""


def ablation(
    source: Source, outputs: Sequence[Output], modalities: Mapping[str, Sequence[str]], confidence: float
) -> dict[str, Any]:
    """Withholds each modality in turn, and compares with the complete rows.

    Args:
        source: The rows, scored by a model.
        outputs: What is evaluated, with the metrics.
        modalities: Modality -> its raw columns.
        confidence: Of the intervals.

    Returns:
        The document's `ablation` (`headrace.transforms.metrics.document`), and in it `warnings`.

    Raises:
        ValueError: A column is no input of the model, or nothing stands for a missing value of it.
    """
    score = source.score
    assert isinstance(score, ScoredByModels)
    _check(score, modalities)
    batch = _spread(source)
    complete = score(batch)
    scored = {MODEL: complete.predictions[MODEL]}
    if BASELINE in complete.predictions:
        scored[BASELINE] = complete.predictions[BASELINE]
    for name, columns in modalities.items():
        # The label may be of one of the columns: it is taken from the complete rows.
        scored[f"without {name}"] = score.predict(_without(batch, columns))
    found: dict[str, Any] = {"rows": batch.num_rows, "replicates": REPLICATES, "outputs": {}, "warnings": []}
    for output in outputs:
        one, warnings = _of_output(output, complete, scored, modalities, confidence)
        found["outputs"][output.name] = one
        found["warnings"] += warnings
    return found


def _check(score: ScoredByModels, modalities: Mapping[str, Sequence[str]]) -> None:
    inputs = score.model.inputs()
    for modality, columns in modalities.items():
        for name in columns:
            if name not in inputs:
                near = difflib.get_close_matches(name, inputs, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(inputs)}"
                raise ValueError(f"modalities= has the column {name!r} of {modality!r}, which the model lacks; {hint}")
            if inputs[name].missing is None:
                raise ValueError(
                    f"modality {modality!r} cannot be withheld: column {name!r} is {inputs[name].dtype} and never "
                    "missing, so nothing stands for a missing value; make it optional in the schema, or state a "
                    f'default: feature {{ name: "{name}" annotation {{ tag: "default=0" }} }}'
                )


def _spread(source: Source) -> pa.RecordBatch:
    """At most `ROWS` rows, evenly spread over row groups that are evenly spread over the split."""
    groups: list[RowGroup] = [group for group in source.groups if group.rows]
    if source.rows > ROWS:
        picked = sorted({int(i) for i in np.linspace(0, len(groups) - 1, min(GROUPS, len(groups)))})
        groups = [groups[number] for number in picked]
    share = min(1.0, ROWS / sum(group.rows for group in groups))
    pieces = []
    for group in groups:
        chosen = np.unique(np.linspace(0, group.rows - 1, max(1, int(group.rows * share))).astype(np.int64))
        pieces.append(read(group, source.columns).take(pa.array(chosen)))
    return pa.Table.from_batches(pieces).combine_chunks().to_batches()[0]


def _without(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    for name in columns:
        position = batch.schema.get_field_index(name)
        field = batch.schema.field(position).with_nullable(True)
        batch = batch.set_column(position, field, pa.nulls(batch.num_rows, field.type))
    return batch


def _of_output(
    output: Output,
    complete: Predicted,
    scored: Mapping[str, Mapping[str, Any]],
    modalities: Mapping[str, Sequence[str]],
    confidence: float,
) -> tuple[dict[str, Any], list[str]]:
    labels = np.asarray(complete.labels[output.name], np.float64)
    predictions = {model: np.asarray(by_output[output.name]) for model, by_output in scored.items()}
    labelled = ~np.isnan(labels)
    finite = {model: _finite(values)[labelled] for model, values in predictions.items()}
    sound = {model: values[labelled] for model, values in predictions.items() if finite[model].all()}
    compared = {}
    if MODEL in sound and labelled.any():
        weights = None if complete.weights is None else complete.weights[labelled]
        compared = compare(output.selection, labels[labelled], sound, MODEL, weights=weights, confidence=confidence)

    def entry(model: str) -> dict[str, Any]:
        found: Mapping[str, Compared] = compared.get(model, {})
        return {
            "metrics": {name: _interval(one.value) for name, one in found.items()},
            "change": {name: _interval(one.change) for name, one in found.items() if one.change is not None},
            "not_finite": int((~finite[model]).sum()),
        }

    withheld = [
        {"modality": name, "columns": list(columns), **entry(f"without {name}")} for name, columns in modalities.items()
    ]
    document = {
        "rows": int(labelled.sum()),
        "complete": entry(MODEL),
        "withheld": withheld,
        "baseline": entry(BASELINE) if BASELINE in predictions else None,
    }
    return document, list(_warnings(output, withheld))


def _warnings(output: Output, withheld: Sequence[Mapping[str, Any]]) -> list[str]:
    better = {
        shown: quantity.higher_is_better
        for metric in output.selection.metrics
        for quantity in metric.quantities
        if (shown := output.selection.names.get((metric.name, quantity.name))) is not None
    }
    found = []
    for one in withheld:
        if one["not_finite"]:
            found.append(
                f"without {one['modality']!r} (columns {', '.join(one['columns'])}) {one['not_finite']:,} predictions "
                f"of {output.name} are not finite numbers: say what a missing value is in preprocessing_fn"
            )
        found += [f"without {one['modality']!r} {said}" for said in _no_worse(output, one, better)]
    return found


def _no_worse(output: Output, one: Mapping[str, Any], better: Mapping[str, bool | None]) -> Iterator[str]:
    """Says so, by the first metric, where the model does without the modality as well."""
    for name, change in list(one["change"].items())[:1]:
        if change["lower"] is None or (change["upper"] < 0 if better[name] else change["lower"] > 0):
            continue
        yield (
            f"{name} of {output.name} is not clearly worse ({change['value']:+.4f}, {change['lower']:+.4f} to "
            f"{change['upper']:+.4f}): its columns add little that the rest does not say, or their branch does nothing"
        )


def _finite(values: Any) -> Any:
    finite = np.isfinite(values)
    return finite if finite.ndim == 1 else finite.all(axis=1)


def _interval(ends: tuple[float, float, float]) -> dict[str, float | None]:
    return {
        name: end if math.isfinite(end) else None for name, end in zip(("value", "lower", "upper"), ends, strict=True)
    }
