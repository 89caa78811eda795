"""Row groups as a shuffled stream of whole batches for Keras, in bounded memory.

A few row groups at a time are held and permuted together; which, and how, follows from the seed and the epoch alone, so that a training
that goes on from step n sees the batches it would have seen. Feeding tf.data whole batches matters: row by row is four times slower.
Batches of one size travel stacked, many to a call from Python, and are taken apart in C++ again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from headrace.transforms.row_groups import RowGroup, read

POOL_ROWS = 262_144
POOL_BYTES = 256 << 20
STACK_BYTES = 16 << 20

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class BatchStream:
    """Batches of rows of one split.

    Args:
        groups: The split's row groups.
        columns: The columns to read.
        expand: Gives a batch's rows as the arrays that the model takes, each of shape (rows, ...).
        batch_size: Rows of a batch; the last of an epoch has what is left.
        shuffle: Whether to permute the rows of each epoch.
        seed: Seed of the permutations.
        row_bytes: Bytes of an expanded row, by which the number of batches held at once is bounded.
    """

    groups: Sequence[RowGroup]
    columns: Sequence[str]
    expand: Callable[[pa.RecordBatch], Arrays]
    batch_size: int
    shuffle: bool = False
    seed: int = 0
    row_bytes: int = 256

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self.groups)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return -(-self.rows // self.batch_size)

    def batches(self, epoch: int = 0, skip: int = 0) -> Iterator[Arrays]:
        """Yields the batches of an epoch, from the `skip`-th on."""
        for stack in self.stacks(epoch, skip):
            for number in range(len(next(iter(stack.values())))):
                yield {name: array[number] for name, array in stack.items()}

    def stacks(self, epoch: int = 0, skip: int = 0) -> Iterator[Arrays]:
        """Yields stacks of batches of one size: arrays of shape (batches, rows, ...)."""
        most = max(1, STACK_BYTES // max(1, self.batch_size * self.row_bytes))
        left: pa.RecordBatch | None = None
        for pool in self._pools(epoch):
            rows = pool if left is None else _concatenate([left, pool])
            whole = rows.num_rows // self.batch_size * self.batch_size
            start = min(skip * self.batch_size, whole)
            skip -= start // self.batch_size
            while start < whole:
                stop = min(whole, start + most * self.batch_size)
                yield self._stack(rows.slice(start, stop - start), (stop - start) // self.batch_size)
                start = stop
            left = rows.slice(whole) if whole < rows.num_rows else None
        if left is not None and skip <= 0:
            yield self._stack(left, 1)

    def _stack(self, rows: pa.RecordBatch, batches: int) -> Arrays:
        expanded = self.expand(rows)
        return {name: array.reshape(batches, rows.num_rows // batches, *array.shape[1:]) for name, array in expanded.items()}

    def _pools(self, epoch: int) -> Iterator[pa.RecordBatch]:
        """Yields some row groups together, permuted: one pool is all that is held."""
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(len(self.groups)) if self.shuffle else np.arange(len(self.groups))
        held: list[pa.RecordBatch] = []
        for number in order:
            held.append(read(self.groups[int(number)], list(self.columns)))
            full = sum(b.num_rows for b in held) >= POOL_ROWS or sum(b.get_total_buffer_size() for b in held) >= POOL_BYTES
            if full or not self.shuffle:
                yield self._permuted(held, generator)
                held = []
        if held:
            yield self._permuted(held, generator)

    def _permuted(self, held: list[pa.RecordBatch], generator: np.random.Generator) -> pa.RecordBatch:
        rows = _concatenate(held)
        return rows.take(pa.array(generator.permutation(rows.num_rows))) if self.shuffle else rows

    def dataset(self, pack: Callable[[dict[str, Any]], Any], *, first_epoch: int = 0, skip: int = 0) -> Any:
        """The stream as a `tf.data.Dataset` of one epoch; each time it is iterated is the next epoch.

        Args:
            pack: Arranges a batch's tensors as Keras takes them: (features, label) or (features, label, weight).
            first_epoch: The epoch of the first iteration.
            skip: Batches to leave out of the first iteration.
        """
        import tensorflow as tf

        epochs = iter(range(first_epoch, 1 << 30))

        def stacks() -> Iterator[Arrays]:
            epoch = next(epochs)
            yield from self.stacks(epoch, skip if epoch == first_epoch else 0)

        example = self.expand(_concatenate([read(self.groups[0], list(self.columns)).slice(0, 1)])) if self.groups else {}
        signature = {
            name: tf.TensorSpec((None, None, *array.shape[1:]), _tf_dtype(array)) for name, array in example.items()
        }
        return tf.data.Dataset.from_generator(stacks, output_signature=signature).unbatch().map(pack).prefetch(4)


def _tf_dtype(array: np.ndarray) -> Any:
    import tensorflow as tf

    return tf.string if array.dtype == object else tf.as_dtype(array.dtype)


def _concatenate(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    table = pa.Table.from_batches(batches).combine_chunks()
    return table.to_batches()[0] if table.num_rows else batches[0]
