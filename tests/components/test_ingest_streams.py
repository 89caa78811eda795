"""The streams under ingestion: results in order from several threads, batches set aside in memory and on disk."""

from __future__ import annotations

import threading
import time

import pyarrow as pa
import pytest
from headrace.components.ingest.ordered_map import ordered_map
from headrace.components.ingest.spill import Spill


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_order_and_few_are_in_flight(workers):
    running, most, lock = 0, 0, threading.Lock()

    def slow(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002 * (number % 3))
        with lock:
            running -= 1
        return number * number

    assert list(ordered_map(slow, range(30), workers)) == [number * number for number in range(30)]
    assert most <= workers
    taken = []
    results = ordered_map(slow, (taken.append(number) or number for number in range(1000)), workers)
    next(results)
    results.close()
    assert len(taken) <= workers + 2


def test_an_error_surfaces_behind_the_results_before_it():
    def items():
        yield from range(3)
        raise OSError("the disk")

    seen = []
    with pytest.raises(OSError, match="the disk"):
        for result in ordered_map(str, items(), 2):
            seen.append(result)
    assert seen == ["0", "1", "2"]

    seen = []
    with pytest.raises(ZeroDivisionError):
        for result in ordered_map(lambda number: 1 // (2 - number), range(5), 2):
            seen.append(result)
    assert seen == [0, 1]


@pytest.mark.parametrize("memory_bytes", [0, 2000, 1 << 30])
def test_batches_come_back_as_they_were_whatever_their_schema(tmp_path, memory_bytes):
    batches = [
        pa.record_batch({"x": [1, None]}),
        pa.record_batch({"x": pa.nulls(3)}),
        pa.record_batch({"x": ["text", None, ""], "y": [True, False, None]}),
        pa.record_batch({"x": pa.array(range(1000), pa.float64())}).slice(500, 100),
    ] * 3
    spill = Spill(tmp_path, memory_bytes)
    for place, batch in enumerate(batches):
        spill.add(f"split {place}", batch)
    found = list(spill.drain())
    assert [name for name, _ in found] == [f"split {place}" for place in range(len(batches))]
    assert all(batch.equals(other) for (_, batch), other in zip(found, batches))
    assert not list(tmp_path.iterdir())
