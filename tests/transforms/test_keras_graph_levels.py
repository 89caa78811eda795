"""Tracing level by level: which layer gets which state, however the author made and called it."""

from __future__ import annotations

import functools
import pickle
import re
import subprocess
import sys

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import text_format
from headrace.transforms.keras_graph import LayerState, analyze_and_trace, register_layer
from headrace.transforms.keras_graph.evaluator import Evaluator
from headrace.transforms.row_groups import row_groups
from keras import layers
from tensorflow_metadata.proto.v0 import schema_pb2

SCHEMA = text_format.Parse(
    """feature { name: "a" type: FLOAT } feature { name: "b" type: FLOAT }
       feature { name: "s" type: BYTES } feature { name: "t" type: BYTES }""",
    schema_pb2.Schema(),
)
RNG = np.random.default_rng(0)
DATA = pa.table(
    {
        "a": pa.array(RNG.normal(5, 2, 1000).astype(np.float32)),
        "b": pa.array(RNG.normal(-3, 7, 1000).astype(np.float32)),
        "s": RNG.choice(["u", "v", "w"], 1000, p=[0.5, 0.3, 0.2]),
        "t": RNG.choice(["p", "q", "u"], 1000, p=[0.6, 0.3, 0.1]),
    }
)
A, B, S, T = (DATA[name].to_numpy() for name in "abst")


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("rows") / "part.parquet")
    pq.write_table(DATA, path, row_group_size=300)
    return row_groups([path])


@pytest.fixture
def run(groups):
    def run(preprocessing_fn):
        transform = analyze_and_trace(preprocessing_fn, SCHEMA, groups, engine="direct")
        out = transform.apply(DATA.combine_chunks().to_batches()[0])
        dense = {}
        for name, spec in transform.feature_specs.items():
            column = out[name]
            flat = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
            dense[name] = flat.to_numpy(zero_copy_only=False).reshape(-1, *spec.shape)
        return transform, dense

    return run


def normal(values):
    values = values.astype(np.float64)
    return ((values - values.mean(axis=0)) / values.std(axis=0)).reshape(len(values), -1)


def one_hot(values, vocabulary):
    return np.stack([values == token for token in vocabulary], axis=1).astype(np.float32)


def test_two_unnamed_layers_of_one_class(run):
    def preprocessing_fn(inputs):
        return {"a": layers.Normalization()(inputs["a"]), "b": layers.Normalization()(inputs["b"])}

    transform, out = run(preprocessing_fn)
    assert (transform.traces, transform.passes) == (1, 1)
    np.testing.assert_allclose(out["a"], normal(A), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out["b"], normal(B), rtol=1e-4, atol=1e-5)


def test_a_graph_that_was_made_by_what_a_layer_said_before_it_had_its_state_is_made_anew(run):
    def preprocessing_fn(inputs):
        lookup = layers.StringLookup()
        index = lookup(inputs["s"])
        size = lookup.vocabulary_size()
        return {"share": layers.Lambda(lambda x: keras.ops.cast(x, "float32") / size)(index)}

    transform, out = run(preprocessing_fn)
    assert (transform.traces, transform.passes) == (2, 1)
    np.testing.assert_allclose(np.unique(out["share"]), [1 / 4, 2 / 4, 3 / 4], rtol=1e-6)


def test_a_layer_made_in_a_helper_and_one_cached_by_it(run):
    def scaled(tensor):
        return layers.Normalization()(tensor)

    @functools.cache
    def cached(name):
        return layers.Normalization()

    def preprocessing_fn(inputs):
        return {
            "cached": cached("b")(inputs["b"]),
            "a": scaled(inputs["a"]),
            "b": scaled(inputs["b"]),
            "double": scaled(inputs["a"] * 2 + inputs["b"]),
        }

    _, out = run(preprocessing_fn)
    np.testing.assert_allclose(out["cached"], normal(B), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out["a"], normal(A), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out["b"], normal(B), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out["double"], normal(A * 2 + B), rtol=1e-4, atol=1e-5)


AT_MODULE_LEVEL = layers.StringLookup(output_mode="one_hot")


