"""A part of a traced function computes what the whole does, and asks for no more than it needs."""

from __future__ import annotations

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
from headrace.transforms.keras_graph.graph_parts import GraphParts, with_checks
from hypothesis import given, settings
from hypothesis import strategies as st

COLUMNS = ("a", "b", "c")


def parts_of(function):
    specs = {name: tf.TensorSpec([None], name=name) for name in COLUMNS}
    return GraphParts(tf.function(function, input_signature=[specs], autograph=False).get_concrete_function())


def computed(parts, names, raw):
    wanted = {name: tf.constant(value) for name, value in raw.items()}
    return tf.function(lambda raw: parts.outputs(names, raw))(wanted)


def as_saved(function, folder):
    """The same of a SavedModel, as the Trainer finds it."""
    root = tf.Module()
    specs = {name: tf.TensorSpec([None], name=name) for name in COLUMNS}
    root.function = tf.function(function, input_signature=[specs], autograph=False).get_concrete_function()
    root.tables = list(vars(function).get("tables", []))
    tf.saved_model.save(root, str(folder))
    loaded = tf.saved_model.load(str(folder))
    parts = GraphParts(loaded.function)
    parts.owner = loaded  # its tables live as long
    return parts


OPERATIONS = {
    "sum": lambda x, y: x + y,
    "larger": lambda x, y: tf.maximum(x, y),
    "branch": lambda x, y: tf.cond(tf.reduce_sum(x) > 0.0, lambda: x - y, lambda: y),
    "loop": lambda x, y: tf.while_loop(lambda i, z: i < 3, lambda i, z: (i + 1, z + y), [0, x])[1],
    "call": tf.function(lambda x, y: 2.0 * x - y, autograph=False),
}


@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8
    ),
    chosen=st.sets(st.integers(0, 7), min_size=1),
)
def test_any_part_computes_what_the_whole_does_from_its_own_columns(steps, chosen):
    columns: list[set[str]] = []

    def function(raw):
        columns[:] = [{name} for name in COLUMNS]
        values = [raw[name] for name in COLUMNS]
        for name, left, right in steps:
            i, j = left % len(values), right % len(values)
            values.append(OPERATIONS[name](values[i], values[j]))
            columns.append(columns[i] | columns[j])
        return {f"out{number}": value for number, value in enumerate(values[3:])}

    parts = parts_of(function)
    rows = {name: np.array([1.0, -2.0, 3.5], np.float32) * (i + 1) for i, name in enumerate(COLUMNS)}
    whole = function({name: tf.constant(value) for name, value in rows.items()})
    names = [f"out{number % len(steps)}" for number in sorted(chosen)]
    needed = set().union(*(columns[3 + int(name.removeprefix("out"))] for name in names))
    part = computed(parts, names, {name: rows[name] for name in needed})
    assert set(part) == set(names)
    for name in names:
        np.testing.assert_array_equal(part[name], whole[name])


def test_a_column_that_is_needed_and_not_there():
    parts = parts_of(lambda raw: {"x": raw["a"] + raw["b"]})
    with pytest.raises(KeyError, match="b"):
        computed(parts, ["x"], {"a": [1.0]})


def test_a_check_goes_with_the_results_of_the_call_that_made_it():
    def positive(a):
        tf.debugging.assert_greater(a, 0.0, message="a must be positive")
        return 2.0 * a

    def below(a, b):
        with tf.control_dependencies([tf.debugging.assert_less(a, b, message="a must be below b")]):
            return tf.identity(a)

    def function(raw):
        a, b = raw["a"], raw["b"]
        return {"x": with_checks(positive)(a), "y": with_checks(below)(a, b), "sum": a + b, "z": -raw["c"]}

    parts = parts_of(function)
    assert computed(parts, ["z"], {"c": [1.0]})["z"].numpy().tolist() == [-1.0]
    assert computed(parts, ["sum"], {"a": [-3.0], "b": [-4.0]})["sum"].numpy().tolist() == [-7.0], "others' checks"
    assert computed(parts, ["x"], {"a": [3.0]})["x"].numpy().tolist() == [6.0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="a must be positive"):
        computed(parts, ["x"], {"a": [-3.0]})
    assert computed(parts, ["y"], {"a": [-3.0], "b": [2.0]})["y"].numpy().tolist() == [-3.0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="a must be below b"):
        computed(parts, ["y"], {"a": [3.0], "b": [2.0]})


def test_a_part_outlives_what_it_was_copied_from():
    def function(raw):
        return {"x": tf.cond(tf.reduce_sum(raw["a"]) > 0.0, lambda: raw["a"] + 1.0, lambda: raw["a"] - 1.0)}

    def copied_from(parts):
        part = tf.function(lambda a: parts.outputs(["x"], {"a": a})["x"])
        return part.get_concrete_function(tf.TensorSpec([None]))

    copied = copied_from(parts_of(function))
    gc.collect()
    assert copied(tf.constant([1.0])).numpy().tolist() == [2.0]


def test_what_a_layer_gives_keeps_its_mask_beside_its_check():
    class Checked(keras.layers.Layer):
        def call(self, x):
            tf.debugging.assert_non_negative(x)
            return x

    def function(raw):
        embedded = keras.ops.cast(raw["a"], "float32")
        embedded._keras_mask = raw["a"] > 1.0
        given = with_checks(Checked())(embedded)
        return {"mask": given._keras_mask}

    assert computed(parts_of(function), ["mask"], {"a": [1.0, 2.0]})["mask"].numpy().tolist() == [False, True]


def test_a_table_and_a_variable_are_read_where_they_are(tmp_path):
    initializer = tf.lookup.KeyValueTensorInitializer(tf.constant([1, 2]), tf.constant([10.0, 20.0]))
    table = tf.lookup.StaticHashTable(initializer, -1.0)
    variable = tf.Variable(5.0)

    def function(raw):
        return {"looked": table.lookup(tf.cast(raw["a"], tf.int32)), "moved": raw["b"] + variable}

    function.tables = [table, variable]
    parts = parts_of(function)
    assert computed(parts, ["looked"], {"a": [2.0, 7.0]})["looked"].numpy().tolist() == [20.0, -1.0]
    variable.assign(6.0)
    assert computed(parts, ["moved"], {"b": [1.0]})["moved"].numpy().tolist() == [7.0]
    saved = as_saved(function, tmp_path)
    assert computed(saved, ["looked"], {"a": [2.0, 7.0]})["looked"].numpy().tolist() == [20.0, -1.0]
    assert computed(saved, ["moved"], {"b": [1.0]})["moved"].numpy().tolist() == [7.0]
    captured = tf.function(lambda a: saved.outputs(["looked"], {"a": a}), input_signature=[tf.TensorSpec([None])])
    assert len(captured.get_concrete_function().captured_inputs) == 2, "the table and its default, and no variable"
