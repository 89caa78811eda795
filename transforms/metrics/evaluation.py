"""The evaluation of models as one mergeable summary: metrics of several outputs by several slicings, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from headrace.transforms.metrics.metric import Array, Codes, Scored, merged
from headrace.transforms.metrics.registry import Selection, Task
from headrace.transforms.metrics.slicing import SliceKeys, Slicing
from numpy.typing import NDArray

MODEL, BASELINE = "metrics", "baseline"
# Columns of the counts: rows with a label, their weight, rows without a label, and, for the model and for the
# baseline, rows with a label where a prediction is not a number.
ROWS, WEIGHT, UNLABELLED, NOT_FINITE = range(4)


@dataclass(frozen=True)
class Predicted:
    """One batch of rows as models answered it.

    Args:
        labels: Output -> shape `(rows,)`, NaN where the label is missing.
        predictions: Model ("metrics" for the one that is evaluated, "baseline") -> output -> `(rows,)` or `(rows,
            classes)`.
        weights: Shape `(rows,)`, or None.
    """

    labels: Mapping[str, Array]
    predictions: Mapping[str, Mapping[str, NDArray[Any]]]
    weights: Array | None = None


@dataclass(frozen=True)
class Output:
    """One output of the model and what to compute of it."""

    name: str
    task: Task
    label: str
    selection: Selection


@dataclass
class EvaluationState:
    """The merged state: keys and counts of the slices, and each metric's state by (model, output, metric, slicing)."""

    keys: list[SliceKeys]
    counts: dict[tuple[str, int], Array] = field(default_factory=dict)
    metrics: dict[tuple[str, str, int, int], Any] = field(default_factory=dict)


