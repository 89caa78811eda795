"""Transform's other engine: TensorFlow Transform, for a `preprocessing_fn` that calls `tft.*`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.pipelines import Function, Schema, TransformGraph, step_context
from headrace.pipelines.errors import PipelineError, Problem

if TYPE_CHECKING:
    from headrace.transforms.row_groups import RowGroup
    from headrace.transforms.tft.transform_graph import TftTransform


def analyzed(
    preprocessing_fn: Function,
    schema: Schema,
    train: Sequence[RowGroup],
    labels: Sequence[str],
    transform_graph: TransformGraph,
) -> TftTransform:
    """Analyzes the train split, and writes what `tft.TFTransformOutput` reads into the transform graph's folder.

    Raises:
        PipelineError: The schema, the rows or what `preprocessing_fn` returns cannot be taken.
        UserCodeError: `preprocessing_fn` raised.
    """
    from headrace.components.user_code import user_code
    from headrace.transforms.tft.analysis import analyze
    from headrace.transforms.tft.transform_graph import TftTransform

    context = step_context()
    try:
        with user_code("preprocessing_fn"):
            raw = analyze(
                preprocessing_fn,
                schema.read(),
                train,
                transform_graph.path,
                scratch=context.scratch / "tft",
                beam_args=list(context.beam_args) or None,
            )
        transform = TftTransform(transform_graph.path, raw, labels)
    except (ValueError, TypeError) as error:
        raise PipelineError(Problem(f"preprocessing_fn: {error}", code="preprocessing-fn")) from error
    transform_graph.engine = "tensorflow_transform"
    if transform.lists:
        print(f"sparse or ragged, so for a run_fn and not for build_model: {', '.join(transform.lists)}")
    return transform
