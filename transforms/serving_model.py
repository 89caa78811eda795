"""A SavedModel's `serving_default`, called on Arrow batches as a client would call it, only faster."""

from __future__ import annotations

import difflib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from headrace.transforms.feature_model import NAN, ModelInput
from numpy.typing import NDArray

BATCH_ROWS = 8192
_MISSING = {"float32": NAN, "string": ""}
_INIT_OP = "__saved_model_init_op"


class _Loaded(NamedTuple):
    """By name: the SignatureDefs, and their calls, which hold the session."""

    signatures: dict[str, Any]
    steps: dict[str, Callable[..., list[NDArray[Any]]]]


# One loaded model for each folder: a pass pickles its summarizer, and copies of it must not load a model each.
_loaded: dict[str, _Loaded] = {}
_loading = threading.Lock()


class ServingModel:
    """Gives a model's outputs for the rows of a batch.

    Inputs are the columns of the same names; a missing value is what the feature model says (NaN, `""`, or the column's
    stated default). A model whose one input is a string of another name takes serialized `tf.Example`s, and gets the
    rows as such. Rows go to the model in batches of 8,192, whatever the size of the Arrow batch.

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
        import tensorflow as tf

        definition = self._definition()
        defaults = {name: _value(tf.make_ndarray(proto)) for name, proto in definition.defaults.items()}
        return {
            name: self._input(name, tf.as_dtype(info.dtype).name, _row_shape(info), defaults.get(name))
            for name, info in sorted(definition.inputs.items())
        }

    def _input(self, name: str, dtype: str, shape: tuple[int | None, ...], default: Any) -> ModelInput:
        stated = self._stated.get(name)
        missing: Any = default if default is not None else _MISSING.get(dtype)
        if stated is not None and stated.dtype == dtype and stated.missing is not None:
            missing = stated.missing
        return ModelInput(name, dtype, shape, missing is not None, missing)

    def output_names(self) -> list[str]:
        """The names of the outputs, sorted: a signature keeps no order of them."""
        return sorted(self._definition().outputs)

    def columns(self) -> list[str]:
        """The names of the columns it takes.

        Raises:
            ValueError: It takes serialized `tf.Example`s, and nothing is known of their features.
        """
        inputs = self.inputs()
        if not self._takes_examples(inputs):
            return list(inputs)
        if not self._stated:
            raise ValueError(
                f"the model takes serialized tf.Examples ({self.folder}), and nothing says of which columns: pass the "
                "schema, or link the model to its transform graph"
            )
        return list(self._stated)

    def _takes_examples(self, inputs: Mapping[str, ModelInput]) -> bool:
        """Whether its one input is no column, but rows as serialized `tf.Example`s, as TFX's modules export a model."""
        one = next(iter(inputs.values()))
        return len(inputs) == 1 and one.dtype == "string" and not one.shape and one.name not in self._stated

    def __call__(self, batch: pa.RecordBatch) -> dict[str, NDArray[Any]]:
        """The outputs by name: `(rows,)` where the model gives one number a row, otherwise `(rows, ...)`.

        Raises:
            ValueError: The batch lacks a column, or a column does not fit its input; a model server would not find the
                model's variables.
        """
        import tensorflow as tf
        from headrace.transforms.keras_graph.raw_columns import raw_arrays
        from headrace.transforms.tf_example_rows import serialized

        inputs = self.inputs()
        if self._takes_examples(inputs) and not set(inputs) & set(batch.schema.names):
            arrays = {next(iter(inputs)): np.array(serialized(batch.select(self._known(batch))), dtype=object)}
        else:
            _check_columns(batch.schema, inputs, self.folder)
            arrays = raw_arrays(batch, inputs)
        step, names = _load(self.folder).steps[self.signature], self.output_names()
        starts = range(0, batch.num_rows, self.batch_rows) or [0]
        try:
            pieces = [step(*(array[start : start + self.batch_rows] for array in arrays.values())) for start in starts]
        except tf.errors.FailedPreconditionError as error:
            raise ValueError(
                f"{self.folder}: a model server would not find the model's variables ({str(error).splitlines()[0]}): "
                "write it with fn_args.export(model) or keras' model.export(folder); a tf.Module that holds Keras "
                "layers saves variables that only Python finds"
            ) from error
        return {name: _squeezed(np.concatenate([piece[i] for piece in pieces])) for i, name in enumerate(names)}

    def _known(self, batch: pa.RecordBatch) -> list[str]:
        return [name for name in self.columns() if name in batch.schema.names]

    def _definition(self) -> Any:
        return _load(self.folder).signatures[self.signature]


def _load(folder: str) -> _Loaded:
    """Loads the graph alone, as a model server does: `tf.saved_model.load` makes a Python object of each function and
    variable, which takes twice as long."""
    import tensorflow as tf

    with _loading:
        if folder not in _loaded:
            session = tf.compat.v1.Session(graph=tf.Graph())
            with _quiet(tf.get_logger()):  # it names `tf.saved_model.load` as its successor
                graph = tf.compat.v1.saved_model.load(session, [tf.saved_model.SERVING], folder)
            signatures = {name: one for name, one in graph.signature_def.items() if name != _INIT_OP}
            steps = {name: _step(session, one) for name, one in signatures.items()}
            _loaded[folder] = _Loaded(signatures, steps)
        return _loaded[folder]


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _step(session: Any, definition: Any) -> Callable[..., list[NDArray[Any]]]:
    """A signature as a function: arrays by the inputs' names sorted, to arrays by the outputs' names sorted."""
    fed = [definition.inputs[name].name for name in sorted(definition.inputs)]
    fetched = [definition.outputs[name].name for name in sorted(definition.outputs)]
    step: Callable[..., list[NDArray[Any]]] = session.make_callable(fetched, feed_list=fed)
    return step


def _row_shape(info: Any) -> tuple[int | None, ...]:
    return tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim[1:])


def _value(array: NDArray[Any]) -> Any:
    if not array.size:  # a list of any length, which is empty where it is missing
        return None
    value = array.reshape(-1)[0]
    return value.decode() if isinstance(value, bytes) else value.item()


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
