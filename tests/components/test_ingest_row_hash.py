"""The row hash: its definition in plain Python, golden values, evenness, and independence from columns' order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import xxhash
from headrace.components.ingest.row_hash import hash_rows
from headrace.components.ingest.text_cells import TextCells
from hypothesis import given, settings
from hypothesis import strategies as st

MASK = 2**64 - 1
K1, K2, K3 = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93, 0xA24BAED4963EE407
K4, K5 = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53


def mix(x: int) -> int:
    y = (x * K1) & MASK
    return ((y ^ (y >> 32)) * K2) & MASK


def cell(text: str) -> int:
    data = text.encode()
    if len(data) > 64:
        return mix(xxhash.xxh64_intdigest(data))
    padded = data + b"\0" * (-len(data) % 8 if data else 8)
    words = [int.from_bytes(padded[i : i + 8], "little") for i in range(0, len(padded), 8)]
    value = mix(words[0] ^ (len(data) * K3 & MASK))
    for word in words[1:]:
        value = mix((value >> 32) ^ value ^ word)
    return value


def row(cells: dict[str, str]) -> int:
    r = 0
    for name in sorted(cells):
        r = ((r ^ cell(cells[name])) * K1) & MASK
        r ^= r >> 29
    r = ((r ^ (r >> 33)) * K4) & MASK
    r = ((r ^ (r >> 33)) * K5) & MASK
    return r ^ (r >> 33)


def hashes(columns: dict[str, list[str]]) -> list[int]:
    return hash_rows({name: TextCells(pa.array(texts, pa.string())) for name, texts in columns.items()}).tolist()


CELLS = st.text(max_size=20) | st.sampled_from(
    ["", "0", "NA", "x" * 8, "x" * 9, "x" * 63, "x" * 64, "x" * 65, "ü" * 40]
)


@settings(deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=20))
def test_it_is_what_its_definition_says(rows):
    columns = {name: [cells[place] for cells in rows] for place, name in enumerate(("b", "ä", "A"))}
    assert hashes(columns) == [row({name: texts[i] for name, texts in columns.items()}) for i in range(len(rows))]


def test_golden_values():
    # Changing one of these moves rows of every user's data to another split.
    assert hashes({"month": ["1", "12"], "carrier": ["UA", ""], "note": ["", "a longer text than eight bytes"]}) == [
        4900946412316631232,
        3658136593713074275,
    ]
    assert hashes({"x": ["y" * 100]}) == [18170430333786769610]


def test_a_slice_hashes_as_the_whole():
    texts = [f"row {i} " * (i % 12) for i in range(100)]
    array = pa.array(texts)
    whole = hash_rows({"x": TextCells(array)})
    assert (hash_rows({"x": TextCells(array.slice(37, 20))}) == whole[37:57]).all()
    assert (hash_rows({"x": TextCells(array.cast(pa.large_string()).slice(37, 20))}) == whole[37:57]).all()


def test_buckets_are_even_for_regular_data():
    n = 60_000
    numbers = [str(i) for i in range(n)]
    grids = {
        "sequence": {"x": numbers},
        "grid": {"x": [str(i % 300) for i in range(n)], "y": [str(i // 300) for i in range(n)]},
        "same in two": {"x": numbers, "y": numbers},
        "long": {"x": [f"customer-{i:012d}-eu-west" for i in range(n)]},
        "sparse": {f"c{k}": [numbers[i] if i % 16 == k else "" for i in range(n)] for k in range(16)},
    }
    for name, columns in grids.items():
        found = np.array(hashes(columns), dtype=np.uint64)
        assert len(np.unique(found)) == n, name
        for buckets in (2, 3, 10, 64, 1000):
            counts = np.bincount((found % np.uint64(buckets)).astype(int), minlength=buckets)
            chi2 = ((counts - n / buckets) ** 2 / (n / buckets)).sum()
            assert chi2 < buckets - 1 + 5 * (2 * (buckets - 1)) ** 0.5 + 10, (name, buckets, chi2)
        # Every output bit is set in half of the rows and every neighbour flips about half of the bits.
        bits = np.unpackbits(found.view(np.uint8)).reshape(n, 64)
        assert abs(bits.mean(axis=0) - 0.5).max() < 0.012, name
        flips = np.unpackbits((found[1:] ^ found[:-1]).view(np.uint8)).reshape(n - 1, 64)
        assert abs(flips.mean(axis=0) - 0.5).max() < 0.012, name


def test_order_of_cells_matters_and_order_of_columns_does_not():
    assert hashes({"a": ["1"], "b": ["2"]}) == hashes({"b": ["2"], "a": ["1"]}) != hashes({"a": ["2"], "b": ["1"]})
    assert hashes({"a": ["ab"], "b": [""]}) != hashes({"a": ["a"], "b": ["b"]})
