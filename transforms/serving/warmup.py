"""Requests that a model answers before it is served, so that the first client does not wait for what is made once.

Those in `assets.extra/tf_serving_warmup_requests`, in TensorFlow Serving's format: TFRecord of PredictionLog. Without
them each signature is called on one row of defaults, zeros and empty strings.

Formats: "SavedModel Warmup" of TensorFlow Serving's documentation; tensorflow_serving/apis/prediction_log.proto,
predict.proto and model.proto, of which the fields that are read are declared here by their numbers.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from headrace.transforms.serving.loaded_model import Arrays, LoadedModel
from headrace.transforms.serving.refusals import RequestError
from headrace.transforms.serving.signatures import DEFAULT_SIGNATURE, Signature

logger = logging.getLogger(__name__)
FILE = "assets.extra/tf_serving_warmup_requests"
# As TensorFlow Serving's limit.
MOST = 1000


def warm_up(model: LoadedModel) -> int:
    """Calls the model on its warm-up requests.

    Returns:
        How many requests the file has; 0 if there is none.

    Raises:
        ValueError: The file is damaged, or the model fails on one of its requests.
    """
    file = Path(model.folder) / FILE
    if not file.is_file():
        for one in model.signatures.values():
            if not one.unsupported:
                _try(model, one)
        return 0
    logs = read_warmup(file)
    for number, (name, arrays) in enumerate(logs):
        signature = model.signatures.get(name)
        if signature is None:
            raise ValueError(
                f"{file}: request {number} asks for the signature {name!r}; there are {', '.join(model.signatures)}"
            )
        given = {key: arrays[key] if key in arrays else tensor.defaults(1) for key, tensor in signature.inputs.items()}
        try:
            model.run(name, given)
        except (RequestError, KeyError) as error:
            raise ValueError(f"{file}: the model fails on request {number}: {error}") from error
    return len(logs)


def _try(model: LoadedModel, signature: Signature) -> None:
    try:
        model.run(signature.name, one_row(signature))
    except RequestError as error:
        # It may refuse what no client would send, such as an empty image; it may not fail.
        if error.status >= 500:
            logger.warning("the signature %r of %s will fail: %s", signature.name, model.folder, error)


def one_row(signature: Signature) -> Arrays:
    """One row of defaults, otherwise of zeros and empty strings; 1 for other dimensions of any size."""
    arrays = {}
    for name, tensor in signature.inputs.items():
        if tensor.default is not None:
            arrays[name] = tensor.defaults(1)
        else:
            shape = tuple(1 if size is None else size for size in tensor.shape or (1,))
            arrays[name] = np.full(shape, b"" if tensor.dtype.is_string else 0, tensor.dtype.numpy)
    return arrays


def read_warmup(file: Path) -> list[tuple[str, Arrays]]:
    """The predict requests of a file: the signature's name and the arrays of each.

    Raises:
        ValueError: The file is damaged.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    found = []
    try:
        for record in tf.data.TFRecordDataset(str(file)).take(MOST).as_numpy_iterator():
            log = _prediction_log()()
            log.ParseFromString(record)
            if log.HasField("predict_log"):
                request = log.predict_log.request
                arrays = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
                found.append((request.model_spec.signature_name or DEFAULT_SIGNATURE, arrays))
    except (tf.errors.DataLossError, DecodeError) as error:
        raise ValueError(
            f"{file}: expected TFRecord of PredictionLog, received what cannot be read: {error}"
        ) from error
    if not found:
        raise ValueError(f"{file}: expected TFRecord of PredictionLog, received a file without a predict request")
    return found


def write_warmup(file: Path, requests: list[tuple[str, Arrays]], model: str = "") -> None:
    """Writes such a file.

    Args:
        file: Where to.
        requests: A signature's name and an array for each of its inputs, of each request.
        model: The model's name.
    """
    import tensorflow as tf

    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for name, arrays in requests:
            log = _prediction_log()()
            log.predict_log.request.model_spec.name = model
            log.predict_log.request.model_spec.signature_name = name
            for key, array in arrays.items():
                log.predict_log.request.inputs[key].CopyFrom(tf.make_tensor_proto(array))
            writer.write(log.SerializeToString())


@cache
def _prediction_log() -> Any:
    """The message's class, made from the few fields that are needed: the package with all of them needs gRPC."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from tensorflow.core.framework import tensor_pb2

    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="headrace/serving_warmup.proto",
        package="headrace.serving",
        syntax="proto3",
        dependency=[tensor_pb2.DESCRIPTOR.name],
    )

    def message(name: str, *fields: tuple[str, int, str | None], holder: Any = None) -> Any:
        made = (holder.nested_type if holder is not None else file.message_type).add(name=name)
        for key, number, of in fields:
            kind = field.TYPE_STRING if of is None else field.TYPE_MESSAGE
            made.field.add(name=key, number=number, type=kind, type_name=of, label=field.LABEL_OPTIONAL)
        return made

    own = ".headrace.serving"
    message("ModelSpec", ("name", 1, None), ("signature_name", 3, None))
    request = message("PredictRequest", ("model_spec", 1, f"{own}.ModelSpec"))
    entry = message("InputsEntry", ("key", 1, None), ("value", 2, ".tensorflow.TensorProto"), holder=request)
    entry.options.map_entry = True
    inputs = request.field.add(name="inputs", number=2, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED)
    inputs.type_name = f"{own}.PredictRequest.InputsEntry"
    message("PredictLog", ("request", 1, f"{own}.PredictRequest"))
    message("PredictionLog", ("predict_log", 6, f"{own}.PredictLog"))
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("headrace.serving.PredictionLog"))
