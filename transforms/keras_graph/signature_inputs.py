"""What a client sends to a signature, and how that becomes raw columns of one number of rows.

An input whose column has a value for missing ones may be left out: its default is in `SignatureDef.defaults`, as one
row, which a server puts in its place (TensorFlow Serving over gRPC does; see docs/serving.md). So an input of one row
stands for as many rows as the others have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.keras_graph.raw_columns import tensor_specs
from headrace.transforms.keras_graph.tf_examples import parse_examples

METHODS = {name: f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress")}


class SignatureInputs(NamedTuple):
    """What a signature takes.

    Args:
        specs: The `tf.TensorSpec` of each input.
        columns: Makes raw columns of them, and gives inputs that are no columns as they are.
        defaults: One row of each input that may be left out.
    """

    specs: dict[str, Any]
    columns: Callable[[dict[str, Any]], dict[str, Any]]
    defaults: dict[str, np.ndarray]


def by_column(inputs: Sequence[ModelInput], *, beside: Mapping[str, Any] | None = None) -> SignatureInputs:
    """Raw columns by their names.

    Args:
        inputs: The columns.
        beside: The spec of each input that is no column, such as a key.
    """
    specs = tensor_specs(inputs) | dict(beside or {})
    defaults = {one.name: _row(one) for one in inputs if one.missing is not None}
    return SignatureInputs(specs, lambda given: aligned(given, specs, defaults.keys()), defaults)


def by_example(inputs: Sequence[ModelInput], name: str) -> SignatureInputs:
    """Serialized `tf.Example`s, in which a column that has a value for missing ones may be absent.

    Args:
        inputs: The columns.
        name: The name of the one input.
    """
    import tensorflow as tf

    specs = {name: tf.TensorSpec([None], tf.string, name=name)}
    return SignatureInputs(specs, lambda given: parse_examples(given[name], inputs), {})


def one_column(
    one: ModelInput, others: Sequence[ModelInput], *, beside: Mapping[str, Any] | None = None
) -> SignatureInputs:
    """One raw column by its name; every other is missing in all rows.

    Args:
        one: The column.
        others: The others, each with a value for missing ones.
        beside: The spec of each input that is no column, such as a key.
    """
    import tensorflow as tf

    specs = tensor_specs([one]) | dict(beside or {})
    missing_specs = tensor_specs(others)
    rows_of = {other.name: _row(other) for other in others}

    def columns(given: dict[str, Any]) -> dict[str, Any]:
        rows = tf.shape(given[one.name])[0]
        missing = {
            name: _repeated(tf.constant(row, missing_specs[name].dtype), rows, missing_specs[name])
            for name, row in rows_of.items()
        }
        return {**given, **missing}

    return SignatureInputs(specs, columns, {})


def _row(one: ModelInput) -> np.ndarray:
    """One row of a column's missing value; a list of any length is empty then, as in a `tf.Example` without it."""
    shape = (1, *(0 if size is None else size for size in one.shape))
    return np.full(shape, one.missing, object if one.dtype == "string" else one.dtype)


def aligned(given: Mapping[str, Any], specs: Mapping[str, Any], optional: Any) -> dict[str, Any]:
    """The inputs with one number of rows: where one that may be left out has one row, it is repeated.

    In the graph an input of another number of rows than the rest is refused, with the numbers of all.

    Args:
        given: Tensors `(rows, ...)` by name.
        specs: Their specs.
        optional: Names of those that may be left out.
    """
    import tensorflow as tf

    names, may = list(specs), [name in optional for name in specs]
    if len(names) == 1 or not any(may):
        return dict(given)
    sizes = _sizes([given[name] for name in names])
    if all(may):
        longest = tf.reduce_max(tf.where(sizes == 1, -1, sizes))
        rows = tf.where(longest < 0, 1, longest)
    else:
        rows = sizes[may.index(False)]
    fits = (sizes == rows) | ((sizes == 1) & tf.constant(may))
    said = "expected inputs of one number of rows (one row of an input that may be left out stands for all), received"
    check = tf.debugging.Assert(tf.reduce_all(fits), [said, ", ".join(names), "of", sizes], summarize=len(names))
    with tf.control_dependencies([check]):
        rows = tf.identity(rows)
    return {name: _repeated(given[name], rows, specs[name]) if name in optional else given[name] for name in names}


def _sizes(values: Sequence[Any]) -> Any:
    """How many rows each tensor has, by as few operations as there are types: each costs as much as a small layer."""
    import tensorflow as tf

    shapes: list[Any] = [None] * len(values)
    for dtype in dict.fromkeys(value.dtype for value in values):
        places = [place for place, value in enumerate(values) if value.dtype == dtype]
        for place, shape in zip(places, tf.shape_n([values[place] for place in places])):
            shapes[place] = shape if values[place].shape.rank == 1 else shape[:1]
    return tf.concat(shapes, 0)


def _repeated(value: Any, rows: Any, spec: Any) -> Any:
    import tensorflow as tf

    shape = tf.stack([rows]) if len(spec.shape) == 1 else tf.concat([[rows], tf.shape(value)[1:]], 0)
    # As it is, without a copy, where it has these rows already.
    repeated = tf.broadcast_to(value, shape)
    repeated.set_shape(spec.shape)
    return repeated


def state_in_file(folder: Path, defaults: Mapping[str, Mapping[str, np.ndarray]], methods: Mapping[str, str]) -> None:
    """Writes into a SavedModel what `tf.saved_model.save` takes no argument for.

    Args:
        folder: The SavedModel's folder.
        defaults: By signature, one row of each input that may be left out.
        methods: `SignatureDef.method_name` by signature, of those that are not for prediction.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.saved_model import fingerprinting_utils

    file = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    definitions = saved.meta_graphs[0].signature_def
    for signature, rows in defaults.items():
        for name, row in rows.items():
            proto = tf.make_tensor_proto(row, definitions[signature].inputs[name].dtype, row.shape)
            definitions[signature].defaults[name].CopyFrom(proto)
    for signature, method in methods.items():
        definitions[signature].method_name = method
    file.write_bytes(saved.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(folder))
