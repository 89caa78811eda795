"""The series of a training: loss and metrics by epoch and, more coarsely, by step; as JSON and for TensorBoard."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from headrace.components.training.event_file import EventFile
from headrace.pipelines import step_context

POINTS_AN_EPOCH = 50
_SECONDS_BETWEEN_REPORTS = 0.2


class Series(keras.callbacks.Callback):  # type: ignore[misc]
    """Collects the series, tells the step's progress, and warns of a loss that is no number.

    Args:
        folder: Where `history.json` and `tensorboard/` go.
        steps: Steps of an epoch.
        batch_size: Rows of a batch.
        rows: Rows of an epoch.
        epochs: Epochs in all.

    Attributes:
        epochs: ``{"epoch": 1, "loss": ..., "val_loss": ...}`` of each epoch.
        points: ``{"step": 9, "loss": ...}``, about 50 an epoch; a value is that of the epoch so far, as Keras gives it.
    """

    def __init__(self, folder: Path, steps: int, batch_size: int, rows: int, epochs: int) -> None:
        super().__init__()
        self._folder = folder
        self._steps, self._batch_size, self._rows, self._epochs = max(1, steps), batch_size, rows, epochs
        self._every = max(1, steps // POINTS_AN_EPOCH)
        self._epoch, self._next, self._told = 0, 0, 0.0
        self._warned = False
        self._events: dict[str, EventFile] = {}
        self.epochs: list[dict[str, Any]] = []
        self.points: list[dict[str, Any]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        # Told at once: tracing the first step takes a second or more.
        self._tell(0, {})

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch
        self._next = self._every

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # With steps_per_execution=16 Keras calls after 16 steps; the last call of an epoch may say too many.
        done = min(self._steps, batch + 1)
        if done < self._next:
            return
        self._next = done + self._every
        if not logs:  # a step that was done before a checkpoint
            return
        step = self._epoch * self._steps + done
        self.points.append({"step": step, **_as_json(logs)})
        self._write("train", step, {f"batch_{name}": value for name, value in logs.items()})
        self._check(logs, step)
        self._tell(done, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs or {}
        self.epochs.append({"epoch": epoch + 1, **_as_json(logs)})
        validation = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        trained = {name: value for name, value in logs.items() if not name.startswith("val_")}
        for run, values in (("train", trained), ("validation", validation)):
            if values:
                self._write(run, epoch, {f"epoch_{name}": value for name, value in values.items()})
        self._check(logs, (epoch + 1) * self._steps)
        self._told = 0.0
        self._tell(self._steps, logs)

    def write(self) -> None:
        """Writes `history.json`: {"epochs": [{"epoch": 1, "loss": ...}], "steps": [{"step": 9, "loss": ...}]}."""
        for events in self._events.values():
            events.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        series = {"epochs": self.epochs, "steps": self.points}
        (self._folder / "history.json").write_text(json.dumps(series, indent=1), encoding="utf-8")

    def _write(self, run: str, step: int, scalars: Mapping[str, float]) -> None:
        if run not in self._events:
            self._events[run] = EventFile(self._folder / "tensorboard" / run)
        self._events[run].write(step, scalars)

    def _check(self, logs: Mapping[str, float], step: int) -> None:
        loss = logs.get("loss", 0.0)
        if self._warned or math.isfinite(loss):
            return
        self._warned = True
        step_context().warn(
            f"the loss is {loss} from step {step} on: the model learns nothing any more. Look for NaN among the "
            "features (a missing float is NaN until preprocessing_fn replaces it), for a logarithm or a quotient of 0, "
            "or for a learning rate that is too high"
        )

    def _tell(self, done: int, logs: Mapping[str, float]) -> None:
        if time.monotonic() - self._told < _SECONDS_BETWEEN_REPORTS:
            return
        self._told = time.monotonic()
        shown = {name: value for name, value in _as_json(logs).items() if value is not None}
        rows = self._epoch * self._rows + min(self._rows, done * self._batch_size)
        step_context().progress(rows, self._rows * self._epochs, "rows", epoch=self._epoch + 1, **shown)


def _as_json(logs: Mapping[str, Any]) -> dict[str, float | None]:
    """A NaN loss is told as null: JSON has no NaN, and a report must be able to read it."""
    return {name: float(value) if math.isfinite(float(value)) else None for name, value in logs.items()}
