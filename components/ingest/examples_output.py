"""Where the rows of an ExampleGen come from, and how batches by split become its Examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
from headrace.components.ingest.csv_ingest import Source, sources_of
from headrace.components.ingest.ingested import Ingested
from headrace.components.ingest.splits import SplitRule, in_usual_order
from headrace.pipelines import Examples, QuarantinedRows, step_context
from headrace.pipelines.errors import DataError
from headrace.pipelines.file_patterns import ResolvedFiles

Batches = Iterable[tuple[str, pa.RecordBatch]]
NAMED_FILES = 100


def sources_for(
    input_base: ResolvedFiles | dict[str, ResolvedFiles], rule: SplitRule, examples: Examples
) -> list[Source]:
    """Gives each file its rule of splitting, and notes the spans on the output.

    Args:
        input_base: Files to split by the rule; or the files of each split.
        rule: How to split; not used for files by split.
        examples: The output.

    Raises:
        DataError: One file is in two splits, or one split has a span that another lacks.
    """
    if isinstance(input_base, ResolvedFiles):
        if input_base.spans:
            examples.properties["spans"] = list(input_base.spans)
        return sources_of(input_base.paths, rule)
    owner: dict[str, str] = {}
    by_split = {split: input_base[split] for split in in_usual_order(input_base)}
    first = next(iter(by_split))
    for split, found in by_split.items():
        if found.spans != input_base[first].spans:
            raise DataError(
                f"split {first!r} has spans {list(input_base[first].spans)}, split {split!r} has {list(found.spans)}",
                "Deliver every split of a span, or take one that all have: FilePattern(..., span=).",
            )
        for path in found.paths:
            if path in owner:
                both = f"split {owner[path]!r} and split {split!r}"
                raise DataError(
                    f"is in {both}: its rows would be trained on and evaluated on",
                    "Make the splits' patterns disjoint.",
                    path,
                )
            owner[path] = split
    if input_base[first].spans:
        examples.properties["spans"] = list(input_base[first].spans)
    return sources_of({split: found.paths for split, found in by_split.items()}, None)


def write_examples(ingested: Ingested, examples: Examples) -> None:
    """Writes what was read; in a sample run the first rows of each split alone.

    Args:
        ingested: The rows.
        examples: The output; every split of `ingested` exists in it, with or without rows.

    Raises:
        DataError: The rows have a column of a type that Examples cannot keep.
    """
    context = step_context()
    with ingested, examples.writer(ingested.schema) as writer:
        _check_types(ingested.schema)
        writer.declare(*ingested.splits)
        done = 0
        for split, batch in _sampled(ingested, ingested.splits, context.sample):
            writer.write(split, batch)
            done += batch.num_rows
            context.progress(done)
    examples.properties["files"] = ingested.report.files[:NAMED_FILES]


def keep_quarantined(ingested: Ingested, quarantined: QuarantinedRows, aside: Path) -> None:
    """Keeps the rows that were set aside.

    Args:
        ingested: The rows, read to their end.
        quarantined: The output for bad rows; left out when there are none.
        aside: The Parquet file that they were written to.
    """
    count = ingested.report.quarantined
    if not count:
        quarantined.leave_out()
        return
    quarantined.rows = count
    quarantined.take(aside)
    rows = "1 bad row was" if count == 1 else f"{count:,} bad rows were"
    step_context().warn(f"{rows} set aside; see the output 'quarantined'")


def _check_types(schema: pa.Schema) -> None:
    for field in schema:
        if pa.types.is_struct(field.type) or pa.types.is_map(field.type) or pa.types.is_union(field.type):
            what = f"is {field.type}: rows are kept as plain columns and lists"
            raise DataError(what, "Make columns of its fields in the source.", column=field.name)


def _sampled(batches: Batches, splits: Iterable[str], sample: int | None) -> Iterator[tuple[str, pa.RecordBatch]]:
    """The first rows of each split; reading ends as soon as every split has enough."""
    if sample is None:
        yield from batches
        return
    taken: Counter[str] = Counter()
    wanted = list(splits)
    for split, batch in batches:
        part = batch.slice(0, max(0, sample - taken[split]))
        taken[split] += part.num_rows
        if part.num_rows:
            yield split, part
        if all(taken[name] >= sample for name in wanted):
            return
