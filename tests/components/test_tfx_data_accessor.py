"""`fn_args.data_accessor` against TFX's own reader of the same rows; raw columns in the graph against its adapter."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from google.protobuf import text_format
from headrace.components.ingest.tf_records import write_records
from headrace.components.tfx.data_accessor import accessor
from headrace.components.tfx.run_fn import as_tfx_passes
from headrace.components.training.fn_args import FnArgs
from headrace.pipelines import Examples
from headrace.transforms.keras_graph.raw_columns import raw_tensors
from headrace.transforms.tf_example_rows import serialized
from headrace.transforms.tft.dense_columns import as_transform_takes
from headrace.transforms.tft.raw_examples import RawExamples
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.public import tfxio
from tfx_bsl.tfxio.tensor_adapter import TensorAdapter

SCHEMA = """
feature { name: "x" type: FLOAT shape { dim { size: 1 } } presence { min_fraction: 1 } }
feature { name: "y" type: FLOAT value_count { min: 1 max: 1 } }
feature { name: "n" type: INT shape {} presence { min_fraction: 1 } }
feature { name: "year" type: INT value_count { min: 1 max: 1 } }
feature { name: "word" type: BYTES value_count { min: 1 max: 1 } }
feature { name: "filled" type: FLOAT value_count { min: 1 max: 1 } }
feature { name: "tags" type: BYTES value_count { min: 0 } }
feature { name: "pair" type: FLOAT shape { dim { size: 2 } } presence { min_fraction: 1 } }
feature { name: "stated" type: INT value_count { min: 1 max: 1 } annotation { tag: "default=-1" } }
tensor_representation_group { key: "" value {
  tensor_representation { key: "filled" value { dense_tensor {
    column_name: "filled" shape { dim { size: 1 } } default_value { float_value: 7 } } } }
  tensor_representation { key: "tags" value { ragged_tensor {
    feature_path { step: "tags" } row_partition_dtype: INT64 } } }
} }
"""
KINDS = pa.schema(
    [
        ("x", pa.float32()),
        ("y", pa.float64()),
        ("n", pa.int32()),
        ("year", pa.int64()),
        ("word", pa.string()),
        ("filled", pa.float32()),
        ("tags", pa.list_(pa.string())),
        ("pair", pa.list_(pa.float32(), 2)),
        ("stated", pa.int64()),
    ]
)
number = st.floats(-100, 100, width=32)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "x": number,
            "y": st.none() | number | st.just(float("nan")),
            "n": st.integers(-5, 5),
            "year": st.none() | st.integers(1990, 2020),
            "word": st.none() | st.sampled_from(["", "a", "bé"]),
            "filled": st.none() | number,
            "tags": st.none() | st.lists(st.sampled_from(["a", "b"]), max_size=3),
            "pair": st.lists(number, min_size=2, max_size=2),
            "stated": st.none() | st.integers(0, 3),
        }
    ),
    min_size=1,
    max_size=12,
)


def schema() -> schema_pb2.Schema:
    return text_format.Parse(SCHEMA, schema_pb2.Schema())


def same(one, other) -> bool:
    """Whether two tensors are of one kind, shape and content."""
    if isinstance(one, tf.SparseTensor):
        parts = ("indices", "values", "dense_shape")
        return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in parts)
    if isinstance(one, tf.RaggedTensor):
        return one.to_list() == other.to_list()
    equal_nan = one.dtype.is_floating
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=equal_nan)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_raw_columns_are_the_same_tensors_from_a_client_and_from_rows(rows):
    batch = pa.RecordBatch.from_pylist(rows, schema=KINDS)
    raw = RawExamples.of(schema())
    from_rows = TensorAdapter(raw.adapter_config()).ToBatchTensors(raw.lists(batch))
    from_client = as_transform_takes(raw_tensors(batch, raw.inputs), raw.inputs, raw)
    assert from_rows.keys() == from_client.keys() == set(KINDS.names)
    for name, expected in from_rows.items():
        assert same(expected, from_client[name]), (name, expected, from_client[name])


def test_a_schema_that_the_engine_cannot_take_is_refused():
    odd = schema()
    sparse = odd.tensor_representation_group[""].tensor_representation["both"].sparse_tensor
    sparse.index_column_names.append("n")
    sparse.value_column_name = "x"
    sparse.dense_shape.dim.add(size=10)
    with pytest.raises(ValueError, match="tensor representation 'both' is a sparse_tensor of other columns"):
        RawExamples.of(odd)


def table(rows: int) -> pa.Table:
    random = np.random.default_rng(5)
    return pa.table(
        {
            "x": pa.array(random.normal(size=rows), pa.float32()),
            "y": pa.array(random.normal(size=rows), pa.float32(), mask=random.random(rows) < 0.2),
            "n": pa.array(np.arange(rows)),
            "year": pa.array(random.integers(0, 9, rows), mask=random.random(rows) < 0.2),
            "word": pa.array(random.choice(["a", "bé"], rows), mask=random.random(rows) < 0.2),
            "filled": pa.array(random.normal(size=rows), pa.float32(), mask=random.random(rows) < 0.2),
            "tags": [[f"t{i}" for i in range(n % 4)] for n in range(rows)],
            "pair": pa.array(random.normal(size=(rows, 2)).tolist(), pa.list_(pa.float32(), 2)),
            "stated": pa.array(random.integers(0, 4, rows)),
        },
        schema=KINDS.set(1, pa.field("y", pa.float32())).set(2, pa.field("n", pa.int64())),
    )


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> SimpleNamespace:
    """The same rows as Examples and as TFRecord files."""
    folder: Path = tmp_path_factory.mktemp("both")
    rows = table(250)
    examples = Examples(str(folder / "examples"))
    with examples.writer(rows.schema) as writer:
        for batch in rows.to_batches(max_chunksize=60):
            writer.write("train", batch)
    examples.commit({})
    [batch] = rows.combine_chunks().to_batches()
    write_records(str(folder / "rows.gz"), serialized(batch))
    files = list(dict.fromkeys(group.uri for group in examples.row_groups("train")))
    return SimpleNamespace(examples=examples, rows=rows, files=files, records=str(folder / "rows.gz"))


@pytest.mark.parametrize("label", [None, "n"])
def test_a_dataset_is_what_tfx_reads_of_the_same_rows(both, label):
    options = tfxio.TensorFlowDatasetOptions(batch_size=64, num_epochs=1, shuffle=False, label_key=label)
    ours = list(accessor(transformed=False).tf_dataset_factory(both.files, options, schema()))
    theirs = list(
        tfxio.TFExampleRecord([both.records], schema=schema(), telemetry_descriptors=["t"]).TensorFlowDataset(options)
    )
    assert len(ours) == len(theirs) == 4
    for mine, other in zip(ours, theirs):
        (mine, my_label), (other, its_label) = (mine, other) if label else ((mine, None), (other, None))
        assert mine.keys() == other.keys() and (label is None or same(its_label, my_label))
        for name in mine:
            if name != "stated":
                assert same(other[name], mine[name]), name


def test_epochs_shuffling_and_the_last_batch_are_as_the_options_say(both):
    read = accessor(transformed=False).tf_dataset_factory

    def order(**options) -> list[int]:
        chosen = tfxio.TensorFlowDatasetOptions(batch_size=64, **options)
        return [int(n) for batch in read(both.files, chosen, schema()) for n in batch["n"]]

    assert order(num_epochs=1, shuffle=False) == list(range(250))
    twice = order(num_epochs=2, shuffle=True, shuffle_seed=3)
    assert sorted(twice[:250]) == sorted(twice[250:]) == list(range(250)) and twice[:250] != twice[250:]
    assert twice == order(num_epochs=2, shuffle=True, shuffle_seed=3) != order(num_epochs=2, shuffle_seed=4)
    assert len(order(num_epochs=1, shuffle=False, drop_final_batch=True)) == 192
    endless = read(both.files, tfxio.TensorFlowDatasetOptions(batch_size=64), schema())
    assert sum(1 for _ in endless.take(11)) == 11


def test_record_batches_are_those_of_tfx(both):
    options = tfxio.RecordBatchesOptions(batch_size=64, num_epochs=1, shuffle=False)
    ours = pa.Table.from_batches(accessor(transformed=False).record_batch_factory(both.files, options, schema()))
    source = tfxio.TFExampleRecord([both.records], schema=schema(), telemetry_descriptors=["t"])
    theirs = pa.Table.from_batches(source.RecordBatches(options))
    for name in KINDS.names:
        assert ours[name].to_pylist() == theirs[name].to_pylist(), name


def test_tfrecord_files_are_read_too_and_mistakes_are_told(both):
    options = tfxio.TensorFlowDatasetOptions(batch_size=250, num_epochs=1, shuffle=False)
    read = accessor(transformed=True).tf_dataset_factory
    [batch] = read([both.records], options, schema())
    assert np.array_equal(batch["n"], np.arange(250))
    with pytest.raises(ValueError, match="expected a schema"):
        read(both.files, options)
    other = schema_pb2.Schema()
    other.feature.add(name="x_xf", type=schema_pb2.FLOAT).shape.dim.add(size=1)
    with pytest.raises(ValueError, match="the schema has x_xf, which the files lack: they are of features"):
        read(both.files, options, other)
    labelled = tfxio.TensorFlowDatasetOptions(batch_size=9, label_key="late")
    with pytest.raises(ValueError, match="label_key='late' is no feature of the schema"):
        accessor(transformed=False).tf_dataset_factory(both.files, labelled, schema())


def test_a_run_fn_of_tfx_has_steps_and_tfrecords_where_it_reads_these(both, tmp_path, monkeypatch, capsys):
    (tmp_path / "pyproject.toml").touch()
    # By name: the module that is imported here is none.
    text = "import tf_keras\nimport tensorflow as tf\ndef run_fn(fn_args):\n    tf.data.TFRecordDataset('')\n"
    (tmp_path / "old_style.py").write_text(text)
    (tmp_path / "ours.py").write_text("def run_fn(fn_args):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "tf_keras", SimpleNamespace())
    import old_style
    import ours

    given = FnArgs(both.files, [], "serving", "run", "graph", working_dir=str(tmp_path), batch_size=100, epochs=3)
    changed = as_tfx_passes(given, old_style.run_fn, both.examples, "train", None)
    assert changed.train_steps == 9 and "reads TFRecord files" in capsys.readouterr().out
    records = tf.data.TFRecordDataset(changed.train_files, compression_type="GZIP")
    assert sum(1 for _ in records) == 250
    assert as_tfx_passes(given, ours.run_fn, both.examples, "train", None) is given