def test_a_layer_at_module_level_is_adapted_anew_each_time(run, tmp_path):
    def preprocessing_fn(inputs):
        return {"s": layers.Normalization()(AT_MODULE_LEVEL(inputs["s"]))}

    _, out = run(preprocessing_fn)
    assert out["s"].shape[1] == 4
    other = str(tmp_path / "other.parquet")
    pq.write_table(pa.table({"s": ["x", "y"]}), other)
    transform = analyze_and_trace(preprocessing_fn, SCHEMA, row_groups([other]), engine="direct")
    assert transform.feature_specs["s"].shape == (3,) and transform.passes == 2


def test_one_hot_then_normalization_then_discretization(run):
    def preprocessing_fn(inputs):
        hot = layers.StringLookup(output_mode="one_hot")(inputs["s"])
        scaled = layers.Normalization()(hot)
        return {
            "a": layers.Normalization()(inputs["a"]),
            "scaled": scaled,
            "bin": layers.Discretization(num_bins=2)(scaled[:, 1:2] + layers.Normalization()(inputs["a"])),
        }

    transform, out = run(preprocessing_fn)
    assert (transform.traces, transform.passes) == (3, 3)
    np.testing.assert_allclose(out["scaled"][:, 1:], normal(one_hot(S, "uvw")), rtol=1e-4, atol=1e-5)
    assert not out["scaled"][:, 0].any(), "no row was out of vocabulary: mean and variance are 0"
    total = normal(one_hot(S, "u")) + normal(A)
    np.testing.assert_array_equal(out["bin"], total >= np.median(total))


def test_layers_of_one_level_share_a_pass(groups):
    seen = []

    def preprocessing_fn(inputs):
        hot = layers.StringLookup(output_mode="one_hot")(inputs["s"])
        other = layers.StringLookup(output_mode="one_hot")(inputs["t"])
        return {
            "s": layers.Normalization()(hot),
            "t": layers.Normalization()(other),
            "a": layers.Normalization()(keras.ops.abs(inputs["a"])),
            "b": layers.Discretization(num_bins=3)(inputs["b"]),
        }

    transform = analyze_and_trace(preprocessing_fn, SCHEMA, groups, engine="direct", on_rows=seen.append)
    assert transform.passes == 2 and seen.count(len(DATA)) == 2


def test_a_one_hot_used_twice(run):
    def preprocessing_fn(inputs):
        hot = layers.StringLookup(output_mode="one_hot")(inputs["s"])
        return {"hot": hot, "more": hot * 2, "both": layers.Concatenate()([hot, layers.Normalization()(hot)])}

    transform, out = run(preprocessing_fn)
    np.testing.assert_array_equal(out["hot"][:, 1:], one_hot(S, "uvw"))
    np.testing.assert_array_equal(out["more"], out["hot"] * 2)
    np.testing.assert_array_equal(out["both"][:, :4], out["hot"])
    assert transform.passes == 2


def test_one_layer_on_two_columns_learns_from_both(run):
    def preprocessing_fn(inputs):
        airport = layers.StringLookup()
        return {"s": airport(inputs["s"]), "t": airport(inputs["t"])}

    transform, out = run(preprocessing_fn)
    theirs = layers.StringLookup()
    theirs.adapt(np.concatenate([S, T]).astype(str)[:, None])
    assert transform.feature_specs["s"].vocabulary == tuple(theirs.get_vocabulary())
    np.testing.assert_array_equal(out["t"], theirs(T.astype(str)[:, None]))


def test_one_layer_on_a_column_and_behind_another_layer(run):
    def preprocessing_fn(inputs):
        scale = layers.Normalization()
        return {"a": scale(inputs["a"]), "b": scale(layers.Normalization()(inputs["b"]))}

    transform, out = run(preprocessing_fn)
    both = np.concatenate([A, normal(B).ravel()])
    np.testing.assert_allclose(out["a"].ravel(), (A - both.mean()) / both.std(), rtol=1e-4, atol=1e-5)
    assert transform.passes == 2


