"""Where a training's features come from: written by Transform, or computed from raw rows by its saved graph as they
are read.

Both ways give the same stored rows, so what follows (shuffling, batches, the model) is one code.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from headrace.components.missing_values import missing_in_target, null_counts
from headrace.components.training.batch_stream import BatchStream, Structure
from headrace.components.training.targets import Target, check_present
from headrace.pipelines import Examples
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
    """

    examples: Examples
    transform: SavedTransform
    features: Sequence[str]
    labels: Mapping[str, Target]
    weight: Target | None = None

    @property
    def transformed(self) -> bool:
        """Whether the rows are features already."""
        return bool(self.examples.properties.get("transformed"))

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
        row_bytes = sum(8 * self.transform.feature_specs[name].values for name in self.features)
        return BatchStream(
            self.groups(split), self.read, self.schema, self.expand, batch_size, most_steps, shuffle, seed, row_bytes
        )

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
        parts: list[Structure] = [feature_batch_to_tensors(rows, {name: specs[name] for name in self.features})]
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
