"""The element types of tensors: their names in TensorFlow, NumPy, and the Open Inference Protocol (KServe v2).

Formats: tensorflow/core/framework/types.proto; "Tensor Data Types" of the Open Inference Protocol's REST specification.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Dtype(NamedTuple):
    """One element type.

    Args:
        name: TensorFlow's name in Python, such as "float32".
        number: Its number in `DataType`.
        tf: Its name in `DataType`, such as "DT_FLOAT".
        kserve: Its name in the Open Inference Protocol, such as "FP32".
        numpy: What arrays of it have; objects (bytes) for strings.
    """

    name: str
    number: int
    tf: str
    kserve: str
    numpy: np.dtype

    @property
    def is_string(self) -> bool:
        return self.name == "string"


DTYPES = tuple(
    Dtype(name, number, tf, kserve, np.dtype(numpy))
    for name, number, tf, kserve, numpy in (
        ("float32", 1, "DT_FLOAT", "FP32", np.float32),
        ("float64", 2, "DT_DOUBLE", "FP64", np.float64),
        ("int32", 3, "DT_INT32", "INT32", np.int32),
        ("uint8", 4, "DT_UINT8", "UINT8", np.uint8),
        ("int16", 5, "DT_INT16", "INT16", np.int16),
        ("int8", 6, "DT_INT8", "INT8", np.int8),
        ("string", 7, "DT_STRING", "BYTES", object),
        ("int64", 9, "DT_INT64", "INT64", np.int64),
        ("bool", 10, "DT_BOOL", "BOOL", np.bool_),
        ("uint16", 17, "DT_UINT16", "UINT16", np.uint16),
        ("float16", 19, "DT_HALF", "FP16", np.float16),
        ("uint32", 22, "DT_UINT32", "UINT32", np.uint32),
        ("uint64", 23, "DT_UINT64", "UINT64", np.uint64),
    )
)
BY_NUMBER = {dtype.number: dtype for dtype in DTYPES}
BY_NAME = {dtype.name: dtype for dtype in DTYPES}
