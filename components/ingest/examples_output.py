"""Batches by split become Examples: what every ExampleGen ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
from headrace.components.ingest.csv_ingest import split_batch
from headrace.components.ingest.ingested import Ingested
from headrace.components.ingest.splits import UNPLACED, SplitRule
from headrace.pipelines import Examples, QuarantinedRows, step_context
from headrace.pipelines.errors import DataError

Batches = Iterable[tuple[str, pa.RecordBatch]]


def write_examples(examples: Examples, schema: pa.Schema, splits: Iterable[str], batches: Batches) -> dict[str, int]:
    """Writes batches; in a sample run the first rows of each split alone.

    Args:
        examples: The output.
        schema: Of every batch.
        splits: The splits' names; each exists, with or without rows.
        batches: Rows in order.

    Returns:
        Rows by split.
    """
    context = step_context()
    with examples.writer(schema) as writer:
        writer.declare(*splits)
        done = 0
        for split, batch in _sampled(batches, context.sample):
            writer.write(split, batch)
            done += batch.num_rows
            context.progress(done)
        return writer.rows()


def write_ingested(ingested: Ingested, examples: Examples, quarantined: QuarantinedRows, aside: Path) -> None:
    """Writes what was read from files, and the rows that were set aside.

    Args:
        ingested: The rows.
        examples: The output for good rows.
        quarantined: The output for bad rows; left out when there are none.
        aside: The Parquet file that bad rows were written to.
    """
    with ingested:
        write_examples(examples, ingested.schema, ingested.splits, ingested)
    report = ingested.report
    examples.properties["null_markers"] = report.null_markers
    examples.properties["files"] = report.files[:100]
    if not report.quarantined:
        quarantined.leave_out()
        return
    quarantined.rows = report.quarantined
    quarantined.take(aside)
    step_context().warn(f"{report.quarantined:,} bad rows were set aside; read them from the output 'quarantined'")


def split_rows(batches: Iterable[pa.RecordBatch], rule: SplitRule, source: str) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Gives each row of a stream to its split.

    Raises:
        DataError: A row has nothing in the column that splits it.
    """
    row = 0
    for batch in batches:
        rule.check(batch.schema.names)
        numbers = rule.assign(batch)
        if (numbers == UNPLACED).any():
            first = int((numbers == UNPLACED).argmax())
            raise DataError("has no time to split it by", "Leave such rows out in the query.", source, row + first + 1)
        yield from split_batch(batch, numbers, rule.names)
        row += batch.num_rows


def _sampled(batches: Batches, sample: int | None) -> Batches:
    if sample is None:
        yield from batches
        return
    taken: Counter[str] = Counter()
    for split, batch in batches:
        part = batch.slice(0, max(0, sample - taken[split]))
        taken[split] += part.num_rows
        if part.num_rows:
            yield split, part


