"""Resolver: the earlier artifact that a candidate is compared with, as of the moment the candidate was first
produced."""

from __future__ import annotations

from typing import Literal, TypeVar

from headrace.pipelines import Artifact, Input, Output, component, step_context, storage
from headrace.pipelines.runs import open_recorded

T = TypeVar("T", bound=Artifact)


@component(place="driver")
def Resolver(
    candidate: Input[T],
    resolved: Output[T],
    *,
    strategy: Literal["latest_blessed_model", "latest"] = "latest_blessed_model",
) -> None:
    """Finds the earlier artifact that a candidate is compared with.

    It is as of the moment the candidate's content was first produced, and never the candidate itself: a rerun of what
    was
    there already compares with what it was compared with then, and a new candidate meets the newest. Where there is
    none, the output is absent, and a step takes it as an optional input.

    Args:
        candidate: What is new.
        resolved: What it is compared with; absent where there is none.
        strategy: ``"latest_blessed_model"``, the model that was blessed last; or ``"latest"``, what the candidate's
            own step made last, such as the previous statistics.

    Raises:
        StoreError: The step was told of no store.

    >>> baseline = Resolver(candidate=trainer.outputs["model"])       # doctest: +SKIP
    >>> Evaluator(..., baseline_model=baseline.outputs["resolved"])    # doctest: +SKIP
    """
    context = step_context()
    store, history = context.store, context.history
    type_name = candidate.type_name()
    before = store.first_produced(history, type_name, candidate.digest)
    if strategy == "latest_blessed_model":
        found = store.latest_blessed_model(history, before=before, not_digest=candidate.digest, model_type=type_name)
    else:
        uri = storage.relative_to_root(candidate.uri, context.root)
        records = store.artifacts(uri=uri, root=history.root, digest=candidate.digest, limit=1)
        step, output = (records[0].producer.path, records[0].output) if records else (None, None)
        found = store.latest_artifact(
            history, type_name, path=step, output=output, before=before, not_digest=candidate.digest
        )
    if found is not None:
        resolved.stand_for(open_recorded(found, context.root))
