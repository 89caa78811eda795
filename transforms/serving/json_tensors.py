"""Tensors in JSON, as TensorFlow Serving reads and writes them.

A number, string or bool, nested lists of them, and `{"b64": "..."}` for bytes; `NaN`, `Infinity` and `-Infinity` are
numbers. Types are taken strictly, as there: a whole number is a float, but 1.0 is no integer, and true is no number.

Format: "JSON mapping" of TensorFlow Serving's REST documentation.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson
from headrace.transforms.serving.dtypes import Dtype
from headrace.transforms.serving.refusals import RequestError
from headrace.transforms.serving.signatures import TensorInfo, shown_shape
from numpy.typing import NDArray

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY
_SHOWN = 80
_JSON_NAMES = {bool: "a bool", int: "a whole number", float: "a number", str: "a string", type(None): "null"}
_JSON_NAMES |= {list: "a list", dict: "an object"}
# What NumPy calls each kind of element, and the JSON values that may be one: true is no number, and 1.0 no integer.
_ALLOWED: dict[str, set[type]] = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}, "O": {str, dict}}


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a request's body.

    Raises:
        RequestError: It is no JSON, or no object.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as strict:
        # NaN and Infinity are no JSON; TensorFlow Serving takes them, and Python's own parser does.
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise RequestError(f"JSON Parse error: {strict}") from None
    if not isinstance(document, dict):
        raise RequestError(f"expected a JSON object as the body, received {described(document)}")
    return document


def described(value: Any) -> str:
    """A JSON value in words, cut to what fits a message."""
    text = json.dumps(value)
    return f"{_JSON_NAMES[type(value)]}: {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}"


def is_base64(value: Any) -> bool:
    """Whether it is `{"b64": "..."}`."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def to_array(value: Any, tensor: TensorInfo, field: str) -> NDArray[Any]:
    """A JSON value as the array that the input takes.

    Args:
        value: A scalar, or lists of lists of scalars, all of one shape.
        tensor: The input.
        field: Where it stands in the request, for the message, such as "inputs.x".

    Raises:
        RequestError: A value of another type, lists of unequal lengths, or another shape.
    """
    leaves, shape = _flattened(value, field)
    if not tensor.fits(shape):
        raise RequestError(
            f"{field}: expected the shape {shown_shape(tensor.shape)}, received {shown_shape(shape)}: {_cut(value)}"
        )
    return from_leaves(leaves, tensor.dtype, field, shape).reshape(shape)


def _flattened(value: Any, field: str) -> tuple[Sequence[Any], tuple[int, ...]]:
    """The scalars in row-major order, and the shape."""
    leaves: Sequence[Any] = [value]
    shape: list[int] = []
    while leaves and type(leaves[0]) is list:
        lengths = set(map(len, leaves)) if set(map(type, leaves)) == {list} else set()
        if len(lengths) != 1:
            _raise_ragged(leaves, field, tuple(shape))
        shape.append(lengths.pop())
        leaves = list(chain.from_iterable(leaves))
    return leaves, tuple(shape)


def _raise_ragged(leaves: Sequence[Any], field: str, shape: tuple[int, ...]) -> None:
    wanted = len(leaves[0])
    for index, leaf in enumerate(leaves):
        if type(leaf) is not list or len(leaf) != wanted:
            place = "".join(f"[{i}]" for i in np.unravel_index(index, shape)) if shape else ""
            got = f"one of {len(leaf)}" if type(leaf) is list else described(leaf)
            raise RequestError(f"{field}{place}: expected a list of {wanted} values as in the first, received {got}")


