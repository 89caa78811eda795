"""Rows at the edges of the schema, and what the saved transform makes of them in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from headrace.components.client_rows import Instance
from headrace.components.skew.calls import plain_value
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.keras_graph import SavedTransform

_LARGEST = {"float32": 3.0e38, "int64": 2**62, "int32": 2**31 - 1}
NEVER_SEEN = "\u00bfnew?"


@dataclass
class Edges:
    """Edge rows that the transform can compute.

    Args:
        names: What each is.
        instances: The rows as a client sends them.
        features: What the transform makes of them, `(rows, *shape)` by feature.
        warnings: Rows that it cannot compute: nothing is served for them either.
    """

    names: list[str] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)
    features: dict[str, np.ndarray] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, transform: SavedTransform, typical: Instance, features: list[str]) -> Edges:
        """Makes edge rows and computes their features.

        Args:
            transform: The saved transform.
            typical: A row of the data, which each edge differs from in one column.
            features: The features that the model takes.
        """
        columns = {name: transform.inputs[name] for name in transform.columns(features)}
        rows = edge_rows(typical, columns)
        try:
            made = _computed(transform, [row for _, row in rows], features)
            return cls([name for name, _ in rows], [row for _, row in rows], made)
        except Exception:
            return cls._one_by_one(transform, rows, features)

    @classmethod
    def _one_by_one(cls, transform: SavedTransform, rows: list[tuple[str, Instance]], features: list[str]) -> Edges:
        edges, pieces = cls(), []
        for name, row in rows:
            try:
                pieces.append(_computed(transform, [row], features))
            except Exception as error:  # what an operation says of a value that it cannot take
                said = str(error).strip().splitlines()[0]
                edges.warnings.append(f"a row with {name} can be neither trained on nor served: {said[:200]}")
                continue
            edges.names.append(name)
            edges.instances.append(row)
        edges.features = {name: np.concatenate([piece[name] for piece in pieces]) for name in features if pieces}
        return edges


def edge_rows(typical: Instance, inputs: Mapping[str, ModelInput]) -> list[tuple[str, Instance]]:
    """Rows that data seldom has: each field missing where it may be, empty, never seen, or extreme.

    Args:
        typical: A row of the data, which each edge differs from in one column.
        inputs: The columns, with the value that stands for a missing one.

    Returns:
        What is at the edge, and the row.
    """
    edges: list[tuple[str, Instance]] = []
    for name, one in inputs.items():
        if one.optional:
            edges.append((f"{name} missing", {key: value for key, value in typical.items() if key != name}))
        edges += [(f"{name} {what}", {**typical, name: value}) for what, value in _edges_of(one).items()]
    return edges


def _edges_of(one: ModelInput) -> dict[str, Any]:
    """What a column may hold and seldom does."""
    if one.image:
        return {"empty": ""}
    if one.shape:
        return {"empty": []} if one.optional else {}
    if one.dtype == "string":
        return {"empty": "", "never seen": NEVER_SEEN}
    if one.dtype in _LARGEST:
        largest = _LARGEST[one.dtype]
        return {"huge": largest, "hugely negative": -largest, "zero": type(largest)(0)}
    return {}


def _computed(transform: SavedTransform, rows: list[Instance], features: list[str]) -> dict[str, np.ndarray]:
    import tensorflow as tf

    raw: dict[str, Any] = {}
    for column in transform.columns(features):
        one = transform.inputs[column]
        values = [plain_value(row.get(column, one.missing)) for row in rows]
        raw[column] = tf.constant(values, one.dtype, shape=(len(rows), *one.shape))
    return {name: value.numpy() for name, value in transform.features(raw, features).items()}
