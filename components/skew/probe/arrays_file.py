"""Arrays in one file between two processes, of which one has NumPy alone; nothing in it is pickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# A string array is its bytes one after another, where each ends, and its shape.
_BYTES, _ENDS, _SHAPE = "|bytes", "|ends", "|shape"


def write(file: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by name; one of objects holds bytes."""
    plain: dict[str, Any] = {}
    for name, values in arrays.items():
        if values.dtype != object:
            plain[name] = values
            continue
        flat = values.reshape(-1).tolist()
        plain[name + _BYTES] = np.frombuffer(b"".join(flat), np.uint8)
        plain[name + _ENDS] = np.cumsum([len(one) for one in flat], dtype=np.int64)
        plain[name + _SHAPE] = np.array(values.shape, np.int64)
    np.savez(file, **plain)


def read(file: str) -> dict[str, np.ndarray]:
    """What `write` wrote."""
    found: dict[str, np.ndarray] = {}
    with np.load(file, allow_pickle=False) as stored:
        for key in stored.files:
            name, mark, part = key.rpartition("|")
            if not mark:
                found[key] = stored[key]
            elif part == "bytes":
                text, ends = stored[key].tobytes(), stored[name + _ENDS].tolist()
                values = np.empty(len(ends), object)
                values[:] = [text[start:end] for start, end in zip([0, *ends], ends)]
                found[name] = values.reshape(stored[name + _SHAPE])
    return found
