"""Some rows as the training read them, with what the model predicted of them: what serving is compared with later.

They are taken in the training's own process, before the export: the stored features, and the live model's outputs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from headrace.transforms.keras_graph import feature_specs
from headrace.transforms.keras_graph.saved_model import input_from_json, input_to_json
from headrace.transforms.row_groups import RowGroup

if TYPE_CHECKING:
    from headrace.components.training.feature_source import FeatureSource

FILE = "reference.parquet"
FEATURE = "feature:"
PREDICTION = "prediction:"
_DESCRIBED = b"headrace.reference"
# Rows of all splits together, and from how many row groups of a split: reading them all would cost an epoch.
ROWS = 10_000
GROUPS = 8
_BATCH, _BATCH_BYTES = 8_192, 256 << 20


def record(predict: Any, source: FeatureSource, splits: list[str], folder: Path, rows: int = ROWS) -> Path | None:
    """Writes rows of each split, their features as they were read and the model's predictions.

    Args:
        predict: From features, arranged as the model takes them, to named outputs of shape `(rows, ...)`.
        source: What the model was trained on.
        splits: The splits to take rows from.
        folder: Where to write.
        rows: How many, the same of each split, evenly spread over some of its row groups.

    Returns:
        The file; None where there are no rows.
    """
    with in_full_precision():
        pieces = [
            _piece(predict, source, split, first, group, chosen)
            for split in splits
            for first, group, chosen in _chosen(source.groups(split), -(-rows // len(splits)))
        ]
    if not pieces:
        return None
    table = pa.concat_tables(pieces)
    specs = {name: source.transform.feature_specs[name] for name in source.features}
    inputs = [source.transform.inputs[name] for name in source.transform.columns(list(source.features))]
    described = {"features": feature_specs.to_json(specs), "inputs": [input_to_json(one) for one in inputs]}
    table = table.replace_schema_metadata({_DESCRIBED: json.dumps(described).encode()})
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / FILE, compression="zstd")
    return folder / FILE


@contextlib.contextmanager
def in_full_precision() -> Iterator[None]:
    """Has matrices of float32 multiplied as such. GPUs from Ampere on use 10 bits of each number's fraction unless they
    are told not to (TensorFloat-32); a server on a processor uses all 23, and would seem to predict otherwise."""
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _chosen(groups: list[RowGroup], rows: int) -> Iterator[tuple[int, RowGroup, np.ndarray]]:
    """Yields (rows of the split before the group, the group, row numbers in it)."""
    some = [number for number, group in enumerate(groups) if group.rows]
    if not some:
        return
    starts = np.concatenate([[0], np.cumsum([group.rows for group in groups])])
    picked = sorted({some[i] for i in np.linspace(0, len(some) - 1, min(GROUPS, len(some))).astype(int)})
    each = -(-rows // len(picked))
    for number in picked:
        group = groups[number]
        chosen = np.unique(np.linspace(0, group.rows - 1, min(each, group.rows)).astype(np.int64))
        yield int(starts[number]), group, chosen


def _piece(
    predict: Any, source: FeatureSource, split: str, first: int, group: RowGroup, chosen: np.ndarray
) -> pa.Table:
    stored = source.read(group).take(pa.array(chosen))
    outputs: dict[str, list[np.ndarray]] = {}
    at_once = max(1, min(_BATCH, _BATCH_BYTES // source.row_bytes))
    for start in range(0, stored.num_rows, at_once):
        features = source.expand(stored.slice(start, at_once))[0]
        for name, values in predict(features).items():
            outputs.setdefault(name, []).append(np.asarray(values))
    columns: dict[str, pa.Array] = {
        "split": pa.array([split] * len(chosen), pa.string()),
        "row": pa.array(first + chosen),
        **{FEATURE + name: stored.column(name) for name in source.features},
        **{PREDICTION + name: _rows(np.concatenate(values)) for name, values in outputs.items()},
    }
    return pa.table(columns)


def _rows(values: np.ndarray) -> pa.Array:
    """Values of shape `(rows, ...)` as a list each."""
    width = int(np.prod(values.shape[1:], dtype=np.int64))
    flat = values.reshape(-1)
    array = pa.array(flat.tolist(), pa.binary()) if values.dtype == object else pa.array(flat)
    return pa.FixedSizeListArray.from_arrays(array, width)


class ReferenceRows:
    """What `record` wrote.

    Args:
        file: The file.

    Attributes:
        split: Split of each row.
        row: Its number in the split, from 0.
        specs: What is known of each feature.
        inputs: The raw columns that the features are made of.
    """

    def __init__(self, file: Path) -> None:
        self._table = pq.read_table(file)
        self.split: list[str] = self._table["split"].to_pylist()
        self.row: list[int] = self._table["row"].to_pylist()
        described = json.loads(self._table.schema.metadata[_DESCRIBED])
        self.specs = feature_specs.from_json(described["features"])
        self.inputs = {one["name"]: input_from_json(one) for one in described["inputs"]}

    def __len__(self) -> int:
        return len(self.row)

    def features(self, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Each feature of some rows, by their positions, or of all: `(rows, *shape)`."""
        from headrace.transforms.keras_graph import feature_batch_to_tensors

        stored = self._table if rows is None else self._table.take(pa.array(rows))
        columns = {name: stored[FEATURE + name].combine_chunks() for name in self.specs}
        return feature_batch_to_tensors(pa.table(columns), self.specs)

    def predictions(self) -> Mapping[str, np.ndarray]:
        """Each output of the model, `(rows, values)`."""
        found = {}
        for name in self._table.column_names:
            if name.startswith(PREDICTION):
                lists = self._table[name].combine_chunks()
                flat = lists.flatten().to_numpy(zero_copy_only=False)
                found[name.removeprefix(PREDICTION)] = flat.reshape(len(lists), -1)
        return found
