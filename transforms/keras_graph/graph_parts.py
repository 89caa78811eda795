"""Parts of one traced function: some of its outputs, from the inputs that these depend on.

A transform is one function from all raw columns to all outputs; a model takes some of them, and a client is asked for
their columns only. Tracing is slow and copying is quick, so the part's operations are copied out of the graph instead
of being traced again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


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
        # The functions that its operations call, such as a branch of tf.cond, live as long as it does.
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
        self._waited_for = {one[1:] for node in self._graph.node for one in node.input if one.startswith("^")}

    def outputs(self, names: Sequence[str], raw: Mapping[str, Any]) -> dict[str, Any]:
        """The named outputs, computed in the graph that is being traced.

        An operation that computes nothing, such as an assertion, is part of what depends on all that it reads.

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
        given = {f"{node}:0": raw[name] for name, node in self._placeholders.items() if node in copied}
        given |= {f"{node}:0": outer.capture(one) for node, one in self._captured.items() if node in copied}
        values = tf.graph_util.import_graph_def(
            part, input_map=given, return_elements=[self._returned[name] for name in names], name="transform"
        )
        return dict(zip(names, values, strict=True))

    def _part(self, tensors: Iterable[str]) -> list[Any]:
        """The nodes that the tensors depend on, with what they wait for that reads nothing else, in their order."""
        part = self._upstream(tensor.partition(":")[0] for tensor in tensors)
        read = self._read_by(part)
        for name in self._waited_for - part:
            own = self._upstream([name])
            if (reads := self._read_by(own)) and reads <= read:
                part |= own
        return [self._without_others(node, part) for name, node in self._nodes.items() if name in part]

    def _upstream(self, names: Iterable[str]) -> set[str]:
        """These nodes and those whose values they depend on."""
        found: set[str] = set()
        rest = list(names)
        while rest:
            name = rest.pop()
            if name not in found:
                found.add(name)
                rest += [one.partition(":")[0] for one in self._nodes[name].input if not one.startswith("^")]
        return found

    def _read_by(self, nodes: set[str]) -> set[str]:
        """The inputs, tables and variables among some nodes."""
        return nodes & {*self._placeholders.values(), *self._captured}

    def _without_others(self, node: Any, part: set[str]) -> Any:
        kept = type(node)()
        kept.CopyFrom(node)
        kept.input[:] = [one for one in node.input if not one.startswith("^") or one[1:] in part]
        # A wish to be on the device of an operation that may not be there.
        kept.attr.pop("_class", None)
        return kept
