"""Stored features, the SavedModel in a process with TensorFlow alone, and the model that is exported on top of it."""

from __future__ import annotations

import json
import subprocess
import sys

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from google.protobuf import text_format
from headrace.transforms.keras_graph import (
    analyze_and_trace,
    export_serving_model,
    feature_batch_to_tensors,
    load_transform,
)
from headrace.transforms.row_groups import row_groups
from keras import layers
from tensorflow_metadata.proto.v0 import schema_pb2

SCHEMA = text_format.Parse(
    """feature { name: "distance" type: FLOAT }
       feature { name: "late" type: BYTES }
       feature { name: "carrier" type: BYTES }
       feature { name: "hour" type: INT presence { min_fraction: 1 } }
       feature { name: "delay" type: INT }
       feature { name: "flag" type: INT bool_domain {} presence { min_fraction: 1 } }
       feature { name: "codes" type: INT shape { dim { size: 4 } } annotation { tag: "default=0" } }
       feature { name: "unused" type: FLOAT }""",
    schema_pb2.Schema(),
)
ROWS = 400


def raw_table():
    rng = np.random.default_rng(1)
    missing = rng.random(ROWS) < 0.1
    carriers = np.array([f"carrier {i}" for i in range(40)])
    return pa.table(
        {
            "distance": pa.array(rng.lognormal(6, 1, ROWS).astype(np.float32), mask=missing),
            "late": rng.choice(["yes", "no"], ROWS),
            "carrier": pa.array(carriers[rng.zipf(1.5, ROWS) % 40], mask=missing),
            "hour": rng.integers(0, 24, ROWS),
            "delay": pa.array(rng.integers(-30, 300, ROWS), mask=missing),
            "flag": rng.random(ROWS) < 0.5,
            "codes": [list(rng.integers(0, 20, rng.integers(1, 5))) for _ in range(ROWS)],
            "unused": np.zeros(ROWS, np.float32),
        }
    )


def square(x):
    return x * x


def preprocessing_fn(inputs):
    hour = inputs["hour"]
    carrier = inputs["carrier"]
    hot = layers.StringLookup(output_mode="one_hot", mask_token="")(carrier)
    boundaries = layers.Discretization(num_bins=20, output_mode="one_hot")
    return {
        "distance": layers.Normalization()(inputs["distance"]),
        "squared": layers.Lambda(lambda x: square(x) + 1)(inputs["distance"]),
        "carrier": layers.StringLookup()(carrier),
        "carrier_hot": hot,
        "carrier_scaled": layers.Normalization()(hot),
        "hour_hot": layers.IntegerLookup(output_mode="multi_hot")(hour),
        "hour_encoded": layers.CategoryEncoding(24, output_mode="one_hot")(hour),
        "distance_hot": boundaries(inputs["distance"]),
        "hashed": layers.Hashing(30, output_mode="one_hot", salt=7)(carrier),
        "cross": layers.HashedCrossing(50, output_mode="one_hot")((carrier, hour)),
        "codes": layers.IntegerLookup(output_mode="multi_hot", num_oov_indices=2, max_tokens=15)(inputs["codes"]),
        "few": layers.IntegerLookup(output_mode="one_hot", max_tokens=4)(hour),
        "text": layers.Lambda(tf.strings.upper, dtype="string")(carrier),
        "flag": inputs["flag"],
        "vector": layers.Concatenate()([inputs["distance"], keras.ops.cast(hour, "float32")]),
        "matrix": keras.ops.reshape(keras.ops.tile(inputs["distance"], (1, 6)), (-1, 2, 3)),
        "flat": keras.ops.squeeze(inputs["distance"], axis=1),
        "half": keras.ops.cast(inputs["distance"] / 1000, "float16"),
        "late": layers.StringLookup(vocabulary=["yes"], num_oov_indices=0, name="late")(inputs["late"]),
    }


SCHEMA_OF = {"hour_hot": 25, "hour_encoded": 24, "distance_hot": 20, "hashed": 30, "cross": 50, "codes": 15}


def analyzed(folder, function, labels=("late",), table=None):
    table = raw_table() if table is None else table
    pq.write_table(table, folder / "part.parquet", row_group_size=150)
    groups = row_groups([str(folder / "part.parquet")])
    return analyze_and_trace(function, SCHEMA, groups, arrow_schema=table.schema, labels=list(labels), engine="direct")


