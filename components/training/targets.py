"""What a model is trained towards: labels and weights, where they come from, and what must not be among the
features."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from headrace.pipelines.errors import DataError, PipelineError, Problem
from headrace.transforms.keras_graph import FeatureSpec, SavedTransform, feature_batch_to_tensors
from headrace.transforms.row_groups import RowGroup


@dataclass(frozen=True)
class Target:
    """A label or a weight.

    Args:
        name: Its column among the stored columns.
        columns: The raw columns that it is computed from.
        spec: What is known of it as an output of `preprocessing_fn`; None for a raw column.
    """

    name: str
    columns: tuple[str, ...]
    spec: FeatureSpec | None = None

    def array(self, rows: pa.RecordBatch) -> np.ndarray:
        """Its values, of shape (rows, ...): (rows, 1) for a raw column."""
        if self.spec is not None:
            return feature_batch_to_tensors(rows, {self.name: self.spec})[self.name]
        values = rows.column(self.name)
        if pa.types.is_boolean(values.type) or pa.types.is_decimal(values.type):
            values = values.cast(pa.float32())
        array: np.ndarray = values.to_numpy(zero_copy_only=False)
        return array.reshape(-1, 1)


def find_target(what: str, name: str, transform: SavedTransform, schema: pa.Schema) -> Target:
    """Finds a label or weight among the outputs of `preprocessing_fn` and the columns at hand.

    Args:
        what: "label" or "weight", for the message.
        name: Its name.
        transform: The saved transform.
        schema: The columns of the examples.

    Raises:
        PipelineError: It is neither, or is nothing to compute a loss with.
    """
    if name in transform.feature_specs:
        spec = transform.feature_specs[name]
        found, is_number = Target(name, spec.columns, spec), spec.dtype != "string"
    elif name in schema.names:
        kind = schema.field(name).type
        found, is_number = Target(name, (name,)), _is_number(kind)
    else:
        known = list(dict.fromkeys([*transform.feature_specs, *schema.names]))
        near = difflib.get_close_matches(name, known, 1, 0.5)
        raise _wrong(
            f"{what}={name!r} is no output of preprocessing_fn and no column of the examples; there are "
            f"{', '.join(known)}",
            (f"did you mean {near[0]!r}? " if near else "")
            + "A raw column is among transformed examples if Transform has it in passthrough=",
        )
    if not is_number:
        raise _wrong(
            f"{what}={name!r} is text, and a loss is computed with numbers",
            "turn it into one in preprocessing_fn, with a StringLookup for one, and name that output",
        )
    return found


def _is_number(kind: pa.DataType) -> bool:
    return any(
        is_(kind) for is_ in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    )


def check_no_leak(labels: Sequence[Target], features: Sequence[str], transform: SavedTransform) -> Iterator[str]:
    """Refuses features from which a label can be computed, and yields a warning of each that shares a column with one.

    A label of one column leaks into every feature of that column. A label of several (late = arrival - schedule) leaks
    when all of them reach the model; when some do, such as the schedule, only the author knows what a client has.

    Raises:
        PipelineError: With label, features and columns.
    """
    specs = transform.feature_specs
    for label in labels:
        sharing = {name: [c for c in specs[name].columns if c in label.columns] for name in features}
        sharing = {name: columns for name, columns in sharing.items() if columns}
        reaching = {column for columns in sharing.values() for column in columns}
        said = "; ".join(f"{name!r} from column {', '.join(map(repr, columns))}" for name, columns in sharing.items())
        if sharing and reaching == set(label.columns):
            raise _wrong(
                f"the label {label.name!r} is left among the features, for it can be computed from what the model "
                f"gets: {said}",
                "take them out of what preprocessing_fn returns, or name those that are labels too in Transform's "
                "labels=",
            )
        if sharing:
            rest = ", ".join(repr(c) for c in label.columns if c not in reaching)
            yield (
                f"features share columns with the label {label.name!r}: {said}. Of the label's columns only {rest} "
                "is kept from the model: be sure that a client knows the others before the label is known"
            )


def check_present(
    what: str, target: Target, groups: Sequence[RowGroup], values: Callable[[RowGroup], pa.Array]
) -> None:
    """Refuses rows whose label or weight is missing, before the first step.

    Args:
        what: "label" or "weight", for the message.
        target: The label or weight.
        groups: The row groups to train or evaluate on.
        values: Reads the target's values of a row group.

    Raises:
        DataError: With file, row and column of the first missing one, and how many there are.
    """
    missing, first = 0, None
    before: dict[str, int] = {}
    for group in groups:
        start = before.setdefault(group.uri, 0)
        before[group.uri] += group.rows
        absent = _absent(values(group))
        if absent.any():
            missing += int(absent.sum())
            first = first or (group.uri, start + int(absent.argmax()) + 1)
    if first is not None:
        raise DataError(
            f"expected a {what} in every row, {missing:,} of {sum(before.values()):,} rows have none",
            "leave those rows out when the examples are made, for one by WHERE ... IS NOT NULL, or give them a value "
            "in preprocessing_fn",
            file=first[0],
            row=first[1],
            column=target.name,
        )


def _absent(column: pa.Array) -> np.ndarray:
    """Which rows have no value, or one that is no number in part."""
    values = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
    absent: np.ndarray = values.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    reduced: np.ndarray = np.logical_or.reduce(absent.reshape(len(column), -1), axis=1)
    return reduced


def _wrong(what: str, fix: str) -> PipelineError:
    return PipelineError(Problem(what, fix, code="label"))
