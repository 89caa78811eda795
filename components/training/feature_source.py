"""Where a training's features come from: written by Transform, or computed from raw rows by its saved graph as they
are read.

Both ways give the same stored rows, so what follows (shuffling, batches, the model) is one code.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import pyarrow as pa
from headrace.components.missing_values import missing_in_target, null_counts
from headrace.components.training.batch_stream import BatchStream, Structure
from headrace.components.training.targets import Target, check_present
from headrace.pipelines import Examples
from headrace.pipelines.errors import PipelineError, Problem
from headrace.transforms.keras_graph import SavedTransform, feature_batch_to_tensors
from headrace.transforms.row_groups import RowGroup, read


@dataclass(frozen=True)
class FeatureSource:
    """Features, labels and weight of the rows of Examples.

    Args:
        examples: Transformed rows, or raw ones.
        transform: The saved transform.
        features: The features that the model takes.
        labels: Its labels by the name of the output that is trained towards each; by "" the one label of a model that
            has one output.
        weight: The weight of a row, or None.
        arrangement: The features' names in the structure that the model was built on; None for a dict by name. Keras
            takes a dict of other keys than the model's by position, silently.
    """

    examples: Examples
    transform: SavedTransform
    features: Sequence[str]
    labels: Mapping[str, Target]
    weight: Target | None = None
    arrangement: Any = None

    @property
    def transformed(self) -> bool:
        """Whether the rows are features already."""
        return bool(self.examples.properties.get("transformed"))

    def for_model(self, model: keras.Model) -> FeatureSource:
        """The same rows with the features that a model takes, arranged as it was built.

        Raises:
            PipelineError: It has an input that is no feature.
        """
        if not getattr(model, "inputs", None):
            return self
        taken = [one.name for one in model.inputs]
        if unknown := [name for name in taken if name not in self.features]:
            what = f"the model's inputs {unknown} are no features; there are {', '.join(self.features)}"
            raise PipelineError(Problem(what, "build it on the tensors that build_model receives", code="build-model"))
        arrangement = keras.tree.map_structure(lambda one: one.name, model.input)
        return replace(self, features=[name for name in self.features if name in taken], arrangement=arrangement)

    def targets(self) -> list[tuple[str, Target]]:
        """Labels and weight, each with what it is."""
        weights = [("weight", self.weight)] if self.weight is not None else []
        return [*(("label", label) for label in self.labels.values()), *weights]

    def groups(self, split: str) -> list[RowGroup]:
        """The row groups of a split.

        Raises:
            KeyError: There is no such split.
        """
        return [RowGroup(*group) for group in self.examples.row_groups(split)]

    def stream(
        self, split: str, batch_size: int, *, most_steps: int | None = None, shuffle: bool = False, seed: int = 0
    ) -> BatchStream:
        """The rows of a split as batches.

        Raises:
            KeyError: There is no such split.
        """
        return BatchStream(
            self.groups(split),
            self.read,
            self.schema,
            self.expand,
            batch_size,
            most_steps,
            shuffle,
            seed,
            self.row_bytes,
        )

    @property
    def row_bytes(self) -> int:
        """What a row takes as the model gets it: a bag of 50,000 words is stored small, and is wide there."""
        return max(1, sum(8 * self.transform.feature_specs[name].values for name in self.features))

    def read(self, group: RowGroup) -> pa.RecordBatch:
        """A row group's features, labels and weight as they are stored."""
        names = self.schema.names
        if self.transformed:
            return read(group, names)
        raw = read(group, [*dict.fromkeys([*self.transform.inputs, *self._beside()])])
        stored = self.transform.apply(raw)
        made = dict(zip(stored.schema.names, stored.columns)) | {name: raw.column(name) for name in self._beside()}
        return pa.RecordBatch.from_arrays([made[name] for name in names], schema=self.schema)

    def expand(self, rows: pa.RecordBatch) -> Structure:
        """Stored rows as what Keras takes: (features,), (features, label) or (features, label, weight)."""
        specs = self.transform.feature_specs
        features = feature_batch_to_tensors(rows, {name: specs[name] for name in self.features})
        parts: list[Structure] = [features if self.arrangement is None else _arranged(features, self.arrangement)]
        labels = {output: label.array(rows) for output, label in self.labels.items()}
        if labels:
            parts.append(labels.get("", labels))
        if self.weight is not None:
            parts.append(self.weight.array(rows).reshape(rows.num_rows))
        return tuple(parts)

    def check_targets(self, split: str) -> list[str]:
        """Looks for missing labels and weights before the training.

        Returns:
            Warnings: labels that the graph computes from raw columns with missing values.

        Raises:
            DataError: A row has none.
        """
        warnings = []
        groups = self.groups(split)
        for what, target in self.targets():
            if target.spec is None or self.transformed:
                is_whole = null_counts(groups, [target.name]).get(target.name) == 0
                is_hot = target.spec is not None and target.spec.encoding != "dense"  # a null is no category there
                if not is_hot and not (
                    is_whole and not pa.types.is_floating(self.examples.schema.field(target.name).type)
                ):
                    check_present(what, target, groups, lambda group: read(group, [target.name]).column(0))  # noqa: B023
                continue
            nulls = {name: n for name, n in null_counts(groups, target.columns).items() if n}
            if nulls:
                check_present(what, target, groups, lambda group: self._computed(group, target.name))  # noqa: B023
                warnings.append(missing_in_target(what, target.name, nulls, split))
        return warnings

    def _computed(self, group: RowGroup, name: str) -> pa.Array:
        raw = read(group, self.transform.columns([name]))
        value = self.transform.features(self.transform.raw_tensors(raw, [name]), [name])[name].numpy()
        flat = pa.array(np.ascontiguousarray(value).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, max(1, len(flat) // max(1, group.rows)))

    def _beside(self) -> list[str]:
        """Targets that are raw columns."""
        return [target.name for _, target in self.targets() if target.spec is None]

    @functools.cached_property
    def schema(self) -> pa.Schema:
        """Schema of the stored columns that a training reads."""
        stored = self.transform.output_arrow_schema
        names = dict.fromkeys([*self.features, *(target.name for _, target in self.targets())])
        beside = set(self._beside())
        raw = self.examples.schema if beside else None
        return pa.schema(
            [raw.field(name) if raw is not None and name in beside else stored.field(name) for name in names]
        )


def _arranged(features: Mapping[str, np.ndarray], names: Any) -> Structure:
    # tf.data would make one tensor of a list.
    if isinstance(names, Mapping):
        return {key: _arranged(features, inner) for key, inner in names.items()}
    if isinstance(names, list | tuple):
        return tuple(_arranged(features, inner) for inner in names)
    return features[names]
