"""ImportExampleGen and `write_tf_records`: read is what TensorFlow wrote, and the other way; faults are located."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa
import pytest
from headrace.components import ImportExampleGen
from headrace.components.ingest.tf_records import read_records, write_records
from headrace.components.tfx.tf_records import write_tf_records
from headrace.pipelines import Examples
from headrace.pipelines.errors import DataError
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2  # noqa: F401 - before TensorFlow, whose import brings another


def example(**values) -> bytes:
    """A serialized tf.Example, by TensorFlow."""
    import tensorflow as tf

    return tf.train.Example(features=tf.train.Features(feature=features(values))).SerializeToString()


def features(values):
    import tensorflow as tf

    made = {}
    for name, value in values.items():
        listed = value if isinstance(value, list) else [value]
        if not listed or listed[0] is None:
            made[name] = tf.train.Feature()
        elif isinstance(listed[0], bytes | str):
            texts = [one.encode() if isinstance(one, str) else one for one in listed]
            made[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))
        elif isinstance(listed[0], int):
            made[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=listed))
        else:
            made[name] = tf.train.Feature(float_list=tf.train.FloatList(value=listed))
    return made


def rows(number: int = 300) -> list[dict]:
    random = np.random.default_rng(3)
    made = []
    for n in range(number):
        row = {"id": n, "word": f"wört{n % 7}", "x": float(random.integers(0, 100)) / 4, "raw": bytes([n % 256, 255])}
        row["tags"] = [f"t{i}" for i in range(n % 4)]
        if n % 5 == 0:
            del row["x"]
        made.append(row)
    return made


def written_by_tensorflow(folder: Path, records: list[bytes], *, compress: bool = True) -> str:
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    for part in range(2):
        name = str(folder / f"data-{part}.tfrecord{'.gz' if compress else ''}")
        with tf.io.TFRecordWriter(name, "GZIP" if compress else "") as writer:
            for record in records[part::2]:
                writer.write(record)
    return str(folder)


@pytest.mark.parametrize("compress", [True, False])
def test_what_tensorflow_wrote_is_read(tmp_path, compress):
    given = rows()
    folder = written_by_tensorflow(tmp_path / "data", [example(**row) for row in given], compress=compress)
    examples = ImportExampleGen.call(input_base=folder, out_dir=tmp_path / "out", splits={"train": 1}).examples
    assert {field.name: str(field.type) for field in examples.schema} == {
        "id": "int64",
        "raw": "binary",
        "tags": "list<item: string>",
        "word": "string",
        "x": "float",
    }
    got = sorted(examples.read("train").to_pylist(), key=lambda row: row["id"])
    assert got == [{**row, "x": row.get("x"), "tags": row["tags"] or None} for row in given]


def test_splits_are_by_pattern_or_by_hash_as_of_the_other_example_gens(tmp_path):
    from headrace.components import ParquetExampleGen

    records = [example(id=n, word=f"w{n}") for n in range(400)]
    train = written_by_tensorflow(tmp_path / "Split-train", records[:300])
    held = written_by_tensorflow(tmp_path / "Split-eval", records[300:])
    patterns = {"train": f"{train}/*", "eval": f"{held}/*"}
    by_pattern = ImportExampleGen.call(input_base=patterns, out_dir=tmp_path / "a").examples
    assert by_pattern.rows == {"train": 300, "eval": 100}
    by_hash = ImportExampleGen.call(input_base=str(tmp_path / "Split-*" / "*"), out_dir=tmp_path / "b").examples
    table = by_hash.read("train")
    pa.parquet.write_table(pa.concat_tables(by_hash.read().values()), tmp_path / "all.parquet")
    other = ParquetExampleGen.call(input_base=str(tmp_path / "all.parquet"), out_dir=tmp_path / "c").examples
    assert sorted(table["id"].to_pylist()) == sorted(other.read("train")["id"].to_pylist())
    assert 200 < table.num_rows < 330


def test_sequence_examples_are_lists_over_their_steps(tmp_path):
    import tensorflow as tf

    records = []
    for n in range(4):
        one = tf.train.SequenceExample(context=tf.train.Features(feature=features({"id": n})))
        for step in range(n):
            one.feature_lists.feature_list["temperature"].feature.add().float_list.value.append(step + 0.5)
            one.feature_lists.feature_list["code"].feature.add().bytes_list.value.append(b"c%d" % step)
        records.append(one.SerializeToString())
    folder = written_by_tensorflow(tmp_path / "data", records)
    call = {"input_base": folder, "splits": {"train": 1}, "out_dir": tmp_path / "out"}
    examples = ImportExampleGen.call(payload_format="tf_sequence_example", **call).examples
    got = sorted(examples.read("train").to_pylist(), key=lambda row: row["id"])
    assert got[3] == {"id": 3, "code": ["c0", "c1", "c2"], "temperature": [0.5, 1.5, 2.5]}
    assert got[0]["temperature"] is None
    with pytest.raises(DataError, match=r'payload_format="tf_sequence_example"'):
        ImportExampleGen.call(**call)
    two = tf.train.SequenceExample()
    two.feature_lists.feature_list["code"].feature.add().bytes_list.value.extend([b"a", b"b"])
    write_records(str(tmp_path / "data" / "z.tfrecord.gz"), [records[1], two.SerializeToString()])
    with pytest.raises(DataError, match=r"z.tfrecord.gz, row 2, column 'code': has a step with 2 values"):
        ImportExampleGen.call(payload_format="tf_sequence_example", **call)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_a_damaged_file_is_located(tmp_path):
    good = [example(id=n) for n in range(3)]
    path = tmp_path / "a.tfrecord"
    write_records(str(path), good, compress=False)
    whole = path.read_bytes()
    size = len(good[0]) + 16
    for data, said in {
        whole[: size + 5]: "row 2: is cut off",
        whole[:-1]: "row 3: is cut off",
        flipped(whole, size + 14): "row 2: has a wrong checksum of a record's bytes",
        flipped(whole, size + 2): "row 2: has a wrong checksum of a record's length",
        b"id,word\n1,a\n2,b\n": "row 1: is no TFRecord file",
        gzip.compress(whole)[:-20]: "is damaged or cut off",
        gzip.compress(whole[: size + 5]): "row 2: is cut off",
    }.items():
        path.write_bytes(data)
        with pytest.raises(DataError) as found:
            ImportExampleGen.call(input_base=str(path), out_dir=tmp_path / "out")
        assert str(path) in str(found.value) and said in str(found.value), (said, found.value)


def test_a_malformed_record_and_a_feature_of_two_types_are_located(tmp_path):
    def fails(records: list[bytes]) -> str:
        write_records(str(tmp_path / "a.gz"), records)
        with pytest.raises(DataError) as found:
            ImportExampleGen.call(input_base=str(tmp_path / "a.gz"), out_dir=tmp_path / "out")
        return str(found.value)

    good = [example(id=n) for n in range(5)]
    assert "row 4: is no example" in fails([*good[:3], b"garbage", good[4]])
    assert "row 5, column 'id': is float_list here and int64_list in records before" in fails(
        [*good[:4], example(id=0.5)]
    )
    said = fails([example(id=n) for n in range(8_192)] + [example(id=0.5)])
    assert "row 8,193, column 'id': is float_list from this record on" in said
    assert "no records with features" in fails([])


def test_a_length_that_begins_like_gzip_is_no_gzip(tmp_path):
    record = b"x" * 0x088B1F
    write_records(str(tmp_path / "a"), [record], compress=False)
    assert (tmp_path / "a").read_bytes().startswith(b"\x1f\x8b\x08")
    assert list(read_records(str(tmp_path / "a"))) == [record]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20), st.booleans())
def test_records_are_framed_as_the_format_says(tmp_path_factory, records, compress):
    path = tmp_path_factory.mktemp("r") / "a"
    write_records(str(path), records, compress=compress)
    data = gzip.decompress(path.read_bytes()) if compress else path.read_bytes()
    place = 0
    for record in records:
        length, crc = struct.unpack_from("<QI", data, place)
        assert length == len(record) and crc == masked(data[place : place + 8])
        assert data[place + 12 : place + 12 + length] == record
        assert struct.unpack_from("<I", data, place + 12 + length)[0] == masked(record)
        place += 16 + length
    assert place == len(data) and list(read_records(str(path))) == records


def masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def test_examples_are_written_as_tfx_lays_them_out_and_read_back(tmp_path):
    import tensorflow as tf

    given = rows(50)
    folder = written_by_tensorflow(tmp_path / "data", [example(**row) for row in given])
    examples = ImportExampleGen.call(input_base=folder, out_dir=tmp_path / "out").examples
    files = write_tf_records(examples, tmp_path / "tfx")
    assert Path(files["train"][0]) == tmp_path / "tfx" / "Split-train" / "data_tfrecord-00000-of-00001.gz"
    kinds = {
        "id": tf.io.FixedLenFeature([], tf.int64),
        "x": tf.io.VarLenFeature(tf.float32),
        "word": tf.io.FixedLenFeature([], tf.string),
        "tags": tf.io.RaggedFeature(tf.string),
    }
    read = [record for split in files.values() for name in split for record in tf.data.TFRecordDataset(name, "GZIP")]
    parsed = tf.io.parse_example(tf.stack(read), kinds)
    by_id = {row["id"]: row for row in given}
    x = tf.sparse.to_dense(parsed["x"], float("nan"))[:, 0].numpy()
    for n, row_id in enumerate(parsed["id"].numpy()):
        row = by_id[int(row_id)]
        assert parsed["word"][n].numpy().decode() == row["word"]
        assert [tag.numpy().decode() for tag in parsed["tags"][n]] == row["tags"]
        assert x[n] == row["x"] if "x" in row else np.isnan(x[n])
    again = ImportExampleGen.call(
        input_base={split: f"{tmp_path}/tfx/Split-{split}/*" for split in files}, out_dir=tmp_path / "again"
    ).examples
    assert again.read() == examples.read() and again.digest == examples.digest


def test_wide_one_hot_features_are_written_as_the_vectors_that_a_model_gets(tmp_path):
    import json

    import tensorflow as tf

    described = {"dtype": "float32", "shape": [9], "encoding": "one_hot", "width": 9}
    field = pa.field("hot", pa.int32(), metadata={b"headrace.feature": json.dumps(described).encode()})
    examples = Examples(str(tmp_path / "examples"))
    with examples.writer(pa.schema([field])) as writer:
        writer.write("train", pa.record_batch([pa.array([2, None], pa.int32())], schema=pa.schema([field])))
    [file] = write_tf_records(examples, tmp_path / "tfx", compress=False)["train"]
    hot = [
        tf.io.parse_example(one, {"hot": tf.io.FixedLenFeature([9], tf.float32)})["hot"]
        for one in tf.data.TFRecordDataset(file)
    ]
    assert np.array_equal(np.stack(hot), [np.eye(9)[2], np.zeros(9)])
