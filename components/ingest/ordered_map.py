"""Applies a function to a stream in a few threads, and gives the results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

T = TypeVar("T")
R = TypeVar("R")


def worker_count() -> int:
    """Threads that this process may run at once, at most 8: reading and cutting the file is one thread's work."""
    return max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


def ordered_map(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`map`, with `workers` threads and no more than `workers + 2` items in flight.

    An error of `items` or of the function surfaces behind the results of the items before it.

    >>> list(ordered_map(str, range(3), 2))
    ['0', '1', '2']
    """
    _keep_freed_memory()
    source = iter(items)
    pending: deque[Future[R]] = deque()
    failure: Exception | None = None
    with ThreadPoolExecutor(workers, thread_name_prefix="ingest") as pool:
        try:
            while True:
                while source is not None and failure is None and len(pending) < workers + 2:
                    try:
                        item = next(source)
                    except StopIteration:
                        failure = _End()
                    except Exception as error:
                        failure = error
                    else:
                        pending.append(pool.submit(function, item))
                if not pending:
                    break
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
    if failure is not None and not isinstance(failure, _End):
        raise failure


class _End(Exception):
    """The items are at their end."""


def _keep_freed_memory() -> None:
    """Makes glibc's malloc keep up to 64 MB that a thread frees, instead of asking the kernel for it again.

    Freeing one block of 31 MB raises its thresholds (mallopt(3), M_MMAP_THRESHOLD: "dynamic"). Without it, each block's
    arrays are returned and faulted in anew: measured as a fifth of the processor time. Its pages are never touched.
    """
    np.empty(31 << 20, dtype=np.uint8)
