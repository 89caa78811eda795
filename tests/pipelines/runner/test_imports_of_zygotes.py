"""What a zygote imports, and what it keeps for later."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

WITHOUT_SKLEARN = """
import inspect, json, sys, tempfile
from headrace.pipelines.runner.imports import preload
assert preload("keras") is None
import keras, tensorflow as tf
# Both look at every module there is.
inspect.getmodule(inspect.currentframe())
root = tf.Module()
root.double = tf.function(lambda x: 2.0 * x, input_signature=[tf.TensorSpec([None])])
tf.saved_model.save(root, tempfile.mkdtemp(), signatures=root.double)
before = "sklearn" in sys.modules
from keras.wrappers import *
print(json.dumps([before, "sklearn" in sys.modules, SKLearnClassifier.__name__, keras.wrappers.__name__]))
"""


def test_keras_brings_scikit_learn_when_its_wrappers_are_used_and_not_before():
    pytest.importorskip("sklearn")
    done = subprocess.run([sys.executable, "-c", WITHOUT_SKLEARN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [False, True, "SKLearnClassifier", "keras.wrappers"]
