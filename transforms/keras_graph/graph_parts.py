"""Parts of one traced function: some of its outputs, from the inputs that these depend on.

A transform is one function from all raw columns to all outputs; a model takes some of them, and a client is asked for
their columns only. Tracing is slow and copying is quick, so the part's operations are copied out of the graph instead
of being traced again. What an operation of `preprocessing_fn` checks goes with what it gives: `with_checks` says so in
the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

_CHECKED = "headrace_checked"


def with_checks(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, in a graph that is being traced, whose results wait for what it checks.

    Assertions, and whatever else has an effect and gives nothing to the results, are no part of a graph's data flow.
    """
    import tensorflow as tf

    def checked(*args: Any, **kwargs: Any) -> Any:
        graph = tf.compat.v1.get_default_graph()
        before = len(graph.get_operations())
        results = call(*args, **kwargs)
        made = graph.get_operations()[before:]
        tensors = [one for one in tf.nest.flatten(results, expand_composites=True) if tf.is_symbolic_tensor(one)]
        if not (checks := _besides(tensors, made)):
            return results
        with tf.control_dependencies(checks):
            return tf.nest.map_structure(_as_checked, results, expand_composites=True)

    return checked


def _besides(results: Sequence[Any], made: Sequence[Any]) -> list[Any]:
    """Operations with an effect among those made, on whose values the results do not depend."""
    effects = [one for one in made if one.op_def is not None and one.op_def.is_stateful]
    if not effects:
        return []
    inside, used = set(made), set()
    rest = [tensor.op for tensor in results]
    while rest:
        one = rest.pop()
        if one in inside and one not in used:
            used.add(one)
            rest += [tensor.op for tensor in one.inputs]
    return [one for one in effects if one not in used]


def _as_checked(tensor: Any) -> Any:
    import tensorflow as tf

    if not tf.is_symbolic_tensor(tensor):
        return tensor
    copy = tf.identity(tensor, name=_CHECKED)
    if (mask := getattr(tensor, "_keras_mask", None)) is not None:
        copy._keras_mask = mask
    return copy


class GraphParts:
    """A concrete function of one dict of tensors to a dict of tensors, of which any part can be had.

    Args:
        function: Traced in this process, or of a loaded SavedModel.

    Example:
        >>> import tensorflow as tf
        >>> sides = {name: tf.TensorSpec([None], name=name) for name in ("a", "b")}
        >>> @tf.function(input_signature=[sides])
        ... def rectangle(raw):
        ...     return {"area": raw["a"] * raw["b"], "double": 2.0 * raw["a"]}
        >>> parts = GraphParts(rectangle.get_concrete_function())
        >>> tf.function(lambda a: parts.outputs(["double"], {"a": a}))(tf.constant([3.0]))["double"].numpy().tolist()
        [6.0]
    """

    def __init__(self, function: Any) -> None:
        self._function = function
        inputs = sorted(function.structured_input_signature[0][0])
        outputs = sorted(function.structured_outputs)
        self._captured = dict(
            zip((one.op.name for one in function.inputs[len(inputs) :]), function.captured_inputs, strict=True)
        )
        self._placeholders = dict(zip(inputs, (one.op.name for one in function.inputs), strict=False))
        self._returned = dict(zip(outputs, (one.name for one in function.outputs), strict=True))
        self._graph = function.graph.as_graph_def()
        self._nodes = {node.name: node for node in self._graph.node}

    def outputs(self, names: Sequence[str], raw: Mapping[str, Any]) -> dict[str, Any]:
        """The named outputs, computed in the graph that is being traced.

        Args:
            names: The outputs wanted.
            raw: Tensors by the name of the function's input; more than needed do no harm.

        Raises:
            KeyError: An output depends on an input that is not there.
        """
        import tensorflow as tf

        part = tf.compat.v1.GraphDef(versions=self._graph.versions, library=self._graph.library)
        part.node.extend(self._part([self._returned[name] for name in names]))
        copied = {node.name for node in part.node}
        outer = tf.compat.v1.get_default_graph()
        # The functions that are copied with it, such as a branch of tf.cond, end with the function that they came from.
        outer._headrace_parts = [*getattr(outer, "_headrace_parts", []), self]
        given = {f"{node}:0": raw[name] for name, node in self._placeholders.items() if node in copied}
        given |= {f"{node}:0": outer.capture(one) for node, one in self._captured.items() if node in copied}
        values = tf.graph_util.import_graph_def(
            part, input_map=given, return_elements=[self._returned[name] for name in names], name="transform"
        )
        return dict(zip(names, values, strict=True))

    def _part(self, tensors: Iterable[str]) -> list[Any]:
        """The nodes that the tensors depend on, and the checks of these, in their order."""
        part: set[str] = set()
        rest = [tensor.partition(":")[0] for tensor in tensors]
        while rest:
            name = rest.pop()
            if name not in part:
                part.add(name)
                # Any other node may wait for others' checks: TensorFlow has all outputs of a function wait for all.
                waits = _CHECKED in name
                inputs = [one for one in self._nodes[name].input if waits or not one.startswith("^")]
                rest += [one.removeprefix("^").partition(":")[0] for one in inputs]
        return [self._without_others(node, part) for name, node in self._nodes.items() if name in part]

    def _without_others(self, node: Any, part: set[str]) -> Any:
        kept = type(node)()
        kept.CopyFrom(node)
        kept.input[:] = [one for one in node.input if not one.startswith("^") or one[1:] in part]
        # A wish to be on the device of an operation that may not be there.
        kept.attr.pop("_class", None)
        return kept
