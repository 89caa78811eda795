"""Small SavedModels, and a server of one in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# By dtype: an input of a number a row, of three, and of any number.
DTYPES = (
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "string",
)
SHAPES: dict[str, tuple[int | None, ...]] = {"one": (None,), "three": (None, 3), "any": (None, None)}


def write_half_plus(folder: Path, add: float) -> Path:
    """`x / 2 + add`, in graph mode, with signatures for predict, classify and regress, as the model of TensorFlow
    Serving's documentation has."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        half, plus = v1.Variable(0.5), v1.Variable(float(add))
        serialized = v1.placeholder(tf.string, [None], "tf_example")
        parsed = v1.parse_example(serialized, {"x": v1.FixedLenFeature([1], tf.float32)})["x"]
        parsed = tf.identity(parsed, "parsed")
        x = v1.placeholder(tf.float32, [None], "x")
        y, scores = half * x + plus, half * parsed + plus
        labels = tf.fill(tf.shape(scores), "half")
        session.run(v1.global_variables_initializer())
        info, define = v1.saved_model.build_tensor_info, v1.saved_model.build_signature_def
        inputs = {"inputs": info(serialized)}
        signatures = {
            "serving_default": define({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict"),
            "tensorflow/serving/regress": define(inputs, {"outputs": info(scores)}, "tensorflow/serving/regress"),
            "classify_x": define(
                inputs, {"classes": info(labels), "scores": info(scores)}, "tensorflow/serving/classify"
            ),
        }
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return folder


def write_echo(folder: Path) -> Path:
    """Gives each input back, of every dtype and shape; strings a second time as bytes; signature `scaled` has a
    default, `picky` refuses negative numbers, `total` gives one number for all rows."""
    import tensorflow as tf

    class Echo(tf.Module):
        pass

    root = Echo()
    specs = {
        f"{dtype}_{shape}": tf.TensorSpec(sizes, dtype, f"{dtype}_{shape}")
        for dtype in DTYPES
        for shape, sizes in SHAPES.items()
    }

    def echo(given: dict[str, Any]) -> dict[str, Any]:
        return {f"{name}_out": tf.identity(value) for name, value in given.items()}

    numbers = {name: spec for name, spec in specs.items() if not name.startswith("string")}
    texts = {name: spec for name, spec in specs.items() if name.startswith("string")}

    def text(given: dict[str, Any]) -> dict[str, Any]:
        return {**echo(given), "string_one_bytes": tf.identity(given["string_one"])}

    def scaled(given: dict[str, Any]) -> dict[str, Any]:
        weight = tf.where(tf.math.is_nan(given["weight"]), 1.0, given["weight"])
        return {"scaled": given["x"] * weight, "word": given["word"]}

    def picky(given: dict[str, Any]) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_non_negative(given["x"], "x is negative")]):
            return {"root": tf.sqrt(given["x"])}

    def total(given: dict[str, Any]) -> dict[str, Any]:
        return {"total": tf.reduce_sum(given["x"]), "row": given["x"]}

    def function(work: Any, wanted: dict[str, Any]) -> Any:
        return tf.function(work, input_signature=[wanted], autograph=False)

    x = {"x": tf.TensorSpec((None,), tf.float32, "x")}
    more = {"weight": tf.TensorSpec((None,), tf.float32, "weight"), "word": tf.TensorSpec((None,), tf.string, "word")}
    signatures = {
        "serving_default": function(echo, numbers),
        "text": function(text, texts),
        "scaled": function(scaled, x | more),
        "picky": function(picky, x),
        "total": function(total, x),
    }
    tf.saved_model.save(root, str(folder), signatures)
    set_defaults(folder, "scaled", {"weight": [float("nan")], "word": [b"none"]})
    return folder


def set_defaults(folder: Path, signature: str, defaults: dict[str, Any]) -> None:
    """States values for inputs that a request leaves out, in the SavedModel's file."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    file = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    definition = saved.meta_graphs[0].signature_def[signature]
    for name, value in defaults.items():
        definition.defaults[name].CopyFrom(tf.make_tensor_proto(value, definition.inputs[name].dtype))
    file.write_bytes(saved.SerializeToString())


class Server:
    """A server in a process of its own, asked over HTTP.

    Args:
        path: What it serves.
        options: Its command line's.
    """

    def __init__(self, path: Path | str, *options: str) -> None:
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-I", "-m", "headrace.transforms.serving", str(path), "--port", "0", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.errors: list[str] = []
        # Read all the time, or a full pipe would stop the server.
        self._reader = threading.Thread(target=lambda: self.errors.extend(self.process.stderr or ()), daemon=True)
        self._reader.start()
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        found = re.search(r"serving (\S+) .*http://([^:]+):(\d+)", self.first_line)
        if found is None:
            self.process.wait()
            self._reader.join()
            raise RuntimeError(f"the server did not start: {self.first_line}{''.join(self.errors)}")
        self.name, self.host, self.port = found[1], found[2], int(found[3])

    def connect(self, timeout: float = 30) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        connection = self.connect()
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with contextlib.closing(connection):
            connection.request(method, path, data, headers or {})
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def predict(self, body: Any, where: str = "") -> tuple[int, Any]:
        return self.ask("POST", f"/v1/models/{self.name}{where}:predict", body)

    def infer(self, body: Any, where: str = "") -> tuple[int, Any]:
        return self.ask("POST", f"/v2/models/{self.name}{where}/infer", body)

    def end(self, number: int) -> tuple[int, str]:
        """Sends a signal; gives the exit code and what was still printed."""
        self.process.send_signal(number)
        assert self.process.stdout is not None
        rest = self.process.stdout.read()
        return self.process.wait(60), rest


@contextlib.contextmanager
def served(path: Path | str, *options: str) -> Iterator[Server]:
    """A server that ends with the block."""
    server = Server(path, *options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
        for stream in (server.process.stdout, server.process.stderr):
            if stream is not None:
                stream.close()
