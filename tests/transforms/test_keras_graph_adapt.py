"""Layers' state against Keras' own `adapt` and NumPy, under random sharding and order."""

from __future__ import annotations

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf import text_format
from headrace.transforms.keras_graph import analyze_and_trace
from headrace.transforms.row_groups import row_groups
from tensorflow_metadata.proto.v0 import schema_pb2

lookup = keras.layers.StringLookup
SCHEMA = text_format.Parse(
    """feature { name: "s" type: BYTES }
       feature { name: "x" type: FLOAT }
       feature { name: "n" type: INT }
       feature { name: "i" type: INT presence { min_fraction: 1 } }
       feature { name: "v" type: FLOAT shape { dim { size: 3 } } }
       feature { name: "t" type: BYTES shape { dim { size: 2 } } }""",
    schema_pb2.Schema(),
)


def table(rows=3000, seed=0):
    rng = np.random.default_rng(seed)
    words = np.array(["", "a", "b", "ä", "zz", "[UNK]", "日本", "a b", "tie1", "tie2"])
    missing = rng.random(rows) < 0.1
    return pa.table(
        {
            "s": pa.array(rng.choice(words, rows), mask=missing),
            "x": pa.array(rng.lognormal(3, 2, rows).astype(np.float32), mask=missing),
            "n": pa.array(rng.integers(-5, 50, rows), mask=missing),
            "i": pa.array(rng.zipf(1.7, rows) % 1000),
            "v": pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(7, 3, rows * 3).astype(np.float32)), 3),
            "t": pa.FixedSizeListArray.from_arrays(pa.array(rng.choice(words[1:], rows * 2)), 2),
        }
    )


def groups(folder, table, seed=0):
    """The table's rows in random order, in several files of row groups of random size."""
    rng = np.random.default_rng(seed)
    table = table.take(rng.permutation(len(table)))
    paths = []
    start = 0
    while start < len(table) or not paths:
        size = int(rng.integers(1, max(2, len(table))))
        paths.append(str(folder / f"part-{len(paths)}.parquet"))
        pq.write_table(table.slice(start, size), paths[-1], row_group_size=int(rng.integers(1, 1000)))
        start += size
    return row_groups(paths)


def adapted(folder, make, column, table, seed=0, engine="direct"):
    """The layer as Transform leaves it, and the transform."""
    made = []

    def preprocessing_fn(inputs):
        made.append(make())
        return {"out": made[-1](inputs[column])}

    transform = analyze_and_trace(preprocessing_fn, SCHEMA, groups(folder, table, seed), engine=engine)
    return made[-1], transform


def present(table, column):
    values = table[column].combine_chunks()
    if pa.types.is_fixed_size_list(values.type):
        array = values.flatten().to_numpy(zero_copy_only=False).reshape(len(values), -1)
    else:
        array = values.drop_null().to_numpy(zero_copy_only=False)[:, None]
    return array.astype(object) if array.dtype.kind == "U" else array


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_tokens": 5},
        {"num_oov_indices": 3},
        {"num_oov_indices": 0},
        {"mask_token": "a"},
        {"mask_token": "", "num_oov_indices": 2, "max_tokens": 6},
        {"output_mode": "one_hot"},
        {"output_mode": "multi_hot", "mask_token": ""},
        {"output_mode": "count", "max_tokens": 20, "pad_to_max_tokens": True},
        {"output_mode": "tf_idf"},
        {"output_mode": "tf_idf", "max_tokens": 20, "pad_to_max_tokens": True},
    ],
)
@pytest.mark.parametrize("column", ["s", "t"])
def test_string_lookup(tmp_path, options, column, seed):
    if column == "t" and options.get("output_mode") == "one_hot":
        options = {**options, "output_mode": "multi_hot"}
    data = table(seed=seed)
    theirs = lookup(**options)
    theirs.adapt(present(data, column))
    ours, _ = adapted(tmp_path, lambda: lookup(**options), column, data, seed)
    assert ours.get_vocabulary() == theirs.get_vocabulary()
    probe = present(data, column)[:200] if options.get("num_oov_indices") == 0 else _with_unknown(present(data, column))
    # `adapt` never learns the OOV token, so a layer without OOV indices refuses it.
    probe = probe[(probe != "[UNK]").all(axis=1)] if options.get("num_oov_indices") == 0 else probe
    np.testing.assert_allclose(ours(probe.astype(str)), theirs(probe.astype(str)), rtol=1e-5)


def _with_unknown(values):
    return np.concatenate([values[:100], np.full((3, values.shape[1]), "never seen", object)])


@pytest.mark.parametrize(
    "options", [{}, {"mask_token": 0}, {"max_tokens": 9, "num_oov_indices": 4}, {"output_mode": "one_hot"}]
)
@pytest.mark.parametrize("column", ["i", "n"])
def test_integer_lookup(tmp_path, options, column):
    data = table()
    theirs = keras.layers.IntegerLookup(**options)
    theirs.adapt(present(data, column).astype(np.int64))
    ours, _ = adapted(tmp_path, lambda: keras.layers.IntegerLookup(**options), column, data)
    assert ours.get_vocabulary() == theirs.get_vocabulary()


