"""What `tfx.dsl.io.fileio` and `tfx.utils.io_utils` offer, by TensorFlow's file systems, as TFX has them."""

from __future__ import annotations

import json
from typing import Any

import tensorflow as tf
from google.protobuf import text_format

exists = tf.io.gfile.exists
glob = tf.io.gfile.glob
isdir = tf.io.gfile.isdir
listdir = tf.io.gfile.listdir
makedirs = tf.io.gfile.makedirs
mkdir = tf.io.gfile.mkdir
remove = tf.io.gfile.remove
rename = tf.io.gfile.rename
rmtree = tf.io.gfile.rmtree
stat = tf.io.gfile.stat
walk = tf.io.gfile.walk
copy = tf.io.gfile.copy


def open(path: str, mode: str = "r") -> Any:
    """Opens a file."""
    return tf.io.gfile.GFile(path, mode)


def parse_pbtxt_file(file_name: str, message: Any) -> Any:
    """Reads a message in text form into `message`, and gives it back."""
    return text_format.Parse(read_string_file(file_name), message)


def parse_json_file(file_name: str, message: Any) -> Any:
    """Reads a message in JSON form into `message`, and gives it back."""
    from google.protobuf import json_format

    return json_format.Parse(read_string_file(file_name), message)


def read_string_file(file_name: str) -> str:
    """The text of a file."""
    with open(file_name) as file:
        return str(file.read())


def write_string_file(file_name: str, string_value: Any) -> None:
    """Writes a text; of what is no text, its JSON."""
    with open(file_name, "w") as file:
        file.write(string_value if isinstance(string_value, str) else json.dumps(string_value))
