"""Rows that cannot be used: an error, or set aside in a Parquet file with file, row, text and reason."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from headrace.components.ingest.csv_rows import BadRow
from headrace.pipelines.errors import DataError

SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("column", pa.string()),
        ("text", pa.string()),
        ("reason", pa.string()),
    ]
)
_BATCH = 8_192


class Quarantine:
    """Sets bad rows aside, or refuses the first.

    Args:
        path: Parquet file to write, made with the first bad row; None makes every bad row an error.
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = None if path is None else Path(path)
        self.count = 0
        self.first: DataError | None = None
        self._rows: list[dict[str, object]] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, file: str, row: int | None, bad: BadRow) -> None:
        """Takes one bad row; `row` counts from 1 in its file, None where the file is the row.

        Raises:
            DataError: There is no quarantine.
        """
        if self.first is None:
            self.first = self._error(file, row, bad)
        if self.path is None:
            raise self.first
        text = bad.text.decode(errors="backslashreplace")
        self._rows.append({"file": file, "row": row, "column": bad.column, "text": text, "reason": bad.reason})
        self.count += 1
        if len(self._rows) >= _BATCH:
            self._write()

    def close(self) -> None:
        """Finishes the file."""
        if self._rows:
            self._write()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self) -> None:
        if self._writer is None and self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self.path, SCHEMA)
        if self._writer is not None:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows.clear()

    def _error(self, file: str, row: int | None, bad: BadRow) -> DataError:
        text = _shortened(bad.text.decode(errors="backslashreplace"))
        value = None if bad.value is None else _shortened(bad.value)
        fix = f'{bad.fix} Or give on_bad_row="quarantine" to set such rows aside.'
        said = () if bad.text.decode(errors="backslashreplace") in (file, bad.value) else (f"    the row: {text}",)
        return DataError(bad.reason, fix, file, row, bad.column, value, said)


def _shortened(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}..."
