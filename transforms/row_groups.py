"""Row groups: the coarse elements of every pass over data, read by range from Parquet into one Arrow RecordBatch."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

_REMEMBERED_FILES = 64


class RowGroup(NamedTuple):
    """One row group of a Parquet file.

    Args:
        uri: Any fsspec URL, or a local path.
        index: The row group's position in the file, from 0.
        rows: How many rows it has.
    """

    uri: str
    index: int  # type: ignore[assignment]  # the field's name; tuple.index is not needed
    rows: int


class _Footers:
    """The last parsed footers by (uri, version of the file): parsing one costs more than reading a small row group.

    Footers are immutable and safe to share between threads; open files are neither, so each read opens its own.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._footers: OrderedDict[tuple[str, str], pq.FileMetaData] = OrderedDict()

    def open(self, uri: str) -> pq.ParquetFile:
        source, version, remote = _source(uri)
        key = (uri, version)
        with self._lock:
            footer = self._footers.get(key)
            if footer is not None:
                self._footers.move_to_end(key)
        # pre_buffer coalesces the ranges of a row group's columns into few requests: worth it only over a network.
        opened = pq.ParquetFile(source, metadata=footer, pre_buffer=remote)
        if footer is None:
            with self._lock:
                self._footers[key] = opened.metadata
                while len(self._footers) > _REMEMBERED_FILES:
                    self._footers.popitem(last=False)
        return opened


_footers = _Footers()


def _local_path(uri: str) -> str | None:
    if uri.startswith("file://"):
        return uri.removeprefix("file://")
    return uri if "://" not in uri and "::" not in uri else None


def _source(uri: str) -> tuple[Any, str, bool]:
    """Opens `uri`; gives the open file, a string that changes when its content does, and whether it is remote."""
    local = _local_path(uri)
    if local is not None:
        # A plain file, not a memory map: mapped pages count as resident memory of the process that reads them.
        stat = Path(local).stat()
        return pa.OSFile(local), f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ino}", False
    from fsspec.core import url_to_fs

    filesystem, path = url_to_fs(uri)
    file = filesystem.open(path, "rb", cache_type="none")
    info = getattr(file, "details", None) or {}
    version = [info.get(name) for name in ("ETag", "etag", "generation", "LastModified", "mtime", "created")]
    return file, f"{getattr(file, 'size', None)}-{version}", True


def read(group: RowGroup, columns: Sequence[str] | None = None) -> pa.RecordBatch:
    """Reads one row group, only the ranges of the columns asked for.

    Args:
        group: The row group to read.
        columns: Names of the columns, in the order wanted; all of them when None.

    Returns:
        A RecordBatch of `group.rows` rows.

    Raises:
        ValueError: A column is not in the file, or the file has fewer row groups than `group.index` says.
        FileNotFoundError: There is no file at `group.uri`.

    Example:
        >>> import tempfile, pyarrow as pa, pyarrow.parquet as pq
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pq.write_table(pa.table({"x": [1, 2], "y": ["a", None]}), f"{folder}/part.parquet")
        ...     [group] = row_groups([f"{folder}/part.parquet"])
        ...     read(group, ["y"]).to_pydict()
        {'y': ['a', None]}
    """
    with _footers.open(group.uri) as file:
        if group.index >= file.num_row_groups:
            raise ValueError(
                f"expected a row group {group.index} in {group.uri}, the file has {file.num_row_groups}: "
                "it changed after its row groups were listed; list them again"
            )
        if columns is not None and (absent := sorted(set(columns) - set(file.schema_arrow.names))):
            raise ValueError(f"no column {absent} in {group.uri}: it has {sorted(file.schema_arrow.names)}")
        table = file.read_row_group(group.index, columns=None if columns is None else list(columns))
    if columns is not None:
        table = table.select(list(columns))
    return _one_batch(table)


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    if not batches:
        return pa.RecordBatch.from_pylist([], schema=table.schema)
    if len(batches) > 1:
        raise ValueError(f"a row group of {table.num_rows} rows does not fit one RecordBatch; write smaller row groups")
    return batches[0]


def row_groups(uris: Iterable[str | os.PathLike[str]]) -> list[RowGroup]:
    """Lists the row groups of Parquet files, in order of the files, by reading their footers.

    Args:
        uris: fsspec URLs or local paths of Parquet files.
    """
    groups = []
    for path in uris:
        uri = os.fspath(path)
        with _footers.open(uri) as file:
            metadata = file.metadata
            groups += [RowGroup(uri, i, metadata.row_group(i).num_rows) for i in range(metadata.num_row_groups)]
    return groups
