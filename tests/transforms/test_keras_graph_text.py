"""TextVectorization against Keras' own `adapt`, in every mode; the Arrow tokenizer against TensorFlow's string ops."""

from __future__ import annotations

import pickle
import tracemalloc

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from google.protobuf import text_format
from headrace.transforms.keras_graph import analyze_and_trace, feature_batch_to_tensors, load_transform
from headrace.transforms.keras_graph.text_tokens import ArrowTokenizer, GraphTokenizer
from headrace.transforms.row_groups import row_groups
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2

text_layer = keras.layers.TextVectorization
SCHEMA = text_format.Parse('feature { name: "text" type: BYTES }', schema_pb2.Schema())
WORDS = ["Bird", "bird,", "STRIKE", "strike!", "don't", "\tgull\n", "ÄÖ", "äö", "日本", "a-b", "[UNK]", "42", "...", ""]


def texts(rows=2000, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 12, rows)
    made = ["  ".join(rng.choice(WORDS, n, p=np.arange(1, 15) / 105)) for n in lengths]
    return pa.array(made, mask=rng.random(rows) < 0.1)


def present(column):
    """The rows that have a text: a missing one, null or empty, is no document."""
    return np.array([text for text in column.drop_null().to_pylist() if text], object)


def adapted(folder, make, column):
    made = []

    def preprocessing_fn(inputs):
        made.append(make())
        return {"out": made[-1](inputs["text"])}

    paths = []
    for number, start in enumerate(range(0, len(column), 700)):
        paths.append(str(folder / f"{number}.parquet"))
        pq.write_table(pa.table({"text": column.slice(start, 700)}), paths[-1], row_group_size=97)
    transform = analyze_and_trace(preprocessing_fn, SCHEMA, row_groups(paths), engine="direct")
    return made[-1], transform


MODES = [
    {"output_mode": "int", "output_sequence_length": 5},
    {"output_mode": "int", "output_sequence_length": 3, "ngrams": 2},
    {"output_mode": "multi_hot"},
    {"output_mode": "multi_hot", "ngrams": (1, 3), "max_tokens": 30},
    {"output_mode": "count", "max_tokens": 10, "pad_to_max_tokens": True},
    {"output_mode": "tf_idf"},
    {"output_mode": "tf_idf", "ngrams": 2, "max_tokens": 40},
    {"output_mode": "tf_idf", "split": "character"},
    {"output_mode": "count", "standardize": None},
    {"output_mode": "count", "standardize": "lower"},
    {"output_mode": "count", "standardize": "strip_punctuation", "split": "character", "ngrams": 2},
    {"output_mode": "multi_hot", "split": None},
]


def shout(text):
    return tf.strings.upper(text)


def on_commas(text):
    return tf.strings.split(text, ",")


@pytest.mark.parametrize("options", [*MODES, {"output_mode": "tf_idf", "standardize": shout, "split": on_commas}])
def test_every_mode_equals_keras(tmp_path, options):
    column = texts()
    theirs = text_layer(**options)
    theirs.adapt(present(column))
    ours, transform = adapted(tmp_path, lambda: text_layer(**options), column)
    assert ours.get_vocabulary() == theirs.get_vocabulary()
    probe = pa.array([*present(column)[:100], "a bird never seen!", "", None])
    expected = np.asarray(theirs(np.array([text or "" for text in probe.to_pylist()], object)[:, None]))
    assert transform.feature_specs["out"].shape == expected.shape[1:]
    np.testing.assert_allclose(applied(transform, probe), expected, rtol=1e-5)


def applied(transform, column):
    """The stored feature, read back as the model takes it."""
    batch = transform.apply(pa.record_batch({"text": column}))
    return feature_batch_to_tensors(batch, transform.feature_specs)["out"]


def test_a_wide_multi_hot_is_stored_as_indices(tmp_path):
    _, transform = adapted(tmp_path, lambda: text_layer(output_mode="multi_hot"), texts())
    spec = transform.feature_specs["out"]
    assert spec.encoding == "multi_hot" and spec.size == len(spec.vocabulary) > 8


