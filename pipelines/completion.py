"""What components add to a pipeline when it is built: steps that one of its steps is to have, and was given none of.

A component says so itself, by `@component(complete=...)`; this module only asks, in an order that does not depend on
the order in which steps were written, so that three notations of one pipeline are completed alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headrace.pipelines.recorded_step import RECORDING, RecordedStep


@dataclass(frozen=True)
class Completion:
    """What is added around one step.

    Args:
        steps: Steps that are added; each gets the source place of the step that they are added for.
        bound: Arguments that the step gets, such as the added steps' outputs, by name.
        notes: What the author should know, such as what could not be added, and why.
    """

    steps: tuple[RecordedStep, ...] = ()
    bound: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Complete = Callable[[RecordedStep, Sequence[RecordedStep]], Completion]
"""From a step and all steps of the pipeline, those added before included, to what is added around it."""


def completed(steps: Sequence[RecordedStep]) -> tuple[list[RecordedStep], list[str]]:
    """Asks each step's component what is to be added.

    Args:
        steps: The steps that the author wrote; they are left as they are, for they may be in other pipelines too.

    Returns:
        The steps with what was added, and the notes.
    """
    found = list(steps)
    notes: list[str] = []
    token = RECORDING.set(None)
    try:
        for step in sorted(steps, key=lambda step: step.id):
            complete = step.component.complete
            if complete is None or step.problems:
                continue
            completion = complete(step, tuple(found))
            for added in completion.steps:
                added.location = step.location
            found[found.index(step)] = step.with_bound(completion.bound)
            found += completion.steps
            notes += [f"{step.location}: {note}" for note in completion.notes]
    finally:
        RECORDING.reset(token)
    return found, notes
