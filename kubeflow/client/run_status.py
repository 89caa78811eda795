"""What came of a run in a cluster, in the words of a local run."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

# As the store calls them, and two that only a server knows: pending, and ended by a person.
ENDED = frozenset(("succeeded", "failed", "terminated"))
STEP_ENDED = frozenset(("succeeded", "cached", "refused", "skipped", "failed", "terminated"))


@dataclass(frozen=True)
class StepStatus:
    """A step of a run in a cluster.

    Args:
        id: The author's name of it.
        state: ``"pending"``, ``"running"``, ``"succeeded"``, ``"cached"``, ``"refused"``, ``"skipped"``, ``"failed"``
            or ``"terminated"``.
        started: When its first pod started.
        ended: When it ended.
        message: What the server says of it: the first lines of a failed step's error.
        attempts: Names of its pods, the latest last.
    """

    id: str
    state: str
    started: datetime.datetime | None = None
    ended: datetime.datetime | None = None
    message: str = ""
    attempts: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """How long it took, None while it is not done."""
        if self.started is None or self.ended is None:
            return None
        return max(0.0, (self.ended - self.started).total_seconds())


@dataclass(frozen=True)
class RunStatus:
    """A run in a cluster.

    Args:
        id: What the server calls it.
        pipeline: The pipeline's name.
        state: ``"pending"``, ``"running"``, ``"succeeded"``, ``"failed"`` or ``"terminated"``.
        steps: Those that the server knows of, in the order in which they started.
        message: What the server says of the run.
        verdicts_unknown: Why it cannot be told whether a model was refused, where it cannot.
    """

    id: str
    pipeline: str
    state: str
    steps: tuple[StepStatus, ...] = ()
    message: str = ""
    verdicts_unknown: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def refused(self) -> tuple[StepStatus, ...]:
        return tuple(step for step in self.steps if step.state == "refused")

    @property
    def exit_code(self) -> int:
        """0 succeeded or not done yet, 1 failed, 3 a model was not blessed, 130 ended by a person."""
        if self.state == "terminated":
            return 130
        if self.state == "failed":
            # A deployment may let a refusal fail the run. It is one all the same, if nothing else failed.
            failed = any(step.state == "failed" for step in self.steps)
            return 3 if self.refused and not failed else 1
        return 3 if self.refused else 0


def moment(text: str | datetime.datetime | None) -> datetime.datetime | None:
    """Reads a server's time; None for what it has no time of."""
    if text is None or text == "":
        return None
    time = text if isinstance(text, datetime.datetime) else datetime.datetime.fromisoformat(text)
    # Kubeflow writes the beginning of 1970 for a step that has not ended.
    return time if time.year > 1970 else None
