"""Where a training's features come from: written by Transform, or computed from raw rows by its saved graph as they are read."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from headrace.components.training.batch_stream import Arrays, BatchStream
from headrace.pipelines import Examples
from headrace.transforms.keras_graph import SavedTransform, feature_batch_to_tensors
from headrace.transforms.row_groups import RowGroup

LABEL, WEIGHT = "\0label", "\0weight"


@dataclass(frozen=True)
class Target:
    """A label or weight: an output of `preprocessing_fn`, or a raw column.

    Args:
        name: Its name.
        is_output: Whether `preprocessing_fn` gives it.
        columns: The raw columns it depends on.
    """

    name: str
    is_output: bool
    columns: tuple[str, ...]


def target(name: str, transform: SavedTransform, columns: Sequence[str]) -> Target:
    """Finds a label or weight among the outputs of `preprocessing_fn` and the columns at hand.

    Raises:
        ValueError: It is neither.
    """
    if name in transform.feature_specs:
        return Target(name, True, tuple(transform.feature_specs[name].columns))
    if name in columns:
        return Target(name, False, (name,))
    known = [*transform.feature_specs, *columns]
    near = difflib.get_close_matches(name, known, 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(dict.fromkeys(known))}"
    raise ValueError(
        f"label or weight {name!r} is no output of preprocessing_fn and no column of the examples; {hint} A raw column is among "
        "transformed examples only if Transform has it in passthrough=."
    )


def check_no_leak(label: Target, features: Sequence[str], transform: SavedTransform) -> None:
    """Refuses a label left among the features.

    Raises:
        ValueError: A feature is computed from a column that the label is computed from alone.
    """
    if len(label.columns) != 1:
        return
    leaks = [name for name in features if set(label.columns) & set(transform.feature_specs[name].columns)]
    if leaks:
        raise ValueError(
            f"the label {label.name!r} is left among the features: {', '.join(leaks)} is computed from its column "
            f"{label.columns[0]!r}, which a client cannot send. Take it out of what preprocessing_fn returns, or name it in Transform's labels="
        )


@dataclass(frozen=True)
class FeatureSource:
    """Features, label and weight of the rows of Examples.

    Args:
        examples: Transformed rows, or raw ones.
        transform: The saved transform.
        features: The features that the model takes.
        label: The label, or None.
        weight: The weight of a row, or None.
    """

    examples: Examples
    transform: SavedTransform
    features: Sequence[str]
    label: Target | None
    weight: Target | None = None

    @property
    def transformed(self) -> bool:
        return bool(self.examples.properties.get("transformed"))

    def stream(self, split: str, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> BatchStream:
        """The rows of a split as batches.

        Raises:
            KeyError: There is no such split.
        """
        groups = [RowGroup(*group) for group in self.examples.row_groups(split)]
        specs = self.transform.feature_specs
        row_bytes = sum(8 * specs[name].values for name in self.features)
        return BatchStream(groups, self._columns(), self._expander(), batch_size, shuffle, seed, row_bytes)

    def packer(self) -> Callable[[dict[str, Any]], Any]:
        """Arranges a batch as Keras takes it; for raw rows it applies the saved graph, in the tf.data pipeline."""

        def pack(batch: dict[str, Any]) -> Any:
            batch = dict(batch)
            label, weight = batch.pop(LABEL, None), batch.pop(WEIGHT, None)
            if not self.transformed:
                outputs = [target.name for target in (self.label, self.weight) if target is not None and target.is_output]
                batch = self.transform.features(batch, [*self.features, *outputs])
                label = batch[self.label.name] if self.label is not None and self.label.is_output else label
                weight = batch[self.weight.name] if self.weight is not None and self.weight.is_output else weight
            features = {name: batch[name] for name in self.features}
            return tuple(part for part in (features, label, weight) if part is not None)

        return pack

    def _targets(self) -> list[tuple[str, Target]]:
        return [(key, target) for key, target in ((LABEL, self.label), (WEIGHT, self.weight)) if target is not None]

    def _columns(self) -> list[str]:
        if self.transformed:
            return [*dict.fromkeys([*self.features, *(target.name for _, target in self._targets())])]
        needed = [*self.features, *(target.name for _, target in self._targets() if target.is_output)]
        raw = [target.name for _, target in self._targets() if not target.is_output]
        return [*dict.fromkeys([*self.transform.columns(needed), *raw])]

    def _expander(self) -> Callable[[pa.RecordBatch], Arrays]:
        specs = self.transform.feature_specs
        if self.transformed:
            wanted = {name: specs[name] for name in self.features}

            def expand(rows: pa.RecordBatch) -> Arrays:
                arrays = feature_batch_to_tensors(rows, wanted)
                for key, target in self._targets():
                    if target.is_output:
                        arrays[key] = feature_batch_to_tensors(rows, {target.name: specs[target.name]})[target.name]
                    else:
                        arrays[key] = _raw_target(rows.column(target.name), target.name)
                return arrays

            return expand
        needed = [*self.features, *(target.name for _, target in self._targets() if target.is_output)]

        def expand_raw(rows: pa.RecordBatch) -> Arrays:
            arrays = {name: _numpy(tensor) for name, tensor in self.transform.raw_tensors(rows, needed).items()}
            for key, target in self._targets():
                if not target.is_output:
                    arrays[key] = _raw_target(rows.column(target.name), target.name)
            return arrays

        return expand_raw


def _numpy(tensor: Any) -> np.ndarray:
    return tensor if isinstance(tensor, np.ndarray) else tensor.numpy()


def _raw_target(column: pa.Array, name: str) -> np.ndarray:
    """A label or weight straight from its column, of shape (rows, 1).

    Raises:
        ValueError: A row has none.
    """
    if column.null_count:
        missing = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise ValueError(
            f"column {name!r} is the label or weight and misses {column.null_count:,} values (the first in row {missing + 1:,} of its row "
            "group): leave those rows out when the examples are made"
        )
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype == bool:
        values = values.astype(np.float32)
    return values.reshape(-1, 1)


def describe_targets(targets: Mapping[str, Target | None]) -> dict[str, str]:
    return {key: target.name for key, target in targets.items() if target is not None}