def test_text_behind_a_lambda(tmp_path):
    column = texts(500)
    made = []

    def preprocessing_fn(inputs):
        joined = keras.layers.Lambda(lambda text: tf.strings.join([text, " gull"]), output_shape=(1,), dtype="string")(
            inputs["text"]
        )
        made.append(text_layer(output_mode="count"))
        return {"out": made[-1](joined)}

    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    analyze_and_trace(preprocessing_fn, SCHEMA, row_groups([str(tmp_path / "a.parquet")]), engine="direct")
    theirs = text_layer(output_mode="count")
    theirs.adapt([f"{text or ''} gull" for text in column.to_pylist()])
    assert made[-1].get_vocabulary() == theirs.get_vocabulary()


def test_no_text_at_all(tmp_path):
    ours, transform = adapted(tmp_path, lambda: text_layer(output_mode="tf_idf"), pa.array([None, ""] * 5, pa.string()))
    assert ours.get_vocabulary() == ["[UNK]"]
    assert applied(transform, pa.array(["a b", ""])).shape == (2, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=20) | st.text(" \t\n\v\f\ra,.A", max_size=9)),
    st.sampled_from([None, "lower", "strip_punctuation", "lower_and_strip_punctuation"]),
    st.sampled_from([None, "whitespace", "character"]),
    st.sampled_from([None, (1,), (1, 2), (2, 3)]),
)
def test_the_arrow_tokenizer_is_tensorflows(given_texts, standardize, split, ngrams):
    if split is None and ngrams is not None:
        return  # n-grams of whole texts: Keras takes them over rows, of which there is no use
    raw = [text.encode() for text in given_texts]
    layer = text_layer(standardize=standardize, split=split, ngrams=ngrams, output_mode="count")
    theirs = GraphTokenizer(layer._preprocess).tokens(pa.array(raw, pa.binary()))
    ours = ArrowTokenizer(standardize, split, ngrams).tokens(pa.array(raw, pa.binary()))
    # N-grams come in another order; how many of each are in a row is what counts.
    pairs = [sorted(zip(found.rows.tolist(), found.values.to_pylist())) for found in (ours, theirs)]
    assert pairs[0] == pairs[1] and ours.texts == theirs.texts == len(raw)


def test_bytes_that_are_no_text_are_replaced_as_tensorflow_does():
    raw = pa.array([b"a\xffb", b"\xe6\x97"], pa.binary())
    layer = text_layer(split="character", standardize=None, output_mode="count")
    theirs = GraphTokenizer(layer._preprocess).tokens(raw)
    assert ArrowTokenizer(None, "character").tokens(raw).values.to_pylist() == theirs.values.to_pylist()


def test_an_authors_own_split_stays_in_its_process():
    tokenizer = GraphTokenizer(text_layer(split=on_commas, output_mode="count")._preprocess)
    assert pickle.loads(pickle.dumps(tokenizer)) is tokenizer
    name = tokenizer.__reduce__()
    del tokenizer
    with pytest.raises(RuntimeError, match="run Transform with Beam's DirectRunner"):
        name[0](*name[1])


COUNTED = [
    {"output_mode": "count"},
    {"output_mode": "tf_idf"},
    {"output_mode": "tf_idf", "ngrams": 2, "max_tokens": 40, "pad_to_max_tokens": True},
    {"output_mode": "count", "split": None},
    {"output_mode": "tf_idf", "split": None},
]


@pytest.mark.parametrize("options", COUNTED)
def test_wide_counts_are_stored_as_what_is_not_0_and_read_as_keras_computes_them(tmp_path, options):
    column = texts(500)
    ours, transform = adapted(tmp_path, lambda: text_layer(**options), column)
    spec = transform.feature_specs["out"]
    assert spec.encoding == "sparse"
    batch = pa.record_batch([column], ["text"])
    transform.save(tmp_path / "saved")
    expected = ours(np.array([[text or ""] for text in column.to_pylist()], object)).numpy()
    for stored in (transform.apply(batch), load_transform(tmp_path / "saved").apply(batch)):
        lists = stored.column("out")
        assert lists.type == pa.list_(pa.struct([("index", pa.int32()), ("value", pa.float32())]))
        assert len(lists.flatten()) == np.count_nonzero(expected)
        for part in (stored, stored.slice(100, 7), stored.take(pa.array([499, 3, 3]))):
            read = feature_batch_to_tensors(part, transform.feature_specs)["out"]
            assert read.dtype == np.float32
            rows = {500: slice(None), 7: slice(100, 107), 3: [499, 3, 3]}[part.num_rows]
            np.testing.assert_array_equal(read, expected[rows])


