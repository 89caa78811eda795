"""Metrics by name: what a pipeline writes, such as ``["auc", {"metric": "recall", "threshold": 0.3}]``, as metrics."""

from __future__ import annotations

import difflib
import functools
import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.transforms.metrics.binary import Calibration, CalibrationError, Decisions, LogLoss
from headrace.transforms.metrics.keras_metric import KerasMetric
from headrace.transforms.metrics.metric import Metric
from headrace.transforms.metrics.multiclass import ClassCounts, Confusion, CrossEntropy, TopK
from headrace.transforms.metrics.ranking import AreaUnderCurve
from headrace.transforms.metrics.regression import Errors, Explained

Task = Literal["binary", "multiclass", "regression"]
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")

_DECIDED = (
    *("accuracy", "precision", "recall", "specificity", "f1"),
    *("true_positives", "false_positives", "true_negatives", "false_negatives"),
)
_CALIBRATED = ("calibration", "prediction_mean", "label_mean")
Kinds = tuple[type[Metric], ...]
_ERRORS: dict[str, Kinds] = {
    "rmse": (Errors, Explained),
    "mae": (Errors,),
    "r2": (Explained,),
    "bias": (Errors,),
    **dict.fromkeys(_CALIBRATED, (Calibration,)),
}
BY_TASK: dict[Task, dict[str, Kinds]] = {
    "binary": {
        "log_loss": (LogLoss,),
        "auc": (AreaUnderCurve,),
        "pr_auc": (AreaUnderCurve, Calibration),
        **dict.fromkeys(_DECIDED, (Decisions,)),
        "calibration_error": (CalibrationError,),
        **_ERRORS,
    },
    "multiclass": {
        "crossentropy": (CrossEntropy, ClassCounts),
        **dict.fromkeys(("accuracy", "micro_f1", "macro_f1"), (ClassCounts,)),
        "top_k": (TopK,),
        "confusion": (Confusion,),
    },
    "regression": _ERRORS,
}
"""Which metrics give each name: the first gives it, the others what stands beside it, such as the best constant's."""

DEFAULTS: dict[Task, tuple[Any, ...]] = {
    "binary": (
        "log_loss",
        "auc",
        "pr_auc",
        *_DECIDED,
        "calibration",
        "prediction_mean",
        "label_mean",
        "calibration_error",
    ),
    "multiclass": ("crossentropy", "accuracy", "macro_f1", "confusion"),
    "regression": ("rmse", "mae", "r2", "bias", "prediction_mean", "label_mean"),
}


@dataclass
class Selection:
    """The metrics to compute, and which of their quantities were asked for, in order; a renamed one has its new name.

    Attributes:
        metrics: Each metric once, however many of its quantities are wanted.
        names: Quantity -> its name in the evaluation.
    """

    metrics: list[Metric] = field(default_factory=list)
    names: dict[tuple[str, str], str] = field(default_factory=dict)


def select(
    written: Sequence[Any] | None, task: Task, custom: Mapping[str, Callable[[], Any]] | None = None
) -> Selection:
    """Reads a configuration of metrics.

    Args:
        written: Names, or dicts of ``metric`` and its arguments: ``{"metric": "recall", "threshold": 0.3}``,
            ``{"metric": "calibration_error", "bins": 50}``, ``{"metric": "top_k", "k": 5}``,
            ``{"metric": "keras.metrics.AUC", "config": {"curve": "PR"}, "name": "keras_pr"}``. None: the task's usual
            ones.
        task: What the output predicts.
        custom: Functions that make Keras metrics, by the metric's name.

    Raises:
        ValueError: A name that is not known for the task, or an argument that its metric does not take.

    >>> [metric.name for metric in select(["auc", "log_loss"], "binary").metrics]
    ['auc', 'log_loss']
    """
    selection = Selection()
    made: dict[str, Metric] = {}
    thresholds = _thresholds(written or ())
    for one in DEFAULTS[task] if written is None else written:
        config = {"metric": one} if isinstance(one, str) else dict(one)
        name = config.pop("metric", None)
        if not isinstance(name, str):
            raise ValueError(f'expected a metric\'s name or {{"metric": name, ...}}, received {one!r}')
        if name.startswith("keras."):
            _add(selection, made, _keras(name, config))
        else:
            _ours(selection, made, name, config, task, thresholds)
    for name, make in (custom or {}).items():
        _add(selection, made, KerasMetric(name, make))
    return selection