class Evaluation:
    """A summarizer for `headrace.transforms.passes.run_pass`.

    Args:
        outputs: What to evaluate.
        slicings: How to slice; the slice of all rows is always the first.
        predict: Gives labels, predictions and weights of a batch.

    >>> from headrace.transforms.metrics.registry import select
    >>> def predict(batch):
    ...     label, p = (batch.column(name).to_numpy() for name in ("y", "p"))
    ...     return Predicted({"p": label}, {"metrics": {"p": p}})
    >>> evaluation = Evaluation([Output("p", "binary", "y", select(["accuracy"], "binary"))], [], predict)
    >>> batch = pa.record_batch({"y": [0.0, 1.0], "p": [0.2, 0.9]})
    >>> state = evaluation.merge(evaluation.create(), evaluation.summarize(batch))
    >>> state.counts["p", 0][0].tolist()
    [2.0, 2.0, 0.0, 0.0, 0.0]
    """

    def __init__(
        self, outputs: Sequence[Output], slicings: Sequence[Slicing], predict: Callable[[pa.RecordBatch], Predicted]
    ) -> None:
        self.outputs = list(outputs)
        self.slicings = [Slicing(), *(slicing for slicing in dict.fromkeys(slicings) if slicing.columns)]
        self._predict = predict

    def create(self) -> EvaluationState:
        return EvaluationState([SliceKeys(slicing) for slicing in self.slicings])

    def summarize(self, batch: pa.RecordBatch) -> EvaluationState:
        state = self.create()
        batch = self._encoded(batch)
        predicted = self._predict(batch)
        codes = [keys.encode(batch) for keys in state.keys]
        for output in self.outputs:
            self._add_output(state, output, predicted, codes)
        return state

    def _encoded(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Strings to slice by as dictionaries, which the models' inputs are made of too: encoded once for both."""
        for name in dict.fromkeys(name for slicing in self.slicings for name in slicing.columns):
            if name in batch.schema.names and pa.types.is_string(batch.column(name).type):
                position = batch.schema.get_field_index(name)
                batch = batch.set_column(position, name, batch.column(name).dictionary_encode())
        return batch

    def _add_output(self, state: EvaluationState, output: Output, predicted: Predicted, codes: list[Codes]) -> None:
        labels = np.asarray(predicted.labels[output.name], np.float64)
        missing = np.isnan(labels)
        weights = None if predicted.weights is None else np.asarray(predicted.weights, np.float64)
        models = {model: by_output[output.name] for model, by_output in predicted.predictions.items()}
        broken = {model: ~_finite(predictions) & ~missing for model, predictions in models.items()}
        for number, (keys, code) in enumerate(zip(state.keys, codes)):
            columns: list[Any] = [~missing, ~missing * (1.0 if weights is None else weights), missing]
            columns += [broken.get(model) for model in (MODEL, BASELINE)]
            counts = [
                np.zeros(len(keys)) if column is None else np.bincount(code, column, minlength=len(keys))
                for column in columns
            ]
            state.counts[output.name, number] = np.stack(counts, axis=1)
        for model, predictions in models.items():
            kept = ~missing & ~broken[model]
            everything = bool(kept.all())
            if not everything:
                labels_kept, predictions = labels[kept], predictions[kept]
            scored = Scored(
                labels if everything else labels_kept,
                predictions,
                weights if weights is None or everything else weights[kept],
            )
            _check(scored, output)
            self._add_metrics(state, model, output, scored, codes if everything else [code[kept] for code in codes])

    def _add_metrics(
        self, state: EvaluationState, model: str, output: Output, scored: Scored, codes: Sequence[Codes]
    ) -> None:
        for position, metric in enumerate(output.selection.metrics):
            prepared = metric.prepare(scored)
            for number, (keys, code) in enumerate(zip(state.keys, codes)):
                state.metrics[model, output.name, position, number] = metric.update(
                    metric.create(), prepared, code, len(keys)
                )

    def merge(self, left: EvaluationState, right: EvaluationState) -> EvaluationState:
        metrics = {output.name: output.selection.metrics for output in self.outputs}
        for number, (keys, others) in enumerate(zip(left.keys, right.keys)):
            codes = keys.add(others.keys)
            for (output, slicing), counts in right.counts.items():
                if slicing == number:
                    mine = left.counts.get((output, slicing), np.zeros((0, counts.shape[1])))
                    left.counts[output, slicing] = merged(mine, counts, codes, len(keys))
            for key, other in right.metrics.items():
                _, output, position, slicing = key
                if slicing == number:
                    metric = metrics[output][position]
                    mine = left.metrics[key] if key in left.metrics else metric.create()
                    left.metrics[key] = metric.merge(mine, other, codes, len(keys))
        return left

    def finish(self, summary: EvaluationState) -> EvaluationState:
        return summary


def _finite(predictions: NDArray[Any]) -> NDArray[np.bool_]:
    finite = np.isfinite(predictions)
    return np.asarray(finite if finite.ndim == 1 else finite.all(axis=1))


def _check(scored: Scored, output: Output) -> None:
    """Refuses rows that the output's task cannot have, so that no metric gives a number without meaning."""
    labels, predictions = scored.labels, scored.predictions
    if not scored.rows:
        return
    said = f"output {output.name!r} as {output.task}"
    if (output.task == "multiclass") != (predictions.ndim == 2):
        shape = "one number a row" if predictions.ndim == 1 else f"{predictions.shape[1]} numbers a row"
        raise ValueError(f"{said}: the model gives {shape}; pass task= with what it predicts")
    if output.task == "binary":
        if labels.min() < 0 or labels.max() > 1:
            worst = labels.max() if labels.max() > 1 else labels.min()
            column = f"column {output.label!r}"
            raise ValueError(
                f'{said}: expected labels of 0 and 1 in {column}, received {worst:g}, or task="regression"'
            )
        if predictions.min() < 0 or predictions.max() > 1:
            worst = predictions.max() if predictions.max() > 1 else predictions.min()
            raise ValueError(
                f"{said}: expected probabilities between 0 and 1, received {worst:g}: end the model with a sigmoid, "
                'or evaluate it as task="regression"'
            )
    elif output.task == "multiclass" and bool(np.any(labels != np.floor(labels))):
        raise ValueError(f"{said}: expected class numbers in column {output.label!r}, received fractions")
