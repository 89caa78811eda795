"""The Open Inference Protocol (KServe v2) over REST: typed tensors in, typed tensors out.

Format: "inference_rest.md" of the Open Inference Protocol. Data may be nested or flat. Bytes that are no text go
as base64 with the tensor's parameter `content_type: "base64"`. A signature other than `serving_default` is
chosen with the request's parameter `signature_name`; an input with a default may be left out.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any, NamedTuple

import numpy as np
from headrace.transforms.serving import json_tensors
from headrace.transforms.serving.predict import check_names, chosen_signature, with_defaults
from headrace.transforms.serving.refusals import RequestError
from headrace.transforms.serving.signatures import Signature, TensorInfo, shown_shape
from numpy.typing import NDArray

PLATFORM = "tensorflow_savedmodel"
_BASE64 = "base64"


class InferRequest(NamedTuple):
    """A request as arrays.

    Args:
        signature: The signature to call.
        arrays: An array for each of its inputs.
        outputs: The outputs asked for, in order, and whether each is wanted in base64.
        id: The client's own name of the request, if it has one.
    """

    signature: Signature
    arrays: dict[str, NDArray[Any]]
    outputs: dict[str, bool]
    id: str | None


def parse_infer(document: Mapping[str, Any], signatures: Mapping[str, Signature]) -> InferRequest:
    """Reads a request.

    Raises:
        RequestError: It does not fit the signature; the message names the field, what was expected and received.
    """
    signature = chosen_signature(_parameters(document, "parameters"), signatures)
    inputs = document.get("inputs")
    if not isinstance(inputs, list):
        got = "nothing" if "inputs" not in document else json_tensors.described(inputs)
        raise RequestError(f"inputs: expected a list of tensors, received {got}")
    named: dict[str, Mapping[str, Any]] = {}
    for index, given in enumerate(inputs):
        name = _name(given, f"inputs[{index}]")
        if name in named:
            raise RequestError(f"inputs[{index}].name: {name!r} is given twice")
        named[name] = given
    check_names(named, signature, "inputs")
    arrays = {name: _array(given, signature.inputs[name]) for name, given in named.items()}
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise RequestError(f"id: expected a string, received {json_tensors.described(request_id)}")
    return InferRequest(signature, with_defaults(arrays, signature), _asked(document, signature), request_id)


def _parameters(holder: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    found = holder.get("parameters", {})
    if not isinstance(found, dict):
        raise RequestError(f"{field}: expected an object, received {json_tensors.described(found)}")
    if "binary_data_size" in found:
        raise RequestError(
            f"{field}.binary_data_size: expected the tensor's data as JSON; this server has no extension"
        )
    return found


def _name(given: Any, field: str) -> str:
    if not isinstance(given, dict):
        raise RequestError(f"{field}: expected an object, received {json_tensors.described(given)}")
    name = given.get("name")
    if not isinstance(name, str):
        raise RequestError(f"{field}.name: expected a string, received {json_tensors.described(name)}")
    return name


def _asked(document: Mapping[str, Any], signature: Signature) -> dict[str, bool]:
    outputs = document.get("outputs")
    if not outputs:
        return dict.fromkeys(signature.outputs, False)
    if not isinstance(outputs, list):
        raise RequestError(f"outputs: expected a list, received {json_tensors.described(outputs)}")
    found = {}
    for index, one in enumerate(outputs):
        name = _name(one, f"outputs[{index}]")
        if name not in signature.outputs:
            there = ", ".join(signature.outputs)
            raise RequestError(f"outputs[{index}].name: the model has no output {name!r}; it has {there}")
        found[name] = _parameters(one, f"outputs[{index}].parameters").get("content_type") == _BASE64
    return found


def _array(given: Mapping[str, Any], tensor: TensorInfo) -> NDArray[Any]:
    field = f"inputs.{tensor.name}"
    if given.get("datatype") != tensor.dtype.kserve:
        got = given.get("datatype", "nothing")
        raise RequestError(f"{field}.datatype: expected {tensor.dtype.kserve}, received {got}")
    shape = given.get("shape")
    if not isinstance(shape, list) or any(type(size) is not int or size < 0 for size in shape):
        raise RequestError(f"{field}.shape: expected a list of whole numbers, received {json_tensors.described(shape)}")
    if not tensor.fits(tuple(shape)):
        raise RequestError(f"{field}.shape: expected {shown_shape(tensor.shape)}, received {shape}")
    leaves: Sequence[Any] = given["data"] if isinstance(given.get("data"), list) else _no_data(given, field)
    while leaves and type(leaves[0]) is list:
        if set(map(type, leaves)) != {list}:
            raise RequestError(f"{field}.data: expected lists of one depth, or a flat list")
        leaves = list(chain.from_iterable(leaves))
    if len(leaves) != prod(shape):
        raise RequestError(f"{field}.data: expected {prod(shape)} values for the shape {shape}, received {len(leaves)}")
    encoded = _parameters(given, f"{field}.parameters").get("content_type") == _BASE64
    if tensor.dtype.is_string and encoded:
        return _from_base64(leaves, f"{field}.data").reshape(shape)
    return json_tensors.from_leaves(leaves, tensor.dtype, f"{field}.data", tuple(shape)).reshape(shape)


def _no_data(given: Mapping[str, Any], field: str) -> list[Any]:
    raise RequestError(f"{field}.data: expected a list, received {json_tensors.described(given.get('data'))}")


def _from_base64(leaves: Sequence[Any], field: str) -> NDArray[Any]:
    array = np.empty(len(leaves), object)
    for index, leaf in enumerate(leaves):
        try:
            array[index] = base64.b64decode(leaf, validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            got = json_tensors.described(leaf)
            raise RequestError(f"{field}[{index}]: expected base64, received {got} ({error})") from None
    return array


def infer_reply(outputs: Mapping[str, NDArray[Any]], request: InferRequest, model: str, version: int) -> bytes:
    """The reply's body: data in row-major order, flat."""
    found = [
        _output(outputs[name], request.signature.outputs[name], encoded) for name, encoded in request.outputs.items()
    ]
    reply: dict[str, Any] = {"model_name": model, "model_version": str(version), "outputs": found}
    return json_tensors.dumps(reply | ({} if request.id is None else {"id": request.id}))


