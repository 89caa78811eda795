"""Thresholds on metrics, as a pipeline writes them. Pure Python: importing this imports nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

OVERALL = ("overall",)


@dataclass(frozen=True)
class ValueThreshold:
    """The metric lies between two bounds, both included.

    Args:
        lower: Least value that passes; None for no bound.
        upper: Greatest value that passes; None for no bound.
        slices: Where it is asked: ``"overall"``, a column for each of its slices, or a list of columns for each of
            their crosses.
        rows_above: Only slices with more rows than this are asked.

    >>> ValueThreshold(upper=0.53, slices=["overall", "carrier"], rows_above=1000).upper
    0.53
    """

    lower: float | None = None
    upper: float | None = None
    slices: list[str | list[str]] = field(default_factory=lambda: ["overall"])
    rows_above: int = 0

    def __post_init__(self) -> None:
        _check_slices(self)
        object.__setattr__(self, "lower", finite(self.lower, "lower"))
        object.__setattr__(self, "upper", finite(self.upper, "upper"))
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(
                f"ValueThreshold(lower={self.lower}, upper={self.upper}) can never pass: lower is above upper"
            )


@dataclass(frozen=True)
class ChangeThreshold:
    """The metric is better than the baseline model's by at least this much; a negative number allows that much of a
    loss.

    Args:
        absolute: Least improvement, in the metric's own unit. With `relative` None too, no loss at all is allowed.
        relative: Least improvement as a share of the baseline's value.
        higher_is_better: None: as the metric says.
        slices, rows_above: As in `ValueThreshold`.
    """

    absolute: float | None = None
    relative: float | None = None
    higher_is_better: bool | None = None
    slices: list[str | list[str]] = field(default_factory=lambda: ["overall"])
    rows_above: int = 0

    def __post_init__(self) -> None:
        _check_slices(self)
        _check_margins(self)


@dataclass(frozen=True)
class BetterThanConstant:
    """The metric is better by a margin than what the best constant prediction reaches on the same rows.

    Args:
        absolute: Least improvement, in the metric's own unit.
        relative: Least improvement as a share of the constant's value.
        slices, rows_above: As in `ValueThreshold`; the constant is the best one of each slice.

    >>> BetterThanConstant(absolute=0.02, slices=["overall", "carrier"], rows_above=1000).absolute
    0.02
    """

    absolute: float | None = None
    relative: float | None = None
    slices: list[str | list[str]] = field(default_factory=lambda: ["overall"])
    rows_above: int = 0

    def __post_init__(self) -> None:
        _check_slices(self)
        _check_margins(self)


Threshold = ValueThreshold | ChangeThreshold | BetterThanConstant


def finite(bound: float | None, name: str) -> float | None:
    if bound is not None and math.isnan(bound):
        raise ValueError(f"{name}= of a threshold is not a number")
    return None if bound is None or math.isinf(bound) else bound


def _check_margins(threshold: ChangeThreshold | BetterThanConstant) -> None:
    for name in ("absolute", "relative"):
        margin = getattr(threshold, name)
        if margin is not None and math.isnan(margin):
            raise ValueError(f"{name}= of {type(threshold).__name__} is not a number")
        if margin is not None and math.isinf(margin):
            if margin > 0:
                raise ValueError(f"{type(threshold).__name__}({name}={margin}) can never pass")
            object.__setattr__(threshold, name, -1e300)


def _check_slices(threshold: Threshold) -> None:
    written = threshold.slices
    if isinstance(written, str) or not written:
        raise ValueError(
            f'slices= of {type(threshold).__name__} takes a list such as ["overall", "carrier"], received {written!r}'
        )
    if threshold.rows_above < 0:
        raise ValueError(
            f"rows_above= of {type(threshold).__name__} is a number of rows, received {threshold.rows_above}"
        )


def asked_slicings(thresholds: Mapping[str, Sequence[Threshold]]) -> list[tuple[str, ...]]:
    """The columns of each slicing that thresholds ask about, () for overall."""
    found = {columns_of(written): None for several in thresholds.values() for one in several for written in one.slices}
    return list(found)


def columns_of(written: str | Sequence[str]) -> tuple[str, ...]:
    columns = (written,) if isinstance(written, str) else tuple(written)
    return () if columns == OVERALL else columns