def test_the_same_layer_on_the_same_tensor_twice_counts_once(run):
    def preprocessing_fn(inputs):
        idf = layers.StringLookup(output_mode="tf_idf")
        return {"one": idf(inputs["s"]), "two": idf(inputs["s"])}

    _, out = run(preprocessing_fn)
    theirs = layers.StringLookup(output_mode="tf_idf")
    theirs.adapt(S.astype(str)[:, None])
    np.testing.assert_allclose(out["two"], theirs(S.astype(str)[:, None]), rtol=1e-5)


def test_python_that_depends_on_a_width(run):
    def preprocessing_fn(inputs):
        hot = layers.StringLookup(output_mode="one_hot")(inputs["s"])
        out = {f"s{i}": layers.Normalization()(hot[:, i : i + 1]) for i in range(hot.shape[-1])}
        if hot.shape[-1] != 4:
            raise ValueError("a guess")
        return {**out, "a": layers.Normalization()(inputs["a"])}

    transform, out = run(preprocessing_fn)
    assert list(out) == ["s0", "s1", "s2", "s3", "a"]
    np.testing.assert_allclose(out["s2"], normal(one_hot(S, "v")), rtol=1e-4, atol=1e-5)
    assert transform.passes == 2


@pytest.mark.parametrize("called_first", [True, False])
def test_vocabulary_size_read_in_preprocessing_fn(run, called_first):
    def preprocessing_fn(inputs):
        other, lookup = layers.StringLookup(), layers.StringLookup()
        index = lookup(inputs["s"]) if called_first else None
        encode = layers.CategoryEncoding(num_tokens=lookup.vocabulary_size(), output_mode="one_hot")
        return {
            "s": encode(lookup(inputs["s"]) if index is None else index),
            "size": inputs["a"] * len(lookup.get_vocabulary()),
            "t": other(inputs["t"]),
        }

    transform, out = run(preprocessing_fn)
    np.testing.assert_array_equal(out["s"][:, 1:], one_hot(S, "uvw"))
    np.testing.assert_allclose(out["size"].ravel(), A * 4)
    assert transform.feature_specs["s"].vocabulary == ("[UNK]", "u", "v", "w")


def test_lambdas_that_differ_in_what_they_capture(run):
    def times(factor):
        return layers.Lambda(lambda x: x * factor)

    def preprocessing_fn(inputs):
        return {
            str(f): layers.Discretization(num_bins=2, output_mode="one_hot")(times(f)(inputs["a"])) for f in (1, 100)
        }

    transform, _ = run(preprocessing_fn)
    one, hundred = (transform.feature_specs[name].boundaries[0] for name in ("1", "100"))
    assert hundred == pytest.approx(100 * one)


def test_state_is_set_once_for_equal_layers_on_one_column(run):
    def preprocessing_fn(inputs):
        return {str(i): layers.StringLookup(max_tokens=2 + i)(inputs["s"]) for i in (1, 1, 2)}

    transform, _ = run(preprocessing_fn)
    assert transform.feature_specs["1"].size == 3 and transform.feature_specs["2"].size == 4


class Largest(layers.Layer):
    """A third-party layer whose state Keras knows nothing of."""

    largest = None

    def call(self, inputs):
        return inputs / self.largest

    def compute_output_shape(self, input_shape):
        return input_shape


class LargestAnalyzer:
    def create(self):
        return float("-inf")

    def summarize(self, values):
        return float(np.nanmax(values, initial=float("-inf")))

    def merge(self, left, right):
        return max(left, right)

    def finish(self, summary):
        return summary


class LargestState(LayerState):
    def is_given(self, layer):
        return layer.largest is not None

    def analyzer(self, layer, shape, dtype):
        assert shape == (None, 1) and dtype == "float32"
        return LargestAnalyzer()

    def set(self, layer, state, shape):
        layer.largest = state


def test_a_registered_third_party_layer(run):
    register_layer(Largest, LargestState())

    def preprocessing_fn(inputs):
        return {"a": Largest()(inputs["a"]), "abs": layers.Normalization()(Largest()(keras.ops.abs(inputs["b"])))}

    _, out = run(preprocessing_fn)
    np.testing.assert_allclose(out["a"].ravel(), A / A.max(), rtol=1e-6)
    np.testing.assert_allclose(out["abs"], normal(np.abs(B)), rtol=1e-4, atol=1e-5)