def assert_same(one, other, specs):
    assert one.schema.equals(other.schema, check_metadata=True)
    first, second = feature_batch_to_tensors(one, specs), feature_batch_to_tensors(other, specs)
    for name in specs:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def batch_of(table):
    return table.combine_chunks().to_batches()[0]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transform")

    def no_late(inputs):
        # The label's lookup refuses what it does not know; "no" is among the rows.
        out = preprocessing_fn(inputs)
        out["late"] = layers.Lambda(lambda x: tf.cast(x == "yes", "float32"), output_shape=(1,))(inputs["late"])
        return out

    transform = analyzed(folder, no_late)
    (folder / "saved").mkdir()
    transform.save(folder / "saved")
    return transform, load_transform(folder / "saved"), folder


def reference(transform, batch):
    """The features by Keras' own functional model."""
    symbolic = {name: transform._settled.symbolic[name] for name in transform.inputs}
    model = keras.Function(symbolic, transform._settled.outputs)
    raw = load_raw(transform, batch)
    expanded = {n: tf.expand_dims(v, -1) if not transform.inputs[n].shape else v for n, v in raw.items()}
    return {name: value.numpy() for name, value in model(expanded).items()}


def load_raw(transform, batch):
    from headrace.transforms.keras_graph.raw_columns import raw_tensors

    return raw_tensors(batch, transform.inputs)


def test_stored_rows_expand_to_what_keras_computes(case):
    transform, _, _ = case
    batch = batch_of(raw_table())
    stored = transform.apply(batch)
    assert stored.schema.equals(transform.output_arrow_schema, check_metadata=True)
    tensors = feature_batch_to_tensors(stored, transform.feature_specs)
    expected = reference(transform, batch)
    assert set(tensors) == set(expected)
    for name, value in expected.items():
        spec = transform.feature_specs[name]
        assert tensors[name].shape == value.shape == (ROWS, *spec.shape), name
        if spec.dtype != "string":
            assert tensors[name].dtype == spec.dtype
        np.testing.assert_array_equal(tensors[name], value, err_msg=name)


def test_wide_hot_features_are_stored_as_indices(case):
    transform, _, _ = case
    schema = transform.output_arrow_schema
    for name, width in SCHEMA_OF.items():
        spec = transform.feature_specs[name]
        assert spec.shape == (width,)
        kind = pa.list_(pa.int32()) if name == "codes" else pa.int32()
        assert schema.field(name).type == kind, name
        stored = json.loads(schema.field(name).metadata[b"headrace.feature"])
        assert stored == {
            "dtype": "float32",
            "shape": [width],
            "width": width,
            "encoding": "multi_hot" if name == "codes" else "one_hot",
        }
    assert schema.field("few").type == pa.list_(pa.float32(), 4)
    assert transform.apply(batch_of(raw_table()))["carrier_hot"].null_count > 0, "a masked row has no one"


def test_specs_tell_vocabularies_and_sizes(case):
    transform, saved, _ = case
    specs = transform.feature_specs
    assert saved.feature_specs == specs
    assert specs["carrier"].size == len(specs["carrier"].vocabulary) == 1 + len(specs["carrier_hot"].vocabulary) - 1
    assert specs["carrier"].vocabulary[0] == "[UNK]" and not specs["distance"].categorical
    assert specs["hashed"].size == 30 and specs["cross"].columns == ("carrier", "hour")
    assert len(specs["distance_hot"].boundaries) == 19
    assert transform.inputs["delay" if "delay" in transform.inputs else "distance"].dtype == "float32"
    features = saved.feature_inputs()
    assert "late" not in features and features.spec["carrier"].size == specs["carrier"].size
    assert features["matrix"].shape == (None, 2, 3) and features["flag"].dtype == "bool"


def test_the_saved_transform_gives_the_same(case):
    transform, saved, _ = case
    batch = batch_of(raw_table())
    assert_same(saved.apply(batch), transform.apply(batch), transform.feature_specs)
    assert saved.apply(batch.slice(0, 0)).num_rows == 0
    assert_same(saved.apply(batch.slice(3, 1)), transform.apply(batch).slice(3, 1), transform.feature_specs)


def test_features_inside_tf_data_are_the_stored_ones(case):
    transform, saved, _ = case
    batch = batch_of(raw_table())
    names = ["distance", "carrier_hot", "codes", "text", "late"]
    raw = saved.raw_tensors(batch, names)
    assert sorted(raw) == ["carrier", "codes", "distance", "late"]
    dataset = tf.data.Dataset.from_tensor_slices(raw).batch(64).map(lambda rows: saved.features(rows, names))
    assert dataset.element_spec["carrier_hot"].shape.as_list() == [None, *transform.feature_specs["carrier_hot"].shape]
    parts = list(dataset.as_numpy_iterator())
    stored = feature_batch_to_tensors(transform.apply(batch), {n: transform.feature_specs[n] for n in names})
    for name in names:
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), stored[name])


