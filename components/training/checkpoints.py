"""Checkpoints in the middle of a training, so that one that was killed goes on from there.

A checkpoint is the values of every variable of the model and its optimizer, in order, with the epoch and the step. The same code, data and
parameters make the same variables in the same order, and the folder's name is made from those.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

FILE = "checkpoint.npz"


@dataclass(frozen=True)
class Position:
    """How far a training is: epochs done, and batches done of the next."""

    epoch: int = 0
    step: int = 0


class CheckpointEvery(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes a checkpoint every so many steps, the new one whole before the old one goes.

    Args:
        folder: Where to.
        every: Steps between two checkpoints.
        start: Where this training went on from.
    """

    def __init__(self, folder: Path, every: int, start: Position) -> None:
        super().__init__()
        self._folder, self._every, self._start = folder, every, start
        self._epoch = start.epoch
        self._since = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._since += 1
        if self._since >= self._every:
            skipped = self._start.step if self._epoch == self._start.epoch else 0
            self._write(Position(self._epoch, skipped + batch + 1))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._write(Position(epoch + 1, 0))

    def _write(self, position: Position) -> None:
        self._since = 0
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / f".{os.getpid()}.npz"
        values = {f"v{number}": np.asarray(variable) for number, variable in enumerate(_variables(self.model))}
        with draft.open("wb") as file:
            np.savez(file, position=json.dumps([position.epoch, position.step]), **values)
        draft.replace(self._folder / FILE)


def restore(model: keras.Model, folder: Path) -> Position:
    """Puts the values of a checkpoint into a compiled model, if there is one.

    Returns:
        Where the training goes on.
    """
    if not (folder / FILE).exists():
        return Position()
    model.optimizer.build(model.trainable_variables)
    variables = _variables(model)
    with np.load(folder / FILE) as saved:
        values = [saved[f"v{number}"] for number in range(len(saved.files) - 1)]
        epoch, step = json.loads(str(saved["position"]))
    fits = len(values) == len(variables) and all(value.shape == tuple(v.shape) for value, v in zip(values, variables))
    if not fits:
        return Position()
    for variable, value in zip(variables, values):
        variable.assign(value)
    return Position(epoch, step)


def _variables(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]
