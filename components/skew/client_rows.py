"""Rows as a client sends them: a JSON object a row, by the exact column names, without what is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from headrace.components.client_json import bytes_as_json
from headrace.pipelines import Examples
from headrace.transforms import feature_model
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.row_groups import RowGroup, read

Instance = dict[str, Any]

_LARGEST = {"float32": 3.0e38, "int64": 2**62, "int32": 2**31 - 1}


def instances(batch: pa.RecordBatch, inputs: Mapping[str, ModelInput]) -> list[Instance]:
    """The rows of a batch in the JSON forms of the feature model (docs/feature-model.md)."""
    rows: list[Instance] = [{} for _ in range(batch.num_rows)]
    for name, one in inputs.items():
        column = batch.column(name)
        values = column if feature_model.is_list(column.type) else feature_model.plain_values(column)
        for row, value in zip(rows, values.to_pylist()):
            # A column of bools with missing values is a number to the model.
            written = _written(float(value) if isinstance(value, bool) and one.dtype == "float32" else value)
            if written is not None:
                row[name] = written
    return rows


def _written(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, list):
        return [_written(one) for one in value]
    if isinstance(value, bytes):
        return bytes_as_json(value)
    return value


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


def edge_rows(typical: Instance, inputs: Mapping[str, ModelInput]) -> list[tuple[str, Instance]]:
    """Rows that data seldom has: each field missing where it may be, empty, never seen, or extreme.

    Args:
        typical: A row of the data, which each edge differs from in one column.
        inputs: The columns, with the value that stands for a missing one.

    Returns:
        What is at the edge, and the row.
    """
    edges: list[tuple[str, Instance]] = []
    for name, one in inputs.items():
        if one.shape:
            continue
        if one.optional:
            edges.append((f"{name} missing", {key: value for key, value in typical.items() if key != name}))
        if one.dtype == "string":
            edges += [(f"{name} empty", {**typical, name: ""}), (f"{name} never seen", {**typical, name: "\u00bfnew?"})]
        elif one.dtype in _LARGEST:
            largest = _LARGEST[one.dtype]
            edges += [
                (f"{name} huge", {**typical, name: largest}),
                (f"{name} hugely negative", {**typical, name: -largest}),
            ]
            edges.append((f"{name} zero", {**typical, name: type(largest)(0)}))
    return edges
