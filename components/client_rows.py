"""Rows of raw examples as a client of the model sends them: a JSON object a row, by the exact column names.

The JSON of each type is that of the feature model (docs/feature-model.md). What is missing is left out where the model
can do without it.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.pipelines import Examples, Model, Schema
from headrace.pipelines.errors import DataError
from headrace.transforms import feature_model
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.row_groups import RowGroup, read
from headrace.transforms.serving.signatures import Signature, TensorInfo

Instance = dict[str, Any]
# What the Trainer writes beside a model that it exports: components/training/reference_rows.py.
REFERENCE = "training/reference.parquet"

# What stands for a missing value where neither the model nor the schema says otherwise: feature_model.missing_value.
_MISSING: dict[str, Any] = {"float32": math.nan, "string": ""}


def instances(
    batch: pa.RecordBatch, inputs: Mapping[str, ModelInput], *, complete: bool = False, padded: bool = False
) -> list[Instance]:
    """The rows of a batch.

    Args:
        batch: The rows.
        inputs: The columns that are sent, and what stands for a missing value of each.
        complete: Whether what is missing is sent as what stands for it; otherwise an optional column is left out.
        padded: Whether lists are of one length, as one request of several rows must have them.

    Raises:
        ValueError: A value is missing and nothing stands for it.
    """
    rows: list[Instance] = [{} for _ in range(batch.num_rows)]
    for name, one in inputs.items():
        column = batch.column(name)
        is_list = feature_model.is_list(column.type)
        values = _lists(column, one) if is_list and not padded else feature_model.to_numpy(column, one).tolist()
        lacking = column.is_null().to_pylist()
        for row, value, is_missing in zip(rows, values, lacking):
            # JSON has no NaN: a client who has one has no value.
            if complete or not one.optional or not (is_missing or value != value):
                row[name] = _written(value)
    return rows


def _lists(column: pa.Array, one: ModelInput) -> list[list[Any]]:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = feature_model.to_numpy(column.flatten(), replace(one, shape=())).tolist()
    return [flat[end - length : end] for length, end in zip(lengths, np.cumsum(lengths))]


def _written(value: Any) -> Any:
    if isinstance(value, list):
        return [_written(one) for one in value]
    return bytes_as_json(value) if isinstance(value, bytes) else value


def bytes_as_json(value: bytes) -> str | dict[str, str]:
    """A string's bytes as text; as ``{"b64": ...}`` where they are none, as TensorFlow Serving's REST API takes them.

    >>> bytes_as_json("gull".encode()), bytes_as_json(b"\\xff")
    ('gull', {'b64': '/w=='})
    """
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def rows_at(
    examples: Examples, split: Sequence[str], row: Sequence[int], inputs: Mapping[str, ModelInput]
) -> list[Instance]:
    """Rows of the examples by split and number in it, in the order given.

    Raises:
        KeyError: There is no such row.
    """
    wanted: dict[str, dict[int, int]] = {}
    for position, (name, number) in enumerate(zip(split, row)):
        wanted.setdefault(name, {})[number] = position
    found: dict[int, Instance] = {}
    for name, numbers in wanted.items():
        first = 0
        for group in (RowGroup(*one) for one in examples.row_groups(name)):
            inside = sorted(number for number in numbers if first <= number < first + group.rows)
            if inside:
                batch = read(group, list(inputs)).take(pa.array([number - first for number in inside]))
                made = instances(batch, inputs)
                found.update({numbers[number]: instance for number, instance in zip(inside, made)})
            first += group.rows
    if lacking := [position for position in range(len(row)) if position not in found]:
        at = lacking[0]
        raise KeyError(f"the examples have no row {row[at]} in split {split[at]!r}")
    return [found[position] for position in range(len(row))]


class ClientRows:
    """Some rows of the examples, to be sent to any signature.

    Args:
        batch: The rows.
        stated: The raw columns as the model takes them, by name.
        typed: Of which type each is in a tf.Example; of others the Arrow type tells.
    """

    def __init__(
        self, batch: pa.RecordBatch, stated: Mapping[str, ModelInput], typed: Mapping[str, ModelInput] | None = None
    ) -> None:
        self.batch, self.stated, self.typed = batch, stated, typed or {}

    def columns(self) -> list[str]:
        return list(self.batch.schema.names)

    def of(self, signature: Signature, *, complete: bool = False) -> list[Instance]:
        """The rows with the inputs of a signature: what is missing is left out where the signature has a default for
        it, and otherwise sent as what stands for it. `complete` rows leave nothing out."""
        inputs = {name: self._input(tensor, name in signature.optional) for name, tensor in signature.inputs.items()}
        return instances(self.batch, inputs, complete=complete, padded=True)

    def raw(self) -> list[Instance]:
        """The rows as tf.Example has them: every column that the row has, none that is missing."""
        inputs = {name: replace(self._column(name), optional=True) for name in self.columns()}
        return instances(self.batch, inputs)

    def _input(self, tensor: TensorInfo, optional: bool) -> ModelInput:
        stated = self.stated.get(tensor.name)
        dtype = tensor.dtype.name
        missing: Any = stated.missing if stated is not None and stated.dtype == dtype else None
        if missing is None:
            missing = _MISSING.get(dtype)
        if missing is None and tensor.default is not None:
            missing = tensor.row_default().reshape(-1)[0].item()
        shape = tuple(tensor.shape[1:]) if tensor.shape else ()
        return ModelInput(tensor.name, dtype, shape, optional, missing)

    def _column(self, name: str) -> ModelInput:
        arrow_type = self.batch.schema.field(name).type
        dtype = self.typed[name].dtype if name in self.typed else feature_model.keras_dtype(arrow_type)
        # What is missing is left out: this only fills the place that it had in the column.
        missing: Any = (_MISSING | {"int64": 0, "bool": False})[dtype]
        return ModelInput(name, dtype, (None,) if feature_model.is_list(arrow_type) else (), True, missing)


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
    stated = stated_inputs(model, schema, examples)
    # Headrace's own export takes a column of whole numbers with missing ones as floats. One that a run_fn wrote by
    # itself has what its author read from the schema.
    return ClientRows(batch, stated, stated if (model.path / REFERENCE).exists() else {})


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
