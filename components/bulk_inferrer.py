"""BulkInferrer: a model's predictions for every row of Examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from headrace.pipelines import Examples, Input, Model, Output, Predictions, Schema, component, step_context, storage

if TYPE_CHECKING:
    import pyarrow as pa
    from headrace.transforms.row_groups import RowGroup


@component(imports=("keras",))
def BulkInferrer(
    examples: Input[Examples],
    model: Input[Model],
    predictions: Output[Predictions],
    schema: Input[Schema] | None = None,
    *,
    output_columns: list[str] | None = None,
    splits: list[str] | None = None,
    batch_size: int = 8192,
) -> None:
    """Calls the model on raw rows and writes its outputs as Parquet, one row for each row, in order.

    Memory does not grow with the rows: they are read, predicted and written row group by row group.

    Args:
        examples: Raw rows.
        model: The exported model.
        predictions: `<split>/part-00000.parquet` and so on: the passed columns, then a column for each output of the
            model, of lists where it gives several numbers a row.
        schema: Schema of the rows; says what stands for a missing value where the model does not.
        output_columns: Columns of the examples to write beside the predictions, such as an id.
        splits: The splits to predict; all of them, if not given.
        batch_size: Rows of one call of the model.

    Raises:
        ValueError: The rows lack a column that the model takes or that is to be passed on, or there is no such split.

    >>> BulkInferrer(                                                                    # doctest: +SKIP
    ...     examples=example_gen.outputs["examples"],
    ...     model=trainer.outputs["model"],
    ...     output_columns=["flight", "day"],
    ... )
    """
    from headrace.components.evaluation.prediction_shards import prediction_schema, write_predictions
    from headrace.components.evaluation.sources import stated_inputs
    from headrace.transforms.row_groups import RowGroup
    from headrace.transforms.serving_model import ServingModel

    passed = output_columns or []
    raw = examples.schema
    if absent := [name for name in passed if name not in raw.names]:
        raise ValueError(f"output_columns= names {absent[0]!r}; the examples have {', '.join(raw.names)}")
    chosen = splits if splits is not None else examples.splits
    groups = {split: [RowGroup(*group) for group in examples.row_groups(split)] for split in chosen}
    serving = ServingModel(model.saved_model_path, stated_inputs(model, schema, examples), batch_rows=batch_size)
    written = prediction_schema(serving, [raw.field(name) for name in passed], _first_rows(groups, raw))
    context = step_context()
    total, done = sum(group.rows for some in groups.values() for group in some), 0

    def on_rows(rows: int) -> None:
        nonlocal done
        done += rows
        context.progress(done, total)

    counts = {
        split: write_predictions(serving, some, passed, written, storage.join(predictions.uri, split), on_rows)
        for split, some in groups.items()
    }
    predictions.rows = sum(counts.values())
    predictions.properties["splits"] = counts
    predictions.link(model=model, examples=examples)


def _first_rows(groups: Mapping[str, list[RowGroup]], schema: pa.Schema) -> pa.RecordBatch:
    """A few rows of any split, to see the types of the outputs."""
    import pyarrow as pa
    from headrace.transforms.row_groups import read

    for some in groups.values():
        for group in some:
            if group.rows:
                return read(group).slice(0, 8)
    return pa.RecordBatch.from_pylist([], schema=schema)