def test_missing_values_of_an_unmarked_column(tmp_path):
    table = raw_table()
    transform = analyzed(tmp_path, lambda inputs: {"delay": inputs["delay"]}, ())
    values = transform.apply(batch_of(table))["delay"]
    assert transform.inputs["delay"].dtype == "float32"
    expected = table["delay"].cast(pa.float32()).fill_null(float("nan")).to_numpy()
    np.testing.assert_array_equal(values.to_numpy(), expected)
    with pytest.raises(ValueError, match=r"16,777,217.*default=0"):
        transform.apply(pa.record_batch({"delay": [2**24 + 1, None]}))
    with pytest.raises(KeyError, match=r"lacks.*delay"):
        transform.apply(pa.record_batch({"dely": [1]}))


FRESH = """
import json, sys
import numpy as np
import tensorflow as tf
folder, path = sys.argv[1:]
signature = tf.saved_model.load(folder).signatures[path]
rows = json.load(sys.stdin)
dtypes = {name: spec.dtype for name, spec in signature.structured_input_signature[1].items()}
assert set(dtypes) == set(rows), (dtypes, list(rows))
out = signature(**{name: tf.constant(rows[name], dtypes[name]) for name in rows})
assert not [name for name in sys.modules if name.partition(".")[0] == "headrace"]
print(json.dumps({name: [str(v) for v in np.ravel(value.numpy())] for name, value in out.items()}))
"""


def fresh(folder, signature, rows):
    """The signature's outputs in a process with TensorFlow alone, as text."""
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(folder), signature],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_saved_model_loads_with_tensorflow_alone(case):
    transform, saved, folder = case
    rows = {
        "distance": [1400.0, 200.5],
        "carrier": ["carrier 2", ""],
        "hour": [3, 23],
        "flag": [True, False],
        "codes": [[1, 2, 0, 0], [3, 3, 0, 0]],
    }
    out = fresh(folder / "saved" / "saved_model", "transform_features", rows)
    batch = pa.record_batch({**rows, "late": ["yes", "no"], "carrier": ["carrier 2", None]})
    expected = feature_batch_to_tensors(transform.apply(batch), transform.feature_specs)
    assert set(out) == set(saved.feature_names())
    for name, texts in out.items():
        np.testing.assert_array_equal(texts, [str(one) for one in np.ravel(expected[name])], err_msg=name)
    labels = fresh(folder / "saved" / "saved_model", "transform_labels", {"late": ["yes", "no"]})
    assert labels == {"late": ["1.0", "0.0"]}


def build_model(features, **kwargs):
    embedded = layers.Embedding(features.spec["carrier"].size, 2)(features["carrier"])
    return layers.Concatenate()([layers.Flatten()(embedded), features["distance"], features["carrier_hot"]])


def test_a_served_model_takes_only_the_columns_of_its_features(case, tmp_path):
    _, saved, _ = case
    features = saved.feature_inputs()
    joined = build_model(features)
    model = keras.Model(
        {name: features[name] for name in ("carrier_hot", "carrier", "distance")},
        {"late": layers.Dense(1, activation="sigmoid")(joined), "two": layers.Dense(2)(joined)},
    )
    inputs = export_serving_model(model, saved, tmp_path / "model")
    assert inputs == {"distance": "float32", "carrier": "string"}
    rows = {"distance": [1400.0, 20.0], "carrier": ["carrier 2", ""]}
    out = fresh(tmp_path / "model", "serving_default", rows)
    values = saved.features({k: tf.constant(v) for k, v in rows.items()}, ["carrier", "distance", "carrier_hot"])
    expected = model.predict(values, verbose=0)
    assert set(out) == {"late", "two"}
    for name, value in expected.items():
        np.testing.assert_allclose(np.array(out[name], np.float32), value.ravel(), rtol=1e-5)
    transformed = fresh(tmp_path / "model", "transform_features", rows)
    assert set(transformed) == {"carrier", "distance", "carrier_hot"}
    size = sum(one.stat().st_size for one in (tmp_path / "model").rglob("*") if one.is_file())
    assert size < 2_000_000


