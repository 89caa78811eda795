"""The graph that TensorFlow Transform exported, in parts: functions of the outputs that depend on given columns.

TensorFlow Transform itself computes all outputs and drops some. Here a part is cut out of the graph, so that a model
that takes few features asks for their columns only, and exports their tables only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import wrap_function
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader


class RestoredGraph:
    """`transform_fn/` of a folder.

    Args:
        directory: The folder.

    Attributes:
        inputs: The symbolic tensors of the raw columns.
        outputs: The symbolic tensors of the outputs: `tf.Tensor`, `tf.SparseTensor` or `tf.RaggedTensor`.
    """

    def __init__(self, directory: Path) -> None:
        loader = SavedModelLoader(str(directory / "transform_fn"))
        self._imported = loader._imported
        self.inputs: Mapping[str, Any] = loader._structured_inputs
        self.outputs: Mapping[str, Any] = dict(sorted(loader._structured_outputs.items()))
        self._sources = loader._output_to_inputs_map
        # Loaded functions of TensorFlow 2 have no `prune` of their own.
        self._whole = wrap_function.WrappedFunction(loader._wrapped_function.graph, wrap_function.VariableHolder())

    def columns(self, output: str) -> set[str]:
        """The raw columns that an output depends on."""
        sources = {id(one) for one in self._sources[output]}
        return {name for name, one in self.inputs.items() if any(id(part) in sources for part in _parts(one))}

    def passes_through(self, output: str) -> bool:
        """Whether a dense output is a raw column as it is."""
        tensor = self.outputs[output]
        while tensor.op.type == "Identity":
            tensor = tensor.op.inputs[0]
        return any(tensor is one for one in self.inputs.values())

    def function(self, columns: Sequence[str], outputs: Sequence[str]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """A function of tensors by column (a dict) to the outputs; it has the dtypes and shapes of the graph."""
        pruned = self._pruned(tuple(columns), tuple(outputs))
        shapes = {name: self.outputs[name].shape for name in outputs if isinstance(self.outputs[name], tf.Tensor)}

        def compute(raw: Mapping[str, Any]) -> dict[str, Any]:
            values = dict(pruned(*(part for column in columns for part in _parts(raw[column]))))
            for name, shape in shapes.items():
                values[name].set_shape(shape)
            return values

        return compute

    def resources(self, columns: Sequence[str], outputs: Sequence[str]) -> list[Any]:
        """What a SavedModel that has the function must track: the tables and variables that it looks into."""
        captured = list(self._pruned(tuple(columns), tuple(outputs)).captured_inputs)
        every = [*self._imported.resources, *self._imported.created_variables]
        mine = [one for one in every if any(_handle(one) is tensor for tensor in captured)]
        return [*mine, *self._imported.trackable_objects]

    @functools.cache  # noqa: B019 - it lives as long as the transform
    def _pruned(self, columns: tuple[str, ...], outputs: tuple[str, ...]) -> Any:
        feeds = [part for column in columns for part in _parts(self.inputs[column])]
        fetches = {
            name: tf.nest.map_structure(_without_order, self.outputs[name], expand_composites=True) for name in outputs
        }
        return self._whole.prune(feeds, fetches)


def _handle(resource: Any) -> Any:
    return resource.handle if isinstance(resource, tf.Variable) else getattr(resource, "resource_handle", None)


def _parts(tensor: Any) -> list[Any]:
    """The tensors that a sparse or ragged one is made of."""
    parts: list[Any] = tf.nest.flatten(tensor, expand_composites=True)
    return parts


def _without_order(tensor: Any) -> Any:
    """What an output is computed from: the output itself waits for every table of the graph, whoever needs it."""
    while tensor.op.type == "Identity" and tensor.op.control_inputs:
        tensor = tensor.op.inputs[0]
    return tensor
