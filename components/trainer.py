"""Trainer: a compiled Keras model is trained on streamed features and exported with the transform inside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.components.training.pretrained import pretrained_problems
from headrace.pipelines import (
    Examples,
    Function,
    HyperParameters,
    Input,
    InputFiles,
    Model,
    Output,
    Schema,
    TransformGraph,
    component,
)
from headrace.transforms.serving_signature import ServingSignature, signature_problems

__all__ = ["ServingSignature", "Trainer"]

_AT_LEAST_ONE = ("epochs", "batch_size", "train_steps", "eval_steps", "checkpoint_every")
_NOT_WITH_RUN_FN = ("callbacks", "early_stopping", "checkpoint_every")


def _arguments_fit(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    functions = [name for name in ("build_model", "run_fn") if given.get(name) is not None]
    if not functions and given.get("module_file") is None:
        yield "expected build_model or run_fn, received neither", "pass build_model=, or run_fn= for full control"
    if len(functions) == 2:
        yield "expected build_model or run_fn, received both", "leave one of them out"
    if given.get("build_model") is not None and given.get("label") in (None, {}):
        yield (
            "expected label=, received none: a model is trained towards something",
            "name an output of preprocessing_fn or a column",
        )
    if given.get("transform_graph") is None and given.get("schema") is None:
        yield (
            "expected transform_graph= or schema=, received neither: one of them says what the features are",
            "pass Transform's transform_graph, or SchemaGen's schema to train on raw columns",
        )
    for name in _AT_LEAST_ONE:
        value = given.get(name)
        if isinstance(value, int) and value < 1:
            yield f"expected {name} of at least 1, received {value}", "leave it out, or give a positive number"
    yield from pretrained_problems(given.get("pretrained"))
    yield from signature_problems(given.get("signatures") or ())
    if given.get("postprocess") is not None and not given.get("signatures"):
        yield (
            "postprocess= has no effect without signatures=: serving_default gives the model's own outputs",
            'name a signature for what it makes, such as signatures=[ServingSignature("serving_named")]',
        )
    if given.get("run_fn") is not None:
        for name in _NOT_WITH_RUN_FN:
            if given.get(name) is not None:
                yield (
                    f"{name}= has no effect with run_fn, which calls fit by itself",
                    "do it in run_fn and leave it out here",
                )


@component(
    imports=("keras", "headrace.components.training.training"),
    check=_arguments_fit,
    process="headrace.components.tfx.process",
)
def Trainer(
    examples: Input[Examples],
    model: Output[Model],
    transform_graph: Input[TransformGraph] | None = None,
    schema: Input[Schema] | None = None,
    base_model: Input[Model] | None = None,
    best_hyperparameters: Input[HyperParameters] | None = None,
    *,
    build_model: Function | None = None,
    run_fn: Function | None = None,
    label: str | dict[str, str] | None = None,
    weight: str | None = None,
    hyperparameters: dict[str, Any] | None = None,
    pretrained: InputFiles | None = None,
    epochs: int = 1,
    batch_size: int = 512,
    seed: int = 0,
    train_split: str = "train",
    eval_split: str | None = "eval",
    train_steps: int | None = None,
    eval_steps: int | None = None,
    callbacks: Function | None = None,
    early_stopping: dict[str, Any] | None = None,
    checkpoint_every: int | None = None,
    mixed_precision: bool = False,
    output_names: list[str] | None = None,
    signatures: list[ServingSignature] | None = None,
    postprocess: Function | None = None,
    custom_config: dict[str, Any] | None = None,
) -> None:
    """Trains a model and exports it as a SavedModel that takes raw columns.

    Args:
        examples: Transformed examples; or raw ones, to which the transform graph is applied as they are read.
        model: The exported model, with its training series in `training/`, and there the Keras model that takes
            features as `model.keras`, unless Keras' safe mode would refuse it (a Lambda layer): the log then says so.
        transform_graph: What makes features of raw columns. Without one the raw columns are the features, and `schema`
            is needed.
        schema: Schema of the raw rows.
        base_model: A model whose weights this one starts from, those of equal path and shape.
        best_hyperparameters: Hyperparameters that win over those of `hyperparameters`.
        build_model: `build_model(features, **hyperparameters)` -> compiled `keras.Model`. `features` are KerasTensors
            by name; `features.spec[name]` has vocabulary and size.
        run_fn: `run_fn(fn_args)` trains and exports by itself, TFX's too (docs/transform.md); see
            `headrace.components.training.fn_args.FnArgs`.
        label: A raw column, or an output of `preprocessing_fn`; for a model of several outputs a dict of output to
            label.
        weight: Weight of a row: a raw column, or an output of `preprocessing_fn`.
        hyperparameters: Arguments for `build_model`.
        pretrained: Keras files or SavedModels that `build_model` reads, by name: ``{"words": "models/words/**"}``. It
            gets their local paths as its argument `pretrained`, a dict by name, and their content counts in the cache
            key.
        epochs: Passes over the training split.
        batch_size: Rows of a step.
        seed: Of weights, shuffling and dropout.
        train_split: The split to train on.
        eval_split: The split whose loss and metrics are told after each epoch, or None. One that the examples lack is
            left out, with a warning.
        train_steps: Steps of an epoch at most; None for the whole split.
        eval_steps: Steps of an evaluation at most, of `batch_size` rows each; None for the whole split.
        callbacks: A function without arguments that gives a list of `keras.callbacks.Callback`. What they remember is
            not in a checkpoint.
        early_stopping: Arguments of `keras.callbacks.EarlyStopping`, such as
            ``{"monitor": "val_loss", "patience": 3}``.
        checkpoint_every: Steps between checkpoints (one more after each epoch), from which a training that was killed
            goes on.
        mixed_precision: Whether to compute in float16 (on a GPU) or bfloat16 where that is safe, as Keras' `mixed_*`
            policies do.
        output_names: Names of the model's outputs in the SavedModel; `predictions` for one.
        signatures: More signatures than `serving_default`, `serving_examples` and `transform_features`: with a key that
            passes through, the names of the likeliest classes, or for TensorFlow Serving's Classify and Regress.
        postprocess: `postprocess(outputs)` -> dict of outputs by name, in the graph: what those signatures do first
            with the model's outputs, each `(rows, ...)`. `serving_default`, which the Evaluator asks, does not.
        custom_config: What else `run_fn` is to get.

    Raises:
        PipelineError: The label is among the features or is nowhere; `build_model` does not take the hyperparameters,
            or returned no compiled model; a Lambda layer would not survive in the SavedModel (docs/lambda-rules.md); a
            signature does not fit the model.
        DataError: A row has no label or no weight; the split to train on is empty.
        UserCodeError: `build_model`, `run_fn`, a callback, `postprocess` or a layer of the author's
            raised.

    >>> Trainer(                                                                          # doctest: +SKIP
    ...     examples=transform.outputs["transformed_examples"],
    ...     transform_graph=transform.outputs["transform_graph"],
    ...     build_model="flights.model:build_model",
    ...     label="late",
    ... )
    """
    from headrace.components.training import training

    settings = training.Settings(
        label=label,
        weight=weight,
        hyperparameters={
            **(hyperparameters or {}),
            **(best_hyperparameters.read() if best_hyperparameters is not None else {}),
        },
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        train_split=train_split,
        eval_split=training.split_there_is(eval_split, examples),
        train_steps=train_steps,
        eval_steps=eval_steps,
        callbacks=callbacks,
        early_stopping=early_stopping,
        checkpoint_every=checkpoint_every,
        mixed_precision=mixed_precision,
        interface=training.Interface(output_names, signatures or (), postprocess),
    )
    given = training.Given(examples, transform_graph, schema, base_model, pretrained)
    source = training.feature_source(given, settings)
    model.link(
        transform_graph=transform_graph, schema=schema, examples=examples, weight=weight, train_split=train_split
    )
    if schema is None and transform_graph is not None and "schema" in transform_graph.links:
        model.links["schema"] = transform_graph.links["schema"]
    if label is not None:
        model.links["label"] = label
    with training.keras_prepared(seed, mixed_precision):
        if run_fn is not None:
            training.by_run_fn(run_fn, given, source, settings, custom_config or {}, model)
        elif build_model is not None:
            training.by_build_model(build_model, given, source, settings, model)
