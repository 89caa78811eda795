"""A SavedModel's signatures, read from `saved_model.pb` without loading the model.

Format: tensorflow/core/protobuf/saved_model.proto and meta_graph.proto (SignatureDef, TensorInfo).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from headrace.transforms.serving.dtypes import BY_NUMBER, Dtype
from numpy.typing import NDArray

DEFAULT_SIGNATURE = "serving_default"
SERVE_TAG = "serve"
_INTERNAL = "__saved_model_"


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a signature.

    Args:
        name: Its name in the signature.
        dtype: The type of its elements.
        shape: Its shape, None for a dimension of any size; None where even the rank is not known.
        graph_name: The tensor of the graph, such as "serving_default_x:0".
        default: What stands for it where a request leaves it out, from `SignatureDef.defaults`.
    """

    name: str
    dtype: Dtype
    shape: tuple[int | None, ...] | None
    graph_name: str
    default: NDArray[Any] | None = None

    @property
    def is_batched(self) -> bool:
        """Whether its first dimension is the rows of a request: of any size."""
        return bool(self.shape) and self.shape[0] is None  # type: ignore[index]

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape may be given."""
        return self.shape is None or (
            len(shape) == len(self.shape)
            and all(wanted is None or wanted == size for wanted, size in zip(self.shape, shape))
        )

    def row_default(self) -> NDArray[Any]:
        """The default of one row: an exporter writes it with a batch dimension of 1, or without."""
        assert self.default is not None
        row = tuple(self.shape[1:]) if self.shape else ()
        if self.default.ndim == len(row) + 1:
            return self.default[:1].reshape(self.default.shape[1:])
        return self.default if self.default.ndim == len(row) else self.default.reshape(-1)[:1].reshape(())

    def defaults(self, rows: int) -> NDArray[Any]:
        """The default as the input of so many rows; as it is where the input has no rows."""
        assert self.default is not None
        if not self.is_batched:
            return self.default
        one = self.row_default()
        return np.broadcast_to(one, (rows, *one.shape)).copy()


@dataclass(frozen=True)
class Signature:
    """One signature: what it takes and gives, by name in alphabetical order.

    Args:
        name: Its key in the SavedModel.
        method: Its `method_name`, such as "tensorflow/serving/predict".
        inputs: What it takes.
        outputs: What it gives.
        unsupported: Why it cannot be served (a sparse or ragged tensor); "" if it can.
    """

    name: str
    method: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    unsupported: str = ""

    @cached_property
    def is_batched(self) -> bool:
        """Whether all it takes and gives has the rows of the request as first dimension, so that requests can be merged
        into one call."""
        tensors = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(tensor.is_batched for tensor in tensors)

    @cached_property
    def optional(self) -> frozenset[str]:
        """The inputs that a request may leave out."""
        return frozenset(name for name, tensor in self.inputs.items() if tensor.default is not None)


@dataclass(frozen=True)
class SavedModelFile:
    """What `saved_model.pb` says.

    Args:
        signatures: By name; `serving_default` first, the others in alphabetical order.
        definitions: The same as `SignatureDef` protos, for TensorFlow Serving's metadata.
    """

    signatures: Mapping[str, Signature]
    definitions: Mapping[str, Any] = field(repr=False)


def read_saved_model(folder: str | Path) -> SavedModelFile:
    """Reads the signatures of the graph that is tagged "serve".

    Args:
        folder: The folder with `saved_model.pb`.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged, or has no such graph.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    file = Path(folder) / "saved_model.pb"
    if not file.is_file():
        raise FileNotFoundError(f"expected a SavedModel, found no {file}")
    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString(file.read_bytes())
    except DecodeError as error:
        raise ValueError(f"{file}: expected a SavedModel, received a file that cannot be parsed") from error
    graphs = [graph for graph in saved.meta_graphs if SERVE_TAG in graph.meta_info_def.tags]
    if not graphs:
        raise ValueError(f"{file}: expected a graph with the tag {SERVE_TAG!r}, received none: it cannot be served")
    definitions = {name: one for name, one in graphs[0].signature_def.items() if not name.startswith(_INTERNAL)}
    names = sorted(definitions, key=lambda name: (name != DEFAULT_SIGNATURE, name))
    return SavedModelFile({name: _signature(name, definitions[name]) for name in names}, definitions)


def _signature(name: str, definition: Any) -> Signature:
    from tensorflow.python.framework.tensor_util import MakeNdarray

    defaults = {key: MakeNdarray(proto) for key, proto in definition.defaults.items()}
    unsupported = ""
    tensors: dict[str, dict[str, TensorInfo]] = {"inputs": {}, "outputs": {}}
    for side, found in (("inputs", definition.inputs), ("outputs", definition.outputs)):
        for key in sorted(found):
            info = found[key]
            if info.WhichOneof("encoding") != "name" or info.dtype not in BY_NUMBER:
                unsupported = f"{side[:-1]} {key!r} is no dense tensor of a type that JSON can carry"
                continue
            shape = None if info.tensor_shape.unknown_rank else info.tensor_shape.dim
            sizes = None if shape is None else tuple(dim.size if dim.size >= 0 else None for dim in shape)
            tensors[side][key] = TensorInfo(key, BY_NUMBER[info.dtype], sizes, info.name, defaults.get(key))
    return Signature(name, definition.method_name, tensors["inputs"], tensors["outputs"], unsupported)


def shown_shape(shape: tuple[int | None, ...] | None) -> str:
    """A shape as people write it: `[?, 3]`.

    >>> shown_shape((None, 3))
    '[?, 3]'
    """
    return "[...]" if shape is None else f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
