"""Examples as TFRecord files of `tf.Example`s, in TFX's layout, for a TFX user's other tools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.components.ingest.tf_records import write_records
from headrace.pipelines import Examples, storage
from headrace.pipelines.errors import MissingExtra
from headrace.transforms.feature_model import is_list, plain_values
from headrace.transforms.row_groups import RowGroup, read

_FEATURE = b"headrace.feature"


def write_tf_records(
    examples: Examples, folder: str | Path, *, splits: Sequence[str] | None = None, compress: bool = True
) -> dict[str, list[str]]:
    """Writes raw rows or features as `tf.Example`s: `FOLDER/Split-train/data_tfrecord-00000-of-00002.gz` and so on.

    A missing value is a feature without values. Integers, bools, dates and times are int64 lists (docs/feature-model.md
    says in which unit), floats float lists, text and bytes byte lists; what is stored as indices is written as the
    vector that a model gets.

    Args:
        examples: Raw rows, or Transform's `transformed_examples`.
        folder: A local path or an fsspec URL.
        splits: The splits to write; all when None.
        compress: Whether as gzip, as TFX does.

    Returns:
        The files of each split, one for each Parquet shard.

    Raises:
        MissingExtra: TFX's encoder is not installed: ``pip install 'headrace[tft]'``.

    >>> write_tf_records(example_gen.outputs["examples"].read(), "tfrecords")             # doctest: +SKIP
    """
    try:
        from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder
    except ModuleNotFoundError as error:
        raise MissingExtra("tft", error.name or "tfx_bsl") from error
    encoder = RecordBatchToExamplesEncoder()
    written: dict[str, list[str]] = {}
    for split in examples.splits if splits is None else splits:
        shards: dict[str, list[RowGroup]] = {}
        for group in examples.row_groups(split):
            shards.setdefault(group.uri, []).append(RowGroup(*group))
        written[split] = []
        for number, groups in enumerate(shards.values()):
            name = f"data_tfrecord-{number:05}-of-{len(shards):05}{'.gz' if compress else ''}"
            file = storage.join(str(folder), f"Split-{split}", name)
            write_records(file, _encoded(groups, encoder), compress=compress)
            written[split].append(file)
    return written


def _encoded(groups: Sequence[RowGroup], encoder: Any) -> Iterator[bytes]:
    for group in groups:
        yield from encoder.encode(as_lists(read(group)))


def as_lists(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Every column as lists of int64, float or bytes, as TFX's record batches have them; null where there is none."""
    columns = [_lists(column, field) for column, field in zip(batch.columns, batch.schema)]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _lists(column: pa.Array, field: pa.Field) -> pa.Array:
    encoded = json.loads((field.metadata or {}).get(_FEATURE, b"{}"))
    if encoded.get("encoding", "dense") != "dense":
        column = _vectors(column, field.name, encoded)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    missing = column.is_null() if column.null_count else None
    if is_list(column.type):
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
        flat = plain_values(column.flatten())
    else:
        present = column.is_valid().to_numpy(zero_copy_only=False)
        lengths, flat = present.astype(np.int64), plain_values(column.drop_null())
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]))
    return pa.LargeListArray.from_arrays(offsets, _values(flat), mask=missing)


def _values(flat: pa.Array) -> pa.Array:
    if pa.types.is_string(flat.type) or pa.types.is_large_string(flat.type) or pa.types.is_string_view(flat.type):
        return flat.cast(pa.large_string()).cast(pa.large_binary())
    is_number = pa.types.is_integer(flat.type) or pa.types.is_boolean(flat.type)
    if is_number:
        return flat.cast(pa.int64())
    return flat.cast(pa.float32() if pa.types.is_floating(flat.type) else pa.large_binary(), safe=False)


def _vectors(column: pa.Array, name: str, encoded: dict[str, Any]) -> pa.Array:
    from headrace.transforms.keras_graph.feature_specs import FeatureSpec
    from headrace.transforms.keras_graph.stored_features import column_to_array

    spec = FeatureSpec(name, encoded["dtype"], tuple(encoded["shape"]), (), encoded["encoding"])
    values = column_to_array(column, spec).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(values), spec.values)
