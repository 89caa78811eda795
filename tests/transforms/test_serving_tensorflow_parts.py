"""A server imports the parts of TensorFlow that it needs; whoever asks for more of it gets the whole."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("tensorflow")

PROGRAM = """
import sys
from headrace.transforms.serving import tensorflow_parts

tensorflow_parts.prepare()
from headrace.transforms.serving.loaded_model import LoadedModel
from tensorflow.python.client.session import Session
from tensorflow.python.saved_model.loader_impl import load

assert "tensorflow._api" not in sys.modules and "keras" not in sys.modules, "the whole of it was imported"
session = Session
import tensorflow as tf

assert not hasattr(tf, "__wrapped__") and "tensorflow._api" not in sys.modules, "looking for a dunder is no asking"
assert float(tf.reduce_sum(tf.constant([1.0, 2.0]))) == 3.0
assert tf.compat.v1.Session is session, "two copies of a class"
import tensorflow

assert tensorflow.__version__ and "tensorflow._api" in sys.modules
tensorflow_parts.prepare()
assert sys.modules["tensorflow"] is tensorflow
print("as it should be")
"""


def test_parts_first_and_the_whole_when_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-I", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout == "as it should be\n", done.stderr[-2000:]
