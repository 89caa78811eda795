"""Tensors inside the graph, computed from raw columns in a pass: what a layer behind other layers is adapted on."""

from __future__ import annotations

import io
import tempfile
import threading
import uuid
import weakref
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.keras_graph import symbolic_graph
from headrace.transforms.keras_graph.graph_function import graph_function, resources
from headrace.transforms.keras_graph.raw_columns import as_array, raw_tensors

# What one evaluation takes, in bytes: a 10,000-wide one-hot may feed a Normalization.
_CHUNK_BYTES = 64 << 20
_MOST_ROWS = 65_536


class Evaluator:
    """Computes a list of tensors from rows of raw columns.

    Pickled for this process it is only a name; a portable one carries a SavedModel for workers elsewhere.

    Attributes:
        inputs: The raw columns that it needs.
    """

    def __init__(
        self, name: str, inputs: dict[str, ModelInput], rows: int, compute: Callable[..., Any], payload: bytes | None
    ) -> None:
        self.inputs = inputs
        self._name, self._rows, self._compute, self._payload = name, rows, compute, payload

    @classmethod
    def of(
        cls, tensors: list[Any], symbolic: Mapping[str, Any], inputs: Mapping[str, ModelInput], *, portable: bool
    ) -> Evaluator:
        """An evaluator of KerasTensors.

        Args:
            tensors: What to compute.
            symbolic: The `keras.Input`s by column.
            inputs: The raw columns.
            portable: Whether it may be pickled for another process.
        """
        needed = {column for tensor in tensors for column in symbolic_graph.columns(tensor)}
        mine = {name: one for name, one in inputs.items() if name in needed}
        function = graph_function(symbolic, mine, {str(i): tensor for i, tensor in enumerate(tensors)})
        rows = max(64, min(_MOST_ROWS, _CHUNK_BYTES // symbolic_graph.row_bytes(tensors)))
        payload = _zipped(function, resources(tensors, function.captured_inputs)) if portable else None
        made = cls(uuid.uuid4().hex, mine, rows, function, payload)
        _evaluators[made._name] = made
        return made

    def evaluate(self, batch: pa.RecordBatch) -> Iterator[list[np.ndarray]]:
        """The tensors' values for the rows of the batch, in chunks of bounded size."""
        for start in range(0, batch.num_rows, self._rows):
            values = self._compute(raw_tensors(batch.slice(start, self._rows), self.inputs))
            yield [as_array(values[str(i)]) for i in range(len(values))]

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self._name, self.inputs, self._rows, self._payload)


_evaluators: weakref.WeakValueDictionary[str, Evaluator] = weakref.WeakValueDictionary()
_loading = threading.Lock()
# In a worker elsewhere nothing else keeps an evaluator between two bundles of a pass; the last one is enough.
_last_loaded: list[Evaluator] = []


def _unpickled(name: str, inputs: dict[str, ModelInput], rows: int, payload: bytes | None) -> Evaluator:
    with _loading:
        found = _evaluators.get(name)
        if found is not None:
            return found
        if payload is None:
            raise RuntimeError(
                "a layer behind other layers is evaluated in the process that traced it, and this is another one: name "
                "the runner in beam_args (--runner=)"
            )
        made = _evaluators[name] = Evaluator(name, inputs, rows, _loaded(payload), payload)
        _last_loaded[:] = [made]
        return made


def _zipped(function: Any, tracked: list[Any]) -> bytes:
    import tensorflow as tf

    root = tf.Module()
    root.function, root.resources = function, tracked
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w") as archive:
        tf.saved_model.save(root, folder)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return packed.getvalue()


def _loaded(payload: bytes) -> Callable[..., Any]:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(io.BytesIO(payload)) as archive:
        archive.extractall(folder)
        root = tf.saved_model.load(folder)

    def compute(raw: Any) -> Any:
        # The root owns the tables, and the function does not keep it.
        return root.function(raw)

    return compute
