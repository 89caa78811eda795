"""SqlExampleGen: the rows of a SQL query over files become Examples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.components.split_arguments import split_problems
from headrace.pipelines import Examples, InputFiles, Output, component, step_context, storage
from headrace.pipelines.errors import DataError
from headrace.pipelines.file_patterns import ResolvedFiles

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from headrace.components.ingest import SplitRule

BATCH_ROWS = 65_536
SELECTS = ("SELECT", "RELATION", "MULTI")


@component(imports=("pyarrow",), check=split_problems)
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
        DataError: The query is wrong or reads a file that is not in `tables`, a file cannot be read, or there are no
            rows.

    >>> SqlExampleGen(                                                                          # doctest: +SKIP
    ...     query="SELECT * FROM flights JOIN airports ON dest = faa ORDER BY time_hour",
    ...     tables={"flights": "data/flights*.csv.zip", "airports": "data/airports.csv"},
    ... )
    """
    import duckdb
    from headrace.components.ingest import NULL_VALUES, split_rule

    rule = split_rule(splits, split_by=split_by, split_by_time=split_by_time, boundaries=boundaries)
    scratch = step_context().scratch
    with _connected(memory_limit, scratch) as connection:
        nulls = NULL_VALUES if null_values is None else null_values
        paths = [_register(connection, name, files, nulls, scratch) for name, files in _tables(tables).items()]
        # The cache knows the files of tables= alone: the query may read no other.
        connection.execute("SET allowed_paths = ?", [[path for found in paths for path in found]])
        connection.execute("SET enable_external_access = false")
        connection.execute("SET enable_progress_bar = false")
        _check_select(connection, query)
        try:
            reader = connection.sql(query).to_arrow_reader(BATCH_ROWS)
        except duckdb.Error as error:
            raise _query_error(error) from error
        _write(reader, rule, examples)


def _write(reader: pa.RecordBatchReader, rule: SplitRule, examples: Examples) -> None:
    import duckdb
    import pyarrow as pa
    from headrace.components.ingest import split_stream
    from headrace.components.ingest.examples_output import write_examples

    schema = _storable(reader.schema)

    def batches() -> Iterator[pa.RecordBatch]:
        # What the query does with the rows is seen as they come.
        try:
            for batch in reader:
                yield batch.cast(schema)
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise _query_error(error) from error

    write_examples(split_stream(batches(), schema, rule, "the query's rows"), examples)


def _connected(memory_limit: str, scratch: Path) -> duckdb.DuckDBPyConnection:
    import duckdb

    try:
        return duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": str(scratch / "duckdb")})
    except duckdb.Error as error:
        raise DataError(f"memory_limit={memory_limit!r} is none: {error}", 'Give one such as "1GB".') from error


def _query_error(error: Exception) -> DataError:
    text = str(error)
    if "disabled by configuration" in text:
        return DataError(
            f"the query reads a file that is not declared: {text}",
            'Name it in tables={"name": path} and select from that name: the cache must know what is read.',
        )
    if text.startswith("Out of Memory"):
        first = text.splitlines()[0]
        return DataError(f"the query cannot be run: {first}", 'Give more: memory_limit="4GB", or sort and join less.')
    return DataError(f"the query cannot be run: {text}", "Mend the query; its tables are those of tables=.")


def _check_select(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Refuses what is not one SELECT, and warns where the order of the rows is open."""
    import duckdb

    try:
        statements = connection.extract_statements(query)
    except duckdb.Error as error:
        raise _query_error(error) from error
    if len(statements) != 1 or statements[0].type.name not in SELECTS:
        said = ", ".join(statement.type.name for statement in statements) or "nothing"
        raise DataError(f"expected one SELECT, received {said}", "Give one query; WITH names its parts.")
    if not _is_ordered(connection, query):
        step_context().warn(
            "the query has no ORDER BY: its rows, and so everything after it, may differ when it runs again"
        )


def _is_ordered(connection: duckdb.DuckDBPyConnection, query: str) -> bool:
    """Whether the outermost SELECT says ORDER BY; one within a subquery or a window does not order the rows."""
    [(text,)] = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    parsed = json.loads(text)
    if parsed["error"]:
        return "order by" in query.lower()
    modifiers = parsed["statements"][0]["node"].get("modifiers", [])
    return any(modifier["type"] == "ORDER_MODIFIER" for modifier in modifiers)


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
    connection: duckdb.DuckDBPyConnection, name: str, files: ResolvedFiles, nulls: Sequence[str], scratch: Path
) -> list[str]:
    """Makes a table's files a view, and gives the local files that it reads.

    CSV becomes Parquet first, by the same rules as in CsvExampleGen: types over all rows, errors with file and row.
    DuckDB's own sniffer takes longer for all rows than this, and types from some rows only are a guess.
    """
    import duckdb
    import pyarrow as pa

    paths = list(files.paths)
    csv = [path for path in paths if not path.endswith(".parquet")]
    if csv and len(csv) < len(paths):
        raise DataError(f"table {name!r} has CSV and Parquet files", "Give a table files of one kind.", csv[0])
    if csv:
        paths = [str(_as_parquet(name, csv, nulls, scratch))]
    try:
        if storage.is_local(paths[0]):
            connection.read_parquet(paths).create_view(name)
            return paths
        connection.register(name, _remote_rows(paths))
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise DataError(f"table {name!r} cannot be read: {error}", "Mend the file.", paths[0]) from error
    return []


def _remote_rows(paths: list[str]) -> Any:
    """Parquet files behind a URL, read by ranges as the query asks for them."""
    import pyarrow.dataset as ds

    filesystem, _ = storage.filesystem(paths[0])
    return ds.dataset([storage.filesystem(path)[1] for path in paths], filesystem=filesystem, format="parquet")


def _as_parquet(name: str, paths: list[str], nulls: Sequence[str], scratch: Path) -> Path:
    import pyarrow.parquet as pq
    from headrace.components.ingest import CsvOptions, SingleSplit, Source, ingest_csv

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
