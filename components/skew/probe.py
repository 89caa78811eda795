"""A client with TensorFlow alone: sends rows to every signature of a SavedModel, one by one and in batches.

Run as a file by a fresh interpreter (`python -I probe.py REQUEST RESPONSE`), and so a program of its own: it imports
nothing but TensorFlow and NumPy, and refuses to import what a serving process would not have.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import numpy as np

_EXAMPLES = "serving_examples"


class _Absent:
    """Makes packages look as if they were not installed."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"no {name} in a serving process", name=name)


def main(request: str, response: str) -> None:
    """Reads a request (JSON), writes the outputs of every signature that it knows (JSON)."""
    with open(request, encoding="utf-8") as file:  # noqa: PTH123 (no more imports than needed)
        asked = json.load(file)
    sys.meta_path.insert(0, _Absent(asked["absent"]))
    import tensorflow as tf

    loaded = tf.saved_model.load(asked["saved_model"])
    answers = {}
    for name, signature in loaded.signatures.items():
        if name not in asked["defaults"]:
            continue
        send = _sender(tf, name, signature, asked["defaults"].get(name, {}), asked["dtypes"])
        rows = asked["instances"]
        size = asked["batch"]
        answers[name] = {
            "batches": _joined(send(rows[i : i + size]) for i in range(0, len(rows), size)),
            "single": _joined(send([rows[i]]) for i in asked["single"]),
        }
    with open(response, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(answers, file)


def _sender(tf: Any, name: str, signature: Any, defaults: dict[str, Any], dtypes: dict[str, str]) -> Any:
    _, inputs = signature.structured_input_signature
    if name == _EXAMPLES:
        [(only, _)] = inputs.items()
        return lambda rows: _called(signature, {only: tf.constant([_example(tf, row, dtypes) for row in rows])})

    def send(rows: list[dict[str, Any]]) -> dict[str, Any]:
        fed = {column: _tensor(tf, column, spec, rows, defaults.get(column)) for column, spec in inputs.items()}
        return _called(signature, fed)

    return send


def _called(signature: Any, fed: dict[str, Any]) -> dict[str, Any]:
    return {name: value.numpy() for name, value in signature(**fed).items()}


def _tensor(tf: Any, column: str, spec: Any, rows: list[dict[str, Any]], default: Any) -> Any:
    """The column of some rows as a client's JSON gives it; what a row lacks is the signature's default."""
    missing = default
    if missing is None and spec.dtype.is_floating:
        missing = float("nan")
    if missing is None and spec.dtype == tf.string:
        missing = ""
    shape = tuple(spec.shape[1:])
    values = []
    for row in rows:
        value = row.get(column, missing)
        if value is None:
            raise ValueError(f"column {column!r} is missing, and signature has no default for it")
        value = _bytes(value) if spec.dtype == tf.string else value
        if shape:
            given = list(value) if isinstance(value, list) else []
            value = given + [_bytes(missing) if spec.dtype == tf.string else missing] * (shape[0] - len(given))
        values.append(value)
    return tf.constant(values, spec.dtype, shape=(len(rows), *shape))


def _bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_bytes(one) for one in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _example(tf: Any, row: dict[str, Any], dtypes: dict[str, str]) -> bytes:
    features = {}
    for column, value in row.items():
        values = value if isinstance(value, list) else [value]
        if not values:
            continue
        if dtypes[column] == "string":
            texts = [one.encode() if isinstance(one, str) else _bytes(one) for one in values]
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))
        elif dtypes[column] == "float32":
            feature = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        else:
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(one) for one in values]))
        features[column] = feature
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return serialized


def _joined(pieces: Any) -> dict[str, Any]:
    """Outputs of several calls, one below the other, as JSON: shape of a row and flat values."""
    found: dict[str, list[Any]] = {}
    for piece in pieces:
        for name, value in piece.items():
            found.setdefault(name, []).append(value)
    joined = {name: np.concatenate(values) for name, values in found.items()}
    return {name: _plain(value) for name, value in joined.items()}


def _plain(value: Any) -> dict[str, Any]:
    flat = value.reshape(-1)
    if value.dtype == object:
        flat = [base64.b64encode(one).decode() for one in flat]
        return {"dtype": "string", "shape": value.shape, "values": flat}
    return {"dtype": value.dtype.name, "shape": value.shape, "values": flat.tolist()}


if __name__ == "__main__":
    main(*sys.argv[1:])
