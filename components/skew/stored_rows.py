"""Rows of a model that keeps none of its training, for its `run_fn` wrote the SavedModel by itself.

What the Trainer read of them lies in the transformed examples. What the live model predicted is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from headrace.pipelines import Examples, Model, TransformGraph
from headrace.pipelines.errors import ArtifactError
from headrace.transforms import feature_model
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.keras_graph import feature_batch_to_tensors, load_transform
from headrace.transforms.keras_graph.feature_specs import FeatureSpec
from headrace.transforms.row_groups import RowGroup, read

# Of each split; reading them all would cost an epoch.
GROUPS = 8
_ABSENT: dict[str, Any] = {"float32": float("nan"), "string": "", "int64": 0, "bool": False}


class StoredRows:
    """Some rows of the examples, and their features as Transform stored them.

    Args:
        model: The model.
        raw: The raw examples that its training's features were made from.
        rows: How many rows, the same of each split.

    Attributes:
        split: Split of each row.
        row: Its number in the split, from 0.
        specs: What is known of each feature; of none where the model was trained on raw columns.
        inputs: The raw columns, by their own types: what a signature asks of them is the author's.
    """

    def __init__(self, model: Model, raw: Examples, rows: int) -> None:
        self.inputs = {field.name: _input(field) for field in raw.schema if _is_known(field.type)}
        self._transformed = _transformed(model)
        self.specs: dict[str, FeatureSpec] = {}
        if self._transformed is not None:
            graph = TransformGraph.open(model.links["transform_graph"]["uri"])
            self.specs = dict(load_transform(graph.path).feature_specs)
        chosen = [
            (name, row) for name in raw.splits for row in _spread_over(_groups(raw, name), -(-rows // len(raw.splits)))
        ]
        self.split = [name for name, _ in chosen]
        self.row = [row for _, row in chosen]

    def __len__(self) -> int:
        return len(self.row)

    def features(self, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Each feature of some rows, by their ascending positions, or of all: `(rows, *shape)`."""
        chosen = [(self.split[at], self.row[at]) for at in (range(len(self)) if rows is None else rows)]
        if self._transformed is None or not chosen:
            return {}
        pieces = [
            piece
            for name in dict.fromkeys(split for split, _ in chosen)
            for piece in self._stored(name, [row for split, row in chosen if split == name])
        ]
        return feature_batch_to_tensors(pa.concat_tables(pieces).combine_chunks(), self.specs)

    def _stored(self, split: str, rows: list[int]) -> Iterator[pa.Table]:
        assert self._transformed is not None
        first = 0
        for group in _groups(self._transformed, split):
            inside = [row - first for row in rows if first <= row < first + group.rows]
            if inside:
                yield pa.Table.from_batches([read(group, list(self.specs)).take(pa.array(inside))])
            first += group.rows

    def predictions(self) -> Mapping[str, np.ndarray]:
        """None: the live model is gone."""
        return {}


def _transformed(model: Model) -> Examples | None:
    """The transformed examples that a model was trained on; None where it read raw ones, or they are gone."""
    links = [model.links.get(name) for name in ("examples", "transform_graph")]
    if not all(isinstance(link, Mapping) for link in links):
        return None
    try:
        examples = Examples.open(links[0]["uri"])  # type: ignore[index]
        TransformGraph.open(links[1]["uri"])  # type: ignore[index]
    except ArtifactError:
        return None
    return examples if examples.properties.get("transformed") else None


def _groups(examples: Examples, split: str) -> list[RowGroup]:
    return [RowGroup(*group) for group in examples.row_groups(split)]


def _spread_over(groups: list[RowGroup], rows: int) -> list[int]:
    """Numbers of so many rows of a split, evenly from some of its row groups."""
    starts = np.concatenate([[0], np.cumsum([group.rows for group in groups])]).astype(np.int64)
    filled = [number for number, group in enumerate(groups) if group.rows]
    if not filled:
        return []
    picked = sorted({filled[at] for at in np.linspace(0, len(filled) - 1, min(GROUPS, len(filled))).astype(int)})
    each = -(-rows // len(picked))
    return [
        int(starts[number] + row)
        for number in picked
        for row in np.unique(np.linspace(0, groups[number].rows - 1, min(each, groups[number].rows)).astype(np.int64))
    ]


def _is_known(arrow_type: pa.DataType) -> bool:
    try:
        feature_model.kind_of(arrow_type)
    except TypeError:
        return False
    return True


def _input(field: pa.Field) -> ModelInput:
    dtype = feature_model.keras_dtype(field.type)
    return ModelInput(field.name, dtype, (None,) if feature_model.is_list(field.type) else (), True, _ABSENT[dtype])
