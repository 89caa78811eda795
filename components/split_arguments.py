"""Arguments of an ExampleGen about splits that contradict one another: told when the pipeline is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

HOW = ("splits", "split_by", "split_by_time", "boundaries")


def split_problems(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Says what in the arguments of a call does not go together: (what, fix)."""
    said = [name for name in HOW if given.get(name) is not None]
    files = given.get("input_base")
    if isinstance(files, Mapping) and "pattern" not in files and said:
        yield (
            f"input_base= names the files of each split, and {said[0]}= says how to split them",
            f"leave out {' and '.join(said)}, or give input_base= as one pattern",
        )
        return
    by_time, boundaries = given.get("split_by_time"), given.get("boundaries")
    if (by_time is None) != (boundaries is None):
        received = "split_by_time= without boundaries=" if boundaries is None else "boundaries= without split_by_time="
        yield f"received {received}", 'give both, such as split_by_time="day", boundaries=["2013-10-01"]'
    if by_time is not None and given.get("split_by") is not None:
        yield "received split_by= and split_by_time=", "leave one of them out"
    splits = given.get("splits")
    if by_time is None and isinstance(splits, list | tuple):
        yield (
            f"splits={list(splits)!r} has no ratios",
            'write {"train": 8, "eval": 2}; names alone go with split_by_time=',
        )
    if by_time is not None and isinstance(splits, Mapping):
        yield "received ratios of splits that split_by_time= splits", 'list their names, such as ["train", "eval"]'
        return
    named, places = _length(splits), _length(boundaries)
    if by_time is not None and named is not None and places is not None and named != places + 1:
        what = f"{places} boundaries make {places + 1} splits, splits= names {named}"
        yield what, "name each split, the earliest first"


def _length(value: Any) -> int | None:
    """How many a literal list or dict has; None for what is known only when the pipeline runs."""
    return len(value) if isinstance(value, list | tuple | Mapping) else None