@pytest.mark.parametrize("structure", ["all", "list", "sequential"])
def test_models_built_in_other_ways(case, tmp_path, structure):
    _, saved, _ = case
    features = saved.feature_inputs(["distance", "vector"])
    dense = layers.Dense(1)
    if structure == "all":
        model = keras.Model(features, dense(layers.Concatenate()(list(features.values()))))
    elif structure == "list":
        model = keras.Model(list(features.values()), dense(layers.Concatenate()(list(features.values()))))
    else:
        model = keras.Model(features["vector"], keras.Sequential([dense])(features["vector"]))
    inputs = export_serving_model(model, saved, tmp_path / "model", output_names=["late"])
    assert list(inputs) == ["distance", "hour"]
    signature = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    out = signature(distance=tf.constant([10.0]), hour=tf.constant([3], tf.int64))
    assert list(out) == ["late"] and out["late"].shape == (1, 1)


def test_a_model_on_something_else_is_refused(case, tmp_path):
    _, saved, _ = case
    tensor = keras.Input((1,), name="other")
    with pytest.raises(ValueError, match=r"\['other'\] are no features"):
        export_serving_model(keras.Model(tensor, layers.Dense(1)(tensor)), saved, tmp_path / "model")
    tensor = saved.feature_inputs(["distance"])["distance"]
    with pytest.raises(ValueError, match="names 2 outputs; the model has 1"):
        model = keras.Model(tensor, layers.Dense(1)(tensor))
        export_serving_model(model, saved, tmp_path / "model", output_names=["a", "b"])


def test_python_in_the_graph_is_refused(tmp_path):
    def with_python(inputs):
        call = layers.Lambda(lambda x: tf.numpy_function(np.sin, [x], tf.float32), output_shape=(1,))
        return {"x": call(inputs["distance"])}

    with pytest.raises(ValueError, match=r"tf\.numpy_function"):
        analyzed(tmp_path, with_python, ())


def test_a_table_that_no_layer_owns_is_refused(tmp_path):
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), 0)
    lookup = layers.Lambda(table.lookup, output_shape=(1,), dtype="string")
    transform = analyzed(tmp_path, lambda inputs: {"x": lookup(inputs["carrier"])}, ())
    with pytest.raises(ValueError, match="no layer owns"):
        transform.save(tmp_path)


