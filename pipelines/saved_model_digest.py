"""What a SavedModel means, as a digest: two exports of one model differ in bytes and have one digest.

It covers the signatures, the computation of every function with generated names left out, the constants (vocabularies
among them),
every checkpointed tensor by its place in the object graph, and the assets. A function's digest follows its data flow:
a node is its operation,
its attributes and the digests of its inputs (a Merkle DAG), so that neither names nor the order of nodes count.

Formats: tensorflow/core/protobuf/saved_model.proto, tensorflow/core/framework/function.proto.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.pipelines.artifact import digest_of

# Attributes that are generated, or that say how and not what is computed.
_NOISE = frozenset(
    {
        "shared_name",
        "container",
        "config",
        "config_proto",
        "executor_type",
        "name",
        "_class",
        "_output_shapes",
        "_gradient_op_type",
        "_XlaMustCompile",
        "_collective_manager_ids",
        "_read_only_resource_inputs",
        "_has_manual_control_dependencies",
    }
)
_SAVERS = ("traced_save", "traced_restore")
_BOOKKEEPING = ("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter/.ATTRIBUTES/VARIABLE_VALUE")


def saved_model_digest(folder: Path) -> str:
    """Gives the digest of a SavedModel.

    Args:
        folder: The folder with `saved_model.pb`.

    Raises:
        FileNotFoundError: There is none.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    message.ParseFromString((folder / "saved_model.pb").read_bytes())
    graph = message.meta_graphs[0]
    functions = _Functions({function.signature.name: function for function in graph.graph_def.library.function})
    assets = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "assets").glob("*"))
    }
    bookkeeping = _object_graph(folder / "variables" / "variables")
    constants = sorted(
        functions.attributes(node)
        for node in graph.graph_def.node
        if node.op == "Const" and list(node.attr["value"].tensor.string_val) != bookkeeping
    )
    parts = {
        "signatures": {
            name: _signature(signature) for name, signature in graph.signature_def.items() if not name.startswith("__")
        },
        "functions": sorted(
            functions.digest(name) for name in functions.names if not any(saver in name for saver in _SAVERS)
        ),
        "constants": constants,
        "tensors": _tensors(folder / "variables" / "variables"),
        "assets": assets,
    }
    return digest_of(parts)


def _signature(signature: Any) -> dict[str, Any]:
    def described(info: Any) -> list[Any]:
        shape = None if info.tensor_shape.unknown_rank else [dim.size for dim in info.tensor_shape.dim]
        return [int(info.dtype), shape]

    return {
        "inputs": {name: described(info) for name, info in signature.inputs.items()},
        "outputs": {name: described(info) for name, info in signature.outputs.items()},
        "defaults": {
            name: _sha(value.SerializeToString(deterministic=True)) for name, value in signature.defaults.items()
        },
    }


def _tensors(prefix: Path) -> dict[str, str]:
    """Digest of each checkpointed tensor by its key, which is its place in the object graph."""
    if not prefix.with_suffix(".index").exists():
        return {}
    import numpy as np
    from tensorflow.train import load_checkpoint

    reader = load_checkpoint(str(prefix))
    digests = {}
    for key in sorted(reader.get_variable_to_shape_map()):
        if key not in _BOOKKEEPING:
            value = np.asarray(reader.get_tensor(key))
            data = repr(value.tolist()).encode() if value.dtype == object else value.tobytes()
            digests[key] = _sha(f"{value.dtype}{value.shape}".encode() + data)
    return digests


def _object_graph(prefix: Path) -> list[bytes] | None:
    """The checkpoint's object graph, which a constant of the graph repeats, generated names in it."""
    if not prefix.with_suffix(".index").exists():
        return None
    from tensorflow.train import load_checkpoint

    return [load_checkpoint(str(prefix)).get_tensor(_BOOKKEEPING[0])]


class _Functions:
    """The functions of a graph's library and their digests."""

    def __init__(self, functions: Mapping[str, Any]) -> None:
        self._functions = functions
        self._digests: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        return list(self._functions)

    def digest(self, name: str) -> str:
        if name not in self._functions:
            return name
        if name not in self._digests:
            self._digests[name] = "recursive"
            self._digests[name] = _DataFlow(self._functions[name], self).digest()
        return self._digests[name]

    def attributes(self, node: Any) -> str:
        parts = [node.op]
        for key in sorted(node.attr):
            if key not in _NOISE:
                parts.append(f"{key}={self._attribute(node.attr[key])}")
        return _sha("\n".join(parts).encode())

    def _attribute(self, value: Any) -> str:
        kind = value.WhichOneof("value")
        if kind == "func":
            return self.digest(value.func.name)
        if kind == "list" and value.list.func:
            return ",".join(self.digest(function.name) for function in value.list.func)
        return _sha(value.SerializeToString(deterministic=True))


class _DataFlow:
    """The data flow of one function."""

    def __init__(self, function: Any, functions: _Functions) -> None:
        self._function, self._functions = function, functions
        self._nodes = {node.name: node for node in function.node_def}
        self._arguments = {argument.name: number for number, argument in enumerate(function.signature.input_arg)}
        self._digests: dict[str, str] = {}

    def digest(self) -> str:
        """Digest of the outputs in order and of the side effects; nodes that neither needs do not count."""
        outputs = [self._source(self._function.ret[output.name]) for output in self._function.signature.output_arg]
        effects = sorted(self._node(name) for name in self._function.control_ret.values() if name in self._nodes)
        types = [int(argument.type) for argument in self._function.signature.input_arg]
        return digest_of([types, outputs, effects])

    def _source(self, text: str) -> str:
        if text.startswith("^"):
            name = text[1:]
            return f"after {self._arguments[name] if name in self._arguments else self._node(name)}"
        name, _, port = text.partition(":")
        if name in self._arguments:
            return f"argument {self._arguments[name]}"
        return f"{self._node(name)}:{port}"

    def _node(self, name: str) -> str:
        """Digest of a node; an explicit stack, since a chain of nodes may be longer than Python's."""
        stack = [name]
        while stack:
            current = stack[-1]
            if current in self._digests:
                stack.pop()
                continue
            node = self._nodes[current]
            inputs = [text.lstrip("^").partition(":")[0] for text in node.input]
            waiting = [source for source in inputs if source in self._nodes and source not in self._digests]
            if waiting:
                stack += waiting
                continue
            data = [self._source(text) for text in node.input if not text.startswith("^")]
            control = sorted(self._source(text) for text in node.input if text.startswith("^"))
            self._digests[current] = _sha("\n".join([self._functions.attributes(node), *data, *control]).encode())
            stack.pop()
        return self._digests[name]


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
