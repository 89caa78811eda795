"""What a client sends to each signature of a model for some rows."""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from headrace.components.client_rows import Instance
from headrace.components.skew.serving_process import Call, ServingFailed
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.serving.signatures import Signature, TensorInfo, read_saved_model


def calls(saved_model: Path, rows: Sequence[Instance], inputs: Mapping[str, ModelInput]) -> list[Call]:
    """The calls of the signatures that take the rows' columns, or tf.Examples of them.

    An input that is no column and has no default, such as a key, is sent the row's position.

    Args:
        saved_model: The SavedModel's folder.
        rows: The rows as a client has them.
        inputs: Their columns.

    Raises:
        ServingFailed: A signature needs what no row has, or the SavedModel cannot be read.
    """
    try:
        signatures = read_saved_model(saved_model).signatures
    except (FileNotFoundError, ValueError) as error:
        raise ServingFailed(str(error)) from error
    made = _Columns(rows, inputs)
    return [
        Call(name, feeds, {key: tensor.graph_name for key, tensor in signature.outputs.items()})
        for name, signature in signatures.items()
        if not signature.unsupported and (feeds := _feeds(signature, made)) is not None
    ]


class _Columns:
    """Columns of the rows as arrays, each made once for all signatures that take it alike."""

    def __init__(self, rows: Sequence[Instance], inputs: Mapping[str, ModelInput]) -> None:
        self.rows, self.inputs = rows, inputs
        self._made: dict[tuple[Any, ...], np.ndarray] = {}

    def of(self, tensor: TensorInfo) -> np.ndarray:
        default = None if tensor.default is None else tensor.default.tobytes()
        key = (tensor.name, tensor.dtype.name, tensor.shape, default)
        if key not in self._made:
            self._made[key] = _column(tensor, self.rows, self.inputs)
        return self._made[key]

    @functools.cached_property
    def examples(self) -> np.ndarray:
        """The rows as serialized tf.Examples."""
        serialized = np.empty(len(self.rows), object)
        serialized[:] = list(_examples(self.rows, self.inputs))
        return serialized


def _feeds(signature: Signature, columns: _Columns) -> dict[str, np.ndarray] | None:
    from headrace.transforms.serving.model_card import takes_examples

    if takes_examples(signature):
        [tensor] = signature.inputs.values()
        return {tensor.graph_name: columns.examples}
    if not set(signature.inputs) & set(columns.inputs):
        return None
    return {tensor.graph_name: columns.of(tensor) for tensor in signature.inputs.values()}


def _column(tensor: TensorInfo, rows: Sequence[Instance], inputs: Mapping[str, ModelInput]) -> np.ndarray:
    """The column as a client's JSON gives it; what a row lacks is the signature's default."""
    name, dtype = tensor.name, tensor.dtype
    if name not in inputs and tensor.default is None:
        values: list[Any] = [str(row).encode() if dtype.is_string else row for row in range(len(rows))]
        return np.array(values, dtype.numpy)
    one = inputs.get(name)
    missing: Any = None
    if tensor.default is not None:
        missing = tensor.row_default().reshape(-1)[:1].tolist()[0] if tensor.default.size else None
    if missing is None and one is not None:
        missing = one.missing
    missing = missing.encode() if isinstance(missing, str) else missing
    values = [row.get(name, missing) for row in rows]
    shape = tensor.shape[1:] if tensor.shape else ()
    if shape or dtype.is_string:
        # Of numbers the JSON is the value.
        values = [plain_value(value) for value in values]
    if shape and dtype.is_string:
        missing = missing if missing is not None else b""
    if shape:
        return _lists(
            [[] if name not in row else value for row, value in zip(rows, values)], shape, missing, dtype.numpy
        )
    if any(value is None for value in values):
        raise ServingFailed(f"{name} is missing in a row, and the signature has no default for it")
    return np.array(values, dtype.numpy)


def _lists(values: list[list[Any]], shape: tuple[int | None, ...], missing: Any, dtype: Any) -> np.ndarray:
    """Lists as an array: padded at the end to the signature's width, or to that of the longest."""
    width = shape[0] if shape[0] is not None else max(map(len, values), default=0)
    filler = missing if missing is not None else 0
    array = np.full((len(values), width), filler, dtype)
    for row, given in zip(array, values):
        row[: len(given)] = given
    return array


def plain_value(value: Any) -> Any:
    """What a client's JSON means: bytes for a text and for base64."""
    if isinstance(value, list):
        return [plain_value(one) for one in value]
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value.encode() if isinstance(value, str) else value


def _examples(rows: Sequence[Instance], inputs: Mapping[str, ModelInput]) -> Iterator[bytes]:
    """Each row as a serialized tf.Example, without what it lacks."""
    from tensorflow.core.example import example_pb2

    kinds = {"string": "bytes_list", "float32": "float_list"}
    lists = {name: kinds.get(one.dtype, "int64_list") for name, one in inputs.items()}
    for row in rows:
        example = example_pb2.Example()
        features = example.features.feature
        for name, value in row.items():
            values = value if isinstance(value, list) else [value]
            kind = lists[name]
            filled = [int(one) for one in values] if kind == "int64_list" else [plain_value(one) for one in values]
            if filled:
                getattr(features[name], kind).value.extend(filled)
        yield example.SerializeToString()
