"""Transform: `preprocessing_fn` becomes a saved graph, with its layers' state taken from the train split alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from headrace.pipelines import Examples, Function, Input, Output, Schema, TransformGraph, component, step_context

if TYPE_CHECKING:
    from headrace.transforms.keras_graph import TracedTransform
    from headrace.transforms.row_groups import RowGroup


@component(imports=("apache_beam", "keras"))
def Transform(
    examples: Input[Examples],
    schema: Input[Schema],
    transform_graph: Output[TransformGraph],
    transformed_examples: Output[Examples],
    *,
    preprocessing_fn: Function,
    labels: list[str] | None = None,
    passthrough: list[str] | None = None,
    train_split: str = "train",
    materialize: bool = True,
) -> None:
    """Computes the state of `preprocessing_fn`'s layers on the train split, saves the graph, and writes every split's
    features.

    Nobody calls `adapt`: the layers that need data are found, and their state is computed with Beam in as few passes
    over the train split
    as their dependencies allow. The graph is one SavedModel; `preprocessing_fn` is never run again.

    Args:
        examples: Raw rows.
        schema: Their schema.
        transform_graph: raw -> features and raw -> label as one SavedModel, with each feature's dtype, shape and
            vocabulary.
        transformed_examples: The features of every split; absent with `materialize=False`.
        preprocessing_fn: From a dict of KerasTensors, a scalar column of shape (None, 1), to a dict of them.
        labels: Its outputs that are labels or weights, and so no features.
        passthrough: Raw columns to write beside the features, such as a label that is no output of `preprocessing_fn`.
        train_split: The split that the state is taken from; no other row is seen.
        materialize: Whether to write the features. Without, the Trainer applies the saved graph to the raw rows.

    Raises:
        ValueError, TypeError: What `preprocessing_fn` returns cannot be computed, stored or exported.

    >>> Transform(                                                                          # doctest: +SKIP
    ...     examples=example_gen.outputs["examples"],
    ...     schema=schema_gen.outputs["schema"],
    ...     preprocessing_fn="flights.preprocessing:preprocessing_fn",
    ... )
    """
    from headrace.transforms.keras_graph import analyze_and_trace
    from headrace.transforms.row_groups import RowGroup

    context = step_context()
    train = [RowGroup(*group) for group in examples.row_groups(train_split)]
    total = sum(group.rows for group in train)
    traced = analyze_and_trace(
        preprocessing_fn,
        schema.read(),
        train,
        arrow_schema=examples.schema,
        labels=labels or (),
        beam_args=list(context.beam_args) or None,
        engine=context.engine,
        on_rows=lambda rows: context.progress(rows, total),
    )
    traced.save(transform_graph.path)
    transform_graph.link(schema=schema, examples=examples)
    if not materialize:
        transformed_examples.leave_out()
        return
    _write_features(examples, transformed_examples, traced, passthrough or [])
    transformed_examples.properties["transformed"] = True
    transformed_examples.link(examples=examples)


def _write_features(examples: Examples, transformed: Examples, traced: TracedTransform, passthrough: list[str]) -> None:
    """Writes the features of every split, row group by row group, a thread ahead of the writer."""
    import pyarrow as pa
    from headrace.transforms.row_groups import RowGroup, read

    context = step_context()
    raw_schema = examples.schema
    features = traced.output_arrow_schema
    beside = [raw_schema.field(name) for name in passthrough]
    schema = pa.schema([*features, *beside])
    columns = [*dict.fromkeys([*traced.inputs, *passthrough])]

    def compute(group: RowGroup) -> pa.RecordBatch:
        raw = read(group, columns)
        made = traced.apply(raw)
        return pa.RecordBatch.from_arrays([*made.columns, *(raw.column(name) for name in passthrough)], schema=schema)

    groups = [(split, RowGroup(*group)) for split in examples.splits for group in examples.row_groups(split)]
    total, done = sum(group.rows for _, group in groups), 0
    with transformed.writer(schema) as writer, ThreadPoolExecutor(2) as pool:
        writer.declare(*examples.splits)
        ahead = [pool.submit(compute, group) for _, group in groups[:2]]
        for number, (split, group) in enumerate(groups):
            batch = ahead.pop(0).result()
            if number + 2 < len(groups):
                ahead.append(pool.submit(compute, groups[number + 2][1]))
            writer.write(split, batch)
            done += group.rows
            context.progress(done, total)
