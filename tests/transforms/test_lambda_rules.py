"""Lambda layers: what does not survive in a SavedModel is found, with its line; what does survive is left alone."""

from __future__ import annotations

import datetime
import inspect
import logging
import math
import random
import re
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from google.protobuf import text_format
from headrace.transforms.keras_graph import LambdaError, analyze_and_trace
from headrace.transforms.keras_graph.lambda_rules import RULES, findings, lambdas_checked
from headrace.transforms.row_groups import row_groups
from keras import ops
from tensorflow_metadata.proto.v0 import schema_pb2

from tests import lambda_helpers

ROOT = Path(__file__).parents[2]
Lambda = keras.layers.Lambda
log = logging.getLogger(__name__)
seen: list[object] = []
connection = sqlite3.connect(":memory:")
variable = tf.Variable(2.0)
dense = keras.layers.Dense(1)
dense.build((None, 1))
table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1.0]), 0.0)
SCALE = np.log(10.0)


def branches(x):
    if x > 0:
        return x
    return -x


def counts(x):
    global COUNT
    COUNT = 1
    return x


def remembers(x):
    y = x * 2
    seen.append(y)
    return y


def through_a_name(x):
    shifted = x + 1
    also = shifted
    return np.square(also)


BAD = [
    ("python-on-tensor", lambda x: np.log(x), "calls np.log on a tensor"),
    ("python-on-tensor", through_a_name, "calls np.square on a tensor"),
    ("python-on-tensor", lambda x: math.sqrt(x), "calls math.sqrt on a tensor"),
    ("python-on-tensor", lambda x: float(x) + 1, "calls float on a tensor"),
    ("python-on-tensor", lambda x: x.numpy() + 1, r"calls .numpy\(\) on a tensor"),
    ("python-on-tensor", lambda x: datetime.datetime.strptime(x, "%Y"), "calls datetime.datetime.strptime on a tensor"),
    ("python-on-tensor", lambda x: tf.constant(f"{x}"), "puts a tensor into an f-string"),
    ("python-on-tensor", lambda x: lambda_helpers.half_in_numpy(x), "calls np.multiply on a tensor"),
    ("python-branch", branches, "branches on a tensor"),
    ("python-branch", lambda x: x if x > 0 else -x, "branches on a tensor"),
    ("python-branch", lambda x: ops.cast(x > 0 and x < 5, "float32"), "joins tensors by 'and' or 'or'"),
    ("frozen-clock", lambda x: x + datetime.datetime.now().hour, "calls datetime.datetime.now"),
    ("frozen-clock", lambda x: x + datetime.date.today().year, "calls datetime.date.today"),
    ("frozen-clock", lambda x: x + time.time(), "calls time.time"),
    ("frozen-random", lambda x: x + random.random(), "calls random.random"),
    ("frozen-random", lambda x: x + np.random.normal(), "calls np.random.normal"),
    ("frozen-random", lambda x: x + tf.random.normal([1]), "calls tf.random.normal without a seed"),
    ("frozen-random", lambda x: x + keras.random.normal((1,)), "calls keras.random.normal without a seed"),
    ("side-effect", lambda x: (print("here"), x)[1], "calls print"),
    ("side-effect", counts, "assigns to COUNT outside of it"),
    ("side-effect", remembers, "changes seen"),
    ("side-effect", lambda x: (log.info("here"), x)[1], "logs by log"),
    ("open-resource", lambda x: x * len(open("/etc/hostname").read()), "opens a file"),  # noqa: PTH123, SIM115
    (
        "open-resource",
        lambda x: x * connection.execute("select 1").fetchone()[0],
        "uses 'connection', an open Connection",
    ),
    ("untracked-variable", lambda x: x * variable, "uses 'variable', a ResourceVariable"),
    ("untracked-variable", lambda x: dense(x), "uses 'dense', a Dense"),
    ("untracked-table", lambda x: x * table.lookup(tf.constant("a")), "uses 'table'"),
]


@pytest.mark.parametrize(("rule", "function", "said"), BAD)
def test_each_rule_finds_it_with_its_line(rule, function, said):
    found = findings(Lambda(function, name="mine"))
    assert [one.rule for one in found] == [rule], found
    [one] = found
    assert re.search(said, one.what) and "'mine'" in one.what and one.fix
    if "lambda_helpers" in one.file:
        assert one.line == inspect.getsourcelines(lambda_helpers.half_in_numpy)[1] + 2
    else:
        lines, first = inspect.getsourcelines(function)
        assert one.file == __file__ and first <= one.line < first + len(lines)


def hour_of_day(text):
    return tf.strings.to_number(tf.strings.substr(text, 11, 2))


def euclidean(points):
    lon1, lat1, lon2, lat2 = points
    return ops.sqrt((lon2 - lon1) ** 2 + (lat2 - lat1) ** 2)


def by_shape(x, power=2):
    if power > 1 and x.shape[-1] == 1:
        x = x**power
    return x if len(x.shape) == 2 else x[:, None]


def adds(x):
    total = 0
    parts = []
    for weight in (1.0, 2.0):
        parts.append(x * weight)
        total = total + parts[-1]
    return total


