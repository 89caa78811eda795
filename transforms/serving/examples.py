"""`:classify` and `:regress` of TensorFlow Serving's REST protocol: JSON objects that become tf.Example.

Format: "Classify and Regress API" of TensorFlow Serving's REST documentation; the key of the answers is "results", as
in its example and its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from headrace.transforms.serving import json_tensors
from headrace.transforms.serving.predict import chosen_signature
from headrace.transforms.serving.refusals import RequestError
from headrace.transforms.serving.signatures import Signature
from numpy.typing import NDArray

Method = Literal["classify", "regress"]
INPUTS = "inputs"
CLASSES, SCORES, REGRESSED = "classes", "scores", "outputs"
_INT64 = range(-(2**63), 2**63)


def parse_examples(
    document: Mapping[str, Any], signatures: Mapping[str, Signature], method: Method
) -> tuple[Signature, dict[str, NDArray[Any]]]:
    """Reads a request: the signature, and the serialized examples as its one input.

    Raises:
        RequestError: The signature is not for this method, or an example's feature is no list of one type.
    """
    signature = chosen_signature(document, signatures)
    _check_signature(signature, method)
    context = document.get("context", {})
    examples = document.get("examples")
    if not isinstance(context, dict):
        raise RequestError(f"context: expected an object, received {json_tensors.described(context)}")
    if not isinstance(examples, list) or not examples:
        got = "nothing" if "examples" not in document else json_tensors.described(examples)
        raise RequestError(f"examples: expected a list of at least one object, received {got}")
    serialized = np.empty(len(examples), object)
    for index, example in enumerate(examples):
        field = f"examples[{index}]"
        if not isinstance(example, dict):
            raise RequestError(f"{field}: expected an object, received {json_tensors.described(example)}")
        if shared := sorted(example.keys() & context.keys()):
            raise RequestError(f"{field}.{shared[0]}: the feature is in the context too; expected it in one of them")
        serialized[index] = serialized_example(context, "context", example, field)
    return signature, {INPUTS: serialized}


def _check_signature(signature: Signature, method: Method) -> None:
    outputs = set(signature.outputs)
    right = {REGRESSED} == outputs if method == "regress" else bool(outputs) and outputs <= {CLASSES, SCORES}
    if set(signature.inputs) != {INPUTS} or not signature.inputs[INPUTS].dtype.is_string or not right:
        wanted = f'the output "{REGRESSED}"' if method == "regress" else f'the outputs "{CLASSES}", "{SCORES}" or both'
        raise RequestError(
            f'signature_name: :{method} expects a signature with the input "{INPUTS}" of tf.Example and {wanted}; '
            f"{signature.name!r} takes {', '.join(signature.inputs)} and gives {', '.join(signature.outputs)}"
        )


def serialized_example(context: Mapping[str, Any], context_field: str, example: Mapping[str, Any], field: str) -> bytes:
    """Features of the context and of the example as one serialized tf.Example.

    Raises:
        RequestError: A value is no number, string, bool, `{"b64": ...}` or list of one of them.
    """
    from tensorflow.core.example import example_pb2

    proto = example_pb2.Example()
    for given, place in ((context, context_field), (example, field)):
        for name, value in given.items():
            _fill(proto.features.feature[name], value if isinstance(value, list) else [value], f"{place}.{name}")
    return bytes(proto.SerializeToString())


def _fill(feature: Any, values: list[Any], field: str) -> None:
    kinds = {_kind(value, field) for value in values}
    if len(kinds) > 1:
        raise RequestError(f"{field}: expected values of one type, received {' and '.join(sorted(kinds))}")
    if kinds == {"int64"}:
        if wrong := [value for value in values if value not in _INT64]:
            raise RequestError(f"{field}: expected int64, received {wrong[0]}, which is out of its range")
        feature.int64_list.value.extend(int(value) for value in values)
    elif kinds == {"float"}:
        feature.float_list.value.extend(values)
    elif kinds:
        feature.bytes_list.value.extend(_bytes(value, field) for value in values)


def _kind(value: Any, field: str) -> str:
    if isinstance(value, bool | int):
        return "int64"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str) or json_tensors.is_base64(value):
        return "bytes"
    wanted = 'a number, a string, a bool, {"b64": "..."} or a list of one of them'
    raise RequestError(f"{field}: expected {wanted}, received {json_tensors.described(value)}")


def _bytes(value: Any, field: str) -> bytes:
    try:
        return value.encode() if isinstance(value, str) else json_tensors.bytes_of(value)
    except ValueError as error:
        raise RequestError(
            f"{field}: expected text or base64, received {json_tensors.described(value)} ({error})"
        ) from None


def classify_reply(outputs: Mapping[str, NDArray[Any]], rows: int) -> bytes:
    """The reply's body: a list of [label, score] for each example; "" or 0 where the model gives none.

    Raises:
        RequestError: The outputs are not of the shape [examples, classes].
    """
    for name, array in outputs.items():
        if array.ndim != 2 or array.shape[0] != rows:
            raise RequestError(f"Expected Tensor shape: [{rows} num_classes] but {name} has {list(array.shape)}", 500)
    shape = next(iter(outputs.values())).shape
    classes = outputs.get(CLASSES, np.full(shape, b"", object))
    scores = outputs.get(SCORES, np.zeros(shape, np.float32))
    labels, numbers = json_tensors.rows(classes), json_tensors.rows(scores.reshape(-1))
    width = shape[1]
    found = [[[labels[i][j], numbers[i * width + j]] for j in range(width)] for i in range(rows)]
    return json_tensors.dumps({"results": found})


def regress_reply(outputs: Mapping[str, NDArray[Any]], rows: int) -> bytes:
    """The reply's body: a number for each example.

    Raises:
        RequestError: The output is not of the shape [examples] or [examples, 1].
    """
    values = outputs[REGRESSED]
    if values.shape not in ((rows,), (rows, 1)):
        raise RequestError(
            f"Expected output Tensor shape to be either [{rows}] or [{rows}, 1] but got {list(values.shape)}", 500
        )
    return json_tensors.dumps({"results": json_tensors.jsonable(values.reshape(-1))})
