"""Thresholds on metrics, as a pipeline writes them. Pure Python: importing this imports nothing else.

A threshold is also a mapping of its fields: so it goes into a Plan, where `kind` tells which it is, and comes back by
`threshold_of`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

OVERALL = ("overall",)


class _Fields(Mapping[str, Any]):
    """A dataclass as a mapping of its fields."""

    def __getitem__(self, name: str) -> Any:
        if name not in list(self):
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter([one.name for one in fields(self)])  # type: ignore[arg-type]  # every subclass is a dataclass

    def __len__(self) -> int:
        return len(list(iter(self)))


@dataclass(frozen=True)
class ValueThreshold(_Fields):
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
    slices: list[str | list[str]] = field(default_factory=lambda: [*OVERALL])
    rows_above: int = 0
    kind: str = field(default="value", repr=False)

    def __post_init__(self) -> None:
        _check(self, "lower", "upper")
        for name in ("lower", "upper"):
            object.__setattr__(self, name, finite(getattr(self, name)))
        if _is_number(self.lower) and _is_number(self.upper) and self.lower > self.upper:  # type: ignore[operator]
            raise ValueError(f"ValueThreshold(lower={self.lower}, upper={self.upper}) can never pass")


@dataclass(frozen=True)
class ChangeThreshold(_Fields):
    """The metric is better than the baseline model's by a margin; a negative one allows that much of a loss.

    Args:
        absolute: Least improvement, in the metric's own unit. With `relative` None too, no loss at all is allowed.
        relative: Least improvement as a share of the baseline's value.
        higher_is_better: None: as the metric says.
        slices, rows_above: As in `ValueThreshold`.
    """

    absolute: float | None = None
    relative: float | None = None
    higher_is_better: bool | None = None
    slices: list[str | list[str]] = field(default_factory=lambda: [*OVERALL])
    rows_above: int = 0
    kind: str = field(default="change", repr=False)

    def __post_init__(self) -> None:
        _check(self, "absolute", "relative")
        _check_margins(self)


@dataclass(frozen=True)
class BetterThanConstant(_Fields):
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
    slices: list[str | list[str]] = field(default_factory=lambda: [*OVERALL])
    rows_above: int = 0
    kind: str = field(default="better_than_constant", repr=False)

    def __post_init__(self) -> None:
        _check(self, "absolute", "relative")
        _check_margins(self)


Threshold = ValueThreshold | ChangeThreshold | BetterThanConstant
KINDS: dict[str, type[Threshold]] = {one.kind: one for one in (ValueThreshold, ChangeThreshold, BetterThanConstant)}


def threshold_of(written: Any) -> Threshold:
    """The threshold that a mapping of its fields describes.

    Raises:
        ValueError: It has no known `kind`, a field that the kind does not have, or a value that can never pass.

    >>> threshold_of({"kind": "value", "lower": 0.6}).lower
    0.6
    """
    if isinstance(written, Threshold):
        return written
    kind = KINDS.get(written.get("kind", "")) if isinstance(written, Mapping) else None
    if kind is None:
        names = ", ".join(one.__name__ for one in KINDS.values())
        raise ValueError(
            f"expected a threshold: one of {names}, or a mapping with kind {', '.join(KINDS)}; received {written!r}"
        )
    known = [one.name for one in fields(kind)]
    if unknown := [name for name in written if name not in known]:
        raise ValueError(f"{kind.__name__} takes no {unknown[0]!r}; it takes {', '.join(known)}")
    return kind(**written)


def thresholds_of(written: Mapping[str, Any] | None) -> dict[str, list[Threshold]]:
    """Metric -> its thresholds, from metric -> threshold or a list of them."""
    return {
        metric: [threshold_of(item) for item in (several if isinstance(several, list | tuple) else [several])]
        for metric, several in (written or {}).items()
    }


def asked_slicings(thresholds: Mapping[str, Sequence[Threshold]]) -> list[tuple[str, ...]]:
    """The columns of each slicing that thresholds ask about, () for overall."""
    found = {columns_of(written): None for several in thresholds.values() for one in several for written in one.slices}
    return list(found)


def columns_of(written: str | Sequence[str]) -> tuple[str, ...]:
    """The columns of a slicing as a pipeline writes it."""
    columns = (written,) if isinstance(written, str) else tuple(written)
    return () if columns == OVERALL else columns


def finite(bound: float | None) -> float | None:
    """None for an infinite bound, which bounds nothing."""
    return None if _is_number(bound) and math.isinf(bound) else bound  # type: ignore[arg-type]


def _is_number(value: Any) -> bool:
    """Whether it is a number by now: a pipeline may give a parameter that has its value only when it runs."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check(threshold: Threshold, *numbers: str) -> None:
    said = type(threshold).__name__
    for name in (*numbers, "rows_above"):
        value = getattr(threshold, name)
        if isinstance(value, str | bool | list | tuple | dict) or (_is_number(value) and math.isnan(value)):
            raise ValueError(f"{name}= of {said} is a number, received {value!r}")
    if _is_number(threshold.rows_above) and threshold.rows_above < 0:
        raise ValueError(f"rows_above= of {said} is a number of rows, received {threshold.rows_above}")
    if isinstance(threshold.slices, str) or not threshold.slices:
        raise ValueError(
            f'slices= of {said} takes a list such as ["overall", "carrier"], received {threshold.slices!r}'
        )
    plain = [one if isinstance(one, str) else list(one) for one in threshold.slices]
    object.__setattr__(threshold, "slices", plain)


def _check_margins(threshold: ChangeThreshold | BetterThanConstant) -> None:
    for name in ("absolute", "relative"):
        margin = getattr(threshold, name)
        if _is_number(margin) and math.isinf(margin):
            if margin > 0:
                raise ValueError(f"{type(threshold).__name__}({name}={margin}) can never pass")
            object.__setattr__(threshold, name, -1e300)  # JSON has no infinity; this allows as much
