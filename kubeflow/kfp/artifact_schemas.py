"""Which artifact type of KFP stands for each of ours: a standard one that KFP's page can draw, or one of our name."""

from __future__ import annotations

# The versions of KFP's standard types, and of ours.
_STANDARD, _OWN = "0.0.1", "1.0.0"
_TITLES = {
    "Artifact": "system.Artifact",
    "Examples": "system.Dataset",
    "Predictions": "system.Dataset",
    "QuarantinedRows": "system.Dataset",
    "Model": "system.Model",
    "PushedModel": "system.Model",
    "Evaluation": "system.Metrics",
}
CURVES = {"schemaTitle": "system.ClassificationMetrics", "schemaVersion": _STANDARD}


def artifact_schema(type_name: str) -> dict[str, str]:
    """Gives the `artifactType` of a type.

    >>> artifact_schema("Examples"), artifact_schema("Schema")["schemaTitle"]
    ({'schemaTitle': 'system.Dataset', 'schemaVersion': '0.0.1'}, 'headrace.Schema')
    """
    if title := _TITLES.get(type_name):
        return {"schemaTitle": title, "schemaVersion": _STANDARD}
    return {"schemaTitle": f"headrace.{type_name}", "schemaVersion": _OWN}


def curves_of(output: str, type_name: str) -> str | None:
    """Name of the further output in which a step shows an Evaluation's ROC curve and confusion matrix, if it has one.

    KFP draws the numbers of a `system.Metrics` and the curves of a `system.ClassificationMetrics`; an artifact is one
    of the two.
    """
    return f"{output}-curves" if type_name == "Evaluation" else None
