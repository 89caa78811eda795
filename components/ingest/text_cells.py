"""The bytes of a column of text as NumPy arrays: starts, lengths, and any eight bytes of every cell at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Words = npt.NDArray[np.uint64]

WORD = 8
_KEEP = np.array([(1 << (8 * size)) - 1 for size in range(WORD)] + [2**64 - 1], dtype="<u8")


class TextCells:
    """A string or binary column whose cells can be read eight bytes at a time.

    Args:
        array: Arrow string, large_string, binary or large_binary array of n cells; a null reads as an empty cell.

    >>> cells = TextCells(pa.array(["a", "longer than eight"]))
    >>> cells.lengths.tolist()
    [1, 17]
    >>> int(cells.first[0]) == ord("a")
    True
    """

    def __init__(self, array: pa.Array) -> None:
        wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
        if array.null_count:
            array = array.fill_null(
                "" if pa.types.is_string(array.type) or pa.types.is_large_string(array.type) else b""
            )
        _, offsets, data = array.buffers()
        size = len(array)
        ends = np.frombuffer(offsets, dtype="<i8" if wide else "<i4", count=array.offset + size + 1)[array.offset :]
        places = ends.astype(np.int64)
        places -= places[0]
        self.starts = places[:-1]
        self.lengths = places[1:] - places[:-1]
        used = 0 if data is None else int(ends[-1] - ends[0])
        # Copied with eight zero bytes behind it, so that the last cell's last word can be read whole.
        self.data = np.empty(used + WORD, dtype=np.uint8)
        self.data[used:] = 0
        if used:
            self.data[:used] = np.frombuffer(data, dtype=np.uint8, count=used, offset=int(ends[0]))
        self._windows = np.ndarray(shape=(used + 1,), dtype="<u8", buffer=self.data, strides=(1,))
        # take copies the windows once to aligned memory, which for short cells costs less than unaligned indexing.
        short = used < WORD * len(self.starts)
        self.first: Words = self._windows.take(self.starts) if short else self._windows[self.starts]
        self.first &= _KEEP.take(self.lengths, mode="clip")

    def __len__(self) -> int:
        return len(self.starts)

    def word(self, number: int, cells: npt.NDArray[np.intp]) -> Words:
        """Bytes 8*number to 8*number+7 of the given cells as little-endian numbers, zero behind a cell's end.

        Args:
            number: From 0.
            cells: Indices of cells longer than 8*number bytes.
        """
        words: Words = self._windows[self.starts[cells] + WORD * number]
        words &= _KEEP.take(self.lengths[cells] - WORD * number, mode="clip")
        return words

    def cell(self, index: int) -> bytes:
        """The bytes of one cell."""
        start = int(self.starts[index])
        return self.data[start : start + int(self.lengths[index])].tobytes()

    def equal(self, text: bytes) -> npt.NDArray[np.bool_]:
        """Which cells are exactly this text."""
        same: npt.NDArray[np.bool_] = self.first == np.uint64(int.from_bytes(text[:WORD], "little"))
        if not same.any():
            return same
        # The first word alone does not tell "NA" from "NA\0", nor longer texts from each other.
        same &= self.lengths == len(text)
        if len(text) > WORD:
            for index in np.flatnonzero(same):
                same[index] = self.cell(int(index)) == text
        return same

    def first_bytes(self) -> npt.NDArray[np.uint8]:
        """The first byte of every cell, 0 for an empty one."""
        return self.first.astype(np.uint8)
