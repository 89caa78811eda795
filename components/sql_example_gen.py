"""SqlExampleGen: the rows of a SQL query over files become Examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines import Examples, InputFiles, Output, component, step_context
from headrace.pipelines.errors import DataError
from headrace.pipelines.file_patterns import ResolvedFiles

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

BATCH_ROWS = 65_536
NULL_VALUES = ["", "NA", "null"]


@component(imports=("pyarrow",))
def SqlExampleGen(
    examples: Output[Examples],
    *,
    query: str,
    tables: InputFiles | None = None,
    splits: dict[str, int] | list[str] | None = None,
    split_by: str | list[str] | None = None,
    split_by_time: str | None = None,
    boundaries: list[str | int | float] | None = None,
    null_values: list[str] | None = None,
    memory_limit: str = "1GB",
) -> None:
    """Runs a query with DuckDB and writes its rows, split.

    The query runs out of core and its rows are streamed. Give it an ORDER BY: the order of the rows is part of what
    Examples are, and without one it may differ from run to run.

    Args:
        examples: The rows by split.
        query: SQL as DuckDB speaks it.
        tables: Each table's files by its name: `.csv`, `.csv.gz`, `.csv.zip` or `.parquet`; a path, folder, glob or
            `FilePattern`.
        splits: Ratio of hash buckets by split (default: train 2, eval 1); for a split by time the names, the earliest
            first.
        split_by: Column or columns whose equal values stay in one split.
        split_by_time: Column to split by time or by number.
        boundaries: Ascending places where the next split begins, such as ``["2013-10-01"]``.
        null_values: Texts of a CSV cell that mean missing (default: ``""``, ``NA``, ``null``).
        memory_limit: Memory that the query may hold; more is spilled to disk.

    Raises:
        DataError: The query is wrong, a file cannot be read, or there are no rows.

    >>> SqlExampleGen(                                                                          # doctest: +SKIP
    ...     query="SELECT * FROM flights JOIN airports ON dest = faa ORDER BY time_hour",
    ...     tables={"flights": "data/flights*.csv.zip", "airports": "data/airports.csv"},
    ... )
    """
    import duckdb
    from headrace.components.ingest.examples_output import split_rows, write_examples
    from headrace.components.ingest.splits import split_rule

    rule = split_rule(splits, split_by=split_by, split_by_time=split_by_time, boundaries=boundaries)
    scratch = step_context().scratch
    with duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": str(scratch / "duckdb")}) as connection:
        for name, files in _tables(tables).items():
            _register(connection, name, files, NULL_VALUES if null_values is None else null_values, scratch)
        try:
            reader = connection.sql(query).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise DataError(
                f"the query cannot be run: {error}", "Mend the query; its tables are those of tables=."
            ) from error
        schema = _storable(reader.schema)
        rows = write_examples(
            examples, schema, rule.names, split_rows(_batches(reader, schema), rule, "the query's rows")
        )
    if not sum(rows.values()):
        raise DataError("the query gives no rows", "Check its WHERE and JOIN conditions.")
    if "order by" not in query.lower():
        step_context().warn(
            "the query has no ORDER BY: its rows, and so everything after it, may differ when it runs again"
        )


def _tables(tables: Any) -> Mapping[str, ResolvedFiles]:
    if tables is None:
        return {}
    if isinstance(tables, ResolvedFiles):
        raise DataError(
            "expected tables={name: files}, received files without a table's name", 'Write {"name": files}.'
        )
    found: Mapping[str, ResolvedFiles] = tables
    return found


def _register(
    connection: duckdb.DuckDBPyConnection, name: str, files: ResolvedFiles, nulls: list[str], scratch: Path
) -> None:
    """Makes a table's files a view.

    CSV becomes Parquet first, by the same rules as in CsvExampleGen: types over all rows, errors with file and row.
    DuckDB's own sniffer takes longer for all rows than this, and types from some rows only are a guess.
    """
    import duckdb

    paths = list(files.paths)
    csv = [path for path in paths if not path.endswith(".parquet")]
    if csv and len(csv) < len(paths):
        raise DataError(f"table {name!r} has CSV and Parquet files", "Give a table files of one kind.", csv[0])
    try:
        connection.read_parquet([str(_as_parquet(name, csv, nulls, scratch))] if csv else paths).create_view(name)
    except duckdb.Error as error:
        raise DataError(f"table {name!r} cannot be read: {error}", "Mend the file.", paths[0]) from error


def _as_parquet(name: str, paths: list[str], nulls: list[str], scratch: Path) -> Path:
    import pyarrow.parquet as pq
    from headrace.components.ingest.csv_ingest import CsvOptions, Source, ingest_csv
    from headrace.components.ingest.splits import SingleSplit

    sources = [Source(path, SingleSplit(name)) for path in paths]
    target = scratch / f"{name}.parquet"
    with (
        ingest_csv(sources, scratch=scratch, options=CsvOptions(null_values=nulls)) as rows,
        pq.ParquetWriter(target, rows.schema, compression="lz4") as writer,
    ):
        for _, batch in rows:
            writer.write_batch(batch, row_group_size=batch.num_rows)
    return target


def _storable(schema: pa.Schema) -> pa.Schema:
    """The types in which rows are kept: whatever holds strings becomes strings, the rest stays what it is."""
    import pyarrow as pa

    def plain(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_string_view(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
            return pa.string()
        return pa.binary() if pa.types.is_binary_view(kind) or pa.types.is_large_binary(kind) else kind

    return pa.schema([pa.field(field.name, plain(field.type)) for field in schema])


def _batches(reader: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in reader:
        yield batch.cast(schema)
