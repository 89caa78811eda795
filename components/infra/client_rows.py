"""Rows of raw examples in the JSON that a client of the model writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from headrace.components.client_json import bytes_as_json
from headrace.pipelines import Examples, Model, Schema
from headrace.pipelines.errors import DataError
from headrace.transforms import feature_model
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.row_groups import RowGroup, read
from headrace.transforms.serving.signatures import Signature, TensorInfo

Row = dict[str, Any]
# What stands for a missing value where neither the model nor the schema says otherwise: feature_model.missing_value.
_MISSING: dict[str, Any] = {"float32": math.nan, "string": ""}


class ClientRows:
    """Some rows of the examples, as a client has them.

    Args:
        batch: The rows.
        stated: What stands for a missing value, by column.
    """

    def __init__(self, batch: pa.RecordBatch, stated: Mapping[str, ModelInput]) -> None:
        self.batch, self.stated = batch, stated

    def columns(self) -> list[str]:
        return list(self.batch.schema.names)

    def of(self, signature: Signature, *, complete: bool = False) -> list[Row]:
        """The rows with the inputs of a signature: what is missing is left out where the model has a default for it,
        and otherwise sent as what stands for it. `complete` rows leave nothing out."""
        columns = {name: self._values(tensor) for name, tensor in signature.inputs.items()}
        missing = {name: self.batch.column(name).is_null().to_pylist() for name in columns}
        return [
            {
                name: values[row]
                for name, values in columns.items()
                if complete or not (missing[name][row] and name in signature.optional)
            }
            for row in range(self.batch.num_rows)
        ]

    def raw(self) -> list[Row]:
        """The rows as tf.Example has them: every column that the row has, none that is missing."""
        inputs = {name: _input_of(self.batch.schema.field(name).type, name) for name in self.columns()}
        columns = {name: _json(feature_model.to_numpy(self.batch.column(name), one)) for name, one in inputs.items()}
        missing = {name: self.batch.column(name).is_null().to_pylist() for name in columns}
        rows = range(self.batch.num_rows)
        return [{name: columns[name][row] for name in columns if not missing[name][row]} for row in rows]

    def _values(self, tensor: TensorInfo) -> list[Any]:
        stated = self.stated.get(tensor.name)
        dtype = tensor.dtype.name
        missing: Any = stated.missing if stated is not None and stated.dtype == dtype else None
        if missing is None:
            missing = _MISSING.get(dtype)
        if missing is None and tensor.default is not None:
            missing = tensor.row_default().reshape(-1)[0].item()
        shape = tuple(tensor.shape[1:]) if tensor.shape else ()
        one = ModelInput(tensor.name, dtype, shape, missing is not None, missing)
        return _json(feature_model.to_numpy(self.batch.column(tensor.name), one))


def _input_of(arrow_type: pa.DataType, name: str) -> ModelInput:
    dtype = feature_model.keras_dtype(arrow_type)
    missing: Any = (_MISSING | {"int64": 0, "bool": False})[dtype]
    return ModelInput(name, dtype, (None,) if feature_model.is_list(arrow_type) else (), True, missing)


def _json(values: Any) -> list[Any]:
    return [_written(value) for value in values.tolist()]


def _written(value: Any) -> Any:
    if isinstance(value, list):
        return [_written(one) for one in value]
    if isinstance(value, bytes):
        return bytes_as_json(value)
    return value


def client_rows(
    model: Model, examples: Examples | None, schema: Schema | None, split: str | None, rows: int
) -> ClientRows | None:
    """The first rows of a split of the examples; None without examples.

    Raises:
        DataError: There is no such split, or it has no rows.
    """
    if examples is None:
        return None
    from headrace.components.evaluation.sources import stated_inputs

    chosen = split if split is not None else examples.splits[-1]
    if chosen not in examples.splits:
        raise DataError(f"no split {chosen!r}; the examples have {', '.join(examples.splits)}", "correct split=")
    batch = _first([RowGroup(*group) for group in examples.row_groups(chosen)], rows)
    if batch is None:
        raise DataError(f"the split {chosen!r} has no rows to send to the model", "name another with split=")
    return ClientRows(batch, stated_inputs(model, schema, examples))


def _first(groups: Sequence[RowGroup], rows: int) -> pa.RecordBatch | None:
    """So many rows, evenly from the row groups: the first of each."""
    filled = [group for group in groups if group.rows]
    if not filled:
        return None
    each = -(-rows // len(filled))
    parts, left = [], rows
    for group in filled:
        if left > 0:
            parts.append(read(group).slice(0, min(each, left)))
            left -= parts[-1].num_rows
    return pa.Table.from_batches(parts).combine_chunks().to_batches()[0]
