"""Vocabularies: mergeable token counts, ordered as Keras' `adapt` orders them.

A batch is counted as statistics count it (`transforms.value_counts`). Unlike there nothing is ever dropped: every token
of the train split is in the vocabulary that `adapt` makes. As many distinct tokens as rows are possible, so batches are
collected and added up when they are twice what is known to be distinct; and what is then larger than `RUN_BYTES` goes
to a file, so that memory is bounded also where no token comes twice (`token_runs`).

The order is by count, then by the token itself, both descending: `keras.layers.StringLookup.finalize_state` reverses
`np.lexsort((tokens, counts))`. Strings compare by their UTF-8 bytes. The inverse document frequency of `tf_idf` is
log(1 + documents / (1 + documents with the token)), as in `IndexLookup._inverse_document_frequency`.

>>> import pyarrow as pa
>>> counts = merge(summarize(pa.array(["b", "a", None])), summarize(pa.array(["a", "c"])))
>>> finish(counts).tokens
['a', 'c', 'b']
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from headrace.transforms.keras_graph import token_runs
from headrace.transforms.value_counts import count_values

# Rows that are collected before they are added up, beyond twice the unique ones.
SLACK_ROWS = 10_000


class TokenCounts(NamedTuple):
    """Counted tokens, not always unique: `compact` makes them so.

    Args:
        table: Columns `token` (string as binary, or int64), `count` and `documents` (int64).
        documents: How many rows had at least one token.
        unique: How many of the first rows of `table` are known to be unique.
        runs: Files with more counts, of tokens that may be in `table` too.
    """

    table: pa.Table | None
    documents: int = 0
    unique: int = 0
    runs: tuple[str, ...] = ()


class Vocabulary(NamedTuple):
    """A finished vocabulary without special tokens; `idf` is aligned with `tokens`."""

    tokens: list[str] | list[int]
    counts: np.ndarray
    idf: np.ndarray


def create() -> TokenCounts:
    """The neutral element of `merge`."""
    return TokenCounts(None)


def summarize(tokens: pa.Array, row_length: int = 1) -> TokenCounts:
    """Counts the tokens of a batch, skipping nulls.

    Args:
        tokens: Strings, bytes or ints, flat: `row_length` consecutive ones are one row (a document).
        row_length: How many tokens, nulls included, make one row.
    """
    tokens = _plain(tokens)
    values, counts = count_values(tokens)
    if row_length == 1:
        return TokenCounts(_table(values, counts, counts), len(tokens) - tokens.null_count, len(values))
    present = tokens.is_valid()
    rows = np.repeat(np.arange(len(tokens) // row_length), row_length)[present.to_numpy(zero_copy_only=False)]
    return _with_documents(values, counts, tokens.filter(present), rows, len(np.unique(rows)))


def summarize_documents(tokens: pa.Array, rows: np.ndarray, documents: int) -> TokenCounts:
    """Counts the tokens of a batch of documents of any length.

    Args:
        tokens: Strings or bytes without nulls, flat.
        rows: Number of the document that each token is in.
        documents: How many documents there are; one may have no token.
    """
    tokens = _plain(tokens)
    values, counts = count_values(tokens)
    return _with_documents(values, counts, tokens, rows, documents)


def _with_documents(
    values: pa.Array, counts: pa.Array, tokens: pa.Array, rows: np.ndarray, documents: int
) -> TokenCounts:
    """The counts of distinct tokens, with the number of documents that each is in."""
    pairs = pa.table({"row": pa.array(rows), "token": tokens}).group_by(["row", "token"]).aggregate([])
    frequency = pc.value_counts(pairs["token"])
    frequency = frequency.combine_chunks() if isinstance(frequency, pa.ChunkedArray) else frequency
    by_token = frequency.field("counts").take(pc.index_in(values, frequency.field("values")))
    return TokenCounts(_table(values, counts, by_token), documents, len(values))


def merge(left: TokenCounts, right: TokenCounts, folder: str | None = None) -> TokenCounts:
    """Adds two counts; the order of merging does not change `finish`.

    Args:
        left, right: The counts.
        folder: Where counts go that are many; None keeps them in memory.
    """
    tables = [one.table for one in (left, right) if one.table is not None]
    table = pa.concat_tables(tables) if tables else None
    unique = right.unique if left.table is None else left.unique
    merged = TokenCounts(table, left.documents + right.documents, unique, left.runs + right.runs)
    # Compacting at twice the unique size makes the total work linear in what arrives.
    if table is None or table.num_rows <= 2 * unique + SLACK_ROWS:
        return merged
    merged = compact(merged)
    return merged if folder is None or merged.table.nbytes < token_runs.RUN_BYTES else _to_file(merged, folder)


def _to_file(counts: TokenCounts, folder: str) -> TokenCounts:
    return TokenCounts(None, counts.documents, 0, (*counts.runs, token_runs.write_run(counts.table, folder)))


def compact(counts: TokenCounts) -> TokenCounts:
    """Makes each token appear once."""
    if counts.table is None or counts.unique == counts.table.num_rows:
        return counts
    grouped = counts.table.group_by("token").aggregate([("count", "sum"), ("documents", "sum")])
    table = _table(grouped["token"], grouped["count_sum"], grouped["documents_sum"])
    return TokenCounts(table.combine_chunks(), counts.documents, table.num_rows, counts.runs)


def finish(
    counts: TokenCounts, drop: Collection[str | int | None] = (), size: int | None = None, encoding: str = "utf-8"
) -> Vocabulary:
    """Orders the tokens as `adapt` does, without those of `drop`, cut to the first `size`.

    Raises:
        UnicodeDecodeError: A token is not text in `encoding`.
    """
    counts = compact(counts)
    if counts.table is None and not counts.runs:
        return Vocabulary([], np.zeros(0, np.int64), np.zeros(0))
    ordered = _ordered(counts, None if size is None else size + len(drop))
    kind = ordered["token"].type
    dropped = [token.encode(encoding) if isinstance(token, str) else token for token in drop if token is not None]
    table = ordered.filter(pc.invert(pc.is_in(ordered["token"], pa.array(dropped, kind)))).slice(0, size)
    tokens = table["token"].to_pylist()
    containing = table["documents"].to_numpy()
    return Vocabulary(
        [token.decode(encoding) for token in tokens] if pa.types.is_binary(kind) else tokens,
        table["count"].to_numpy(),
        np.log(1 + counts.documents / (1 + containing)),
    )


def _ordered(counts: TokenCounts, size: int | None) -> pa.Table:
    """The first tokens, each once, as `adapt` orders them."""
    if not counts.runs:
        return counts.table.sort_by([("count", "descending"), ("token", "descending")]).slice(0, size)
    if counts.table is not None:
        counts = _to_file(counts, str(Path(counts.runs[0]).parent))
    return token_runs.add_runs(counts.runs, size)


def _plain(tokens: pa.Array) -> pa.Array:
    if isinstance(tokens, pa.ChunkedArray):
        tokens = tokens.combine_chunks()
    if pa.types.is_dictionary(tokens.type):
        tokens = tokens.dictionary_decode()
    return tokens.cast(pa.int64() if pa.types.is_integer(tokens.type) else pa.binary())


def _table(tokens: pa.Array, counts: Any, documents: Any) -> pa.Table:
    return pa.table({"token": tokens, "count": counts, "documents": documents})
