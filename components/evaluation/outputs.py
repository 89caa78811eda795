"""Which outputs are evaluated, as what, and by which metrics."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headrace.components.evaluation.scoring import infer_task
from headrace.components.evaluation.sources import Source
from headrace.transforms.metrics.evaluation import Output
from headrace.transforms.metrics.registry import BY_TASK, TASKS, Selection, Task, select


def chosen_outputs(
    source: Source,
    task: str | Mapping[str, str] | None,
    metrics: Sequence[Any] | None,
    custom: Callable[[], Mapping[str, Any]] | None,
    thresholds: Sequence[str],
) -> list[Output]:
    """The outputs with a label, each with its task and metrics.

    Args:
        source: The rows.
        task: What is predicted, if it is given.
        metrics: The metrics as the pipeline writes them.
        custom: Makes Keras metrics by name.
        thresholds: Names that thresholds ask about; a metric that only they name is computed too.

    Raises:
        ValueError: A task or metric is not known.
    """
    labels = source.score.labels
    given = dict(task) if isinstance(task, Mapping) else dict.fromkeys(labels, task) if task is not None else {}
    if wrong := [one for one in given.values() if one not in TASKS]:
        raise ValueError(f"task= is one of {', '.join(TASKS)}; received {wrong[0]!r}")
    predicted = source.score(source.first_rows()) if set(given) != set(labels) else None
    outputs = []
    for name, label in labels.items():
        kind = given.get(name) or (infer_task(predicted, name) if predicted is not None else "regression")
        outputs.append(Output(name, kind, label.name, _selection(name, kind, metrics, custom, thresholds)))  # type: ignore[arg-type]
    return outputs


def _selection(
    output: str,
    task: Task,
    metrics: Sequence[Any] | None,
    custom: Callable[[], Mapping[str, Any]] | None,
    thresholds: Sequence[str],
) -> Selection:
    made = {name: functools.partial(_custom, custom, name) for name in custom()} if custom is not None else {}
    chosen = select(metrics, task, made)
    named = {name.removeprefix(f"{output}:") for name in thresholds}
    more = [name for name in sorted(named - set(chosen.names.values())) if name in BY_TASK[task]]
    return select([*metrics, *more], task, made) if metrics is not None and more else chosen


def _custom(make: Callable[[], Mapping[str, Any]], name: str) -> Any:
    return make()[name]
