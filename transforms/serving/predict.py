"""`:predict` of TensorFlow Serving's REST protocol: rows ("instances") or columns ("inputs") in, the same form out.

Format: "Predict API" of TensorFlow Serving's REST documentation. One thing is added: an input with a default in
`SignatureDef.defaults` may be left out, as TensorFlow Serving's gRPC protocol allows; its REST protocol does not.
"""

from __future__ import annotations

import base64
import difflib
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from headrace.transforms.serving import json_tensors
from headrace.transforms.serving.refusals import RequestError
from headrace.transforms.serving.signatures import DEFAULT_SIGNATURE, Signature, TensorInfo
from numpy.typing import NDArray

# TensorFlow has one type for text and bytes: by this ending an output says that it is bytes.
BYTES_SUFFIX = "_bytes"


class PredictRequest(NamedTuple):
    """A request as arrays.

    Args:
        signature: The signature to call.
        arrays: An array for each of its inputs.
        by_rows: Whether it was sent by rows, and is to be answered so.
    """

    signature: Signature
    arrays: dict[str, NDArray[Any]]
    by_rows: bool


def chosen_signature(document: Mapping[str, Any], signatures: Mapping[str, Signature]) -> Signature:
    """The signature that a request names with "signature_name", `serving_default` if it names none.

    Raises:
        RequestError: There is no such signature, or it takes what JSON cannot carry.
    """
    name = document.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(name, str):
        raise RequestError(f"signature_name: expected a string, received {json_tensors.described(name)}")
    return signature_of(name or DEFAULT_SIGNATURE, signatures)


def signature_of(name: str, signatures: Mapping[str, Signature]) -> Signature:
    """The signature of that name.

    Raises:
        RequestError: As `chosen_signature`.
    """
    found = signatures.get(name)
    if found is None:
        there = ", ".join(signatures) or "none"
        raise RequestError(f'Serving signature name: "{name}" not found in signature def; the model has {there}')
    if found.unsupported:
        raise RequestError(f"signature {name!r} cannot be served over JSON: its {found.unsupported}")
    return found


def parse_predict(document: Mapping[str, Any], signatures: Mapping[str, Signature]) -> PredictRequest:
    """Reads a request.

    Raises:
        RequestError: It does not fit the signature; the message names the field, what was expected and received.
    """
    signature = chosen_signature(document, signatures)
    if ("instances" in document) == ("inputs" in document):
        both = "both" if "inputs" in document else "neither"
        raise RequestError(f'expected either "instances" (rows) or "inputs" (columns), received {both}')
    if "instances" in document:
        return PredictRequest(signature, _from_rows(document["instances"], signature), True)
    return PredictRequest(signature, _from_columns(document["inputs"], signature), False)


def _from_rows(instances: Any, signature: Signature) -> dict[str, NDArray[Any]]:
    if not isinstance(instances, list) or not instances:
        got = "an empty list" if instances == [] else json_tensors.described(instances)
        raise RequestError(f"instances: expected a list of at least one row, received {got}")
    for name, tensor in signature.inputs.items():
        if tensor.shape == ():
            raise RequestError(f'instances: the input {name!r} has no rows (its shape is []): send "inputs" instead')
    if not _is_object(instances[0]):
        tensor = only_input(signature, "instances[0]", instances[0])
        _check_kind(instances, objects=False)
        return {tensor.name: json_tensors.to_array(instances, tensor, "instances")}
    _check_kind(instances, objects=True)
    columns = _columns_of(instances, signature)
    return {
        name: _row_array(columns[name], tensor) if name in columns else tensor.defaults(len(instances))
        for name, tensor in signature.inputs.items()
    }


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not json_tensors.is_base64(value)


def _check_kind(instances: Sequence[Any], *, objects: bool) -> None:
    if objects and set(map(type, instances)) == {dict}:
        return  # a {"b64": ...} among objects is told by its lacking names
    for index, one in enumerate(instances):
        if _is_object(one) is not objects:
            wanted = "an object with a value for each input" if objects else "a value"
            got = json_tensors.described(one)
            raise RequestError(f"instances[{index}]: expected {wanted} as in the first row, received {got}")


def _columns_of(instances: Sequence[Mapping[str, Any]], signature: Signature) -> dict[str, Sequence[Any]]:
    """The values of each input that any row has, missing ones filled from its default."""
    names = list(signature.inputs)
    if set(map(len, instances)) == {len(names)}:
        try:
            if len(names) == 1:
                return {names[0]: [row[names[0]] for row in instances]}
            return dict(zip(names, zip(*map(itemgetter(*names), instances))))
        except KeyError:
            pass
    for index, row in enumerate(instances):
        check_names(row, signature, f"instances[{index}]")
    given = [name for name in names if any(name in row for row in instances)]
    return {
        name: [row[name] if name in row else _json_default(signature.inputs[name]) for row in instances]
        for name in given
    }