@pytest.mark.parametrize("column", ["x", "n", "i", "v"])
@pytest.mark.parametrize("axis", [-1, None])
def test_normalization(tmp_path, column, axis):
    data = table()
    values = present(data, column).astype(np.float64)
    expected_axes = 0 if axis == -1 else None
    ours, _ = adapted(tmp_path, lambda: keras.layers.Normalization(axis=axis), column, data)
    np.testing.assert_allclose(np.ravel(ours.mean), np.ravel(values.mean(axis=expected_axes)), rtol=1e-6)
    np.testing.assert_allclose(np.ravel(ours.variance), np.ravel(values.var(axis=expected_axes)), rtol=1e-6)


def test_normalization_behind_other_layers_skips_missing(tmp_path):
    data = table()
    made = []

    def preprocessing_fn(inputs):
        made.append(keras.layers.Normalization())
        return {"out": made[-1](keras.ops.log(keras.layers.Rescaling(2.0)(inputs["x"])))}

    analyze_and_trace(preprocessing_fn, SCHEMA, groups(tmp_path, data), engine="direct")
    expected = np.log(np.float32(2) * present(data, "x")).astype(np.float64)
    np.testing.assert_allclose(np.ravel(made[-1].mean), [expected.mean()], rtol=1e-6)
    np.testing.assert_allclose(np.ravel(made[-1].variance), [expected.var()], rtol=2e-6)


def test_lookup_behind_other_layers_skips_missing(tmp_path):
    data = table()
    made = []

    def preprocessing_fn(inputs):
        made.append(lookup())
        import tensorflow as tf

        return {"out": made[-1](keras.layers.Lambda(tf.strings.upper, dtype="string")(inputs["s"]))}

    analyze_and_trace(preprocessing_fn, SCHEMA, groups(tmp_path, data), engine="direct")
    theirs = lookup()
    values = [one.encode().upper().decode() for one in present(data, "s").ravel() if one]
    theirs.adapt(np.array(values, dtype=str)[:, None])
    assert made[-1].get_vocabulary() == theirs.get_vocabulary()


@pytest.mark.parametrize("bins", [2, 10, 64])
@pytest.mark.parametrize("column", ["x", "i", "n"])
def test_discretization(tmp_path, bins, column):
    data = table()
    ours, _ = adapted(tmp_path, lambda: keras.layers.Discretization(num_bins=bins), column, data)
    values = present(data, column).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(ours.bin_boundaries, np.quantile(values, np.arange(1, bins) / bins), rtol=1e-6)


def test_both_engines_and_any_sharding_give_the_same(tmp_path):
    data = table()

    def preprocessing_fn(inputs):
        one_hot = lookup(output_mode="one_hot")(inputs["s"])
        return {
            "one_hot": keras.layers.Normalization()(one_hot),
            "bin": keras.layers.Discretization(num_bins=7)(inputs["x"]),
            "scaled": keras.layers.Normalization()(inputs["i"]),
        }

    features = []
    for seed, engine in ((1, "direct"), (1, "beam"), (2, "direct")):
        folder = tmp_path / f"{seed}-{engine}"
        folder.mkdir()
        rows = []
        some = groups(folder, data, seed)
        transform = analyze_and_trace(preprocessing_fn, SCHEMA, some, engine=engine, on_rows=rows.append)
        assert transform.passes == 2
        assert rows[-1] == len(data)
        features.append(transform.apply(data.combine_chunks().to_batches()[0]))
    assert features[0].equals(features[1])
    for name in ("bin", "scaled"):
        first, third = (one[name].to_numpy() for one in (features[0], features[2]))
        np.testing.assert_allclose(first, third, rtol=1e-6, atol=1e-7)


def _all_kinds(inputs):
    return {
        "scaled": keras.layers.Normalization()(inputs["x"]),
        "bin": keras.layers.Discretization(num_bins=12, output_mode="one_hot")(inputs["x"]),
        "index": lookup()(inputs["s"]),
        "hot": lookup(output_mode="one_hot")(inputs["s"]),
        "idf": lookup(output_mode="tf_idf")(inputs["s"]),
        "integer": keras.layers.IntegerLookup()(inputs["i"]),
    }


def test_one_row(tmp_path):
    data = pa.table({"x": pa.array([4.0], pa.float32()), "s": ["k"], "i": [3]})
    transform = analyze_and_trace(_all_kinds, SCHEMA, groups(tmp_path, data), engine="direct")
    (row,) = transform.apply(data.to_batches()[0]).to_pylist()
    assert row["scaled"] == 0 and row["index"] == 1 and row["hot"] == [0, 1] and row["integer"] == 1


