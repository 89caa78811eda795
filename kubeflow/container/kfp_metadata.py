"""What KFP's pages show of an artifact: its metadata, and in them the standard metrics.

KFP draws `confusionMatrix` and `confidenceMetrics` (a ROC curve) of an artifact of type system.ClassificationMetrics,
and lists the scalars of one of type system.Metrics. See `ClassificationMetrics` and `Metrics` in KFP's
`kfp/dsl/types/artifact_types.py`, and `MetricsVisualizations.tsx` of its pages.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headrace.kubeflow.container.references import Reference

# The metadata of all inputs of a step are in one argument of its container, of which Linux takes 128 KiB.
METADATA_BYTES = 16_384
# What KFP draws of an artifact of type system.ClassificationMetrics.
CURVES_METADATA = ("confidenceMetrics", "confusionMatrix")
TEXT_CHARACTERS = 512
ROC_POINTS = 60
MATRIX_CLASSES = 20


def metadata_of(reference: Reference, metrics: Mapping[str, Any] = {}) -> dict[str, Any]:
    """Metadata of a reference in KFP: where the artifact is, its digest, its properties, its metrics.

    What does not fit is left out, the largest first, and `left_out` names it.

    >>> metadata_of(Reference("Model", "s3://b/m", "d1"))
    {'uri': 's3://b/m', 'digest': 'd1', 'type': 'Model'}
    """
    if reference.absent is not None:
        return {"type": reference.type, "absent": _short(reference.absent)}
    fixed = {"uri": reference.uri, "digest": reference.digest, "type": reference.type}
    properties = {name: _plain(value) for name, value in reference.manifest.get("properties", {}).items()}
    more = {**properties, **{name: _plain(value) for name, value in metrics.items()}}
    more = {name: value for name, value in more.items() if value is not None and name not in fixed}
    left_out = []
    while more and len(json.dumps({**fixed, **more})) > METADATA_BYTES:
        largest = max(more, key=lambda name: len(json.dumps(more[name])))
        left_out.append(largest)
        del more[largest]
    return {**fixed, **more, **({"left_out": ", ".join(sorted(left_out))[:TEXT_CHARACTERS]} if left_out else {})}


def evaluation_metrics(document: Mapping[str, Any]) -> dict[str, Any]:
    """The standard metrics of an evaluation's document: scalars overall, confusion matrix and ROC curve.

    Args:
        document: What an `Evaluation` holds. Of several outputs, scalars have the output's name before theirs, and the
            first one's matrix and curve are given.
    """
    outputs = document.get("outputs", {})
    found: dict[str, Any] = {"rows": document.get("rows"), "blessed": document.get("blessed")}
    for output, one in outputs.items():
        before = f"{output}:" if len(outputs) > 1 else ""
        plots, metrics = one.get("plots", {}), one.get("overall", {}).get("metrics", {})
        found |= {before + name: metric.get("value") for name, metric in metrics.items()}
        if (matrix := _matrix(plots, metrics)) and "confusionMatrix" not in found:
            found["confusionMatrix"] = matrix
        if (curve := _curve(plots)) and "confidenceMetrics" not in found:
            found["confidenceMetrics"] = curve
    return {name: value for name, value in found.items() if value is not None}


def _plain(value: Any) -> Any:
    """The value as KFP keeps it: it knows no null, and no number that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return _short(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value if item is not None]
    return value


def _short(text: str) -> str:
    return text if len(text) <= TEXT_CHARACTERS else text[: TEXT_CHARACTERS - 1] + "…"


def _matrix(plots: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """A confusion matrix as KFP writes it: rows are labels, columns predictions."""
    table = plots.get("confusion")
    counts = [metrics.get(name, {}).get("value") for name in _COUNTS]
    if table is None and None not in counts:
        table = [counts[:2], counts[2:]]
    if not table or len(table) > MATRIX_CLASSES:
        return None
    names = [{"displayName": str(number)} for number in range(len(table))]
    return {"annotationSpecs": names, "rows": [{"row": list(row)} for row in table]}


# Of label 0 and then of label 1, what is predicted as 0 and as 1.
_COUNTS = ("true_negatives", "false_positives", "false_negatives", "true_positives")


def _curve(plots: Mapping[str, Any]) -> list[dict[str, float]] | None:
    """A ROC curve as KFP writes it, thinned evenly."""
    roc, thresholds = plots.get("roc"), plots.get("precision_recall", {}).get("threshold")
    if not roc or not thresholds:
        return None
    # The curve begins at the threshold that nothing is above.
    points = list(zip([thresholds[0], *thresholds], roc["true_positive_rate"], roc["false_positive_rate"]))
    return [
        {"confidenceThreshold": round(threshold, 6), "recall": round(recall, 6), "falsePositiveRate": round(rate, 6)}
        for threshold, recall, rate in _thinned(points)
    ]


def _thinned(points: Sequence[Any]) -> Iterator[Any]:
    last = len(points) - 1
    wanted = (
        range(len(points)) if last < ROC_POINTS else (round(n * last / (ROC_POINTS - 1)) for n in range(ROC_POINTS))
    )
    yield from (points[number] for number in wanted)
