"""CsvExampleGen: CSV files become Examples."""

from __future__ import annotations

from typing import Literal

from headrace.components.split_arguments import split_problems
from headrace.pipelines import Examples, InputFiles, Output, QuarantinedRows, component, step_context


@component(imports=("pyarrow",), check=split_problems)
def CsvExampleGen(
    examples: Output[Examples],
    quarantined: Output[QuarantinedRows],
    *,
    input_base: InputFiles,
    splits: dict[str, int] | list[str] | None = None,
    split_by: str | list[str] | None = None,
    split_by_time: str | None = None,
    boundaries: list[str | int | float] | None = None,
    column_types: dict[str, str] | None = None,
    null_values: list[str] | None = None,
    on_bad_row: Literal["error", "quarantine"] = "error",
    delimiter: str = ",",
    encoding: str = "utf-8",
) -> None:
    """Reads CSV files (`.csv`, `.csv.gz`, `.csv.zip`) and writes their rows, typed and split.

    A row's split follows from the hash of its cells' text, so that adding, reordering or resharding files, and
    retyping columns, moves no row. Types are inferred over all rows; a sample run (`headrace run --sample`) reads until
    it has enough of each split, and its types are those of the rows that it read.

    Args:
        examples: The rows by split.
        quarantined: Bad rows with file, row, text and reason; absent when there are none.
        input_base: A folder, file or glob; with `{SPAN}`, `{VERSION}` or `{YYYY}-{MM}-{DD}`, or a `FilePattern` with
            a window of spans; or a dict with one of them for each split.
        splits: Ratio of hash buckets by split (default: train 2, eval 1); for a split by time the names, the earliest
            first.
        split_by: Column or columns whose equal values stay in one split.
        split_by_time: Column to split by time or by number.
        boundaries: Ascending places where the next split begins, such as ``["2013-10-01"]``.
        column_types: Types by column, such as ``{"zip": "string"}``, instead of inferring them.
        null_values: Texts that mean missing (default: ``""``, ``NA``, ``null``); a quoted ``""`` is an empty string.
        on_bad_row: ``"error"`` refuses the first malformed row; ``"quarantine"`` sets such rows aside.
        delimiter: One character.
        encoding: Of the text.

    Raises:
        DataError: With file, row, column, value and repair.

    >>> CsvExampleGen(input_base="data/{YYYY}-{MM}-{DD}/*.csv", splits={"train": 8, "eval": 2})       # doctest: +SKIP
    """
    from headrace.components.ingest.csv_ingest import NULL_VALUES, CsvOptions, ingest_csv
    from headrace.components.ingest.examples_output import keep_quarantined, sources_for, write_examples
    from headrace.components.ingest.splits import split_rule

    rule = split_rule(splits, split_by=split_by, split_by_time=split_by_time, boundaries=boundaries)
    context = step_context()
    scratch = context.scratch
    aside = scratch / "quarantine.parquet"
    options = CsvOptions(
        null_values=NULL_VALUES if null_values is None else null_values,
        column_types=column_types or {},
        delimiter=delimiter,
        encoding=encoding,
        sample=context.sample,
    )
    ingested = ingest_csv(
        sources_for(input_base, rule, examples),
        scratch=scratch,
        quarantine=aside if on_bad_row == "quarantine" else None,
        options=options,
    )
    write_examples(ingested, examples)
    examples.properties["null_markers"] = ingested.report.null_markers
    if ingested.report.cut and not set(ingested.schema.names) <= set(options.column_types):
        context.warn("types are inferred from the rows that the sample read alone: all rows may have others")
    keep_quarantined(ingested, quarantined, aside)
