"""Transform: `preprocessing_fn` becomes a saved graph, with its layers' state taken from the train split alone."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING

from headrace.pipelines import Examples, Function, Input, Output, Schema, TransformGraph, component, step_context
from headrace.pipelines.errors import DataError, Location, PipelineError, Problem

if TYPE_CHECKING:
    import pyarrow as pa
    from headrace.transforms.keras_graph import TracedTransform
    from headrace.transforms.row_groups import RowGroup
    from headrace.transforms.tft.transform_graph import TftTransform

_AHEAD = 2
"""Row groups that are computed while another is written: what is held at once."""


@component(
    imports=(
        "apache_beam",
        "keras",
        "headrace.transforms.beam_pass",
        "headrace.transforms.keras_graph.traced_transform",
    ),
    process="headrace.components.tfx.process",
)
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
    """Computes the state of `preprocessing_fn`'s layers on the train split, saves the graph, writes the features.

    Nobody calls `adapt`: the layers that need data are found, and their state is computed with Beam in as few passes
    over the train split as their dependencies allow. The graph is one SavedModel; `preprocessing_fn` is never run
    again. One that calls `tft.*` is run by TensorFlow Transform, in a process of its own (docs/transform.md).

    Args:
        examples: Raw rows.
        schema: Their schema.
        transform_graph: raw -> features and raw -> label as one SavedModel, with each feature's dtype, shape and
            vocabulary; of TensorFlow Transform also what `tft.TFTransformOutput` reads.
        transformed_examples: The features of every split; absent with `materialize=False`.
        preprocessing_fn: From a dict of KerasTensors, a scalar column of shape (None, 1), to a dict of them; or TFX's,
            of tensors as the schema says.
        labels: Its outputs that are labels or weights, and so no features.
        passthrough: Raw columns to write beside the features, such as a label that is no output of `preprocessing_fn`.
        train_split: The split that the state is taken from; no other row is seen.
        materialize: Whether to write the features. Without, the Trainer applies the saved graph to the raw rows.

    Raises:
        PipelineError: What `preprocessing_fn` returns cannot be computed, stored or exported; a Lambda layer would not
            survive in the SavedModel (docs/lambda-rules.md); `passthrough` names what is no column, or is a feature's
            name.
        UserCodeError: `preprocessing_fn` raised.
        DataError: The train split has no rows.

    >>> Transform(                                                                          # doctest: +SKIP
    ...     examples=example_gen.outputs["examples"],
    ...     schema=schema_gen.outputs["schema"],
    ...     preprocessing_fn="flights.preprocessing:preprocessing_fn",
    ... )
    """
    from headrace.components.missing_values import missing_in_target, null_counts

    context = step_context()
    columns = examples.schema
    train = _groups(examples, train_split)
    total = sum(group.rows for group in train)
    if not total:
        raise DataError(f"split {train_split!r} has no rows to take the layers' state from", "look at the splits")
    beside = _passed_through(passthrough or [], columns)
    if _is_for_tft(preprocessing_fn):
        from headrace.components.tfx.transform import analyzed

        traced = analyzed(preprocessing_fn, schema, train, labels or (), transform_graph)
    else:
        traced = _traced(preprocessing_fn, schema, train, columns, labels or (), total)
    for name in labels or ():
        nulls = {c: n for c, n in null_counts(train, traced.feature_specs[name].columns).items() if n}
        if nulls:
            context.warn(missing_in_target("label", name, nulls, train_split))
    # Saving is Python's work, features are TensorFlow's and Arrow's: each takes a core of its own.
    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(traced.save, transform_graph.path)
        if materialize:
            _write_features(examples, transformed_examples, traced, beside)
        saving.result()
    transform_graph.link(schema=schema, examples=examples)
    if not materialize:
        transformed_examples.leave_out()
        return
    transformed_examples.properties["transformed"] = True
    transformed_examples.link(examples=examples, schema=schema)


def _is_for_tft(preprocessing_fn: Function) -> bool:
    """Whether it calls `tft.*`, by its source and that of what it calls in the project."""
    from headrace.components.tfx.module_imports import located, uses_transform

    try:
        found = located(preprocessing_fn)
    except PipelineError:
        # Defined inside another function, as in a unit test by `Transform.call`: a pipeline has none that can be.
        return False
    return uses_transform(*found)


def _traced(
    preprocessing_fn: Function,
    schema: Schema,
    train: Sequence[RowGroup],
    columns: pa.Schema,
    labels: Sequence[str],
    total: int,
) -> TracedTransform:
    """The transform of stock Keras layers."""
    from headrace.components.user_code import user_code
    from headrace.transforms.keras_graph import LambdaError, analyze_and_trace

    context = step_context()
    try:
        with user_code("preprocessing_fn"):
            return analyze_and_trace(
                preprocessing_fn,
                schema.read(),
                train,
                arrow_schema=columns,
                labels=labels,
                beam_args=list(context.beam_args) or None,
                engine=context.engine,
                on_rows=lambda rows: context.progress(rows, total),
            )
    except LambdaError as error:
        raise PipelineError(
            Problem(found.what, found.fix, Location(found.file, found.line), found.rule) for found in error.findings
        ) from error
    except (ValueError, TypeError) as error:
        raise PipelineError(Problem(f"preprocessing_fn: {error}", code="preprocessing-fn")) from error


def _groups(examples: Examples, split: str) -> list[RowGroup]:
    from headrace.transforms.row_groups import RowGroup

    if split not in examples.splits:
        near = difflib.get_close_matches(split, examples.splits, 1, 0.5)
        fix = f"did you mean {near[0]!r}?" if near else "pass train_split="
        what = f"expected a split {split!r} in the examples, they have {', '.join(examples.splits)}"
        raise PipelineError(Problem(what, fix, code="argument"))
    return [RowGroup(*group) for group in examples.row_groups(split)]


def _passed_through(names: Sequence[str], columns: pa.Schema) -> list[pa.Field]:
    for name in names:
        if name not in columns.names:
            near = difflib.get_close_matches(name, columns.names, 1, 0.5)
            fix = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(columns.names)}"
            raise PipelineError(Problem(f"passthrough has {name!r}, which is no raw column", fix, code="argument"))
    return [columns.field(name) for name in names]


def _write_features(
    examples: Examples, transformed: Examples, traced: TracedTransform | TftTransform, beside: Sequence[pa.Field]
) -> None:
    """Writes the features of every split, row group by row group, computed a little ahead of the writer."""
    import pyarrow as pa
    from headrace.transforms.row_groups import RowGroup, read

    context = step_context()
    names = [field.name for field in beside]
    if twice := sorted({*names} & {*traced.output_arrow_schema.names}):
        what = f"passthrough has {', '.join(twice)}, and preprocessing_fn returns outputs of that name"
        raise PipelineError(Problem(what, "rename the output, or leave it out of passthrough", code="argument"))
    schema = pa.schema([*traced.output_arrow_schema, *beside])
    columns = [*dict.fromkeys([*traced.columns, *names])]

    def computed(group: RowGroup) -> Iterator[pa.RecordBatch]:
        raw, done = read(group, columns), 0
        for made in traced.apply_in_pieces(raw):
            beside = raw.slice(done, made.num_rows)
            done += made.num_rows
            arrays = [*made.columns, *(beside.column(name) for name in names)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def begun(group: RowGroup) -> Iterator[pa.RecordBatch]:
        """The first piece is computed: all rows, unless features are so wide that the rest is better made later."""
        pieces = computed(group)
        return chain([next(pieces)], pieces)

    groups = [(split, RowGroup(*group)) for split in examples.splits for group in examples.row_groups(split)]
    total, done = sum(group.rows for _, group in groups), 0
    with transformed.writer(schema) as writer, ThreadPoolExecutor(_AHEAD) as pool:
        writer.declare(*examples.splits)
        ahead: list[Future[Iterator[pa.RecordBatch]]] = [pool.submit(begun, group) for _, group in groups[:_AHEAD]]
        for number, (split, _) in enumerate(groups):
            pieces = ahead.pop(0).result()
            ahead += [pool.submit(begun, later) for _, later in groups[number + _AHEAD : number + _AHEAD + 1]]
            for piece in pieces:
                writer.write(split, piece)
                done += piece.num_rows
                context.progress(done, total)
