"""SkewValidator: refuses a model whose serving would differ from its training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.pipelines import Examples, Input, Model, Output, SkewBlessing, component, step_context

# Of what differs, so much is kept: the first is the reason, the others show whether it is a column or a row.
SHOWN = 20


def _sizes(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("rows", "single_rows"):
        value = given.get(name)
        if isinstance(value, int) and value < 1:
            yield f"{name}: expected a number from 1, received {value}", "leave it out, or give more"


@component(
    check=_sizes,
    imports=("keras", "headrace.transforms.keras_graph.saved_transform", "headrace.transforms.serving_model"),
)
def SkewValidator(
    model: Input[Model],
    examples: Input[Examples],
    blessing: Output[SkewBlessing],
    *,
    rows: int = 10_000,
    single_rows: int = 200,
    edge_rows: bool = True,
) -> None:
    """Compares what a client gets of an exported model with what its training had.

    The Trainer keeps some rows of each split as it read them, with its live model's predictions. Here the same rows are
    read again from the raw examples, and sent as a client would, in JSON, without what is missing, one by one and in
    batches, to every signature of the SavedModel, in a fresh process that has TensorFlow's C library alone. Ints and
    strings must be equal, floats within 1e-6 relative or 1e-5 of the feature's usual size, predictions within 1e-5 +
    1e-4 of their size. Rows that data seldom has, each field missing, empty, never seen or extreme, are compared with
    the saved transform, and one by one with in a batch.

    A `run_fn` that writes its SavedModel by itself keeps no predictions: then the features are compared with those that
    Transform stored, and predictions one by one with in a batch. A Pusher that is given no `skew_blessing` gets such a
    step when the pipeline is built.

    Args:
        model: The exported model.
        examples: The raw examples that its training's features were made from.
        blessing: The verdict: its reason names signature, feature, row and both values.
        rows: How many rows are compared at most.
        single_rows: How many of them are also sent one by one.
        edge_rows: Whether rows made at the edges of the schema are compared too.

    Raises:
        DataError: The examples are not those that the model was trained on.

    >>> gate = SkewValidator(                                                     # doctest: +SKIP
    ...     model=trainer.outputs["model"], examples=example_gen.outputs["examples"]
    ... )
    >>> Pusher(..., skew_blessing=gate.outputs["blessing"])                        # doctest: +SKIP
    """
    from headrace.components.skew.validation import Validation

    blessing.link(model=model, examples=examples)
    validation = Validation.of(model, examples, rows, single_rows, edge_rows)
    found = validation.differences()
    reason = f"skew: {validation.said(found[0])}" if found else validation.passed()
    blessing.blessed, blessing.reason = not found, reason
    blessing.write(
        {
            "blessed": not found,
            "reason": reason,
            "rows": validation.counts(),
            "signatures": validation.signatures(),
            "differences": [validation.told(one) for one in found[:SHOWN]],
            "number_of_differences": len(found),
        }
    )
    for warning in validation.warnings:
        step_context().warn(warning)
    if found:
        step_context().refuse(reason)
