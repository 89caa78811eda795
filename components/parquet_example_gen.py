"""ParquetExampleGen: Parquet files become Examples."""

from __future__ import annotations

from headrace.components.split_arguments import split_problems
from headrace.pipelines import Examples, InputFiles, Output, component


@component(imports=("pyarrow",), check=split_problems)
def ParquetExampleGen(
    examples: Output[Examples],
    *,
    input_base: InputFiles,
    splits: dict[str, int] | list[str] | None = None,
    split_by: str | list[str] | None = None,
    split_by_time: str | None = None,
    boundaries: list[str | int | float] | None = None,
) -> None:
    """Reads Parquet files and writes their rows, split.

    A row's split follows from the hash of its values' canonical text (`1.5`, `2`, `2013-01-31`), and is that of the
    same row in a CSV file that is written so.

    Args:
        examples: The rows by split.
        input_base: A folder, file or glob; with `{SPAN}`, `{VERSION}` or `{YYYY}-{MM}-{DD}`, or a `FilePattern` with
            a window of spans; or a dict with one of them for each split.
        splits: Ratio of hash buckets by split (default: train 2, eval 1); for a split by time the names, the earliest
            first.
        split_by: Column or columns whose equal values stay in one split.
        split_by_time: Column to split by time or by number.
        boundaries: Ascending places where the next split begins, such as ``["2013-10-01"]``.

    Raises:
        DataError: A file is damaged, or files do not have the same columns and types; with file and column.

    >>> ParquetExampleGen(input_base="data/*.parquet", splits={"train": 8, "eval": 2})  # doctest: +SKIP
    """
    from headrace.components.ingest.examples_output import sources_for, write_examples
    from headrace.components.ingest.parquet_ingest import ingest_parquet
    from headrace.components.ingest.splits import split_rule

    rule = split_rule(splits, split_by=split_by, split_by_time=split_by_time, boundaries=boundaries)
    write_examples(ingest_parquet(sources_for(input_base, rule, examples)), examples)