def test_keras_is_as_before_after_a_trace(run):
    before = layers.Layer.__call__, layers.Layer.__new__, layers.StringLookup.__dict__.get("vocabulary_size")
    with pytest.raises(ZeroDivisionError):
        run(lambda inputs: 1 / 0)
    after = layers.Layer.__call__, layers.Layer.__new__, layers.StringLookup.__dict__.get("vocabulary_size")
    assert before == after


def test_the_authors_exception_comes_through(run):
    def preprocessing_fn(inputs):
        layers.Normalization()(inputs["a"])
        return {"x": inputs["missing"]}

    with pytest.raises(KeyError, match="missing"):
        run(preprocessing_fn)


def test_an_exception_behind_a_guess_comes_through_at_the_end(run):
    def preprocessing_fn(inputs):
        hot = layers.StringLookup(output_mode="one_hot")(inputs["s"])
        return {"x": layers.Reshape((5, 7))(hot)}

    with pytest.raises(ValueError, match=r"\(5, 7\)"):
        run(preprocessing_fn)


def test_a_layer_on_its_own_output_is_refused(run):
    def preprocessing_fn(inputs):
        scale = layers.Normalization(name="twice")
        return {"x": scale(scale(inputs["a"]))}

    with pytest.raises(ValueError, match="twice"):
        run(preprocessing_fn)


def test_a_function_that_never_settles_is_refused(run):
    count = iter(range(1000))

    def preprocessing_fn(inputs):
        # The width of a one-hot is known in a second trace, which is then of another graph.
        number = keras.ops.cast(inputs["a"] * next(count), "int64")
        return {"x": layers.IntegerLookup(output_mode="one_hot")(number)}

    with pytest.raises(ValueError, match="same graph"):
        run(preprocessing_fn)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda inputs: None, "returns a dict"),
        (lambda inputs: {}, "an empty dict"),
        (lambda inputs: {"x": 3.0}, "'x'.*constant"),
        (lambda inputs: {1: inputs["a"]}, "feature's name"),
        (lambda inputs: {"a/b": inputs["a"]}, "has no '/'"),
        (lambda inputs: {"x": keras.ops.sum(inputs["a"])}, re.escape("'x' has the shape ()")),
        (
            lambda inputs: {"x": layers.StringLookup(vocabulary=["u"], output_mode="count", sparse=True)(inputs["s"])},
            "'x' is a SparseTensor",
        ),
    ],
)
def test_outputs_that_are_no_features(run, returned, message):
    with pytest.raises((ValueError, TypeError), match=message):
        run(returned)


def test_a_column_that_goes_through_unchanged(run):
    _, out = run(lambda inputs: {"a": inputs["a"], "b": inputs["b"] + 0})
    np.testing.assert_array_equal(out["a"].ravel(), A)


EVALUATE = """
import pickle, sys
import numpy as np
import pyarrow as pa
evaluator = pickle.load(sys.stdin.buffer)
(hot,) = next(evaluator.evaluate(pa.record_batch({"s": ["v", None, "u"]})))
assert hot.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]], hot
"""


def test_a_level_behind_layers_travels_to_another_process(run):
    made = []

    def preprocessing_fn(inputs):
        made[:] = [inputs, layers.StringLookup(output_mode="one_hot")(inputs["s"])]
        return {"x": made[1]}

    transform, _ = run(preprocessing_fn)
    symbolic, hot = made
    portable = Evaluator.of([hot], symbolic, transform.inputs, portable=True)
    subprocess.run([sys.executable, "-c", EVALUATE], input=pickle.dumps(portable), check=True)
    here = Evaluator.of([hot], symbolic, transform.inputs, portable=False)
    assert pickle.loads(pickle.dumps(here)) is here
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run([sys.executable, "-c", EVALUATE], input=pickle.dumps(here), check=True, capture_output=True)
