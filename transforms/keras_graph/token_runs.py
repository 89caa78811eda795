"""Token counts that memory does not hold: written to files as they come, and added up by DuckDB, out of core."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

# What is counted in memory before it is written, and what DuckDB may hold when it adds up, in bytes.
RUN_BYTES = 64 << 20
ADDING_BYTES = 512 << 20


def write_run(table: pa.Table, folder: str) -> str:
    """Writes counts as a file, and gives its path.

    Args:
        table: Columns `token`, `count` and `documents`.
        folder: A folder on this machine.
    """
    path = str(Path(folder) / f"{uuid.uuid4().hex}.parquet")
    pq.write_table(table, path, compression="lz4", use_dictionary=False)
    return path


def add_runs(runs: Sequence[str], size: int | None) -> pa.Table:
    """Adds up the counts of each token, and orders them by count, then by token, both descending.

    Args:
        runs: Files that `write_run` wrote; a token may be in several. They are deleted.
        size: How many tokens to give at most; None for all.

    Returns:
        Columns `token`, `count` and `documents`, each token once.
    """
    import duckdb

    # `preserve_insertion_order` stays on: without it DuckDB 1.5 now and then gives the pieces of an ordered result in
    # another order.
    settings = {
        "memory_limit": f"{ADDING_BYTES >> 20}MiB",
        "temp_directory": str(Path(runs[0]).parent / "adding"),
        # DuckDB counts the cores of the machine; a pod may have fewer. Each thread takes its share of the memory.
        "threads": str(min(4, os.cpu_count() or 1)),
    }
    query = """
        SELECT token, sum(count)::BIGINT AS count, sum(documents)::BIGINT AS documents
        FROM read_parquet($runs) GROUP BY token
        ORDER BY count DESC, token DESC
    """
    limit = "" if size is None else f"LIMIT {int(size)}"
    with duckdb.connect(config=settings) as connection:
        added = connection.sql(query + limit, params={"runs": list(runs)}).to_arrow_table()
    for run in runs:
        Path(run).unlink()
    return added
