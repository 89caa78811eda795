"""Raw columns as TensorFlow Transform takes them: record batches of lists, and how a tensor is made of each.

TFX reads `tf.Example`s, in which every feature is a list of int64, float or bytes. A column of the Examples becomes the
list that its `tf.Example` would have: none for a missing value. What a client cannot tell from a missing value (NaN and
`""` in a column that may be missing) is one here too, so that training sees what serving does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.transforms.feature_model import ModelInput, is_list, plain_values
from headrace.transforms.row_groups import RowGroup, read
from headrace.transforms.schema.inputs import model_inputs
from tensorflow_metadata.proto.v0 import schema_pb2

_VALUES = {"bool": pa.int64(), "int64": pa.int64(), "float32": pa.float32(), "string": pa.large_binary()}
_TYPES = {schema_pb2.INT: "int64", schema_pb2.FLOAT: "float32", schema_pb2.BYTES: "string"}


@dataclass(frozen=True)
class RawExamples:
    """The raw columns of a schema as TFX gives them to a `preprocessing_fn`.

    Attributes:
        inputs: Each column as the exported model takes it.
        dtypes: The dtype that TensorFlow Transform sees: "int64", "float32" or "string".
        representations: How a tensor is made of each column (`schema_pb2.TensorRepresentation`).

    Example:
        >>> from google.protobuf import text_format
        >>> text = 'feature { name: "x" type: FLOAT value_count { min: 1 max: 1 } }'
        >>> raw = RawExamples.of(text_format.Parse(text, schema_pb2.Schema()))
        >>> raw.lists(pa.record_batch({"x": [1.5, None]})).column("x").to_pylist()
        [[1.5], None]
    """

    inputs: Mapping[str, ModelInput]
    dtypes: Mapping[str, str]
    representations: Mapping[str, Any]

    @classmethod
    def of(cls, schema: schema_pb2.Schema) -> RawExamples:
        """Reads a schema as TFX does: a fixed shape is dense, everything else is sparse.

        Raises:
            ValueError: A feature has a tensor representation that is not of one column, or a shape though it may be
                missing.
        """
        from tfx_bsl.tfxio.tensor_representation_util import InferTensorRepresentationsFromMixedSchema

        inputs = model_inputs(schema)
        found = InferTensorRepresentationsFromMixedSchema(schema)
        types = {feature.name: _TYPES[feature.type] for feature in schema.feature if feature.name in inputs}
        representations = {}
        for name, representation in found.items():
            kind, column = representation.WhichOneof("kind"), _column_of(representation)
            if column != name:
                raise ValueError(
                    f"the schema's tensor representation {name!r} is a {kind} of "
                    f"{'other columns' if column is None else repr(column)}: expected a dense_tensor, a "
                    "varlen_sparse_tensor or a ragged_tensor of the column of its own name; make the tensor in "
                    "preprocessing_fn"
                )
            if name in inputs:
                representations[name] = representation
        return cls({name: inputs[name] for name in representations}, types, representations)

    @property
    def columns(self) -> list[str]:
        """The columns, in the schema's order."""
        return list(self.inputs)

    @property
    def arrow_schema(self) -> pa.Schema:
        """The schema of what `lists` gives."""
        return pa.schema([(name, pa.large_list(_VALUES[self.dtypes[name]])) for name in self.inputs])

    def adapter_config(self) -> Any:
        """The `TensorAdapterConfig` of what `lists` gives."""
        from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

        return TensorAdapterConfig(self.arrow_schema, dict(self.representations))

    def lists(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows as lists, one column for each of `inputs`.

        Raises:
            ValueError: A value is missing in a column of which the schema says that every row has it.
        """
        arrays = [self._lists(batch.column(name), one) for name, one in self.inputs.items()]
        return pa.RecordBatch.from_arrays(arrays, schema=self.arrow_schema)

    def _lists(self, column: pa.Array, one: ModelInput) -> pa.Array:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if is_list(column.type):
            lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
            missing = column.is_null() if column.null_count else None
            values = plain_values(column.flatten())
            if values.null_count:
                raise ValueError(
                    f"column {one.name!r} has lists with missing values inside; a tf.Example has no such list: leave "
                    "them out, or put a value in their place, where the examples are made"
                )
        else:
            values, present = self._present(plain_values(column), one)
            lengths = np.ones(len(column), np.int64) if present is None else present.astype(np.int64)
            # Null, not empty: that is what TFX's adapter puts a default value for.
            missing = None if present is None else pa.array(~present)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        kind = _VALUES[self.dtypes[one.name]]
        if pa.types.is_large_binary(kind) and pa.types.is_string(values.type):
            values = values.cast(pa.large_string())
        return pa.LargeListArray.from_arrays(pa.array(offsets), values.cast(kind, safe=False), mask=missing)

    def _present(self, values: pa.Array, one: ModelInput) -> tuple[pa.Array, np.ndarray | None]:
        """The values that are there, and which rows have one; None for all."""
        if not one.optional:
            if values.null_count:
                raise ValueError(
                    f"column {one.name!r} has {values.null_count} missing values, and the schema says that every row "
                    "has one (presence { min_fraction: 1.0 }): infer the schema from all splits, or leave those rows "
                    "out"
                )
            return values, None
        if is_stated(one):
            return pc.fill_null(values, pa.scalar(one.missing).cast(values.type)), None
        present = values.is_valid()
        if pa.types.is_floating(values.type):
            present = pc.and_(present, pc.invert(pc.fill_null(pc.is_nan(values), True)))
        elif one.dtype == "string":
            present = pc.and_(present, pc.fill_null(pc.greater(pc.binary_length(values), 0), False))
        return values.filter(present), present.to_numpy(zero_copy_only=False)


def _column_of(representation: Any) -> str | None:
    """The one column that a tensor is made of; None where there are several, or a path into one."""
    kind = representation.WhichOneof("kind")
    if kind == "ragged_tensor":
        ragged = representation.ragged_tensor
        return ragged.feature_path.step[0] if len(ragged.feature_path.step) == 1 and not ragged.partition else None
    is_one = kind in ("dense_tensor", "varlen_sparse_tensor")
    return getattr(representation, kind).column_name if is_one else None


def is_stated(one: ModelInput) -> bool:
    """Whether the schema states a value for missing ones, by a tag `default=`."""
    return one.missing is not None and one.missing == one.missing and not (one.dtype == "string" and one.missing == "")


def together(groups: Sequence[RowGroup], rows: int) -> list[list[RowGroup]]:
    """Row groups in order, small ones together, so that batches of about `rows` can be made of each list.

    Example:
        >>> [len(some) for some in together([RowGroup("a", i, 10) for i in range(5)], 20)]
        [2, 2, 1]
    """
    lists: list[list[RowGroup]] = []
    held = rows
    for group in groups:
        if held >= rows:
            lists.append([])
            held = 0
        lists[-1].append(group)
        held += group.rows
    return lists


def read_batches(groups: Sequence[RowGroup], raw: RawExamples, rows: int) -> Iterator[pa.RecordBatch]:
    """Reads row groups as lists, in batches of equal size, at most `rows` each."""
    read_all = pa.Table.from_batches([read(group, raw.columns) for group in groups])
    if not read_all.num_rows:
        return
    batch = read_all.combine_chunks().to_batches()[0]
    count = -(-batch.num_rows // rows)
    for number in range(count):
        first, last = (batch.num_rows * place // count for place in (number, number + 1))
        yield raw.lists(batch.slice(first, last - first))