def from_leaves(leaves: Sequence[Any], dtype: Dtype, field: str, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """Scalars as a flat array of the type.

    Args:
        leaves: JSON scalars.
        dtype: The type.
        field: Where they stand, for the message.
        shape: The shape they are of, so that a message can say which one it means.
    """
    types = set(map(type, leaves))
    kind = dtype.numpy.kind
    allowed = _ALLOWED[kind]
    if not types <= allowed:
        _raise_type(leaves, allowed, dtype, field, shape)
    if kind == "O":
        return _strings(leaves, types, field, shape)
    try:
        if kind == "f":
            return _floats(leaves, dtype)
        return np.array(leaves, dtype.numpy)
    except (OverflowError, FloatingPointError):
        for index, leaf in enumerate(leaves):
            if not _holds(leaf, dtype):
                where = f"{field}{_place(index, shape)}"
                raise RequestError(
                    f"{where}: expected {dtype.name}, received {leaf}, which is out of its range"
                ) from None
        raise


def _floats(leaves: Sequence[Any], dtype: Dtype) -> NDArray[Any]:
    exact = np.array(leaves, np.float64)
    if dtype.name == "float64":
        return exact
    with np.errstate(over="raise"):
        return exact.astype(dtype.numpy)


def _holds(leaf: Any, dtype: Dtype) -> bool:
    try:
        if dtype.numpy.kind == "f":
            _floats([leaf], dtype)
        else:
            np.array([leaf], dtype.numpy)
    except (OverflowError, FloatingPointError):
        return False
    return True


def _strings(leaves: Sequence[Any], types: set[type], field: str, shape: tuple[int, ...] | None) -> NDArray[Any]:
    array = np.empty(len(leaves), object)
    try:
        if types == {str}:
            array[:] = [leaf.encode() for leaf in leaves]
            return array
        for index, leaf in enumerate(leaves):
            array[index] = leaf.encode() if type(leaf) is str else bytes_of(leaf)
    except ValueError:
        for index, leaf in enumerate(leaves):
            try:
                leaf.encode() if type(leaf) is str else bytes_of(leaf)
            except ValueError as error:
                where = f"{field}{_place(index, shape)}"
                wanted = 'a string of Unicode, or bytes as {"b64": "..."}'
                raise RequestError(f"{where}: expected {wanted}, received {described(leaf)} ({error})") from None
        raise
    return array


def bytes_of(value: Any) -> bytes:
    """The bytes of `{"b64": "..."}`.

    Raises:
        ValueError: It is no such object, or no base64.
    """
    if not is_base64(value):
        raise ValueError("no base64")
    # Clients leave the padding out, and some write the URL-safe alphabet: TensorFlow Serving's decoder takes the first.
    text = value["b64"].translate(_URL_SAFE).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


_URL_SAFE = str.maketrans("-_", "+/")


def _raise_type(
    leaves: Sequence[Any], allowed: set[type], dtype: Dtype, field: str, shape: tuple[int, ...] | None
) -> None:
    index, leaf = next((i, leaf) for i, leaf in enumerate(leaves) if type(leaf) not in allowed)
    where = f"{field}{_place(index, shape)}"
    if type(leaf) is list:
        raise RequestError(f"{where}: expected a value of {dtype.name} as in the first, received {described(leaf)}")
    hint = "; for a missing value send NaN, or what the model's author says stands for it" if leaf is None else ""
    raise RequestError(f"{where}: expected {dtype.name}, received {described(leaf)}{hint}")


def _place(index: int, shape: tuple[int, ...] | None) -> str:
    return "".join(f"[{i}]" for i in np.unravel_index(index, shape)) if shape else ""


def _cut(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def dumps(document: Any) -> bytes:
    """JSON of a document whose arrays went through `jsonable` or `rows`."""
    return orjson.dumps(document, option=_OPTIONS)


def jsonable(array: NDArray[Any], *, as_bytes: bool = False) -> Any:
    """A whole array, for `dumps`.

    float32 is written with as few digits as give it back; what is not finite as `NaN`, `Infinity`, `-Infinity`.

    Args:
        array: Any shape; strings as objects of bytes.
        as_bytes: Write strings as `{"b64": "..."}`, as for outputs whose names end in `_bytes`.
    """
    if array.dtype == object:
        return text_of(array.tolist(), as_bytes)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return orjson.Fragment(json.dumps(_short(array)).encode())
    return np.ascontiguousarray(array) if array.ndim else array[()]


def rows(array: NDArray[Any], *, as_bytes: bool = False) -> list[Any]:
    """The rows of an array, each for `dumps`."""
    if array.dtype == object:
        return [text_of(one, as_bytes) for one in array.tolist()]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [orjson.Fragment(json.dumps(one).encode()) for one in _short(array)]
    return list(np.ascontiguousarray(array))


def _short(array: NDArray[Any]) -> Any:
    """Floats of any width as Python floats of as few digits."""
    return array.tolist() if array.dtype == np.float64 else array.astype(str).astype(np.float64).tolist()


def text_of(value: Any, as_bytes: bool) -> Any:
    """Bytes, or lists of them, as strings of JSON; as `{"b64": "..."}` where they are no text, or it is asked for."""
    if isinstance(value, list):
        return [text_of(one, as_bytes) for one in value]
    data = value if isinstance(value, bytes) else str(value).encode()
    if not as_bytes:
        try:
            return data.decode()
        except UnicodeDecodeError:
            pass  # TensorFlow Serving would write JSON that is no UTF-8, which no client can read
    return {"b64": base64.b64encode(data).decode()}
