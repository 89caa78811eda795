"""Checkpoints in the middle of a training, so that one that was killed goes on from there.

A checkpoint has the values of every variable of the model, its optimizer and its metrics, in order; how far the
training was; the series so far; and what early stopping remembers. The same code, data and parameters make the same
variables in the same order, and the folder's name is made from those. Keras' `BackupAndRestore` begins the epoch again
with other batches, so the weights would end up different.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import keras
import numpy as np
from headrace.components.training.series import Series
from headrace.pipelines import storage

FILE = "checkpoint.npz"
_REMEMBERED = ("wait", "best", "best_epoch", "stopped_epoch")


@dataclass(frozen=True)
class Checkpoint:
    """How far a training is.

    Args:
        epoch: Epochs that are done.
        step: Batches that are done of the next one.
        stopped: Whether early stopping had ended it.
        epochs: The series by epoch so far.
        points: The series by step so far.
        early_stopping: What `keras.callbacks.EarlyStopping` remembers.
        values: The variables' values.
        best: The weights that early stopping would restore.
    """

    epoch: int = 0
    step: int = 0
    stopped: bool = False
    epochs: list[dict[str, Any]] = field(default_factory=list)
    points: list[dict[str, Any]] = field(default_factory=list)
    early_stopping: dict[str, Any] = field(default_factory=dict)
    values: Sequence[np.ndarray] = ()
    best: Sequence[np.ndarray] = ()

    def to_bytes(self) -> bytes:
        """The checkpoint as the bytes of an `.npz` file."""
        file = io.BytesIO()
        arrays: dict[str, Any] = {f"v{n}": value for n, value in enumerate(self.values)} | {
            f"b{n}": v for n, v in enumerate(self.best)
        }
        said = asdict(Checkpoint(self.epoch, self.step, self.stopped, self.epochs, self.points, self.early_stopping))
        np.savez(file, said=json.dumps(said), **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Checkpoint:
        """Reads what `to_bytes` wrote.

        Raises:
            ValueError, KeyError, zipfile.BadZipFile: It is damaged.
        """
        with np.load(io.BytesIO(data)) as saved:
            said = json.loads(str(saved["said"]))
            arrays = {letter: [saved[n] for n in _in_order(saved.files, letter)] for letter in "vb"}
        return cls(**said | {"values": arrays["v"], "best": arrays["b"]})


def _in_order(names: Sequence[str], letter: str) -> list[str]:
    found = [name for name in names if name[0] == letter and name[1:].isdigit()]
    return sorted(found, key=lambda name: int(name[1:]))


def latest(folder: str) -> Checkpoint | None:
    """Reads the checkpoint of a folder or URL; None if there is none, or it is damaged."""
    place = storage.join(folder, FILE)
    if not storage.exists(place):
        return None
    try:
        return Checkpoint.from_bytes(storage.read_bytes(place))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _trained(model: keras.Model) -> list[Any]:
    """Everything that a step changes but the metrics, in one order."""
    return [*model.variables, *(model.optimizer.variables if model.optimizer is not None else ())]


def restore(model: keras.Model, checkpoint: Checkpoint, batch: Sequence[Any]) -> bool:
    """Puts a checkpoint's values into a compiled model.

    Args:
        model: The model.
        checkpoint: The checkpoint.
        batch: One batch, (features, label) or (features, label, weight): Keras makes metrics when it sees the first.

    Returns:
        Whether the checkpoint is one of this model.
    """
    model.test_on_batch(*batch)
    variables = [*_trained(model), *model.metrics_variables]
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [value.shape for value in checkpoint.values]:
        return False
    for variable, value in zip(variables, checkpoint.values):
        variable.assign(value)
    return True


def skip_steps(model: keras.Model, steps: int) -> None:
    """Makes the model's next `fit` pass over the first steps, which were done before a checkpoint.

    Their batches are read and not trained on: whoever counts steps counts right, and the epoch has the length that
    Keras was told.
    """
    model.make_train_function()
    train, left = model.train_function, steps

    def pass_over(iterator: Any) -> Any:
        nonlocal left
        if left <= 0:
            return train(iterator)
        for _ in range(min(left, model.steps_per_execution)):
            next(iterator)
        left -= model.steps_per_execution
        return {}

    model.train_function = pass_over


class CheckpointEvery(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes a checkpoint every so many steps, the new one whole before the old one goes; goes on from one at first.

    Args:
        folder: Folder or URL.
        every: Steps between two checkpoints.
        steps: Steps of an epoch.
        series: The series, which goes on too.
        early_stopping: The early stopping of this training, which goes on too.
        start: The checkpoint to go on from.
    """

    def __init__(
        self,
        folder: str,
        every: int,
        steps: int,
        series: Series,
        early_stopping: keras.callbacks.EarlyStopping | None,
        start: Checkpoint | None,
    ) -> None:
        super().__init__()
        self._folder, self._every, self._steps = folder, every, steps
        self._series, self._early_stopping = series, early_stopping
        self._start = start
        self._epoch, self._since = 0, 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Early stopping forgets at the beginning of a training, so it is reminded after that."""
        stopping = self._early_stopping
        if self._start is None or stopping is None:
            return
        for name, value in self._start.early_stopping.items():
            setattr(stopping, name, value)
        stopping.best_weights = list(self._start.best) or None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Keras resets the metrics at the beginning of an epoch; those of one that goes on are set after that."""
        self._epoch, self._since = epoch, 0
        if self._start is not None and self._start.step:
            self._since = self._start.step
            metrics = self.model.metrics_variables
            for variable, value in zip(metrics, self._start.values[len(self._start.values) - len(metrics) :]):
                variable.assign(value)
        self._start = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        done = min(self._steps, batch + 1)
        if done - self._since >= self._every and done < self._steps:
            self._since = done
            self._write(self._epoch, done)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._write(epoch + 1, 0)

    def _write(self, epoch: int, step: int) -> None:
        stopping = self._early_stopping
        remembered = {n: _plain(getattr(stopping, n)) for n in _REMEMBERED if getattr(stopping, n, None) is not None}
        checkpoint = Checkpoint(
            epoch,
            step,
            bool(self.model.stop_training),
            self._series.epochs,
            self._series.points,
            remembered,
            [np.asarray(variable) for variable in [*_trained(self.model), *self.model.metrics_variables]],
            [np.asarray(value) for value in getattr(stopping, "best_weights", None) or ()],
        )
        storage.write_bytes(storage.join(self._folder, FILE), checkpoint.to_bytes())


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
