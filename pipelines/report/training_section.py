"""Loss and metrics of a training, by epoch and by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.pipelines.artifact_types import Model
from headrace.pipelines.report.charts.series import Curve, curves
from headrace.pipelines.report.charts.svg import Svg
from headrace.pipelines.report.data import ReportData
from headrace.pipelines.report.number_format import number
from headrace.pipelines.report.payloads import json_file

HISTORY = "training/history.json"
VALIDATION = "val_"


@dataclass(frozen=True)
class TrainingCurve:
    """One metric: its chart, and its last values, training and validation."""

    name: str
    chart: Svg
    last: str
    validation: str


@dataclass(frozen=True)
class Training:
    channel: str
    epochs: int
    steps: int
    curves: tuple[TrainingCurve, ...]


def trainings(data: ReportData) -> list[Training]:
    """Gives the series of each Model that the run made and that kept them."""
    read = ((channel, json_file(model, HISTORY)) for channel, model in data.made(Model))
    return [training(channel, history) for channel, history in read if isinstance(history, Mapping)]


def training(channel: str, history: Mapping[str, Any]) -> Training:
    """Lays out ``{"epochs": [{"epoch": 1, "loss": …, "val_loss": …}], "steps": [{"step": 100, "loss": …}]}``."""
    epochs: Sequence[Mapping[str, Any]] = history.get("epochs") or ()
    steps: Sequence[Mapping[str, Any]] = history.get("steps") or ()
    written = [name for entry in (*epochs, *steps) for name in entry if name not in ("epoch", "step")]
    names = [name for name in dict.fromkeys(written) if not name.startswith(VALIDATION)]
    last_step = int(steps[-1]["step"]) if steps else 0
    return Training(channel, len(epochs), last_step, tuple(_curve(name, epochs, steps) for name in names))


def _curve(name: str, epochs: Sequence[Mapping[str, Any]], steps: Sequence[Mapping[str, Any]]) -> TrainingCurve:
    # One or two epochs make no curve: then the steps are the picture, and an epoch's end a point on it.
    by_step = bool(steps) and len(epochs) < 3
    end = float(steps[-1]["step"]) / max(1, len(epochs)) if by_step else 1.0
    per_epoch = float(steps[-1]["step"]) / max(1, len(epochs)) if steps else 1.0
    drawn = []
    if steps:
        points = [(float(s["step"]) / (1.0 if by_step else per_epoch), s.get(name)) for s in steps]
        drawn.append(Curve(f"{name}, by step", points, 0, faint=not by_step))
    for color, key in enumerate((name, VALIDATION + name)):
        points = [(float(entry["epoch"]) * end, entry[key]) for entry in epochs if key in entry]
        if points and not (by_step and key == name):
            drawn.append(Curve(key, points, color, dots=len(points) <= 40))
    x_name = "step" if by_step else "epoch"
    chart = curves(drawn, f"{name} by {x_name}", x_name, whole_x=not by_step)
    final = epochs[-1] if epochs else steps[-1]
    validation = final.get(VALIDATION + name)
    return TrainingCurve(name, chart, number(final.get(name)), "" if validation is None else number(validation))