def _thresholds(written: Sequence[Any]) -> list[float]:
    """All decision thresholds that are asked for, so that they share one metric."""
    found = {0.5}
    for one in written:
        if isinstance(one, Mapping) and "threshold" in one:
            found.add(float(one["threshold"]))
    return sorted(found)


def _ours(
    selection: Selection,
    made: dict[str, Metric],
    name: str,
    config: dict[str, Any],
    task: Task,
    thresholds: list[float],
) -> None:
    known = BY_TASK[task]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f'no metric {name!r} for a {task} output{hint} There are {", ".join(known)}, and "keras.metrics.<Name>"'
        )
    shown = config.pop("name", None)
    quantity = name
    for kind in known[name]:
        arguments: dict[str, Any] = {}
        if kind is Decisions:
            arguments["thresholds"] = thresholds
            threshold = float(config.pop("threshold", 0.5))
            quantity = name if threshold == 0.5 else f"{name}@{threshold:g}"
        elif kind is TopK:
            arguments["k"] = _as_list(config.pop("k", 3))
        elif kind is CalibrationError and "bins" in config:
            arguments["bins"] = config.pop("bins")
        key = f"{kind.__name__}{sorted(arguments.items())}"
        if key not in made:
            made[key] = kind(**arguments)
            selection.metrics.append(made[key])
        metric = made[key]
        wanted = [q.name for q in metric.quantities] if kind is TopK else [quantity]
        for one in metric.quantities:
            if one.name in wanted:
                selection.names.setdefault((metric.name, one.name), shown or one.name)
    if config:
        raise ValueError(f"the metric {name!r} takes no argument {next(iter(config))!r}")
    _add_constants(selection)


def _add_constants(selection: Selection) -> None:
    """Takes in the best constants' figures of what is wanted."""
    quantities = {q.name: (metric.name, q.name) for metric in selection.metrics for q in metric.quantities}
    wanted = {name for _, name in selection.names}
    for metric in selection.metrics:
        for quantity in metric.quantities:
            constant = quantity.constant
            if quantity.name in wanted and isinstance(constant, str) and constant in quantities:
                selection.names.setdefault(quantities[constant], constant)


def _as_list(value: Any) -> list[int]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _keras(name: str, config: dict[str, Any]) -> KerasMetric:
    module, _, cls = name.rpartition(".")
    found = getattr(importlib.import_module(module), cls, None)
    if found is None:
        known = [other for other in dir(importlib.import_module(module)) if other[0].isupper()]
        near = difflib.get_close_matches(cls, known, 1)
        raise ValueError(f"Keras has no metric {name!r}" + (f"; did you mean {module}.{near[0]}?" if near else ""))
    make = functools.partial(_make_keras, module, cls, config.pop("config", {}))
    # Not Keras' own default: that counts up, auc, auc_1, with each instance in the process.
    shown = config.pop("name", None) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls).lower()
    with_intervals = bool(config.pop("intervals", False))
    one_hot = config.pop("one_hot", None)
    if config:
        raise ValueError(
            f"{name} takes config=, name=, intervals= and one_hot=, not {next(iter(config))!r}: "
            "put Keras' own arguments into config="
        )
    return KerasMetric(shown, make, with_intervals=with_intervals, one_hot=one_hot)


def _make_keras(module: str, cls: str, config: Mapping[str, Any]) -> Any:
    return getattr(importlib.import_module(module), cls)(**config)


def _add(selection: Selection, made: dict[str, Metric], metric: Metric) -> None:
    if metric.name in made or metric.name in selection.names.values():
        raise ValueError(f'two metrics are named {metric.name!r}: give one of them a "name"')
    made[metric.name] = metric
    selection.metrics.append(metric)
    for quantity in metric.quantities:
        selection.names[(metric.name, quantity.name)] = quantity.name