def _output(array: NDArray[Any], tensor: TensorInfo, encoded: bool) -> dict[str, Any]:
    reply: dict[str, Any] = {"name": tensor.name, "shape": list(array.shape), "datatype": tensor.dtype.kserve}
    flat = array.reshape(-1)
    if not tensor.dtype.is_string:
        return reply | {"data": json_tensors.jsonable(flat)}
    texts = None if encoded else _texts(flat)
    if texts is not None:
        return reply | {"data": texts}
    data = [base64.b64encode(value).decode() for value in flat.tolist()]
    return reply | {"parameters": {"content_type": _BASE64}, "data": data}


def _texts(flat: NDArray[Any]) -> list[str] | None:
    try:
        return [value.decode() for value in flat.tolist()]
    except UnicodeDecodeError:
        return None


def model_metadata(name: str, versions: Sequence[int], signature: Signature | None) -> dict[str, Any]:
    """What `GET /v2/models/<name>` says, of `serving_default`."""

    def told(tensors: Mapping[str, TensorInfo]) -> list[dict[str, Any]]:
        return [
            {
                "name": tensor.name,
                "datatype": tensor.dtype.kserve,
                "shape": [-1 if size is None else size for size in tensor.shape or ()],
            }
            for tensor in tensors.values()
        ]

    return {
        "name": name,
        "versions": [str(version) for version in versions],
        "platform": PLATFORM,
        "inputs": told(signature.inputs) if signature else [],
        "outputs": told(signature.outputs) if signature else [],
    }
