"""What reading gives: a schema, batches by split, and afterwards what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


@dataclass
class IngestReport:
    """What was found; complete when the batches have been read to their end.

    Args:
        rows: Rows by split.
        quarantined: Rows set aside.
        null_markers: Per column, how often each null marker stood there; a quoted one with its quotes.
        files: The files' names, as messages call them.
        cut: A sample left rows unread.
    """

    rows: Counter[str] = field(default_factory=Counter)
    quarantined: int = 0
    null_markers: dict[str, dict[str, int]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    cut: bool = False

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict, fit for an artifact's properties."""
        return {
            "rows": dict(self.rows),
            "quarantined": self.quarantined,
            "null_markers": self.null_markers,
            "files": self.files,
        }


class Ingested:
    """Rows ready to be written: the final schema first, then `(split, batch)` in the order of the input.

    Args:
        schema: Of every batch.
        splits: The splits' names; each may have any number of batches, or none.
        batches: Gives the batches once.
        report: Filled while the batches are read.
        close: Frees scratch files.

    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"x": [1]})
    >>> rows = Ingested(batch.schema, ("train",), iter([("train", batch)]), IngestReport())
    >>> [(split, part.num_rows) for split, part in rows]
    [('train', 1)]
    """

    def __init__(
        self,
        schema: pa.Schema,
        splits: tuple[str, ...],
        batches: Iterator[tuple[str, pa.RecordBatch]],
        report: IngestReport,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.schema, self.splits, self.report = schema, splits, report
        self._batches, self._close = batches, close

    def __iter__(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        try:
            yield from self._batches
        finally:
            self.close()

    def close(self) -> None:
        """Frees scratch files; reading to the end does it too."""
        self._close()

    def __enter__(self) -> Ingested:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
