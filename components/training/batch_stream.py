"""Row groups as a shuffled stream of whole batches for Keras, in bounded memory.

A few row groups at a time are held and permuted together; which, and how, follows from the seed and the epoch alone,
so that a training that goes on from step n sees the batches it would have seen. Feeding tf.data whole batches matters:
row by row is four times slower. Batches of one size travel stacked, many to a call from Python, and are taken apart in
C++ again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
from headrace.transforms.row_groups import RowGroup

POOL_ROWS = 262_144
POOL_BYTES = 128 << 20
STACK_BYTES = 16 << 20
WAITING_BYTES = 256 << 20

Structure = Any
"""What Keras takes: (features,), (features, label) or (features, label, weight); arrays of one number of rows."""


@dataclass
class Failure:
    """The error that ended a stream inside tf.data, which would wrap it in one of its own."""

    error: Exception | None = None


@dataclass(frozen=True)
class BatchStream:
    """Batches of rows of one split.

    Args:
        groups: The split's row groups.
        read: Reads a row group as the columns that are stored.
        schema: Schema of what `read` gives.
        expand: Gives rows as what the model takes, arrays of shape (rows, ...).
        batch_size: Rows of a batch; the last of an epoch has what is left.
        most_steps: Batches of an epoch at most; None for all.
        shuffle: Whether to permute the rows of each epoch.
        seed: Seed of the permutations.
        row_bytes: Bytes of an expanded row, by which the number of batches held at once is bounded.
    """

    groups: Sequence[RowGroup]
    read: Callable[[RowGroup], pa.RecordBatch]
    schema: pa.Schema
    expand: Callable[[pa.RecordBatch], Structure]
    batch_size: int
    most_steps: int | None = None
    shuffle: bool = False
    seed: int = 0
    row_bytes: int = 256
    failure: Failure = field(default_factory=Failure)

    @property
    def rows(self) -> int:
        """Rows of the split."""
        return sum(group.rows for group in self.groups)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        every = -(-self.rows // self.batch_size)
        return every if self.most_steps is None else min(every, self.most_steps)

    def stacks(self, epoch: int = 0) -> Iterator[Structure]:
        """Yields the batches of an epoch, stacked: arrays of shape (batches, rows, ...)."""
        most = max(1, STACK_BYTES // max(1, self.batch_size * self.row_bytes))
        step = 0
        for rows, order in self.pools(epoch):
            for start in range(0, len(order), most * self.batch_size):
                indices = order[start : start + most * self.batch_size]
                chosen = indices[: (self.steps - step) * self.batch_size]
                yield from self._stacked(self._take(rows, chosen))
                step += -(-len(chosen) // self.batch_size)
                if step >= self.steps:
                    return

    def _take(self, rows: pa.RecordBatch, chosen: np.ndarray) -> pa.RecordBatch:
        return rows.take(pa.array(chosen)) if self.shuffle else rows.slice(int(chosen[0]), len(chosen))

    def _stacked(self, rows: pa.RecordBatch) -> Iterator[Structure]:
        """One stack of whole batches, and one of the batch that is short."""
        whole = rows.num_rows // self.batch_size
        for part, batches in (
            (rows.slice(0, whole * self.batch_size), whole),
            (rows.slice(whole * self.batch_size), 1),
        ):
            if part.num_rows:
                yield map_arrays(lambda array: array.reshape(batches, -1, *array.shape[1:]), self.expand(part))  # noqa: B023

    def pools(self, epoch: int) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        """Yields some row groups together, with the order of their rows: one pool is all that is held.

        What does not fill a batch goes into the next pool.
        """
        generator = np.random.default_rng([self.seed, epoch])
        numbers = generator.permutation(len(self.groups)) if self.shuffle else np.arange(len(self.groups))
        held: list[pa.RecordBatch] = []
        for position, number in enumerate(numbers):
            held.append(self.read(self.groups[int(number)]))
            is_last = position + 1 == len(numbers)
            if not (is_last or self._is_full(held)):
                continue
            rows = _concatenate(held)
            held = []
            order = generator.permutation(rows.num_rows) if self.shuffle else np.arange(rows.num_rows)
            left = 0 if is_last else rows.num_rows % self.batch_size
            if left:
                held = [rows.take(pa.array(order[-left:]))]
            yield rows, order[: len(order) - left]

    def _is_full(self, held: list[pa.RecordBatch]) -> bool:
        """Without shuffling there is nothing to mix: one batch's rows are enough."""
        rows: int = sum(batch.num_rows for batch in held)
        size: int = sum(batch.nbytes for batch in held)
        return rows >= POOL_ROWS or size >= POOL_BYTES if self.shuffle else rows >= self.batch_size

    def dataset(self, first_epoch: int = 0, signature: Structure = None) -> Any:
        """The stream as a `tf.data.Dataset`; each time it is iterated is the next epoch.

        It knows how many batches an epoch has. Keras would find out by one step too many, and that step, though it has
        no data, draws from the random state of Dropout.

        Args:
            first_epoch: The epoch of the first iteration.
            signature: The `tf.TensorSpec`s of a stack, where the width of an array may differ from stack to stack.
        """
        import tensorflow as tf

        epochs = count(first_epoch)

        def stacks() -> Iterator[Structure]:
            try:
                yield from self.stacks(next(epochs))
            except Exception as error:
                self.failure.error = error
                raise

        if signature is None:
            none = self.expand(pa.RecordBatch.from_pylist([], schema=self.schema))
            signature = map_arrays(lambda array: tf.TensorSpec((None, None, *array.shape[1:]), _tf_dtype(array)), none)
        data = tf.data.Dataset.from_generator(stacks, output_signature=signature).prefetch(1).unbatch()
        # Of something endless, `take` knows how much it takes.
        waiting = min(8, max(1, WAITING_BYTES // max(1, self.batch_size * self.row_bytes)))
        options = tf.data.Options()
        # Every buffer has its size. The thread that tunes them sometimes misses that its iterator ends, and the end of
        # `fit` then waits until its next round: seconds, and more the longer it ran.
        options.autotune.enabled = False
        return data.repeat().take(self.steps).prefetch(waiting).with_options(options)


def map_arrays(function: Callable[[np.ndarray], Any], structure: Structure) -> Structure:
    if isinstance(structure, dict):
        return {name: map_arrays(function, part) for name, part in structure.items()}
    if isinstance(structure, tuple):
        return tuple(map_arrays(function, part) for part in structure)
    return function(structure)


def _tf_dtype(array: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.string if array.dtype == object else tf.as_dtype(array.dtype)


def _concatenate(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).combine_chunks()
    return table.to_batches()[0] if table.num_rows else batches[0]
