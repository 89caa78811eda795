"""One pass over row groups: read each, summarize it, merge the summaries. By Beam, or in this process without Beam.

Both engines call the same pure functions in the same way, so that `--sample` and a cluster give the same numbers.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Generic, Literal, Protocol, TypeVar

import pyarrow as pa
from headrace.transforms.row_groups import RowGroup, read

# Beam's in-memory runner takes so many row groups as one element, which its worker reads on all cores.
GROUPS_TOGETHER = 64

S = TypeVar("S")
OnRows = Callable[[int], None]


class Summarizer(Protocol[S]):
    """A mergeable summary of data: `merge` is associative, and `create()` is its neutral element.

    `merge` may change and return its first argument; the caller does not use either argument again.
    `finish` turns the merged summary into the result, once.
    """

    def create(self) -> S: ...
    def summarize(self, batch: pa.RecordBatch) -> S: ...
    def merge(self, left: S, right: S) -> S: ...
    def finish(self, summary: S) -> Any: ...


class Together(Generic[S]):
    """Several summarizers as one, so that they share one read of the data; summaries are dicts by name."""

    def __init__(self, summarizers: Mapping[str, Summarizer[Any]]) -> None:
        self.summarizers = dict(summarizers)

    def create(self) -> dict[str, Any]:
        return {name: one.create() for name, one in self.summarizers.items()}

    def summarize(self, batch: pa.RecordBatch) -> dict[str, Any]:
        return {name: one.summarize(batch) for name, one in self.summarizers.items()}

    def merge(self, left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
        return {name: one.merge(left[name], right[name]) for name, one in self.summarizers.items()}

    def finish(self, summary: dict[str, Any]) -> dict[str, Any]:
        return {name: one.finish(summary[name]) for name, one in self.summarizers.items()}


def run_pass(
    groups: Iterable[RowGroup] | Mapping[str, Iterable[RowGroup]],
    summarizer: Summarizer[Any] | Mapping[str, Summarizer[Any]],
    *,
    columns: Sequence[str] | None = None,
    beam_args: Sequence[str] | None = None,
    engine: Literal["beam", "direct"] = "beam",
    on_rows: OnRows | None = None,
) -> Any:
    """Summarizes row groups in one pass and gives the finished summary.

    Args:
        groups: The row groups; or several named lists of them (splits), summarized apart in the same pass.
        summarizer: What to compute; or several by name, over one read of the data.
        columns: Columns to read, in this order; all when None.
        beam_args: Options of Beam's `PipelineOptions`. The runner is Beam's in-memory one unless `--runner=` names
            another than DirectRunner.
        engine: "beam", or "direct" for the same pass in this process, without importing Beam.
        on_rows: Called with the number of rows done so far, where the pass runs in this process.

    Returns:
        `finish`'s result; a dict by name for named summarizers; a dict of those by split for named lists.

    Raises:
        Whatever reading or the summarizer raises, unwrapped where the pass runs in this process.

    Example:
        >>> import tempfile, pyarrow as pa, pyarrow.parquet as pq
        >>> from headrace.transforms.row_groups import row_groups
        >>> class Rows:
        ...     def create(self): return 0
        ...     def summarize(self, batch): return batch.num_rows
        ...     def merge(self, left, right): return left + right
        ...     def finish(self, summary): return summary
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pq.write_table(pa.table({"x": range(5)}), f"{folder}/part.parquet", row_group_size=2)
        ...     run_pass(row_groups([f"{folder}/part.parquet"]), Rows(), engine="direct")
        5
    """
    if engine not in ("beam", "direct"):
        raise ValueError(f'engine is "beam" or "direct", not {engine!r}')
    one = Together(summarizer) if isinstance(summarizer, Mapping) else summarizer
    splits = groups if isinstance(groups, Mapping) else {"": groups}
    listed = {name: list(some) for name, some in splits.items()}
    wanted = None if columns is None else list(columns)
    if engine == "direct":
        progress = Progress(on_rows)
        merged = {}
        for name, some in listed.items():
            merged[name] = one.create()
            for part in together(some):
                merged[name] = one.merge(merged[name], merge_all(part, one, wanted, progress))
    else:
        from headrace.transforms.beam_pass import run_on_beam

        merged = run_on_beam(listed, one, wanted, list(beam_args or ()), on_rows)
    finished = {name: one.finish(summary) for name, summary in merged.items()}
    return finished if isinstance(groups, Mapping) else finished[""]


def together(groups: Sequence[RowGroup]) -> list[Sequence[RowGroup]]:
    """The row groups in the parts that are merged first, in both engines: a sum's last bits depend on it."""
    return [groups[start : start + GROUPS_TOGETHER] for start in range(0, len(groups), GROUPS_TOGETHER)]


class Progress:
    """Adds up the rows done and tells the callback the total."""

    def __init__(self, on_rows: OnRows | None) -> None:
        self._on_rows = on_rows
        self._done = 0

    def add(self, rows: int) -> None:
        self._done += rows
        if self._on_rows is not None:
            self._on_rows(self._done)


def merge_all(
    groups: Sequence[RowGroup], summarizer: Summarizer[Any], columns: Sequence[str] | None, progress: Progress
) -> Any:
    """Reads and summarizes the groups on all cores and merges in the order of the groups.

    Arrow and NumPy release the interpreter's lock, so threads are enough; merging in a fixed order makes the last
    bits of a floating-point sum the same on every run.
    """

    def one(group: RowGroup) -> Any:
        return summarizer.summarize(read(group, columns))

    merged = summarizer.create()
    threads = min(worker_threads(), len(groups))
    if threads <= 1:
        summaries: Iterator[Any] = map(one, groups)
        for group, summary in zip(groups, summaries):
            merged = summarizer.merge(merged, summary)
            progress.add(group.rows)
        return merged
    with ThreadPoolExecutor(threads, thread_name_prefix="pass") as pool:
        for group, summary in zip(groups, _ordered(pool, one, groups, ahead=threads + 1)):
            merged = summarizer.merge(merged, summary)
            progress.add(group.rows)
    return merged


def _ordered(
    pool: ThreadPoolExecutor, function: Callable[[RowGroup], Any], groups: Sequence[RowGroup], ahead: int
) -> Iterator[Any]:
    """Like `pool.map`, with at most `ahead` results waiting: memory stays flat however many groups there are."""
    waiting = iter(groups)
    running: deque[Future[Any]] = deque(pool.submit(function, group) for group in islice(waiting, ahead))
    try:
        while running:
            result = running.popleft().result()
            running.extend(pool.submit(function, group) for group in islice(waiting, 1))
            yield result
    finally:
        for future in running:
            future.cancel()


def worker_threads() -> int:
    """How many threads a pass uses: the cores this process may use, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, 8))
