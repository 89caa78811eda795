"""TFX's `fn_args.data_accessor` over Examples: the rows as a `tf.data.Dataset` or as record batches, by a schema.

`file_pattern` is `fn_args.train_files` or `fn_args.eval_files`: Parquet shards of raw rows or of features. TFRecord
files of `tf.Example`s, which a `run_fn` may have from elsewhere, are read by TFX's own reader.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf
from headrace.components.training.batch_stream import BatchStream
from headrace.transforms.feature_model import is_list
from headrace.transforms.row_groups import RowGroup, read, row_groups
from headrace.transforms.tf_example_rows import as_lists
from headrace.transforms.tft.raw_examples import RawExamples
from tensorflow_metadata.proto.v0 import schema_pb2

_DTYPES = {schema_pb2.INT: "int64", schema_pb2.FLOAT: "float32", schema_pb2.BYTES: "string"}


class DataAccessor(NamedTuple):
    """How a `run_fn` reads its rows, under TFX's names.

    Attributes:
        tf_dataset_factory: `(file_pattern, options, schema)` -> `tf.data.Dataset` of a dict of tensors, or of that and
            the label; `options` is a `tfxio.TensorFlowDatasetOptions`.
        record_batch_factory: `(file_pattern, options, schema)` -> iterator of `pa.RecordBatch`es of lists; `options` is
            a `tfxio.RecordBatchesOptions`.
        data_view_decode_fn: None: there are no data views.
    """

    tf_dataset_factory: Callable[..., Any]
    record_batch_factory: Callable[..., Iterator[pa.RecordBatch]]
    data_view_decode_fn: Callable[..., Any] | None = None


def accessor(transformed: bool, seed: int = 0) -> DataAccessor:
    """The accessor of rows.

    Args:
        transformed: Whether the Parquet shards have features rather than raw rows.
        seed: Of the order of shuffled rows, where the options give none.
    """

    def dataset(file_pattern: Any, options: Any, schema: schema_pb2.Schema | None = None) -> Any:
        files = _files(file_pattern)
        if not _are_parquet(files):
            return _tf_records(files, schema).TensorFlowDataset(options)
        return _dataset(_Rows.of(files, schema, transformed), options, seed)

    def record_batches(
        file_pattern: Any, options: Any, schema: schema_pb2.Schema | None = None
    ) -> Iterator[pa.RecordBatch]:
        files = _files(file_pattern)
        if not _are_parquet(files):
            yield from _tf_records(files, schema).RecordBatches(options)
            return
        yield from _record_batches(_Rows.of(files, schema, transformed), options, seed)

    return DataAccessor(dataset, record_batches)


def _files(file_pattern: Any) -> list[str]:
    given = [file_pattern] if isinstance(file_pattern, str) else [str(one) for one in file_pattern]
    found = [path for one in given for path in (sorted(tf.io.gfile.glob(one)) if set(one) & set("*?[") else [one])]
    if not found:
        raise ValueError(f"there are no files of the pattern {file_pattern!r}: pass fn_args.train_files or eval_files")
    return found


def _are_parquet(files: Sequence[str]) -> bool:
    return all(file.endswith(".parquet") for file in files)


def _tf_records(files: Sequence[str], schema: schema_pb2.Schema | None) -> Any:
    from tfx_bsl.public import tfxio

    return tfxio.TFExampleRecord(list(files), schema=schema, telemetry_descriptors=["headrace"])


@dataclass(frozen=True)
class _Rows:
    """Parquet shards read by a schema."""

    groups: list[RowGroup]
    schema: schema_pb2.Schema
    representations: dict[str, Any]
    dtypes: dict[str, str]
    raw: RawExamples | None

    @classmethod
    def of(cls, files: Sequence[str], schema: schema_pb2.Schema | None, transformed: bool) -> _Rows:
        if schema is None:
            raise ValueError(
                "expected a schema beside the files, received none: pass tf_transform_output.transformed_metadata."
                "schema for features, or the schema at fn_args.schema_path for raw rows"
            )
        groups = row_groups(files)
        columns = set(read(groups[0]).schema.names) if groups else set()
        if absent := [feature.name for feature in schema.feature if feature.name not in columns]:
            there = ", ".join(sorted(columns))
            kind = "features" if transformed else "raw rows"
            raise ValueError(
                f"the schema has {', '.join(absent)}, which the files lack: they are of {kind} and have {there}. "
                + ("Pass tf_transform_output.transformed_metadata.schema" if transformed else "Pass the raw schema")
            )
        if not transformed:
            raw = RawExamples.of(schema)
            return cls(groups, schema, dict(raw.representations), dict(raw.dtypes), raw)
        from tfx_bsl.tfxio.tensor_representation_util import InferTensorRepresentationsFromMixedSchema

        dtypes = {feature.name: _DTYPES[feature.type] for feature in schema.feature}
        return cls(groups, schema, InferTensorRepresentationsFromMixedSchema(schema), dtypes, None)

    def read(self, group: RowGroup) -> pa.RecordBatch:
        """A row group's columns of the schema; raw ones as lists, as TFX's are."""
        if self.raw is not None:
            return self.raw.lists(read(group, self.raw.columns))
        return read(group, list(self.representations))

    @property
    def arrow_schema(self) -> pa.Schema:
        return self.read(self.groups[0]).schema if self.raw is None else self.raw.arrow_schema

    def expand(self, rows: pa.RecordBatch) -> dict[str, Any]:
        """Arrays by name: `(rows, *shape)` of what is dense, otherwise padded values and how many each row has."""
        return {name: self._expanded(name, rows.column(name)) for name in self.representations}

    def signature(self) -> dict[str, Any]:
        """The `tf.TensorSpec`s of stacked batches of what `expand` gives."""
        specs: dict[str, Any] = {}
        for name, representation in self.representations.items():
            dtype = self.dtypes[name]
            if representation.WhichOneof("kind") == "dense_tensor":
                sizes = [dim.size for dim in representation.dense_tensor.shape.dim]
                specs[name] = tf.TensorSpec((None, None, *sizes), dtype)
            else:
                specs[name] = (tf.TensorSpec((None, None, None), dtype), tf.TensorSpec((None, None), tf.int64))
        return specs

    def _expanded(self, name: str, column: pa.Array) -> Any:
        representation, dtype = self.representations[name], self.dtypes[name]
        flat = _numbers(column.flatten() if is_list(column.type) else column, dtype)
        if representation.WhichOneof("kind") == "dense_tensor":
            sizes = [dim.size for dim in representation.dense_tensor.shape.dim]
            return self._dense(name, flat, column, sizes, representation.dense_tensor)
        lengths = _lengths(column)
        width = max(1, int(lengths.max(initial=0)))
        padded = np.full((len(column), width), b"" if dtype == "string" else 0, flat.dtype)
        padded[np.arange(width) < lengths[:, None]] = flat
        return padded, lengths

    def _dense(self, name: str, flat: np.ndarray, column: pa.Array, sizes: list[int], dense: Any) -> np.ndarray:
        count, default = math.prod(sizes), dense.default_value.WhichOneof("kind")
        if len(flat) != count * len(column) and default is not None and is_list(column.type):
            lengths = _lengths(column)
            filled = np.full((len(column), count), getattr(dense.default_value, default), flat.dtype)
            filled[lengths == count] = flat.reshape(-1, count)
            flat = filled
        if flat.size != count * len(column):
            raise ValueError(
                f"the schema gives feature {name!r} the shape {sizes}, but a row has another number of values: "
                "correct the schema, or the data"
            )
        return flat.reshape(len(column), *sizes)


def _lengths(column: pa.Array) -> np.ndarray:
    import pyarrow.compute as pc

    if not is_list(column.type):
        return np.ones(len(column), np.int64)
    lengths: np.ndarray = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64)


def _numbers(flat: pa.Array, dtype: str) -> np.ndarray:
    if dtype == "string":
        values: np.ndarray = flat.cast(pa.binary() if pa.types.is_string(flat.type) else flat.type).to_numpy(
            zero_copy_only=False
        )
        return values
    numbers: np.ndarray = flat.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    return numbers


def _stream(rows: _Rows, options: Any, seed: int, batch_size: int) -> BatchStream:
    total = sum(group.rows for group in rows.groups)
    steps = total // batch_size if options.drop_final_batch else None
    given = options.shuffle_seed if options.shuffle_seed is not None else seed
    return BatchStream(
        rows.groups,
        rows.read,
        rows.arrow_schema,
        rows.expand,
        batch_size,
        most_steps=steps,
        shuffle=options.shuffle,
        seed=given,
    )


def _dataset(rows: _Rows, options: Any, seed: int) -> Any:
    label = options.label_key
    if label is not None and label not in rows.representations:
        raise ValueError(f"label_key={label!r} is no feature of the schema; it has {', '.join(rows.representations)}")
    kinds = {name: one.WhichOneof("kind") for name, one in rows.representations.items()}

    def as_tfx_gives(features: dict[str, Any]) -> Any:
        made = {name: _tensor(value, kinds[name]) for name, value in features.items()}
        return made if label is None else (made, made.pop(label))

    stream = _stream(rows, options, seed, options.batch_size)
    data = stream.dataset(signature=rows.signature()).map(as_tfx_gives)
    # Each pass is a further epoch of the stream.
    data = data.repeat(options.num_epochs) if options.num_epochs != 1 else data
    return data.prefetch(options.prefetch_buffer_size)


def _tensor(value: Any, kind: str) -> Any:
    if kind == "dense_tensor":
        return value
    ragged = tf.RaggedTensor.from_tensor(value[0], lengths=value[1])
    return ragged if kind == "ragged_tensor" else ragged.to_sparse()


def _record_batches(rows: _Rows, options: Any, seed: int) -> Iterator[pa.RecordBatch]:
    epochs: Iterable[int] = iter(int, 1) if options.num_epochs is None else range(options.num_epochs)
    for epoch, _ in enumerate(epochs):
        stream = _stream(rows, options, seed, options.batch_size)
        done = 0
        for pool, order in stream.pools(epoch):
            for start in range(0, len(order), stream.batch_size):
                if done == stream.steps:
                    break
                chosen = order[start : start + stream.batch_size]
                done += 1
                yield as_lists(pool.take(pa.array(chosen)))