def test_labels_are_checked(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'late'"):
        analyzed(tmp_path, lambda inputs: {"late": inputs["late"]}, ("lat",))
    with pytest.raises(ValueError, match="every output"):
        analyzed(tmp_path, lambda inputs: {"late": inputs["late"]}, ("late",))


def test_a_list_of_any_length_is_refused_where_it_is_used(tmp_path):
    schema = text_format.Parse(
        'feature { name: "words" type: BYTES value_count { min: 0 max: 9 } }', schema_pb2.Schema()
    )
    schema.feature.extend(SCHEMA.feature[:1])
    pq.write_table(pa.table({"words": [["a"], []], "distance": [1.0, 2.0]}), tmp_path / "part.parquet")
    groups = row_groups([str(tmp_path / "part.parquet")])
    for function in (
        lambda inputs: {"x": layers.StringLookup(output_mode="multi_hot")(inputs["words"])},
        lambda inputs: {"x": layers.Hashing(9, output_mode="multi_hot")(inputs["words"])},
    ):
        with pytest.raises(ValueError, match=r"'words' is a list of any length.*fixed length"):
            analyze_and_trace(function, schema, groups, engine="direct")
    analyze_and_trace(lambda inputs: {"x": inputs["distance"]}, schema, groups, engine="direct")
    schema.feature[0].shape.dim.add(size=3)
    transform = analyze_and_trace(lambda inputs: {"x": inputs["words"]}, schema, groups, engine="direct")
    assert transform.apply(pa.record_batch({"words": [["a"], []]}))["x"].to_pylist() == [["a", "", ""], ["", "", ""]]


def test_a_stated_default_keeps_an_integer(tmp_path):
    schema = text_format.Parse(
        """feature { name: "ok" type: INT } feature { name: "said" type: INT annotation { tag: "default=-1" } }""",
        schema_pb2.Schema(),
    )
    transform = analyze_and_trace(lambda inputs: inputs, schema, [], engine="direct")
    out = transform.apply(pa.record_batch({"ok": pa.array([None, 3]), "said": pa.array([None, 2**40])}))
    assert out["said"].to_pylist() == [-1, 2**40] and np.isnan(out["ok"][0].as_py())


def test_a_schema_that_the_examples_contradict_is_refused(tmp_path):
    arrow = raw_table().schema.set(0, pa.field("distance", pa.string()))
    with pytest.raises(TypeError, match=r"'distance': the schema says FLOAT, the Examples have string"):
        analyze_and_trace(lambda inputs: inputs, SCHEMA, [], arrow_schema=arrow, engine="direct")


def test_stored_rows_survive_parquet_and_slicing(case, tmp_path):
    transform, _, _ = case
    batch = batch_of(raw_table())
    stored = transform.apply(batch)
    pq.write_table(pa.Table.from_batches([stored]), tmp_path / "features.parquet", row_group_size=90)
    read = pq.read_table(tmp_path / "features.parquet")
    assert read.schema.field("hashed").metadata == stored.schema.field("hashed").metadata
    expected = feature_batch_to_tensors(stored, transform.feature_specs)
    for part in (read.slice(85, 20), stored.slice(85, 20)):
        tensors = feature_batch_to_tensors(part, transform.feature_specs)
        for name, value in tensors.items():
            np.testing.assert_array_equal(value, expected[name][85:105], err_msg=name)


def test_wide_features_come_in_pieces_of_bounded_memory(tmp_path):
    def wide(inputs):
        hot = layers.Hashing(20_000, output_mode="one_hot")(inputs["carrier"])
        return {"dense": hot * 2, "sum": keras.ops.sum(hot, axis=1), "index": hot}

    transform = analyzed(tmp_path, wide, ())
    batch = batch_of(raw_table())
    pieces = list(transform.apply_in_pieces(batch))
    assert len(pieces) > 1 and sum(len(piece) for piece in pieces) == ROWS
    assert all(piece["dense"].flatten().nbytes <= 64 << 20 for piece in pieces)
    whole = transform.apply(batch)
    assert set(whole["sum"].to_pylist()) == {1.0}
    dense = whole["dense"].flatten().to_numpy().reshape(ROWS, -1)
    np.testing.assert_array_equal(dense.argmax(axis=1), whole["index"].to_numpy())


class Log(layers.Layer):
    def call(self, x):
        tf.debugging.assert_positive(x, message="log of what is not positive")
        return tf.math.log(x)


class Limited(layers.Layer):
    def call(self, x, limit):
        with tf.control_dependencies([tf.debugging.assert_less(x, limit, message="x is over its limit")]):
            return tf.identity(x)


class Known(layers.Layer):
    """Refuses words that its table lacks; the table has a name that tensors and variables have too."""

    def __init__(self):
        super().__init__()
        words = tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b"]), tf.constant([1, 2]))
        self.handle = tf.lookup.StaticHashTable(words, 0)

    def call(self, word):
        tf.debugging.assert_greater(self.handle.lookup(word), 0, message="a word that is not known")
        return tf.strings.length(word)

    def compute_output_spec(self, word):
        return keras.KerasTensor(word.shape, "int32")


def test_each_feature_is_checked_by_its_own_layers(tmp_path):
    """In the stored features, in a part of them and in the served model, and nowhere else."""

    def preprocessing_fn(inputs):
        a, b = inputs["a"], inputs["b"]
        return {
            "sum": layers.Lambda(lambda x: x[0] + x[1])([a, b]),
            "limited": Limited()(a, b),
            "known": Known()(inputs["word"]),
            "late": Log()(a),
        }

    table = pa.table({"a": [1.0, 2.0], "b": [3.0, 4.0], "word": ["a", "b"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    schema = schema_pb2.Schema()
    for name, kind in (("a", "FLOAT"), ("b", "FLOAT"), ("word", "BYTES")):
        schema.feature.add(name=name, type=schema_pb2.FeatureType.Value(kind))
    groups = row_groups([str(tmp_path / "rows.parquet")])
    analyze_and_trace(preprocessing_fn, schema, groups, labels=["late"], engine="direct").save(tmp_path / "saved")
    saved = load_transform(tmp_path / "saved")
    for names, refused in (
        (["sum"], []),
        (["sum", "limited"], ["over its limit"]),
        (["sum", "known"], ["not known"]),
        (["sum", "limited", "known"], ["over its limit", "not known"]),
    ):
        taken = saved.feature_inputs(names)
        numbers = [layers.Lambda(lambda x: tf.cast(x, "float32"))(one) for one in taken.values()]
        joined = layers.Concatenate()(numbers) if len(numbers) > 1 else numbers[0]
        folder = tmp_path / "-".join(names)
        export_serving_model(keras.Model(taken, layers.Dense(1)(joined)), saved, folder)
        serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
        good = {"a": [-1.0], "b": [3.0], "word": ["a"]}
        for row, message in (
            (good, None),
            (good | {"a": [9.0]}, "over its limit"),
            (good | {"word": ["?"]}, "not known"),
        ):
            given = {name: tf.constant(row[name]) for name in saved.columns(names)}
            for call in (lambda given: saved.features(given, names), lambda given: serve(**given)):  # noqa: B023
                if message in refused:
                    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                        call(given)
                else:
                    call(given)
