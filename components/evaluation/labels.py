"""Labels and weights of raw rows: columns of theirs, or outputs of `preprocessing_fn` by its saved graph."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.transforms import feature_model
from headrace.transforms.keras_graph import SavedTransform, load_transform
from numpy.typing import NDArray

Array = NDArray[np.float64]


@functools.lru_cache(maxsize=4)
def transform_in(folder: str) -> SavedTransform:
    """The saved transform in a folder, loaded once in a process."""
    return load_transform(folder)


@dataclass(frozen=True)
class Target:
    """A label or weight.

    Args:
        name: Its name.
        columns: The raw columns it depends on.
        transform: Folder of the saved transform that computes it; None where it is a raw column.
        classes: The label's values in the order of the model's outputs, where it is not their number already.
    """

    name: str
    columns: tuple[str, ...]
    transform: str | None = None
    classes: tuple[str, ...] | None = None

    def values(self, batch: pa.RecordBatch) -> Array:
        """The value of each row, shape `(rows,)`: NaN where it is missing, a class as its number.

        Raises:
            ValueError: A value is none of the classes, or is no number and there are no classes.
        """
        if self.transform is not None:
            return self._computed(batch, transform_in(self.transform))
        column = batch.column(self.columns[0])
        if self.classes is not None:
            return self._class_numbers(column)
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.float64())
        if feature_model.kind_of(column.type, self.name).feature_type == "BYTES":
            raise ValueError(
                f"the label {self.name!r} is {column.type}, which is no number: name its values in the order of the "
                f"model's outputs with classes=[...], such as {pc.unique(column).drop_null().slice(0, 3).to_pylist()}"
            )
        numbers = feature_model.plain_values(column).cast(pa.float64(), safe=False)
        return np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)

    def _class_numbers(self, column: pa.Array) -> Array:
        plain = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        text = plain.cast(pa.string())
        numbers = pc.index_in(text, pa.array(self.classes, pa.string()))
        unknown = pc.filter(text, pc.and_(pc.is_valid(text), pc.is_null(numbers)))
        if len(unknown):
            known = list(self.classes or ())
            raise ValueError(f"the label {self.name!r} is {unknown[0].as_py()!r}, which is none of classes={known}")
        return np.asarray(numbers.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)

    def _computed(self, batch: pa.RecordBatch, transform: SavedTransform) -> Array:
        """By the saved graph, on the rows that have it: a missing label is not to be replaced by a default."""
        present = np.ones(batch.num_rows, bool)
        if len(self.columns) == 1:
            present = batch.column(self.columns[0]).is_valid().to_numpy(zero_copy_only=False)
        rows = batch.select(list(self.columns)).filter(pa.array(present))
        values = np.full(batch.num_rows, np.nan)
        if rows.num_rows:
            computed = transform.features(transform.raw_tensors(rows, [self.name]), [self.name])[self.name].numpy()
            values[present] = computed[:, 0] if computed.shape[1:] == (1,) else computed.argmax(axis=-1).reshape(-1)
        return values


def target(name: str, columns: Sequence[str], transform: str | None, classes: Sequence[str] | None = None) -> Target:
    """Finds a label or weight: as the Trainer, first among `preprocessing_fn`'s outputs, then among the columns.

    Raises:
        ValueError: It is in neither.
    """
    outputs = transform_in(transform).feature_specs if transform is not None else {}
    if name in outputs and set(outputs[name].columns) <= set(columns):
        needed = tuple(outputs[name].columns)
        if outputs[name].is_column:
            # The column itself: no graph need be loaded to read it.
            return Target(name, needed, None, None if classes is None else tuple(classes))
        return Target(name, needed, transform)
    if name in columns:
        return Target(name, (name,), None, None if classes is None else tuple(classes))
    known = list(dict.fromkeys([*outputs, *columns]))
    near = difflib.get_close_matches(name, known, 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
    raise ValueError(f"label or weight {name!r} is no output of preprocessing_fn and no column of the rows; {hint}")
