"""InfraValidator: whether a model loads and answers in the server that is to serve it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from headrace.pipelines import Examples, InfraBlessing, Input, Model, Output, Schema, component, step_context


def _budgets(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("latency_p99_ms", "memory_mb", "rows", "load_seconds"):
        value = given.get(name)
        if isinstance(value, int | float) and value <= 0:
            yield f"{name}={value}, expected a number above 0", "leave it out where there is no such limit"


# TensorFlow, for the signatures of the model, comes with Keras to a process that is forked; so it costs nothing here.
@component(imports=("keras",), check=_budgets)
def InfraValidator(
    model: Input[Model],
    blessing: Output[InfraBlessing],
    examples: Input[Examples] | None = None,
    schema: Input[Schema] | None = None,
    *,
    latency_p99_ms: float | None = None,
    memory_mb: float | None = None,
    rows: int = 100,
    split: str | None = None,
    signatures: list[str] | None = None,
    load_seconds: float = 120.0,
    serving_image: str | None = None,
) -> None:
    """Serves the model in a fresh process, sends it requests as a client would, and blesses it if it keeps its budgets.

    The server is that of `headrace serve`: it has TensorFlow and none of your code, so a model that needs some does not
    load there. Rows of the examples go as raw fields, each by itself and then in batches, over TensorFlow Serving's
    REST protocol and over KServe v2; without examples, one row of what the signature says. Every answer must be
    complete: a row for each row sent, no NaN or infinite number, and the same alone, in a batch and over either
    protocol. p99 is of requests of one row, one at a time; memory is the most that the server has held.

    A Pusher that is given no `infra_blessing` gets such a step, without budgets, when the pipeline is built.

    Args:
        model: The exported model.
        blessing: The verdict, with the reason in one sentence and what was measured.
        examples: Raw rows.
        schema: Schema of the rows; says what stands for a missing value where the model does not.
        latency_p99_ms: The 99th percentile of a request's time that is allowed, in milliseconds.
        memory_mb: Memory of the server that is allowed, in MiB.
        rows: How many rows are sent.
        split: The split to take them from; the last one if not given, which is "eval" of the usual two.
        signatures: The signatures to ask; those that take the examples' columns if not given.
        load_seconds: How long the server may take to load the model.
        serving_image: An image of TensorFlow Serving, such as ``"tensorflow/serving:2.19.1"``, which is then the
            server, in Docker. It speaks no KServe v2, and its REST protocol wants every input: rows are sent whole.
            Its memory is what it holds after the requests.

    Raises:
        DataError: There is no such split, no such signature is in the model, or Docker cannot run the image.

    >>> InfraValidator(                                                                  # doctest: +SKIP
    ...     model=trainer.outputs["model"],
    ...     examples=example_gen.outputs["examples"],
    ...     latency_p99_ms=50,
    ...     memory_mb=1024,
    ... )
    """
    from headrace.components.client_rows import client_rows
    from headrace.components.infra.check import Budgets, check_model

    taken = client_rows(model, examples, schema, split, rows)
    found = check_model(
        model.saved_model_path,
        taken,
        Budgets(latency_p99_ms, memory_mb, load_seconds),
        signatures=signatures,
        image=serving_image,
    )
    blessing.blessed, blessing.reason = found.blessed, found.reason
    # Beside the verdict, and no part of it: two runs on one model measure differently.
    (blessing.path / "measured.json").write_text(json.dumps(found.measured, indent=1))
    print(", ".join(f"{name} {value:g}" for name, value in found.measured.items()))
    blessing.write({"blessed": found.blessed, "reason": found.reason})
    blessing.link(model=model, examples=examples)
    if not found.blessed:
        step_context().refuse(found.reason)
