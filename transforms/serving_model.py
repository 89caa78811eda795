"""A SavedModel's `serving_default`, called on Arrow batches as a client would call it, only faster."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from headrace.transforms.feature_model import NAN, ModelInput
from numpy.typing import NDArray

BATCH_ROWS = 8192
_MISSING = {"float32": NAN, "string": ""}


class _Loaded(NamedTuple):
    root: Any  # holds the variables that the signatures use
    signatures: dict[str, Any]
    defaults: dict[str, dict[str, Any]]


# One loaded model for each folder: a pass pickles its summarizer, and copies of it must not load a model each.
_loaded: dict[str, _Loaded] = {}
_loading = threading.Lock()


class ServingModel:
    """Gives a model's outputs for the rows of a batch.

    Inputs are the columns of the same names; a missing value is what the feature model says (NaN, `""`, or the column's
    stated default). Rows go to the model in batches of 8,192, whatever the size of the Arrow batch.

    Args:
        folder: The SavedModel's folder.
        stated: What is known of its inputs beside their dtypes, such as a default for missing values: from the schema
            or the transform. Inputs that it does not name follow the signature and the feature model.
        signature: The signature to call.
        batch_rows: Rows of one call.

    Example:
        >>> model = ServingModel("serving/flights/1")                                    # doctest: +SKIP
        >>> model(pa.record_batch({"distance": [1400.0], "carrier": ["UA"]}))            # doctest: +SKIP
        {'predictions': array([0.21], dtype=float32)}
    """

    def __init__(
        self,
        folder: str | Path,
        stated: Mapping[str, ModelInput] | None = None,
        *,
        signature: str = "serving_default",
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        self.folder, self.signature, self.batch_rows = str(folder), signature, batch_rows
        self._stated = dict(stated or {})

    def inputs(self) -> dict[str, ModelInput]:
        """The columns that the signature takes."""
        loaded = _load(self.folder)
        _, specs = loaded.signatures[self.signature].structured_input_signature
        defaults = loaded.defaults.get(self.signature, {})
        return {name: self._input(name, spec, defaults.get(name)) for name, spec in specs.items()}

    def _input(self, name: str, spec: Any, default: Any) -> ModelInput:
        dtype = spec.dtype.name
        stated = self._stated.get(name)
        missing: Any = default if default is not None else _MISSING.get(dtype)
        if stated is not None and stated.dtype == dtype and stated.missing is not None:
            missing = stated.missing
        return ModelInput(name, dtype, tuple(spec.shape[1:]), missing is not None, missing)

    def output_names(self) -> list[str]:
        """The names of the outputs, sorted: a signature keeps no order of them."""
        return sorted(self._function().structured_outputs)

    def columns(self) -> list[str]:
        """The names of the columns it takes."""
        return list(self.inputs())

    def __call__(self, batch: pa.RecordBatch) -> dict[str, NDArray[Any]]:
        """The outputs by name: `(rows,)` where the model gives one number a row, otherwise `(rows, ...)`.

        Raises:
            ValueError: The batch lacks a column, or a column does not fit its input.
        """
        import tensorflow as tf
        from headrace.transforms.keras_graph.raw_columns import raw_tensors

        function, inputs = self._function(), self.inputs()
        _check_columns(batch.schema, inputs, self.folder)
        tensors = raw_tensors(batch, inputs)
        sizes = [min(self.batch_rows, batch.num_rows - i) for i in range(0, batch.num_rows, self.batch_rows)] or [0]
        cut = {name: tf.split(tensor, sizes) for name, tensor in tensors.items()}
        pieces = [function(**{name: parts[i] for name, parts in cut.items()}) for i in range(len(sizes))]
        return {
            name: _squeezed(np.concatenate([piece[name].numpy() for piece in pieces])) for name in sorted(pieces[0])
        }

    def _function(self) -> Any:
        return _load(self.folder).signatures[self.signature]


def _load(folder: str) -> _Loaded:
    import tensorflow as tf

    with _loading:
        if folder not in _loaded:
            root = tf.saved_model.load(folder)
            _loaded[folder] = _Loaded(root, dict(root.signatures), _defaults(folder))
        return _loaded[folder]


def _defaults(folder: str) -> dict[str, dict[str, Any]]:
    """The values that each `SignatureDef.defaults` states for optional inputs."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((Path(folder) / "saved_model.pb").read_bytes())
    found: dict[str, dict[str, Any]] = {}
    for graph in saved.meta_graphs:
        for key, definition in graph.signature_def.items():
            for name, proto in definition.defaults.items():
                value = tf.make_ndarray(proto).reshape(-1)[0]
                found.setdefault(key, {})[name] = value.decode() if isinstance(value, bytes) else value.item()
    return found


def _squeezed(values: NDArray[Any]) -> NDArray[Any]:
    """`(rows,)` for one number a row."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _check_columns(schema: pa.Schema, inputs: Mapping[str, ModelInput], folder: str) -> None:
    lacking = [name for name in inputs if name not in schema.names]
    if lacking:
        near = difflib.get_close_matches(lacking[0], schema.names, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"the model takes the column {lacking[0]!r}, which the rows lack; {hint}They have "
            f"{', '.join(schema.names)}. Give it raw examples, with the columns it was trained on ({folder})"
        )
