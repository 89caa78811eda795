"""Requests that work as they are printed: curl to TensorFlow Serving's REST protocol and to KServe v2, and Python."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping
from typing import Any

from headrace.transforms.serving.json_tensors import is_base64
from headrace.transforms.serving.model_folder import is_url
from headrace.transforms.serving.signatures import DEFAULT_SIGNATURE, Signature, TensorInfo

_JSON_HEADER = "-H 'Content-Type: application/json'"


def rest_sample(signature: Signature, row: Mapping[str, Any], url: str, name: str) -> str:
    """A curl command for TensorFlow Serving's REST protocol, of one row; of columns where an input has no rows.

    Args:
        signature: The signature to call.
        row: A value of each input; the whole value of one that has no rows.
        url: The server's, such as "http://localhost:8501".
        name: The model's.
    """
    chosen: dict[str, Any] = {} if signature.name == DEFAULT_SIGNATURE else {"signature_name": signature.name}
    if all(tensor.is_batched for tensor in signature.inputs.values()):
        document = chosen | {"instances": [dict(row)]}
    else:
        document = chosen | {"inputs": {key: _whole(tensor, row[key]) for key, tensor in signature.inputs.items()}}
    return _curl(f"{url}/v1/models/{name}:predict", document)


def examples_sample(signature: Signature, row: Mapping[str, Any], url: str, name: str, method: str) -> str:
    """A curl command for TensorFlow Serving's Classify or Regress, which make a tf.Example of each JSON object.

    Args:
        signature: The signature to call.
        row: A value of each raw column.
        url: The server's.
        name: The model's.
        method: "classify" or "regress".
    """
    chosen: dict[str, Any] = {} if signature.name == DEFAULT_SIGNATURE else {"signature_name": signature.name}
    return _curl(f"{url}/v1/models/{name}:{method}", chosen | {"examples": [dict(row)]})


def kserve_sample(signature: Signature, row: Mapping[str, Any], url: str, name: str) -> str:
    """A curl command for the Open Inference Protocol (KServe v2), of one row."""
    return _curl(f"{url}/v2/models/{name}/infer", kserve_document(signature, row))


def kserve_document(signature: Signature, row: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a KServe v2 request of one row; of the inputs that the row has."""
    document: dict[str, Any] = {}
    if signature.name != DEFAULT_SIGNATURE:
        document["parameters"] = {"signature_name": signature.name}
    given = {key: _whole(signature.inputs[key], value) for key, value in row.items()}
    return document | {"inputs": [_tensor(signature.inputs[key], value) for key, value in given.items()]}


def python_sample(signature: Signature, row: Mapping[str, Any], place: str, name: str) -> str:
    """A Python program that calls the signature on one row, with TensorFlow alone; of a URL it takes a copy first."""
    lines = ["import tensorflow as tf", "", f"model = tf.saved_model.load({place!r})"]
    if is_url(place):
        copy = f"{name}-copy"
        lines = [
            "import fsspec",
            "import tensorflow as tf",
            "",
            f"files, path = fsspec.url_to_fs({place!r})",
            f'files.get(f"{{path}}/", {copy + "/"!r}, recursive=True)',
            f"model = tf.saved_model.load({copy!r})",
        ]
    lines.append(f"signature = model.signatures[{signature.name!r}]")
    arguments = []
    for key, tensor in signature.inputs.items():
        value = _python(_whole(tensor, row[key]))
        arguments.append(f"    {key!r}: tf.constant({value}, tf.{tensor.dtype.name}),")
    lines += ["print(signature(**{", *arguments, "}))"]
    return "\n".join(lines)


def _whole(tensor: TensorInfo, value: Any) -> Any:
    """One row as the whole input."""
    return [value] if tensor.is_batched else value


def _tensor(tensor: TensorInfo, value: Any) -> dict[str, Any]:
    shape, leaves = [], value
    while isinstance(leaves, list):
        shape.append(len(leaves))
        leaves = leaves[0] if leaves else None
    given: dict[str, Any] = {"name": tensor.name, "shape": shape, "datatype": tensor.dtype.kserve}
    flat = _flat(value)
    if any(is_base64(one) for one in flat):
        flat = [one["b64"] if is_base64(one) else base64.b64encode(one.encode()).decode() for one in flat]
        given["parameters"] = {"content_type": "base64"}
    return given | {"data": flat}


def _flat(value: Any) -> list[Any]:
    return [leaf for one in value for leaf in _flat(one)] if isinstance(value, list) else [value]


def _python(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_python, value))}]"
    return repr(base64.b64decode(value["b64"])) if is_base64(value) else repr(value)


def _curl(url: str, document: Mapping[str, Any]) -> str:
    return f"curl -s {_JSON_HEADER} -d {shlex.quote(json.dumps(document, ensure_ascii=False))} {shlex.quote(url)}"
