"""What a metric is: a mergeable state by group of rows, and estimates with intervals from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """One batch of rows with the model's predictions.

    Args:
        labels: Shape `(rows,)`: 0.0 or 1.0, a class's number, or a value.
        predictions: Shape `(rows,)`, or `(rows, classes)`.
        weights: Shape `(rows,)`, or None where each row counts 1.
    """

    labels: Array
    predictions: NDArray[Any]
    weights: Array | None = None

    @property
    def rows(self) -> int:
        return len(self.labels)

    @cached_property
    def weight(self) -> Array:
        """The weights, ones where there are none."""
        return np.ones(self.rows) if self.weights is None else self.weights


@dataclass(frozen=True)
class Quantity:
    """One number that a metric gives.

    Args:
        name: Its name in the evaluation, such as ``log_loss``.
        lowest, highest: The range it can never leave.
        higher_is_better: None where neither is, such as for a count.
        constant: What a model reaches that has learned nothing: a number, or the name of the quantity beside it that
            holds it.
    """

    name: str
    lowest: float = -np.inf
    highest: float = np.inf
    higher_is_better: bool | None = None
    constant: str | float | None = None


@dataclass(frozen=True)
class Estimates:
    """A quantity by group, each array of shape `(groups,)`; NaN where it is not defined."""

    value: Array
    lower: Array
    upper: Array

    @classmethod
    def exact(cls, value: Array) -> Estimates:
        """Of a number that was counted, not estimated: it has no interval."""
        return cls(value, np.full(value.shape, np.nan), np.full(value.shape, np.nan))


class Metric(ABC):
    """A mergeable metric.

    Groups of rows are numbered; a state holds all groups. `merge` is associative, and `create()` is neutral to it, up
    to the last bits of floating-point sums.
    """

    name: str
    quantities: tuple[Quantity, ...]

    def prepare(self, batch: Scored) -> Any:
        """What is computed once per batch, however many slicings follow."""
        return batch

    @abstractmethod
    def create(self) -> Any: ...

    @abstractmethod
    def update(self, state: Any, prepared: Any, codes: Codes, groups: int) -> Any:
        """Adds rows whose group is in `codes`, shape `(rows,)`, each below `groups`; gives the new state."""

    @abstractmethod
    def merge(self, state: Any, other: Any, codes: Codes, groups: int) -> Any:
        """Adds another state, whose group i is group `codes[i]` here; gives the new state."""

    @abstractmethod
    def result(self, state: Any, groups: int, confidence: float) -> dict[str, Estimates]:
        """The estimate of each quantity, by its name."""

    def plot(self, state: Any, group: int) -> Mapping[str, Any]:
        """Points of curves of one group, by the curve's name; JSON-able."""
        return {}


class Sums(Metric):
    """A metric whose state is sums over rows: an array of shape `(groups, columns)`, merged by addition."""

    columns: ClassVar[int]

    @abstractmethod
    def rows(self, batch: Scored) -> list[Array | None]:
        """What to add for each row: `columns` arrays of shape `(rows,)`; None adds 1."""

    def prepare(self, batch: Scored) -> list[Array | None]:
        return self.rows(batch)

    def create(self) -> Array:
        return np.zeros((0, self.columns))

    def update(self, state: Array, prepared: list[Array | None], codes: Codes, groups: int) -> Array:
        state = grown(state, groups)
        added: dict[int, Array] = {}  # without weights, several columns are one array
        for column, values in enumerate(prepared):
            if id(values) not in added:
                added[id(values)] = summed(codes, values, groups)
            state[:, column] += added[id(values)]
        return state

    def merge(self, state: Array, other: Array, codes: Codes, groups: int) -> Array:
        return merged(state, other, codes, groups)


def grown(state: Array, groups: int) -> Array:
    """The state with room for `groups` groups, zeros for new ones; the same array where there is room."""
    if len(state) == groups:
        return state
    bigger = np.zeros((groups, *state.shape[1:]), state.dtype)
    bigger[: len(state)] = state
    return bigger


def merged(state: Array, other: Array, codes: Codes, groups: int) -> Array:
    """Adds `other[i]` to `state[codes[i]]`; the codes differ from each other."""
    state = grown(state, groups)
    state[codes[: len(other)]] += other
    return state


def summed(codes: Codes, values: Array | None, groups: int) -> Array:
    """The sum of `values` in each group, or the number of rows where `values` is None."""
    if groups == 1:
        return np.array([len(codes) if values is None else np.sum(values)], np.float64)
    return np.bincount(codes, values, minlength=groups).astype(np.float64, copy=False)
