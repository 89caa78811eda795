"""The stream: every row once an epoch, in an order that seed and epoch alone decide, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from headrace.components.training import batch_stream
from headrace.components.training.batch_stream import BatchStream
from headrace.transforms.row_groups import RowGroup
from hypothesis import given, settings
from hypothesis import strategies as st

SCHEMA = pa.schema([("x", pa.int64())])


def stream_over(
    sizes: list[int], batch_size: int, on_read: Callable[[RowGroup], Any] = lambda group: None, **settings: Any
) -> BatchStream:
    """A stream over the numbers 0, 1, 2, ... in row groups of these sizes."""
    groups = [RowGroup("memory", number, size) for number, size in enumerate(sizes)]
    starts = np.cumsum([0, *sizes])

    def read(group: RowGroup) -> pa.RecordBatch:
        on_read(group)
        return pa.record_batch([pa.array(np.arange(starts[group.index], starts[group.index + 1]))], schema=SCHEMA)

    def expand(rows: pa.RecordBatch) -> Any:
        values = rows.column(0).to_numpy().reshape(-1, 1)
        return {"x": values}, values * 2

    return BatchStream(groups, read, SCHEMA, expand, batch_size, **settings)


def batches(stream: BatchStream, epoch: int = 0) -> list[np.ndarray]:
    found = []
    for features, label in stream.stacks(epoch):
        np.testing.assert_array_equal(features["x"] * 2, label)
        found += [batch.ravel() for batch in features["x"]]
    return found


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    batch_size=st.integers(1, 50),
    pool_rows=st.integers(1, 120),
    shuffle=st.booleans(),
    epoch=st.integers(0, 3),
    data=st.data(),
)
def test_every_row_once_in_whole_batches_and_most_steps_are_the_first(
    sizes: list[int], batch_size: int, pool_rows: int, shuffle: bool, epoch: int, data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_stream, "POOL_ROWS", pool_rows)
        # A few batches to a stack.
        patch.setattr(batch_stream, "STACK_BYTES", 3 * batch_size * 256)
        stream = stream_over(sizes, batch_size, shuffle=shuffle, seed=5)
        found = batches(stream, epoch)
        rows = sum(sizes)
        assert [len(batch) for batch in found[:-1]] == [batch_size] * (len(found) - 1)
        assert len(found) == stream.steps == -(-rows // batch_size)
        assert sorted(np.concatenate(found)) == list(range(rows))
        if not shuffle:
            assert list(np.concatenate(found)) == list(range(rows))
        most = data.draw(st.integers(1, len(found)))
        limited = stream_over(sizes, batch_size, shuffle=shuffle, seed=5, most_steps=most)
        assert limited.steps == most
        for some, whole in zip(batches(limited, epoch), found[:most], strict=True):
            np.testing.assert_array_equal(some, whole)


def test_seed_and_epoch_decide_the_order() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return list(np.concatenate(batches(stream_over([50] * 4, 16, shuffle=True, seed=seed), epoch)))

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(2, 0)
    assert order(1, 0) != order(1, 1)


def test_a_sorted_split_of_many_row_groups_mixes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows sorted by time, 64 row groups, a pool of 8: a batch must not be a stretch of time."""
    monkeypatch.setattr(batch_stream, "POOL_ROWS", 8 * 256)
    rows = 64 * 256
    shuffled = batches(stream_over([256] * 64, 128, shuffle=True, seed=3))
    unshuffled = batches(stream_over([256] * 64, 128))
    # The mean time of a batch says how far it is from being a sample of the whole year.
    spread = np.std([batch.mean() / rows for batch in shuffled])
    assert np.std([batch.mean() / rows for batch in unshuffled]) > 0.28
    # 8 groups of 64 drawn at random have means with a deviation of 0.29 / sqrt(8) = 0.10.
    assert spread < 0.13
    # Each batch draws from nearly all of its pool's row groups.
    assert np.mean([len(np.unique(batch // 256)) for batch in shuffled]) > 7.5
    # Neighbours in the file are not neighbours in the stream.
    gaps = np.abs(np.diff(np.concatenate(shuffled)))
    assert np.mean(gaps == 1) < 0.01


def test_one_pool_is_all_that_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """30 times the rows are read in pools of the same size: what was read less what was given stays flat."""
    monkeypatch.setattr(batch_stream, "POOL_ROWS", 4 * 500)

    def most_held(groups: int) -> int:
        read = given = most = 0

        def on_read(group: RowGroup) -> None:
            nonlocal read, most
            read += group.rows
            most = max(most, read - given)

        for features, _ in stream_over([500] * groups, 64, on_read, shuffle=True).stacks():
            given += features["x"].shape[0] * features["x"].shape[1]
        assert read == given == 500 * groups
        return most

    assert most_held(10) <= 4 * 500 + 64
    assert most_held(300) <= 4 * 500 + 64


def test_bytes_bound_a_pool_of_wide_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_stream, "POOL_BYTES", 2 * 100 * 8)
    reads: list[int] = []
    stacks = stream_over([100] * 10, 10, lambda group: reads.append(group.index), shuffle=True).stacks()
    next(stacks)
    assert len(reads) == 2


def test_a_stack_is_bounded_by_the_width_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_stream, "STACK_BYTES", 1 << 20)
    wide = stream_over([1000], 10, row_bytes=100_000)
    assert {features["x"].shape[:2] for features, _ in wide.stacks()} == {(1, 10)}
    narrow = stream_over([1000], 10, row_bytes=8)
    assert {features["x"].shape[:2] for features, _ in narrow.stacks()} == {(100, 10)}


def test_each_iteration_of_the_dataset_is_the_next_epoch() -> None:
    stream = stream_over([30, 25, 7], 8, shuffle=True, seed=2)
    data = stream.dataset(first_epoch=2)
    assert int(data.cardinality()) == stream.steps == 8
    for epoch in range(2, 5):
        found = [features["x"].numpy().ravel() for features, _ in data]
        for batch, expected in zip(found, batches(stream, epoch), strict=True):
            np.testing.assert_array_equal(batch, expected)


def test_an_error_while_reading_is_kept_as_it_is() -> None:
    import tensorflow as tf

    def broken(group: RowGroup) -> None:
        if group.index == 3:
            raise OSError("the disk is gone")

    stream = stream_over([300_000] * 4, 100, broken, shuffle=True)
    with pytest.raises(tf.errors.OpError):
        for _ in stream.dataset():
            pass
    assert isinstance(stream.failure.error, OSError)