def test_constant_columns(tmp_path):
    data = pa.table({"x": pa.array([4.0] * 50, pa.float32()), "s": ["k"] * 50, "i": [3] * 50})
    transform = analyze_and_trace(_all_kinds, SCHEMA, groups(tmp_path, data), engine="direct")
    out = transform.apply(data.to_batches()[0])
    assert set(out["scaled"].to_pylist()) == {0.0}
    assert transform.feature_specs["bin"].shape == (12,)
    assert set(out["bin"].to_pylist()) == {11}, "a value on a boundary is above it"
    assert set(out["index"].to_pylist()) == {1}


def test_columns_missing_everywhere(tmp_path):
    data = pa.table({"x": pa.nulls(50, pa.float32()), "s": pa.nulls(50, pa.string()), "i": [3] * 50})
    transform = analyze_and_trace(_all_kinds, SCHEMA, groups(tmp_path, data), engine="direct")
    out = transform.apply(data.to_batches()[0])
    assert np.isnan(out["scaled"].to_numpy()).all()
    assert set(out["index"].to_pylist()) == {0}, "everything is out of vocabulary"
    assert transform.feature_specs["hot"].shape == (1,) and transform.feature_specs["bin"].shape == (12,)
    seen = pa.record_batch({"x": pa.array([2.5], pa.float32()), "s": ["q"], "i": [3]})
    assert transform.apply(seen)["scaled"].to_pylist() == [2.5], "nothing is known of the scale, so nothing is scaled"


def test_no_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="train split has no rows"):
        analyze_and_trace(_all_kinds, SCHEMA, groups(tmp_path, table(0)), engine="direct")


def test_infinite_values_are_refused(tmp_path):
    data = pa.table({"x": pa.array([1.0, float("inf")], pa.float32())})
    with pytest.raises(ValueError, match=r"Normalization layer 'scale'.*infinite or huge"):
        adapted(tmp_path, lambda: keras.layers.Normalization(name="scale"), "x", data)


def test_given_state_is_left_alone(tmp_path):
    made = []

    def preprocessing_fn(inputs):
        learned = keras.layers.Normalization()
        learned.adapt(np.array([[5.0], [7.0]]))
        made[:] = [
            learned,
            keras.layers.Normalization(mean=1.0, variance=4.0),
            lookup(vocabulary=["q", "a"]),
            keras.layers.Discretization(bin_boundaries=[1.0, 2.0]),
        ]
        columns = ("x", "x", "s", "x")
        return {str(i): layer(inputs[column]) for i, (layer, column) in enumerate(zip(made, columns))}

    transform = analyze_and_trace(preprocessing_fn, SCHEMA, groups(tmp_path, table()), engine="direct")
    assert transform.passes == 0 and transform.traces == 1
    assert float(np.ravel(made[0].mean)[0]) == 6.0 and made[2].get_vocabulary() == ["[UNK]", "q", "a"]
    assert transform.apply(table(1).slice(0, 1).to_batches()[0]).num_rows == 1


@pytest.mark.parametrize(
    ("make", "column", "message"),
    [
        (lambda: keras.layers.Normalization(), "s", "called on strings"),
        (lambda: keras.layers.Discretization(num_bins=3), "s", "called on strings"),
        (lambda: lookup(), "i", "use IntegerLookup"),
        (lambda: keras.layers.IntegerLookup(), "s", "use StringLookup"),
        (lambda: keras.layers.Discretization(num_bins=1), "x", "num_bins >= 2"),
        (lambda: keras.layers.Discretization(9), "x", r"write Discretization\(num_bins=9\)"),
        (lambda: lookup(output_mode="one_hot", sparse=True), "s", "sparse"),
        (lambda: keras.layers.TextVectorization(name="words"), "s", "'words'.*output_sequence_length="),
        (lambda: keras.layers.TextVectorization(ragged=True), "s", "gives a ragged tensor"),
        (lambda: keras.layers.TextVectorization(output_mode="count", sparse=True), "s", "gives a sparse tensor"),
        (lambda: keras.layers.TextVectorization(output_mode="count"), "x", "called on float32; it splits strings"),
        (lambda: keras.layers.TextVectorization(output_mode="count"), "t", r"called on \(2,\) strings a row"),
        (lambda: keras.layers.Dense(2), "x", "trainable weights.*build_model"),
        (lambda: keras.Sequential([keras.layers.Normalization()]), "x", "inside Sequential"),
    ],
)
def test_refused_with_the_repair(tmp_path, make, column, message):
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=message):
        adapted(tmp_path, make, column, table(20))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    data = pa.table({"s": pa.array([b"\xff\xfe", b"ok"])})
    with pytest.raises(ValueError, match=r"StringLookup layer 'codes': expected text in utf-8.*Hashing"):
        adapted(tmp_path, lambda: lookup(name="codes"), "s", data)


def test_a_text_vectorization_with_its_vocabulary_is_stateless(tmp_path):
    def make():
        return keras.layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=2)

    _, transform = adapted(tmp_path, make, "s", table(20))
    assert transform.apply(pa.record_batch({"s": ["a b"]}))["out"].to_pylist() == [[2, 3]]
