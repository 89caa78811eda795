"""ExampleValidator: what in the data contradicts its schema, has drifted, or differs from what is served."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from headrace.pipelines import Anomalies, Examples, Input, Output, Schema, Statistics, component, step_context
from headrace.pipelines.errors import DataError

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

SHOWN_ROWS = 20
OFFENDING = "offending_rows.json"


@component(imports=("pyarrow",))
def ExampleValidator(
    statistics: Input[Statistics],
    schema: Input[Schema],
    anomalies: Output[Anomalies],
    examples: Input[Examples] | None = None,
    previous_statistics: Input[Statistics] | None = None,
    serving_statistics: Input[Statistics] | None = None,
    *,
    environment: str | None = None,
    fail_on: Literal["any", "error", "never"] | list[str] = "any",
) -> None:
    """Compares statistics with a schema, with earlier statistics (drift) and with those of serving data (skew).

    Clean data gives no anomaly. Drift and skew are measured where the schema states a threshold, in lines that a
    hand-edited schema (ImportSchemaGen, into SchemaGen as `imported_schema`) adds to what is inferred::

        feature { name: "carrier" drift_comparator { infinity_norm { threshold: 0.1 } } }
        feature { name: "distance" drift_comparator { jensen_shannon_divergence { threshold: 0.05 } } }

    `skew_comparator` is written in the same way. `infinity_norm` is of strings: the largest change of a value's share.
    With anomalies that `fail_on` names, the step ends as failed and what depends on it does not run; its output stays.
    In a sample run (`headrace run --sample`) anomalies are told and stop nothing: the first rows of a split need not
    have what all of it has.

    Args:
        statistics: Statistics of every split.
        schema: What is expected.
        anomalies: What was found, with the offending values.
        examples: The rows; with them, up to 20 offending rows of each column are named with their file and row.
        previous_statistics: Earlier statistics, such as a Resolver's.
        serving_statistics: Statistics of serving data.
        environment: The environment of the schema that applies, such as ``"SERVING"``.
        fail_on: What stops the run: ``"any"`` anomaly; ``"error"``, any but a new column and a comparison that has
            nothing to compare with; ``"never"``; or a list of columns.

    Raises:
        DataError: `fail_on` names a column that there is not.

    >>> ExampleValidator(                                                                   # doctest: +SKIP
    ...     statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    ... )
    """
    from headrace.transforms.validation import validate

    found = validate(
        statistics.read(),
        schema.read(),
        previous=previous_statistics.read() if previous_statistics is not None else None,
        serving=serving_statistics.read() if serving_statistics is not None else None,
        environment=environment,
    )
    lines = _lines(found)
    rows = _offending_rows(examples, found) if examples is not None and lines else []
    anomalies.write(found)
    (anomalies.path / OFFENDING).write_text(json.dumps(rows, indent=1))
    anomalies.found = len(lines)
    anomalies.link(statistics=statistics, schema=schema)
    stopping = _stopping(found, fail_on) if step_context().sample is None else set()
    if isinstance(fail_on, list) and (unknown := sorted(set(fail_on) - _columns(statistics, schema))):
        raise DataError(f"fail_on names {unknown[0]!r}, which neither schema nor data has", "correct the column's name")
    if not stopping:
        for _, line in lines[:5]:
            step_context().warn(line)
        return
    stop = [f"  {line}" for column, line in lines if column in stopping]
    places = [
        f"  {row['file']}, row {row['row']:,}: {row['column']} = {row['value']!r}"
        for row in rows
        if row["column"] in stopping
    ]
    error = DataError(
        f"{len(stop)} anomal{'y' if len(stop) == 1 else 'ies'} in the data, which fail_on={fail_on!r} does not allow",
        "mend the data; or, if it is right, edit the schema (ImportSchemaGen), or set fail_on",
        details=(*stop, *places[:SHOWN_ROWS]),
    )
    step_context().reject(str(error))


def _lines(found: anomalies_pb2.Anomalies) -> list[tuple[str, str]]:
    """Each anomaly as (column, sentence); the data as a whole counts as column ``""``."""
    lines = [(column, f"{column}: {info.description}") for column, info in sorted(found.anomaly_info.items())]
    if found.HasField("dataset_anomaly_info"):
        lines.insert(0, ("", f"the data: {found.dataset_anomaly_info.description}"))
    if found.data_missing:
        lines.insert(0, ("", "the data has no rows"))
    return lines


def _columns(statistics: Statistics, schema: Schema) -> set[str]:
    from headrace.transforms.statistics.fields import columns_of

    in_data = {name for dataset in statistics.read().datasets for name in columns_of(dataset)}
    return in_data | {feature.name for feature in schema.read().feature}


def _stopping(found: anomalies_pb2.Anomalies, fail_on: str | list[str]) -> set[str]:
    """The columns whose anomalies stop the run."""
    columns = {column for column, _ in _lines(found)}
    if isinstance(fail_on, list):
        return columns & set(fail_on)
    if fail_on == "error":
        severe = {column for column, info in found.anomaly_info.items() if info.severity == info.ERROR}
        return severe | (columns & {""})
    return columns if fail_on == "any" else set()


def _offending_rows(examples: Examples, found: anomalies_pb2.Anomalies) -> list[dict[str, Any]]:
    """Up to 20 offending rows of each column, each with its shard and its row in it, counted from 1."""
    from headrace.transforms.row_groups import RowGroup, read
    from headrace.transforms.validation import find_rows

    rows: list[dict[str, Any]] = []
    seen: dict[str, int] = {}
    columns = [name for name in found.anomaly_info if name in examples.schema.names]
    if not columns:
        return rows
    for split in examples.splits:
        before: dict[str, int] = {}
        for group in examples.row_groups(split):
            batch = read(RowGroup(*group), columns)
            for offending in find_rows(batch, found, limit=SHOWN_ROWS):
                if seen.get(offending.column, 0) < SHOWN_ROWS:
                    seen[offending.column] = seen.get(offending.column, 0) + 1
                    row = before.get(group.uri, 0) + offending.row + 1
                    place = {"split": split, "file": group.uri.removeprefix(examples.uri + "/"), "row": row}
                    rows.append(
                        {**place, "column": offending.column, "value": offending.value, "reason": offending.reason}
                    )
            before[group.uri] = before.get(group.uri, 0) + batch.num_rows
            if all(seen.get(name, 0) >= SHOWN_ROWS for name in columns):
                return rows
    return rows
