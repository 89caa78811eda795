"""What KFP shows of an artifact: its standard metrics, and how much of its metadata there is room for."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from headrace.kubeflow.container.kfp_metadata import METADATA_BYTES, ROC_POINTS, evaluation_metrics, metadata_of
from headrace.kubeflow.container.references import Reference
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, confusion_matrix, roc_auc_score, roc_curve


def binary_document(labels: Any, scores: Any) -> dict[str, Any]:
    """An evaluation of these rows as `headrace.transforms.metrics.document` writes it."""
    false, true, thresholds = roc_curve(labels, scores)
    tn, fp, fn, tp = map(int, confusion_matrix(labels, scores > 0.5).ravel())
    counts = {"true_negatives": tn, "false_positives": fp, "false_negatives": fn, "true_positives": tp}
    metrics = {name: {"value": value, "lower": None, "upper": None} for name, value in counts.items()}
    metrics["auc"] = {"value": roc_auc_score(labels, scores), "lower": 0.0, "upper": 1.0}
    metrics["undefined"] = {"value": None, "lower": None, "upper": None}
    plots = {
        "roc": {"false_positive_rate": false.tolist(), "true_positive_rate": true.tolist()},
        "precision_recall": {"threshold": thresholds[1:].tolist(), "recall": true[1:].tolist(), "precision": []},
    }
    entry = {"name": "overall", "count": len(labels), "metrics": metrics}
    return {"rows": len(labels), "blessed": True, "outputs": {"late": {"overall": entry, "slices": [], "plots": plots}}}


def test_a_binary_evaluation_is_drawn_by_kfp() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 2000)
    scores = np.clip(labels * 0.2 + rng.normal(0.4, 0.2, 2000), 0, 1)
    found = evaluation_metrics(binary_document(labels, scores))
    assert found["rows"] == 2000 and found["blessed"] is True and "undefined" not in found
    curve = found["confidenceMetrics"]
    assert len(curve) == ROC_POINTS
    area = auc([point["falsePositiveRate"] for point in curve], [point["recall"] for point in curve])
    assert abs(area - roc_auc_score(labels, scores)) < 0.01 and found["auc"] == roc_auc_score(labels, scores)
    assert (curve[0]["recall"], curve[-1]["recall"], curve[-1]["falsePositiveRate"]) == (0.0, 1.0, 1.0)
    thresholds = [point["confidenceThreshold"] for point in curve]
    assert thresholds == sorted(thresholds, reverse=True)
    # Rows are labels and columns predictions, as scikit-learn has them and KFP's pages draw them.
    table = [row["row"] for row in found["confusionMatrix"]["rows"]]
    assert table == confusion_matrix(labels, scores > 0.5).tolist()
    assert [one["displayName"] for one in found["confusionMatrix"]["annotationSpecs"]] == ["0", "1"]


def test_a_table_of_classes_is_given_while_there_is_room_on_a_page() -> None:
    def document(classes: int) -> dict[str, Any]:
        table = np.arange(classes**2, dtype=float).reshape(classes, classes).tolist()
        return {
            "outputs": {"a": {"overall": {"metrics": {"x": {"value": 1.0}}}, "plots": {"confusion": table}}, "b": {}}
        }

    found = evaluation_metrics(document(3))
    assert [row["row"] for row in found["confusionMatrix"]["rows"]] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert found["a:x"] == 1.0
    assert "confusionMatrix" not in evaluation_metrics(document(500))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3000),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=9), inner, max_size=9),
    max_leaves=30,
)


@given(st.dictionaries(st.text(min_size=1, max_size=20), values, max_size=30))
def test_any_properties_become_metadata_that_kfp_takes(properties: dict[str, Any]) -> None:
    reference = Reference("Model", "s3://b/model", "d1", {"properties": properties})
    found = metadata_of(reference)
    text = json.dumps(found, allow_nan=False)
    assert (found["uri"], found["digest"], found["type"]) == ("s3://b/model", "d1", "Model")
    assert len(text) <= METADATA_BYTES + 600 and not list(nulls(found))


def nulls(value: Any) -> Any:
    """KFP's metadata know no null, at any depth."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from nulls(item)
    elif isinstance(value, list):
        for item in value:
            yield from nulls(item)


def test_what_does_not_fit_is_named() -> None:
    properties = {"small": 1, "large": ["x" * 400] * 100, "larger": ["y" * 400] * 200}
    found = metadata_of(Reference("Model", "s3://b/model", "d1", {"properties": properties}))
    assert found["small"] == 1 and found["left_out"] == "large, larger"