def test_counts_survive_parquet_and_batches_of_no_rows(tmp_path):
    _, transform = adapted(tmp_path, lambda: text_layer(output_mode="tf_idf"), texts(50))
    for column in (texts(50), texts(50).slice(0, 0), pa.array([None, ""], pa.string())):
        stored = transform.apply(pa.record_batch([column], ["text"]))
        pq.write_table(pa.Table.from_batches([stored]), tmp_path / "stored.parquet")
        read = pq.read_table(tmp_path / "stored.parquet")
        for table in (stored, read):
            found = feature_batch_to_tensors(table, transform.feature_specs)["out"]
            assert found.shape == (len(column), transform.feature_specs["out"].size)


def test_the_memory_of_wide_counts_does_not_grow_with_their_width(tmp_path):
    rows, words = 4000, np.array([f"word{number}" for number in range(30_000)])
    rng = np.random.default_rng(0)
    column = pa.array([" ".join(rng.choice(words, 8)) for _ in range(rows - 1)] + [" ".join(words)])
    _, transform = adapted(tmp_path, lambda: text_layer(output_mode="tf_idf"), column)
    width = transform.feature_specs["out"].size
    assert width > 20_000
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    stored = transform.apply(pa.record_batch([column], ["text"]))
    python, arrow = tracemalloc.get_traced_memory()[1], pa.total_allocated_bytes() - before
    tracemalloc.stop()
    tokens = 8 * rows + len(words)
    assert stored.nbytes < 16 * tokens, "an index and a value for each"
    assert python + arrow < 200 * tokens < rows * width * 4 / 20, "neither the dense rows nor the longest text's width"


def test_other_layers_that_count_are_stored_alike_and_one_with_weights_of_its_own_as_it_is(tmp_path):
    columns = 'feature { name: "text" type: BYTES } feature { name: "n" type: INT shape { dim { size: 4 } } }'
    schema = text_format.Parse(columns, schema_pb2.Schema())
    schema.feature[1].presence.min_fraction = 1
    numbers = np.random.default_rng(0).integers(0, 20, (60, 4))
    table = pa.table({"text": texts(60), "n": pa.array(numbers.tolist(), pa.list_(pa.int64(), 4))})
    pq.write_table(table, tmp_path / "raw.parquet")
    counting = keras.layers.CategoryEncoding(20, output_mode="count")
    made = {}

    def preprocessing_fn(inputs):
        made["lookup"] = keras.layers.IntegerLookup(output_mode="count")
        weights = keras.layers.Lambda(lambda x: keras.ops.cast(x, "float32") / 10.0)(inputs["n"])
        return {
            "counted": counting(inputs["n"]),
            "weighted": counting(inputs["n"], count_weights=weights),
            "looked_up": made["lookup"](inputs["n"]),
        }

    transform = analyze_and_trace(
        preprocessing_fn, schema, row_groups([str(tmp_path / "raw.parquet")]), engine="direct"
    )
    encodings = {name: spec.encoding for name, spec in transform.feature_specs.items()}
    assert encodings == {"counted": "sparse", "weighted": "dense", "looked_up": "sparse"}
    found = feature_batch_to_tensors(transform.apply(table.to_batches()[0]), transform.feature_specs)
    np.testing.assert_array_equal(found["counted"], counting(numbers))
    np.testing.assert_allclose(found["weighted"], counting(numbers, count_weights=numbers / 10), rtol=1e-6)
    np.testing.assert_array_equal(found["looked_up"], made["lookup"](numbers))