def _json_default(tensor: TensorInfo) -> Any:
    value = tensor.row_default().tolist()
    return _decoded(value) if tensor.dtype.is_string else value


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def check_names(given: Mapping[str, Any], signature: Signature, field: str) -> None:
    """Checks that the names are those of inputs, and that none is lacking but optional ones.

    Raises:
        RequestError: One is unknown, or lacking.
    """
    for name in given:
        if name not in signature.inputs:
            near = difflib.get_close_matches(name, signature.inputs, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            there = ", ".join(signature.inputs)
            raise RequestError(
                f"{field}.{name}: the signature {signature.name!r} has no such input; it has {there}{hint}"
            )
    for name, tensor in signature.inputs.items():
        if name not in given and name not in signature.optional:
            raise RequestError(
                f"{field}: Missing named input: {name!r} ({tensor.dtype.name}); received {_names(given)}"
            )


def _names(given: Mapping[str, Any]) -> str:
    return ", ".join(map(repr, given)) or "no inputs"


def _row_array(values: Sequence[Any], tensor: TensorInfo) -> NDArray[Any]:
    """The values of one input, one for each row."""
    if tensor.shape is not None and len(tensor.shape) == 1:
        # The usual case, a scalar a row, without looking for lists.
        field = f"instances[].{tensor.name}"
        if tensor.shape[0] not in (None, len(values)):
            raise RequestError(f"{field}: expected {tensor.shape[0]} rows, received {len(values)}")
        try:
            return json_tensors.from_leaves(values, tensor.dtype, field)
        except RequestError:
            _raise_in_row(values, tensor)
            raise
    try:
        return json_tensors.to_array(list(values), tensor, f"instances[].{tensor.name}")
    except RequestError:
        _raise_in_row(values, tensor)
        raise


def _raise_in_row(values: Sequence[Any], tensor: TensorInfo) -> None:
    """Raises for the first row that is wrong by itself, with its number."""
    one_row = TensorInfo(tensor.name, tensor.dtype, tensor.shape and tensor.shape[1:], tensor.graph_name)
    for index, value in enumerate(values):
        json_tensors.to_array(value, one_row, f"instances[{index}].{tensor.name}")


def _from_columns(inputs: Any, signature: Signature) -> dict[str, NDArray[Any]]:
    if not _is_object(inputs):
        tensor = only_input(signature, "inputs", inputs)
        return {tensor.name: json_tensors.to_array(inputs, tensor, "inputs")}
    check_names(inputs, signature, "inputs")
    arrays = {
        name: json_tensors.to_array(inputs[name], tensor, f"inputs.{name}")
        for name, tensor in signature.inputs.items()
        if name in inputs
    }
    return with_defaults(arrays, signature)


def with_defaults(arrays: dict[str, NDArray[Any]], signature: Signature) -> dict[str, NDArray[Any]]:
    """The arrays with the defaults of the inputs that were left out, for as many rows as the others have.

    Raises:
        RequestError: Nothing was given, so that the number of rows is not known.
    """
    lacking = [name for name in signature.inputs if name not in arrays]
    if not lacking:
        return arrays
    sizes = {array.shape[0] for name, array in arrays.items() if signature.inputs[name].is_batched}
    if len(sizes) != 1 and any(signature.inputs[name].is_batched for name in lacking):
        got = "no input with rows" if not sizes else f"inputs of {sorted(sizes)} rows"
        raise RequestError(f"inputs: expected inputs of one number of rows, for the defaults of others, received {got}")
    rows = sizes.pop() if sizes else 1
    return arrays | {name: signature.inputs[name].defaults(rows) for name in lacking}


def only_input(signature: Signature, field: str, value: Any) -> TensorInfo:
    """The input of a signature that has one.

    Raises:
        RequestError: It has several.
    """
    if len(signature.inputs) != 1:
        raise RequestError(
            f"{field}: expected an object with a value for each of the inputs {', '.join(signature.inputs)} of "
            f"{signature.name!r}, received {json_tensors.described(value)}"
        )
    return next(iter(signature.inputs.values()))


def predict_reply(outputs: Mapping[str, NDArray[Any]], signature: Signature, by_rows: bool) -> bytes:
    """The reply's body: a single output without its name.

    Raises:
        RequestError: Rows are asked for, and the outputs have none, or not the same number.
    """
    names = list(signature.outputs)
    binary = {name: name.endswith(BYTES_SUFFIX) for name in names}
    if not by_rows:
        found: Any = {name: json_tensors.jsonable(outputs[name], as_bytes=binary[name]) for name in names}
        return json_tensors.dumps({"outputs": found if len(names) > 1 else found[names[0]]})
    _check_rows(outputs)
    columns = [json_tensors.rows(outputs[name], as_bytes=binary[name]) for name in names]
    if len(names) == 1:
        return json_tensors.dumps({"predictions": columns[0]})
    return json_tensors.dumps({"predictions": [dict(zip(names, values)) for values in zip(*columns)]})


def _check_rows(outputs: Mapping[str, NDArray[Any]]) -> None:
    sizes = {name: np.shape(array)[:1] for name, array in outputs.items()}
    wanted = next(iter(sizes.values()))
    for name, size in sizes.items():
        if not size or size != wanted:
            got = f"batch size: {size[0]} expecting: {wanted[0]}" if size and wanted else "no rows"
            raise RequestError(f'Tensor name: {name} has inconsistent {got}; send "inputs" instead of "instances"')
