"""Rows at the edges of the schema, and what the saved transform makes of them in this process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from headrace.components.skew.client_rows import Instance, edge_rows
from headrace.transforms.keras_graph import SavedTransform


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


def _computed(transform: SavedTransform, rows: list[Instance], features: list[str]) -> dict[str, np.ndarray]:
    import tensorflow as tf

    raw: dict[str, Any] = {}
    for column in transform.columns(features):
        one = transform.inputs[column]
        values = [row.get(column, one.missing) for row in rows]
        raw[column] = tf.constant(values, one.dtype, shape=(len(rows), *one.shape))
    return {name: value.numpy() for name, value in transform.features(raw, features).items()}
