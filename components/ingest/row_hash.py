"""A 64-bit hash of a row's text that is the same on every machine, in every version and for every order of the columns.

Definition, version 1 (all arithmetic modulo 2**64, `>>` shifts zeros in):

    mix(x)        y = x * K1;  y = y ^ (y >> 32);  return y * K2
    cell(b)       the UTF-8 bytes b of a cell, n = len(b)
                  n <= 64:  padded with zero bytes to words w0, w1, ... of 8 bytes, little-endian (an empty cell has
                            one word, 0)
                            h = mix(w0 ^ n * K3);  for each further word: h = mix((h >> 32) ^ h ^ w)
                  n > 64:   h = mix(XXH64(b, seed=0))
    row(c1..cm)   the cells in ascending order of their columns' names (by Unicode code point)
                  r = 0;  for each cell: r = (r ^ cell(c)) * K1;  r = r ^ (r >> 29)
                  r = r ^ (r >> 33);  r = r * K4;  r = r ^ (r >> 33);  r = r * K5;  r = r ^ (r >> 33)

K1 is 2**64 over the golden ratio, K2 and K3 are odd constants with balanced bits, K4 and K5 and the last line are
MurmurHash3's finaliser. A cell of up to eight bytes costs a handful of vectorised operations, which is what makes it
cheap: numbers, codes and dates are that short. tests/components/test_ingest_row_hash.py has golden values and a
plain-Python copy of this definition.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xxhash
from headrace.components.ingest.text_cells import WORD, TextCells, Words

K1 = np.uint64(0x9E3779B97F4A7C15)
K2 = np.uint64(0xD6E8FEB86659FD93)
K3 = np.uint64(0xA24BAED4963EE407)
K4 = np.uint64(0xFF51AFD7ED558CCD)
K5 = np.uint64(0xC4CEB9FE1A85EC53)
LONG = 64

_29, _32, _33 = np.uint64(29), np.uint64(32), np.uint64(33)


def hash_cells(cells: TextCells) -> Words:
    """The hash of every cell of a column, by the definition above.

    >>> import pyarrow as pa
    >>> [hex(h) for h in hash_cells(TextCells(pa.array(["", "a"])))]
    ['0x0', '0x7e70cb221cc83d95']
    """
    hashes = cells.lengths.view(np.uint64) * K3
    hashes ^= cells.first
    _mix(hashes)
    longest = int(cells.lengths.max(initial=0))
    number = 1
    while WORD * number < min(longest, LONG):
        rest = np.flatnonzero(cells.lengths > WORD * number)
        part = hashes[rest]
        part ^= part >> _32
        part ^= cells.word(number, rest)
        hashes[rest] = _mix(part)
        number += 1
    if longest > LONG:
        rest = np.flatnonzero(cells.lengths > LONG)
        digests = (xxhash.xxh64_intdigest(cells.cell(int(index))) for index in rest)
        hashes[rest] = _mix(np.fromiter(digests, dtype=np.uint64, count=len(rest)))
    return hashes


def hash_rows(columns: Mapping[str, TextCells]) -> Words:
    """The hash of every row, by the definition above.

    Args:
        columns: At least one column of n cells by name, in any order.

    Returns:
        n hashes.

    >>> import pyarrow as pa
    >>> a, b = TextCells(pa.array(["1", "2"])), TextCells(pa.array(["x", "y"]))
    >>> bool((hash_rows({"a": a, "b": b}) == hash_rows({"b": b, "a": a})).all())
    True
    """
    names = sorted(columns)
    rows = np.zeros(len(columns[names[0]]), dtype=np.uint64)
    shifted = np.empty_like(rows)
    for name in names:
        rows ^= hash_cells(columns[name])
        rows *= K1
        rows ^= np.right_shift(rows, _29, out=shifted)
    for multiplier in (K4, K5):
        rows ^= np.right_shift(rows, _33, out=shifted)
        rows *= multiplier
    rows ^= rows >> _33
    return rows


def _mix(values: Words) -> Words:
    values *= K1
    values ^= values >> _32
    values *= K2
    return values
