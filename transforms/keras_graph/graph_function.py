"""A symbolic graph as TensorFlow functions from raw columns, as a client sends them, to tensors."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import keras
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.keras_graph import symbolic_graph
from headrace.transforms.keras_graph.feature_specs import FeatureSpec
from headrace.transforms.keras_graph.graph_parts import with_checks
from headrace.transforms.keras_graph.hot_indices import indices_of, weighted_indices_of
from headrace.transforms.keras_graph.raw_columns import tensor_specs

PLAIN_LAYERS = ("keras.", "headrace.transforms.layers.")
"""Packages of layers that own weights and tables by Keras' means alone, and compute nothing by other attributes."""


def graph_function(symbolic: Mapping[str, Any], inputs: Mapping[str, ModelInput], outputs: Any) -> Any:
    """A concrete function of one dict of raw tensors, scalars of rank 1, for every number of rows.

    Args:
        symbolic: The `keras.Input`s by column; only those of `inputs` are used.
        inputs: The raw columns that the outputs depend on.
        outputs: A structure of KerasTensors. What is computed has their dtypes: a one-hot StringLookup says float32
            and computes int64, for one.
    """
    import tensorflow as tf

    graph = keras.Function({name: symbolic[name] for name in inputs}, outputs)
    dtypes = keras.tree.map_structure(lambda one: keras.backend.standardize_dtype(one.dtype), outputs)
    expand = _expand(inputs)

    def function(raw: dict[str, Any]) -> Any:
        return keras.tree.map_structure(lambda one, dtype: tf.cast(one, dtype), _computed(graph, expand(raw)), dtypes)

    traced = tf.function(function, input_signature=[tensor_specs(inputs.values())], autograph=False)
    return traced.get_concrete_function()


def storage_function(
    symbolic: Mapping[str, Any],
    inputs: Mapping[str, ModelInput],
    outputs: Mapping[str, Any],
    specs: Mapping[str, FeatureSpec],
) -> tuple[Any, int]:
    """Like `graph_function` for the outputs as they are stored, indices where the encoding says so (as `hot_indices`
    has them, a tensor or a dict of tensors); and bytes a row."""
    import tensorflow as tf

    # What a hot layer is called on takes the place of its output; a HashedCrossing is called on several tensors.
    reached: dict[str, Any] = {}
    finishing: dict[str, Any] = {}
    for name, tensor in outputs.items():
        layer, node = symbolic_graph.producer(tensor)
        if specs[name].encoding == "dense" or getattr(layer, "_lookup_layer", layer).sparse:
            reached[name] = tensor
            finishing[name] = functools.partial(_dense, name, specs[name].dtype)
        else:
            reached[name] = node.arguments.args[0]
            weighted = getattr(layer, "_lookup_layer", layer).output_mode == "tf_idf"
            finishing[name] = weighted_indices_of(layer) if weighted else indices_of(layer)
    graph = keras.Function({name: symbolic[name] for name in inputs}, reached)
    expand = _expand(inputs)

    def function(raw: dict[str, Any]) -> Any:
        values = _computed(graph, expand(raw))
        return {name: with_checks(finishing[name])(values[name]) for name in outputs}

    traced = tf.function(function, input_signature=[tensor_specs(inputs.values())], autograph=False)
    return traced.get_concrete_function(), symbolic_graph.row_bytes(symbolic_graph.symbolic_leaves(reached))


def _computed(graph: keras.Function, inputs: Mapping[str, Any]) -> Any:
    """The function's outputs, in whose graph what an operation checks belongs to what it gives."""
    return graph._run_through_graph(inputs, operation_fn=with_checks)


def _dense(name: str, dtype: str, value: Any) -> Any:
    import tensorflow as tf

    # A KerasTensor does not tell: `x * 2` says it is sparse.
    if not isinstance(value, tf.Tensor):
        raise ValueError(
            f"feature {name!r} is a {type(value).__name__}: make it dense (no sparse=True, no ragged=True), or pad it "
            "to a fixed length; a wide one-hot is stored as its index anyway"
        )
    return tf.cast(value, dtype)


def _expand(inputs: Mapping[str, ModelInput]) -> Any:
    import tensorflow as tf

    scalars = {name for name, one in inputs.items() if not one.shape}

    def expand(raw: Mapping[str, Any]) -> dict[str, Any]:
        # A scalar is (rows,) for the client and (rows, 1) for Keras.
        return {name: tf.expand_dims(raw[name], -1) if name in scalars else raw[name] for name in inputs}

    return expand


def resources(tensors: list[Any], captured: Iterable[Any]) -> list[Any]:
    """What a SavedModel that computes the tensors must track: tables and variables of the layers.

    Args:
        tensors: KerasTensors.
        captured: The handles that the traced functions read. A Normalization computes by constants, and its variables
            would be saved for nothing.
    """
    made_by = symbolic_graph.operations(tensors)
    handles = {id(one) for one in captured}
    found = resources_of([one for one in made_by if isinstance(one, keras.layers.Layer)])
    return [one for one in found if (handle := _handle(one)) is None or id(handle) in handles]


def _handle(resource: Any) -> Any:
    """The tensor by which a variable or a table is read; None of a layer or a model, which may have some."""
    import tensorflow as tf

    if isinstance(resource, tf.Variable):
        return resource.handle
    is_table = isinstance(resource, tf.lookup.StaticHashTable | tf.lookup.experimental.MutableHashTable)
    return resource.resource_handle if is_table else None


def resources_of(layers: Iterable[Any]) -> list[Any]:
    """Tables and variables of layers: tracking the layers themselves would save all of their attributes too."""
    found: dict[int, Any] = {}
    for layer in (inner for outer in layers for inner in outer._flatten_layers()):
        mine = [variable.value for variable in layer.variables]
        mine += [table] if hasattr(table := getattr(layer, "lookup_table", None), "resource_handle") else []
        if isinstance(layer, keras.layers.TFSMLayer):
            # The tables of the SavedModel that it loaded.
            mine.append(layer._reloaded_obj)
        if not type(layer).__module__.startswith(PLAIN_LAYERS):
            # A layer of someone else's may own tables under any name.
            mine.append(layer)
        found.update({id(one): one for one in mine})
    return list(found.values())
