"""Applies a function to a stream in a few threads, and gives the results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def worker_count() -> int:
    """Threads that this process may run at once, at most 8: what they do is bound by memory bandwidth."""
    return max(1, min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


def ordered_map(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`map`, with `workers` threads and no more than `workers + 2` items in flight.

    An error of `items` or of the function surfaces behind the results of the items before it.

    >>> list(ordered_map(str, range(3), 2))
    ['0', '1', '2']
    """
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
