"""The series of a training: loss and metrics by epoch and, more coarsely, by step."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import keras
from headrace.pipelines import step_context

POINTS_AN_EPOCH = 50


class Series(keras.callbacks.Callback):  # type: ignore[misc]
    """Collects the series and tells the step's progress.

    Args:
        steps: Steps of an epoch.
        batch_size: Rows of a batch.
        epochs: Epochs in all.
    """

    def __init__(self, steps: int, batch_size: int, epochs: int) -> None:
        super().__init__()
        self._steps, self._batch_size, self._epochs = max(1, steps), batch_size, epochs
        self._every = max(1, steps // POINTS_AN_EPOCH)
        self._done, self._epoch = 0, 0
        self.epochs: list[dict[str, Any]] = []
        self.points: list[dict[str, Any]] = []
        self._told = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._done += 1
        if (batch + 1) % self._every == 0 and logs:
            figures = _figures(logs)
            self.points.append({"step": self._epoch * self._steps + batch + 1, **figures})
            self._tell(figures)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        figures = _figures(logs or {})
        self.epochs.append({"epoch": epoch + 1, **figures})
        self._tell(figures)

    def write(self, folder: Path) -> None:
        """Writes `history.json`: {"epochs": [{"epoch": 1, "loss": ...}], "steps": [{"step": 9, "loss": ...}]}."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "history.json").write_text(json.dumps({"epochs": self.epochs, "steps": self.points}, indent=1))

    def _tell(self, figures: dict[str, Any]) -> None:
        if time.monotonic() - self._told < 0.2:
            return
        self._told = time.monotonic()
        shown = {name: value for name, value in figures.items() if value is not None}
        total = self._steps * self._epochs * self._batch_size
        step_context().progress(self._done * self._batch_size, total, "rows", epoch=self._epoch + 1, **shown)


def _figures(logs: Any) -> dict[str, float | None]:
    """A NaN loss is told as null: JSON has no NaN, and a report must be able to read it."""
    return {name: float(value) if math.isfinite(float(value)) else None for name, value in logs.items()}
