"""Rows with their labels and predictions: by calling models, or from columns of predictions made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from headrace.components.evaluation.labels import Target
from headrace.transforms import feature_model
from headrace.transforms.metrics.evaluation import BASELINE, MODEL, Predicted
from headrace.transforms.metrics.registry import Task
from headrace.transforms.serving_model import ServingModel
from numpy.typing import NDArray


@dataclass(frozen=True)
class ScoredByModels:
    """Calls the model, and the baseline if there is one, on raw rows.

    Args:
        labels: The label of each output that is evaluated.
        weight: The weight of a row, if there is one.
        model: The model that is evaluated.
        baseline: The model it is compared with.
    """

    labels: Mapping[str, Target]
    weight: Target | None
    model: ServingModel
    baseline: ServingModel | None = None

    def columns(self) -> list[str]:
        """The raw columns that are needed."""
        targets = [*self.labels.values(), *([self.weight] if self.weight else [])]
        models = [model for model in (self.model, self.baseline) if model is not None]
        return list(
            dict.fromkeys([*(c for m in models for c in m.columns()), *(c for one in targets for c in one.columns)])
        )

    def __call__(self, batch: pa.RecordBatch) -> Predicted:
        predictions = {MODEL: self.predict(batch)}
        if self.baseline is not None:
            predictions[BASELINE] = self._outputs(self.baseline, batch, "the baseline model")
        return _predicted(self.labels, self.weight, predictions, batch)

    def predict(self, batch: pa.RecordBatch) -> dict[str, NDArray[Any]]:
        """What the model gives for rows, by the outputs that have a label."""
        return self._outputs(self.model, batch, "the model")

    def _outputs(self, model: ServingModel, batch: pa.RecordBatch, whose: str) -> dict[str, NDArray[Any]]:
        given = model(batch)
        for name in self.labels:
            if name not in given:
                raise ValueError(f"{whose} has no output {name!r}; it has {', '.join(given)}")
        return {name: given[name] for name in self.labels}


@dataclass(frozen=True)
class ScoredByColumns:
    """Takes predictions that are columns of the rows.

    Args:
        labels: The label of each output.
        weight: The weight of a row, if there is one.
        predictions: The column, of numbers or of lists of them, of each output.
    """

    labels: Mapping[str, Target]
    weight: Target | None
    predictions: Mapping[str, str] = field(default_factory=dict)

    def columns(self) -> list[str]:
        """The columns that are needed."""
        targets = [*self.labels.values(), *([self.weight] if self.weight else [])]
        return list(dict.fromkeys([*self.predictions.values(), *(c for one in targets for c in one.columns)]))

    def __call__(self, batch: pa.RecordBatch) -> Predicted:
        predictions = {output: _numbers(batch.column(name), name) for output, name in self.predictions.items()}
        return _predicted(self.labels, self.weight, {MODEL: predictions}, batch)


def _predicted(
    labels: Mapping[str, Target],
    weight: Target | None,
    predictions: Mapping[str, Mapping[str, NDArray[Any]]],
    batch: pa.RecordBatch,
) -> Predicted:
    weights = None if weight is None else np.nan_to_num(weight.values(batch))
    if weights is not None and len(weights) and weights.min() < 0:
        raise ValueError(f"the weight {weight.name if weight else ''!r} is negative in a row: {weights.min():g}")
    return Predicted({output: one.values(batch) for output, one in labels.items()}, predictions, weights)


def _numbers(column: pa.Array, name: str) -> NDArray[Any]:
    """A column of numbers as `(rows,)`, NaN where missing; of lists of one length as `(rows, length)`."""
    if feature_model.is_list(column.type):
        flat = np.asarray(column.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False))
        if column.null_count or len(flat) % max(len(column), 1):
            raise ValueError(f"the predictions in column {name!r} are lists of several lengths, or some are missing")
        return flat.reshape(len(column), -1)
    try:
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"the predictions in column {name!r} are {column.type}, which are no numbers ({error})"
        ) from None


def infer_task(predicted: Predicted, output: str) -> Task:
    """What an output predicts, from its first rows.

    Classes if it has several numbers a row; 0 or 1 if the labels are and the predictions are probabilities; otherwise a
    number. The pass over all rows refuses those that do not fit.
    """
    predictions, labels = predicted.predictions[MODEL][output], predicted.labels[output]
    if predictions.ndim == 2:
        return "multiclass"
    labels = labels[~np.isnan(labels)]
    finite = predictions[np.isfinite(predictions)]
    zero_or_one = bool(len(labels)) and bool(np.isin(labels, (0, 1)).all())
    return "binary" if zero_or_one and bool(((finite >= 0) & (finite <= 1)).all()) else "regression"
