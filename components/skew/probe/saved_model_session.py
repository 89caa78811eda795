"""A SavedModel in TensorFlow's C library: what a model server loads, and nothing of Python's TensorFlow.

Beside NumPy it imports nothing, and so a process has a model within a second. TensorFlow's Python would take several,
most of them for what training needs.

API: tensorflow/c/c_api.h, tf_tensor.h and tf_tstring.h.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_Pointer = ctypes.c_void_p
_STRING, _STRING_BYTES = 7, 24
# tensorflow/core/framework/types.proto
_NUMBERS: dict[int, Any] = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    6: np.int8,
    _STRING: object,
    9: np.int64,
    10: np.bool_,
    17: np.uint16,
    19: np.float16,
    22: np.uint32,
    23: np.uint64,
}
_BY_DTYPE = {np.dtype(dtype): number for number, dtype in _NUMBERS.items()}


class _Buffer(ctypes.Structure):
    _fields_ = [("data", _Pointer), ("length", ctypes.c_size_t), ("deallocator", _Pointer)]


class _Port(ctypes.Structure):
    _fields_ = [("operation", _Pointer), ("index", ctypes.c_int)]


class SavedModelFailed(Exception):
    """TensorFlow cannot load the model, or a call of it fails; the message is TensorFlow's."""


def library() -> Any:
    """TensorFlow's C library, which lies in its Python package.

    Raises:
        SavedModelFailed: There is none.
    """
    found = importlib.util.find_spec("tensorflow")
    folders = [Path(place) for place in (found.submodule_search_locations or ())] if found is not None else []
    ending = "dylib" if sys.platform == "darwin" else "so"
    loaded = None
    for name in (f"libtensorflow_framework*.{ending}*", f"libtensorflow_cc*.{ending}*"):
        files = [file for folder in folders for file in sorted(folder.glob(name))]
        if not files:
            raise SavedModelFailed(f"TensorFlow's package has no {name}: expected TensorFlow 2.20 or newer from PyPI")
        loaded = ctypes.CDLL(str(files[0]), mode=ctypes.RTLD_GLOBAL)
    return _declared(loaded)


