"""The rows of an evaluation, and the one pass over them: raw examples for models, or predictions made elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from headrace.components.evaluation.labels import target
from headrace.components.evaluation.scoring import ScoredByColumns, ScoredByModels
from headrace.pipelines import Examples, Model, Predictions, Schema, TransformGraph, step_context
from headrace.pipelines.errors import ArtifactError, DataError
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.metrics.evaluation import Evaluation, EvaluationState
from headrace.transforms.passes import run_pass
from headrace.transforms.row_groups import RowGroup, read, row_groups
from headrace.transforms.serving_model import ServingModel

PROBED_ROWS = 1024


@dataclass(frozen=True)
class Source:
    """Rows and how they are scored.

    Args:
        score: Gives labels and predictions of a batch.
        groups: The row groups.
        columns: The columns to read.
        beside: Row groups whose rows, in order, hold further columns of the same rows; and these columns.
    """

    score: ScoredByModels | ScoredByColumns
    groups: Sequence[RowGroup]
    columns: Sequence[str]
    beside: tuple[Sequence[RowGroup], Sequence[str]] | None = None

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self.groups)

    def first_rows(self) -> pa.RecordBatch:
        """A few rows, to see what is predicted."""
        group = next(group for group in self.groups if group.rows)
        if self.beside is not None:
            return next(self._joined(group.rows)).slice(0, PROBED_ROWS)
        return read(group, self.columns).slice(0, PROBED_ROWS)

    def evaluate(self, evaluation: Evaluation) -> EvaluationState:
        """Runs the pass."""
        context, total = step_context(), self.rows
        if self.beside is None:
            state: EvaluationState = run_pass(
                self.groups,
                evaluation,
                columns=self.columns,
                beam_args=list(context.beam_args) or None,
                engine="direct" if context.engine == "direct" else "beam",
                on_rows=lambda rows: context.progress(rows, total),
            )
            return state
        state, done = evaluation.create(), 0
        for batch in self._joined(total):
            state = evaluation.merge(state, evaluation.summarize(batch))
            done += batch.num_rows
            context.progress(done, total)
        return evaluation.finish(state)

    def _joined(self, most: int) -> Iterator[pa.RecordBatch]:
        """Rows with the columns that lie beside them, row for row."""
        assert self.beside is not None
        others, columns = self.beside
        waiting = (read(group, columns) for group in others)
        current, offset = next(waiting), 0
        for group in self.groups:
            batch, pieces, lacking = read(group, self.columns), [], group.rows
            while lacking:
                if offset == current.num_rows:
                    current, offset = next(waiting), 0
                pieces.append(current.slice(offset, lacking))
                offset += pieces[-1].num_rows
                lacking -= pieces[-1].num_rows
            if not pieces:
                continue
            table = pa.Table.from_batches(pieces).combine_chunks()
            arrays = [*batch.columns, *(column.chunk(0) for column in table.columns)]
            yield pa.RecordBatch.from_arrays(arrays, names=[*batch.schema.names, *table.column_names])


def of_models(
    model: Model,
    baseline: Model | None,
    examples: Examples,
    schema: Schema | None,
    split: str,
    label: str | Mapping[str, str] | None,
    weight: str | None,
    classes: Sequence[str] | None,
    sliced: Sequence[str],
) -> Source:
    """Raw rows of a split, on which models are called.

    Raises:
        ValueError: Label, weight or a column to slice by is not there, or the model does not say its label.
        DataError: The split has no rows.
    """
    if examples.properties.get("transformed"):
        raise ValueError(
            "the Evaluator takes raw examples, received transformed ones: the model takes raw columns, so pass "
            'examples=<ExampleGen>.outputs["examples"]'
        )
    columns = examples.schema.names
    stated = stated_inputs(model, schema, examples)
    serving = ServingModel(model.saved_model_path, stated)
    transform = _transform_folder(model)
    label = label if label is not None else model.links.get("label")
    if label is None:
        raise ValueError("the model does not say what its label is: pass label=")
    weight = weight if weight is not None else model.links.get("weight")
    labels = {
        output: target(name, columns, transform, classes)
        for output, name in _by_output(label, serving.output_names()).items()
    }
    other = None
    if baseline is not None:
        other = ServingModel(baseline.saved_model_path, stated_inputs(baseline, schema, examples))
    score = ScoredByModels(labels, target(weight, columns, transform) if weight is not None else None, serving, other)
    groups = _with_rows([RowGroup(*group) for group in examples.row_groups(split)], f"split {split!r}", examples.uri)
    wanted = list(dict.fromkeys([*score.columns(), *sliced]))
    _check_columns(wanted, columns, sliced)
    return Source(score, groups, wanted)


def of_predictions(
    predictions: Predictions,
    examples: Examples | None,
    split: str,
    label: str | Mapping[str, str] | None,
    weight: str | None,
    prediction: str | Mapping[str, str] | None,
    classes: Sequence[str] | None,
    sliced: Sequence[str],
) -> Source:
    """Rows of predictions, with columns of the examples beside them where they lack some.

    Raises:
        ValueError: A column is in neither, or the two have different numbers of rows.
        DataError: There are no rows.
    """
    shards = predictions.shards()
    of_split = [shard for shard in shards if shard.removeprefix(predictions.uri).startswith(f"/{split}/")]
    groups = _with_rows(row_groups(of_split or shards), "the predictions", predictions.uri)
    columns = read(groups[0]).schema.names
    beside = [] if examples is None else [name for name in examples.schema.names if name not in columns]
    assert label is not None
    outputs = _prediction_columns(prediction, columns, label, [*sliced, *([weight] if weight else [])])
    everything = [*columns, *beside]
    labels = {
        output: target(name, everything, None, classes) for output, name in _by_output(label, list(outputs)).items()
    }
    weights = target(weight, everything, None) if weight is not None else None
    score = ScoredByColumns(labels, weights, {output: outputs[output] for output in labels})
    wanted = list(dict.fromkeys([*score.columns(), *sliced]))
    _check_columns(wanted, everything, sliced)
    lacking = [name for name in wanted if name in beside]
    if not lacking:
        return Source(score, groups, wanted)
    assert examples is not None
    others = [RowGroup(*group) for group in examples.row_groups(split)]
    rows, other_rows = (sum(group.rows for group in some) for some in (groups, others))
    if rows != other_rows:
        raise ValueError(
            f"predictions and split {split!r} of the examples are matched row by row, but there are {rows:,} "
            f"predictions and {other_rows:,} examples: predict every row in order, or write "
            f"{', '.join(lacking)} beside them"
        )
    return Source(score, groups, [name for name in wanted if name not in lacking], (others, lacking))


def stated_inputs(model: Model, schema: Schema | None, examples: Examples) -> dict[str, ModelInput]:
    """What stands for a missing value in each column: as the model's transform has it, otherwise as the schema says."""
    from headrace.components.evaluation.labels import transform_in
    from headrace.transforms.schema.inputs import model_inputs

    folder = _transform_folder(model)
    if folder is not None:
        return dict(transform_in(folder).inputs)
    return model_inputs(schema.read()) if schema is not None else {}


