"""One `fit`: streams, callbacks, checkpoints and the series put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from headrace.components.training.batch_stream import BatchStream, map_arrays
from headrace.components.training.checkpoints import Checkpoint, CheckpointEvery, latest, restore, skip_steps
from headrace.components.training.feature_source import FeatureSource
from headrace.components.training.series import Series
from headrace.pipelines import step_context
from headrace.pipelines.errors import PipelineError, Problem

EVAL_BATCH = 8192
EVAL_BYTES = 256 << 20


@dataclass(frozen=True)
class FitSettings:
    """How a model is trained.

    Args:
        epochs: Passes over the training split.
        batch_size: Rows of a step.
        seed: Of the shuffling.
        train_split: The split to train on.
        eval_split: The split whose loss and metrics are told after each epoch, or None.
        train_steps: Steps of an epoch at most, or None.
        eval_steps: Steps of an evaluation at most, each of `batch_size` rows, or None.
        callbacks: Gives the author's callbacks, or None.
        early_stopping: Arguments of `keras.callbacks.EarlyStopping`, or None.
        checkpoints: Folder or URL of checkpoints, or None.
        checkpoint_every: Steps between two checkpoints.
    """

    epochs: int
    batch_size: int
    seed: int
    train_split: str
    eval_split: str | None
    train_steps: int | None = None
    eval_steps: int | None = None
    callbacks: Callable[[], list[Any]] | None = None
    early_stopping: dict[str, Any] | None = None
    checkpoints: str | None = None
    checkpoint_every: int = 0


def fit(
    model: keras.Model, source: FeatureSource, settings: FitSettings, folder: Path, *beside: keras.callbacks.Callback
) -> None:
    """Trains a compiled model.

    Args:
        model: The model.
        source: The features and labels.
        settings: How.
        folder: Where the series goes.
        *beside: Callbacks beside those of the settings.

    Raises:
        Exception: What reading the rows raises, as it is, and not wrapped by tf.data.
    """
    stream = source.stream(
        settings.train_split,
        settings.batch_size,
        most_steps=settings.train_steps,
        shuffle=True,
        seed=settings.seed,
    )
    if model.optimizer is not None:
        # TensorFlow traces a function that makes variables twice, which costs as much as a third of an epoch.
        model.optimizer.build(model.trainable_variables)
    start = _start(model, stream, settings)
    rows = min(stream.rows, stream.steps * settings.batch_size)
    series = Series(folder, stream.steps, settings.batch_size, rows, settings.epochs)
    if start is not None:
        series.epochs, series.points = [*start.epochs], [*start.points]
    validation = _validation(source, settings)
    first_epoch = start.epoch if start else 0
    epochs = first_epoch if start and start.stopped else settings.epochs
    try:
        model.fit(
            stream.dataset(first_epoch),
            epochs=epochs,
            initial_epoch=first_epoch,
            validation_data=validation.dataset() if validation is not None else None,
            callbacks=[*_callbacks(series, settings, stream, start), *beside],
            shuffle=False,
            verbose=2,
        )
    except Exception:
        for failed in (stream, validation):
            if failed is not None and failed.failure.error is not None:
                raise failed.failure.error from None
        raise
    finally:
        series.write()


def _start(model: keras.Model, stream: BatchStream, settings: FitSettings) -> Checkpoint | None:
    """The checkpoint to go on from, its values put into the model."""
    checkpoint = latest(settings.checkpoints) if settings.checkpoints is not None else None
    if checkpoint is None:
        return None
    batch = map_arrays(lambda array: array[0], next(stream.stacks()))
    if not restore(model, checkpoint, batch):
        step_context().warn("a checkpoint was found whose variables are not this model's: training starts anew")
        return None
    skip_steps(model, checkpoint.step)
    step_context().warn(
        f"training goes on from its checkpoint: epoch {checkpoint.epoch + 1}, step {checkpoint.step + 1}"
    )
    return checkpoint


def _validation(source: FeatureSource, settings: FitSettings) -> BatchStream | None:
    if settings.eval_split is None:
        return None
    if settings.eval_steps is not None:
        return source.stream(settings.eval_split, settings.batch_size, most_steps=settings.eval_steps)
    most = min(EVAL_BATCH, EVAL_BYTES // source.row_bytes)
    return source.stream(settings.eval_split, max(settings.batch_size, most))


def _callbacks(series: Series, settings: FitSettings, stream: BatchStream, start: Checkpoint | None) -> list[Any]:
    used: list[Any] = [series]
    stopping = _early_stopping(settings)
    if stopping is not None:
        used.append(stopping)
    if settings.callbacks is not None:
        given = settings.callbacks()
        if not isinstance(given, list | tuple) or not all(isinstance(one, keras.callbacks.Callback) for one in given):
            what = f"expected a list of keras.callbacks.Callback from callbacks(), received {given!r:.200}"
            raise PipelineError(Problem(what, "return [MyCallback()]", code="argument"))
        used += given
    if settings.checkpoints is not None:
        every = settings.checkpoint_every
        used.append(CheckpointEvery(settings.checkpoints, every, stream.steps, series, stopping, start))
    return used


def _early_stopping(settings: FitSettings) -> keras.callbacks.EarlyStopping | None:
    if settings.early_stopping is None:
        return None
    stopping = keras.callbacks.EarlyStopping(**settings.early_stopping)
    if settings.eval_split is None and stopping.monitor.startswith("val_"):
        # Keras would only warn, and never stop.
        what = f"early_stopping monitors {stopping.monitor!r}, and there is no split to evaluate on"
        raise PipelineError(Problem(what, 'pass eval_split=, or {"monitor": "loss"}', code="argument"))
    return stopping
