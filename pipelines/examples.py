"""Examples: Parquet shards per split behind a small manifest of shards, written and read in a stream.

Row groups are bounded by rows and by decoded bytes, so that one row group is what a data pass holds in memory. The
semantic digest is taken while writing, over schema and rows per split in order; how the rows lie in files does not
change it.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.pipelines import storage
from headrace.pipelines.artifact import Artifact, FileEntry, Property, digest_of
from headrace.pipelines.parquet_encoding import rows_writer

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 64 << 20
SHARD_BYTES = 512 << 20
INDEX = "examples.json"


class RowGroup(NamedTuple):
    """One row group of one shard: what a data pass takes as an element."""

    uri: str
    index: int  # type: ignore[assignment] # tuple.index is not missed
    rows: int


@dataclass(frozen=True)
class Shard:
    """A Parquet file of a split: its path in the artifact and the rows of each of its row groups."""

    file: str
    row_groups: tuple[int, ...]


class Examples(Artifact):
    """Rows by split, columnar.

    >>> with examples.writer(schema) as writer:            # doctest: +SKIP
    ...     writer.write("train", record_batch)
    >>> examples.read("train").num_rows                    # doctest: +SKIP
    """

    imports = ("pyarrow",)

    rows = Property(dict, "Rows of each split.")
    _index: dict[str, Any] | None = None

    def writer(self, schema: pa.Schema) -> ExamplesWriter:
        return ExamplesWriter(self, schema)

    def index(self) -> dict[str, Any]:
        """What `examples.json` says: schema, shards by split, digest."""
        if self._index is not None:
            return self._index
        document: dict[str, Any] = json.loads(storage.read_bytes(storage.join(self.uri, INDEX)))
        if self.manifest is not None:
            # What is committed does not change; an object store answers in tens of milliseconds.
            self._index = document
        return document

    @property
    def splits(self) -> list[str]:
        return list(self.index()["splits"])

    @property
    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.ipc.read_schema(pa.BufferReader(base64.b64decode(self.index()["schema"])))

    def row_groups(self, split: str) -> list[RowGroup]:
        """Lists the row groups of a split, in order.

        Raises:
            KeyError: There is no such split; the message lists those there are.
        """
        splits = self.index()["splits"]
        if split not in splits:
            raise KeyError(f"no split {split!r} in {self.uri}; it has {', '.join(splits)}")
        return [
            RowGroup(storage.join(self.uri, shard["file"]), number, rows)
            for shard in splits[split]
            for number, rows in enumerate(shard["row_groups"])
        ]

    def batches(self, split: str, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Reads a split row group by row group."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for shard in self.index()["splits"].get(split, ()):
            with storage.open_file(storage.join(self.uri, shard["file"])) as file:
                parquet = pq.ParquetFile(file)
                for number in range(parquet.num_row_groups):
                    table = parquet.read_row_group(number, columns=columns).combine_chunks()
                    yield from table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]

    def read(self, split: str | None = None, columns: list[str] | None = None) -> Any:
        """Reads a split as one `pyarrow.Table`, or all of them as a dict."""
        import pyarrow as pa

        if split is None:
            return {name: self.read(name, columns) for name in self.splits}
        self.row_groups(split)
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        return pa.Table.from_batches(self.batches(split, columns), schema=schema)

    def semantic_digest(self, files: Mapping[str, FileEntry]) -> str:
        digest: str = self.index()["digest"]
        return digest

    def digested_properties(self) -> dict[str, Any]:
        """None: which files the rows came from, and how their nulls were written, is not what they are."""
        return {}


class ExamplesWriter:
    """Writes batches of rows into the shards of an Examples artifact.

    Args:
        examples: The output artifact.
        schema: Arrow schema of every batch.
    """

    def __init__(self, examples: Examples, schema: pa.Schema) -> None:
        self._examples, self._schema = examples, schema
        self._splits: dict[str, _SplitWriter] = {}

    def declare(self, *splits: str) -> None:
        """Makes splits exist even when no row falls into them."""
        for split in splits:
            self._split(split)

    def write(self, split: str, batch: pa.RecordBatch) -> None:
        self._split(split).write(batch)

    def rows(self) -> dict[str, int]:
        return {name: writer.rows for name, writer in self._splits.items()}

    def close(self) -> None:
        """Writes what is buffered and the index; without it there are no Examples."""
        shards = {name: writer.close() for name, writer in self._splits.items()}
        digest = digest_of([str(self._schema), {name: writer.digest() for name, writer in self._splits.items()}])
        index = {
            "schema": base64.b64encode(self._schema.serialize().to_pybytes()).decode(),
            "columns": {field.name: str(field.type) for field in self._schema},
            "splits": {name: [asdict(shard) for shard in found] for name, found in shards.items()},
            "digest": digest,
        }
        self._examples.rows = self.rows()
        storage.write_bytes(storage.join(self._examples.uri, INDEX), json.dumps(index, indent=1).encode())

    def __enter__(self) -> ExamplesWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
            return
        for writer in self._splits.values():
            writer.abandon()

    def _split(self, name: str) -> _SplitWriter:
        if name not in self._splits:
            self._splits[name] = _SplitWriter(storage.join(self._examples.uri, name), name, self._schema)
        return self._splits[name]


class _SplitWriter:
    """Writes one split. Encoding, writing and digesting go on in a thread beside whoever makes the rows."""

    def __init__(self, uri: str, name: str, schema: pa.Schema) -> None:
        self._uri, self._name, self._schema = uri, name, schema
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"write-{name}")
        self._pending: deque[Future[None]] = deque()
        self._buffer: list[pa.RecordBatch] = []
        self._buffered_rows = 0
        self._buffered_bytes = 0
        self._shards: list[Shard] = []
        self._groups: list[int] = []
        self._shard_bytes = 0
        self._file: Any = None
        self._parquet: Any = None
        self._digest = _RowsDigest(schema)
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        if batch.schema != self._schema:
            raise TypeError(f"split {self._name!r} takes rows of\n{self._schema}\nreceived\n{batch.schema}")
        self.rows += batch.num_rows
        offset = 0
        while offset < batch.num_rows:
            piece = batch.slice(offset, ROW_GROUP_ROWS - self._buffered_rows)
            per_row = max(1, piece.get_total_buffer_size() // max(1, batch.num_rows))
            room = max(1, (ROW_GROUP_BYTES - self._buffered_bytes) // per_row)
            piece = piece.slice(0, room)
            self._buffer.append(piece)
            self._buffered_rows += piece.num_rows
            self._buffered_bytes += per_row * piece.num_rows
            offset += piece.num_rows
            if self._buffered_rows >= ROW_GROUP_ROWS or self._buffered_bytes >= ROW_GROUP_BYTES:
                self._flush()

    def close(self) -> list[Shard]:
        if self._buffered_rows or not self.rows:
            self._flush()
        self._settle(0)
        self._thread.shutdown()
        self._end_shard()
        return self._shards

    def abandon(self) -> None:
        """Gives up: what was written stays without an index, and so is nothing."""
        self._thread.shutdown(cancel_futures=True)

    def digest(self) -> list[Any]:
        return [self.rows, self._digest.hexdigest()]

    def _flush(self) -> None:
        """Hands a row group to the thread; at most two wait, so memory stays bounded."""
        self._pending.append(self._thread.submit(self._write_group, self._buffer, self._buffered_bytes))
        self._buffer, self._buffered_rows, self._buffered_bytes = [], 0, 0
        self._settle(2)

    def _settle(self, most: int) -> None:
        while len(self._pending) > most:
            self._pending.popleft().result()

    def _write_group(self, batches: list[pa.RecordBatch], size: int) -> None:
        import pyarrow as pa

        table = pa.Table.from_batches(batches, schema=self._schema).combine_chunks()
        if self._parquet is None:
            self._begin_shard(table)
        if table.num_rows:
            self._parquet.write_table(table, row_group_size=table.num_rows)
            self._groups.append(table.num_rows)
        for batch in table.to_batches():
            self._digest.update(batch)
        self._shard_bytes += size
        if self._shard_bytes >= SHARD_BYTES:
            self._end_shard()

    def _begin_shard(self, first: pa.Table) -> None:
        self._file = storage.open_file(storage.join(self._uri, f"part-{len(self._shards):05}.parquet"), "wb")
        self._parquet = rows_writer(self._file, self._schema, first)

    def _end_shard(self) -> None:
        if self._parquet is None:
            return
        self._parquet.close()
        self._file.close()
        self._shards.append(Shard(f"{self._name}/part-{len(self._shards):05}.parquet", tuple(self._groups)))
        self._parquet, self._file, self._groups, self._shard_bytes = None, None, [], 0


class _RowsDigest:
    """Digest of rows in order, by column, independent of batch, row group and shard boundaries."""

    def __init__(self, schema: pa.Schema) -> None:
        self._columns = [_ColumnDigest() for _ in schema]

    def update(self, batch: pa.RecordBatch) -> None:
        for digest, column in zip(self._columns, batch.columns):
            digest.update(column)

    def hexdigest(self) -> list[str]:
        return [column.hexdigest() for column in self._columns]


class _ColumnDigest:
    """Three running hashes of a column: validity, lengths, values; what lies in a null's slot is not hashed."""

    def __init__(self) -> None:
        # Not cryptographic: it tells rows apart, files have their SHA-256 beside it.
        from xxhash import xxh3_128

        self._validity, self._lengths, self._values = xxh3_128(), xxh3_128(), xxh3_128()
        self._children: list[_ColumnDigest] = []

    def update(self, column: pa.Array) -> None:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = column.type
        if pa.types.is_dictionary(kind):
            return self.update(column.dictionary_decode())
        if column.null_count:
            self._validity.update(column.is_valid().to_numpy(zero_copy_only=False).tobytes())
            column = column.drop_null()
        else:
            self._validity.update(b"\x01" * len(column))
        if pa.types.is_null(kind) or not len(column):
            return None
        if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            self._lengths.update(pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64).tobytes())
            self._update_children([column.flatten()])
        elif (
            pa.types.is_large_string(kind)
            or pa.types.is_large_binary(kind)
            or pa.types.is_string(kind)
            or pa.types.is_binary(kind)
        ):
            wide = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
            offsets = np.frombuffer(column.buffers()[1], np.int64 if wide else np.int32)
            offsets = offsets[column.offset : column.offset + len(column) + 1]
            self._lengths.update(np.diff(offsets).astype(np.int64).tobytes())
            if column.buffers()[2] is not None:
                self._values.update(memoryview(column.buffers()[2])[offsets[0] : offsets[-1]])
        elif pa.types.is_boolean(kind):
            self._values.update(column.to_numpy(zero_copy_only=False).tobytes())
        elif pa.types.is_struct(kind):
            self._update_children(column.flatten())
        else:
            width = kind.bit_width // 8
            start = column.offset * width
            self._values.update(memoryview(column.buffers()[1])[start : start + len(column) * width])
        return None

    def _update_children(self, columns: list[pa.Array]) -> None:
        self._children = self._children or [_ColumnDigest() for _ in columns]
        for child, column in zip(self._children, columns, strict=True):
            child.update(column)

    def hexdigest(self) -> str:
        parts = [self._validity.hexdigest(), self._lengths.hexdigest(), self._values.hexdigest()]
        children: list[str | None] = [child.hexdigest() for child in self._children]
        return digest_of([*parts, *(children or [None])])