def _transform_folder(model: Model) -> str | None:
    """The folder of the transform that the model's link names; None where it names none, or it is gone."""
    link = model.links.get("transform_graph")
    if not isinstance(link, Mapping):
        return None
    try:
        graph = _transform_graphs.setdefault(link["uri"], TransformGraph.open(link["uri"]))
    except ArtifactError as error:
        step_context().warn(f"the model's transform graph is gone, so labels are taken from raw columns: {error}")
        return None
    return str(graph.path)


# A remote artifact is staged to a folder that goes with it.
_transform_graphs: dict[str, TransformGraph] = {}


def _by_output(label: str | Mapping[str, str], outputs: Sequence[str]) -> dict[str, str]:
    """The label of each output."""
    if isinstance(label, str):
        if len(outputs) != 1:
            shown = ", ".join(f'"{name}": ...' for name in outputs)
            raise ValueError(f"the model has {len(outputs)} outputs; say which label each has: label={{{shown}}}")
        return {outputs[0]: label}
    unknown = [name for name in label if name not in outputs]
    if unknown:
        raise ValueError(f"label= names the output {unknown[0]!r}; the model has {', '.join(outputs)}")
    return dict(label)


def _prediction_columns(
    prediction: str | Mapping[str, str] | None,
    columns: Sequence[str],
    label: str | Mapping[str, str],
    others: Sequence[str],
) -> dict[str, str]:
    """The column with the predictions of each output."""
    if isinstance(prediction, Mapping):
        found = dict(prediction)
    elif prediction is not None:
        found = {prediction: prediction}
    else:
        taken = {*others, *([label] if isinstance(label, str) else label.values())}
        usual = [name for name in ("predictions", "prediction") if name in columns]
        candidates = usual[:1] or [name for name in columns if name not in taken]
        if len(candidates) != 1:
            raise ValueError(f"which column holds the predictions? Pass prediction=; there are {', '.join(candidates)}")
        found = {candidates[0]: candidates[0]}
    absent = [name for name in found.values() if name not in columns]
    if absent:
        raise ValueError(f"prediction= names the column {absent[0]!r}; the predictions have {', '.join(columns)}")
    return found


def _with_rows(groups: list[RowGroup], what: str, where: str) -> list[RowGroup]:
    if not any(group.rows for group in groups):
        raise DataError(
            f"{what} has no rows to evaluate", "evaluate on a split with rows, with eval_split=", file=where
        )
    return groups


def _check_columns(wanted: Sequence[str], columns: Sequence[str], sliced: Sequence[str]) -> None:
    absent = [name for name in wanted if name not in columns]
    if absent:
        for_what = "to slice by" if absent[0] in sliced else "that the model takes"
        raise ValueError(f"the rows have no column {absent[0]!r} {for_what}; they have {', '.join(columns)}")


def sensitive_columns(schema: Schema | None, model: Model | None) -> set[str]:
    """The columns marked sensitive in the schema, or in the one that the model's link names."""
    from headrace.transforms.schema import sensitive_columns as marked

    if schema is None and model is not None and isinstance(link := model.links.get("schema"), Mapping):
        try:
            schema = Schema.open(link["uri"])
        except ArtifactError:
            return set()
    return set(marked(schema.read())) if schema is not None else set()


def link_digests(**artifacts: Any) -> dict[str, str]:
    """The digests of the artifacts that are there, by name."""
    return {name: artifact.digest for name, artifact in artifacts.items() if artifact is not None}
