"""Record batches set aside until all rows have been seen: in memory up to a bound, then in a scratch file."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa

MEMORY_BYTES = 192 << 20


class Spill:
    """Named batches in the order they were added; each may have its own schema.

    Args:
        folder: Where the scratch file goes; it has no name there and is gone with this object.
        memory_bytes: How much may stay in memory.

    >>> spill = Spill(".")
    >>> spill.add("train", pa.record_batch({"x": [1]}))
    >>> [(name, batch.num_rows) for name, batch in spill.drain()]
    [('train', 1)]
    """

    def __init__(self, folder: str | Path, memory_bytes: int = MEMORY_BYTES) -> None:
        self.folder, self.memory_bytes = Path(folder), memory_bytes
        self._kept: deque[tuple[str, pa.RecordBatch]] = deque()
        self._kept_bytes = 0
        self._file: IO[bytes] | None = None
        self._places: list[tuple[str, int, int]] = []

    def add(self, name: str, batch: pa.RecordBatch) -> None:
        """Sets a batch aside."""
        if self._file is None and self._kept_bytes + batch.nbytes <= self.memory_bytes:
            self._kept.append((name, batch))
            self._kept_bytes += batch.nbytes
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
        start = self._file.tell()
        with pa.ipc.new_stream(pa.PythonFile(self._file, "w"), batch.schema) as writer:
            writer.write_batch(batch)
        self._places.append((name, start, self._file.tell()))

    def drain(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Gives every batch once, freeing it behind itself."""
        while self._kept:
            yield self._kept.popleft()
        if self._file is None:
            return
        for name, start, end in self._places:
            self._file.seek(start)
            with pa.ipc.open_stream(pa.py_buffer(self._file.read(end - start))) as reader:
                yield name, reader.read_next_batch()
        self.close()

    def close(self) -> None:
        """Drops what is left."""
        self._kept.clear()
        self._places.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