def _declared(library: Any) -> Any:
    size, number, text = ctypes.c_size_t, ctypes.c_int, ctypes.c_char_p
    for name, result, *arguments in (
        ("TF_NewStatus", _Pointer),
        ("TF_DeleteStatus", None, _Pointer),
        ("TF_GetCode", number, _Pointer),
        ("TF_Message", text, _Pointer),
        ("TF_NewGraph", _Pointer),
        ("TF_DeleteGraph", None, _Pointer),
        ("TF_NewSessionOptions", _Pointer),
        ("TF_DeleteSessionOptions", None, _Pointer),
        (
            "TF_LoadSessionFromSavedModel",
            _Pointer,
            *(_Pointer, _Pointer, text, ctypes.POINTER(text), number, _Pointer, _Pointer, _Pointer),
        ),
        ("TF_CloseSession", None, _Pointer, _Pointer),
        ("TF_DeleteSession", None, _Pointer, _Pointer),
        ("TF_GraphOperationByName", _Pointer, _Pointer, text),
        (
            "TF_SessionRun",
            None,
            *(_Pointer, _Pointer, ctypes.POINTER(_Port), ctypes.POINTER(_Pointer), number),
            *(ctypes.POINTER(_Port), ctypes.POINTER(_Pointer), number, _Pointer, number, _Pointer, _Pointer),
        ),
        ("TF_AllocateTensor", _Pointer, number, ctypes.POINTER(ctypes.c_int64), number, size),
        ("TF_DeleteTensor", None, _Pointer),
        ("TF_TensorType", number, _Pointer),
        ("TF_NumDims", number, _Pointer),
        ("TF_Dim", ctypes.c_int64, _Pointer, number),
        ("TF_TensorData", _Pointer, _Pointer),
        ("TF_TensorByteSize", size, _Pointer),
        ("TF_StringInit", None, _Pointer),
        ("TF_StringCopy", None, _Pointer, text, size),
        ("TF_StringGetDataPointer", _Pointer, _Pointer),
        ("TF_StringGetSize", size, _Pointer),
        ("TF_StringDealloc", None, _Pointer),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class SavedModelSession:
    """A SavedModel's graph in a session, with its variables and tables.

    Args:
        folder: The SavedModel's folder.

    Raises:
        SavedModelFailed: TensorFlow cannot load it.
    """

    def __init__(self, folder: str) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        self._library = library()
        self._status = self._library.TF_NewStatus()
        self._graph = self._library.TF_NewGraph()
        options = self._library.TF_NewSessionOptions()
        tags = (ctypes.c_char_p * 1)(b"serve")
        self._session = self._library.TF_LoadSessionFromSavedModel(
            options, None, folder.encode(), tags, 1, self._graph, None, self._status
        )
        self._library.TF_DeleteSessionOptions(options)
        self._check()

    def run(self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str]) -> list[np.ndarray]:
        """Computes tensors of the graph.

        Args:
            feeds: Arrays by the name of the tensor, such as ``"serving_default_x:0"``; strings are objects of bytes.
            fetches: Names of the tensors to compute.

        Raises:
            SavedModelFailed: It fails, or there is no such tensor.
        """
        inputs = (_Port * len(feeds))(*map(self._port, feeds))
        outputs = (_Port * len(fetches))(*map(self._port, fetches))
        given = (_Pointer * len(feeds))(*map(self._tensor, feeds.values()))
        made = (_Pointer * len(fetches))()
        try:
            self._library.TF_SessionRun(
                *(self._session, None, inputs, given, len(feeds), outputs, made, len(fetches), None, 0, None),
                self._status,
            )
            self._check()
            return [self._array(tensor) for tensor in made]
        finally:
            for tensor in (*given, *made):
                if tensor:
                    self._delete(tensor)

    def close(self) -> None:
        """Frees its memory."""
        self._library.TF_CloseSession(self._session, self._status)
        self._library.TF_DeleteSession(self._session, self._status)
        self._library.TF_DeleteGraph(self._graph)
        self._library.TF_DeleteStatus(self._status)

    def _check(self) -> None:
        if self._library.TF_GetCode(self._status):
            raise SavedModelFailed(self._library.TF_Message(self._status).decode("utf-8", "replace"))

    def _port(self, name: str) -> _Port:
        operation, _, index = name.partition(":")
        found = self._library.TF_GraphOperationByName(self._graph, operation.encode())
        if not found:
            raise SavedModelFailed(f"the graph has no tensor {name}")
        return _Port(found, int(index or 0))

    def _tensor(self, values: np.ndarray) -> Any:
        number = _BY_DTYPE[values.dtype]
        count = values.size
        size = count * (_STRING_BYTES if number == _STRING else values.dtype.itemsize)
        shape = (ctypes.c_int64 * values.ndim)(*values.shape)
        tensor = self._library.TF_AllocateTensor(number, shape, values.ndim, size)
        data = self._library.TF_TensorData(tensor)
        if number == _STRING:
            init, copy = self._library.TF_StringInit, self._library.TF_StringCopy
            for place, value in zip(range(data or 0, (data or 0) + size, _STRING_BYTES), values.reshape(-1)):
                init(place)
                copy(place, value, len(value))
        elif size:
            plain = np.ascontiguousarray(values)
            ctypes.memmove(data, plain.ctypes.data, size)
        return tensor

    def _array(self, tensor: Any) -> np.ndarray:
        api = self._library
        number = api.TF_TensorType(tensor)
        shape = tuple(api.TF_Dim(tensor, axis) for axis in range(api.TF_NumDims(tensor)))
        if number not in _NUMBERS:
            raise SavedModelFailed(f"an output has elements of type {number}, which no client of JSON can read")
        size, data = api.TF_TensorByteSize(tensor), api.TF_TensorData(tensor)
        if number != _STRING:
            values = np.empty(shape, _NUMBERS[number])
            if size:
                ctypes.memmove(values.ctypes.data, data, size)
            return values
        texts = np.empty(size // _STRING_BYTES, object)
        for index in range(len(texts)):
            place = data + index * _STRING_BYTES
            texts[index] = ctypes.string_at(api.TF_StringGetDataPointer(place), api.TF_StringGetSize(place))
        return texts.reshape(shape)

    def _delete(self, tensor: Any) -> None:
        self._library.TF_DeleteTensor(tensor)