GOOD = [
    lambda x: (x + 78) / 8,
    lambda x: x * np.pi / 180 + np.log(2.0) + SCALE + math.sqrt(2),
    lambda x: ops.where(ops.isnan(x), 0.0, x),
    lambda x: ops.cast(x, np.float32) if x is not None else x,
    lambda x: tf.cast(tf.random.normal([1], seed=3), x.dtype) + x,
    lambda x: lambda_helpers.half(x),
    hour_of_day,
    euclidean,
    by_shape,
    adds,
]


@pytest.mark.parametrize("function", GOOD)
def test_what_survives_is_left_alone(function):
    assert findings(Lambda(function)) == []


def test_every_lambda_that_is_called_is_checked_and_keras_is_left_as_it_was():
    before = keras.layers.Lambda.__call__
    x = keras.Input((1,))
    with pytest.raises(LambdaError) as caught, lambdas_checked():
        y = Lambda(lambda x: x + time.time(), name="first")(x)
        Lambda(lambda x: np.log(x), name="second")(y)  # raises, and its finding is told with the other
    assert [one.rule for one in caught.value.findings] == ["frozen-clock", "python-on-tensor"]
    assert caught.value.__cause__ is not None
    with pytest.raises(LambdaError, match=r"\[no-output-shape\] Lambda layer 'third'"), lambdas_checked():
        Lambda(hour_of_day, name="third")(keras.Input((1,), dtype="string"))
    with pytest.raises(LambdaError, match=r"cannot tell .* \(ZeroDivisionError: division by zero\)"), lambdas_checked():
        Lambda(lambda x: x + 1 / 0)(x)
    with pytest.raises(KeyError), lambdas_checked():
        raise KeyError
    with lambdas_checked():
        assert Lambda(lambda x: x * 2)(x).shape == (None, 1)
    assert keras.layers.Lambda.__call__ is before and "__call__" not in vars(keras.layers.Lambda)


def test_two_lambdas_in_one_line_are_told_apart():
    bad, good = Lambda(lambda x: np.log(x)), Lambda(lambda x: ops.log(x))
    assert len(findings(bad)) == 1 and findings(good) == []
    pair = [Lambda(lambda x: x + 1), Lambda(lambda x: np.log(x) + 1)]
    assert [len(findings(one)) for one in pair] == [0, 1]


def traced(folder, preprocessing_fn):
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1.0, 2.0], "s": ["2013-01-01 05:00", "2013-01-01 17:30"]}), folder / "a.parquet")
    schema = text_format.Parse(
        'feature { name: "x" type: FLOAT presence { min_fraction: 1 } } feature { name: "s" type: BYTES }',
        schema_pb2.Schema(),
    )
    return analyze_and_trace(preprocessing_fn, schema, row_groups([str(folder / "a.parquet")]), engine="direct")


def test_all_findings_of_a_function_come_at_once(tmp_path):
    def preprocessing_fn(inputs):
        first = Lambda(lambda x: x + time.time(), name="first")(inputs["x"])
        second = Lambda(lambda x: x * variable, name="second")(first)
        return {"out": Lambda(lambda x: np.log(x), name="third")(second)}

    with pytest.raises(LambdaError) as refused:
        traced(tmp_path, preprocessing_fn)
    assert [one.rule for one in refused.value.findings] == ["frozen-clock", "untracked-variable", "python-on-tensor"]
    first = inspect.getsourcelines(preprocessing_fn)[1]
    assert [one.line for one in refused.value.findings] == [first + 1, first + 2, first + 3]


def test_a_shape_that_keras_cannot_tell(tmp_path):
    def preprocessing_fn(inputs):
        hour = Lambda(hour_of_day, name="hour")(inputs["s"])
        return {"hour": hour}

    with pytest.raises(LambdaError, match="no-output-shape") as refused:
        traced(tmp_path, preprocessing_fn)
    assert refused.value.findings[0].line == inspect.getsourcelines(hour_of_day)[1]


def test_the_books_lambdas_load_where_there_is_only_tensorflow(tmp_path):
    def preprocessing_fn(inputs):
        hour = Lambda(hour_of_day, output_shape=(1,), dtype="float32")(inputs["s"])
        scaled = Lambda(lambda x: (x + 78) / 8)(inputs["x"])
        return {"hour": hour, "scaled": scaled, "far": Lambda(euclidean)([scaled, scaled, inputs["x"], scaled])}

    transform = traced(tmp_path, preprocessing_fn)
    transform.save(tmp_path / "saved")
    code = (
        "import sys, tensorflow as tf\n"
        "f = tf.saved_model.load(sys.argv[1]).signatures['transform_features']\n"
        "out = f(x=tf.constant([2.0]), s=tf.constant(['2013-01-01 17:30']))\n"
        "print(float(out['hour'][0, 0]), float(out['scaled'][0, 0]), float(out['far'][0, 0]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path / "saved" / "saved_model")],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert [float(one) for one in done.stdout.split()] == [17.0, 10.0, 8.0]


def test_each_rule_has_its_section_and_an_example():
    page = (ROOT / "docs" / "lambda-rules.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## `([a-z-]+)`", page, re.MULTILINE)
    assert sections == list(RULES)
    assert {rule for rule, _, _ in BAD} | {"no-output-shape"} == set(RULES)
