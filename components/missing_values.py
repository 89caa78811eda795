"""How many values are missing, from the files' footers: no row is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow.parquet as pq
from headrace.pipelines import storage
from headrace.transforms.row_groups import RowGroup


def null_counts(groups: Iterable[RowGroup], names: Sequence[str]) -> dict[str, int]:
    """Counts the nulls of columns over row groups.

    Args:
        groups: Row groups.
        names: Columns; a column of lists is left out of the answer, for a footer counts its elements.
    """
    chosen: dict[str, list[int]] = {}
    for group in groups:
        chosen.setdefault(group.uri, []).append(group.index)
    counts = dict.fromkeys(names, 0)
    for uri, numbers in chosen.items():
        with storage.open_file(uri) as file:
            footer = pq.ParquetFile(file).metadata
        places = {footer.schema.column(i).path: i for i in range(len(footer.schema))}
        for name in list(counts):
            statistics = (
                [footer.row_group(n).column(places[name]).statistics for n in numbers] if name in places else [None]
            )
            known = [found.null_count for found in statistics if found is not None and found.has_null_count]
            if len(known) == len(statistics):
                counts[name] += sum(known)
            else:
                del counts[name]
    return counts


def missing_in_target(what: str, name: str, nulls: Mapping[str, int], split: str) -> str:
    """Says that a label is computed from columns with missing values."""
    said = ", ".join(f"{column!r} ({count:,} missing)" for column, count in nulls.items())
    return (
        f"{what} {name!r} is computed from columns with missing values in split {split!r}: {said}. Such a row is "
        "trained towards what preprocessing_fn makes of a missing value; leave it out of the examples if that is "
        "not meant"
    )
