"""Which steps may begin: those whose upstream steps have all ended, in the Plan's order."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from headrace.pipelines.plan import Step


class Schedule:
    """The steps that have not begun.

    Args:
        steps: Every step, in the Plan's order.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = {step.id: step for step in steps}
        self._position = {step.id: number for number, step in enumerate(steps)}
        self.upstream = {step.id: step.upstream() for step in steps}
        self._pending = {id_: set(ups) for id_, ups in self.upstream.items()}
        self._downstream: dict[str, list[str]] = {}
        for id_, ups in self.upstream.items():
            for up in ups:
                self._downstream.setdefault(up, []).append(id_)
        self._settled = [self._position[id_] for id_, ups in self._pending.items() if not ups]
        self._ids = list(self._steps)

    def ended(self, id_: str) -> None:
        """Says that a step has ended, however it did."""
        for down in self._downstream.get(id_, ()):
            self._pending[down].discard(id_)
            if not self._pending[down]:
                heapq.heappush(self._settled, self._position[down])

    def settled(self) -> Iterator[Step]:
        """Takes out the steps that may begin; what ends meanwhile adds to them."""
        while self._settled:
            yield self._steps.pop(self._ids[heapq.heappop(self._settled)])

    def remaining(self) -> list[Step]:
        """The steps that were not taken out yet."""
        return list(self._steps.values())

    def __bool__(self) -> bool:
        return bool(self._steps)
