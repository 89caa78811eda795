"""Trainer: a compiled Keras model is trained on streamed features and exported with the transform inside."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines import (
    Examples,
    Function,
    HyperParameters,
    Input,
    Model,
    Output,
    Schema,
    TransformGraph,
    component,
    step_context,
    storage,
)
from headrace.pipelines.artifact import digest_of

if TYPE_CHECKING:
    import keras
    from headrace.components.training.feature_source import FeatureSource


def _one_function(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    functions = [name for name in ("build_model", "run_fn") if given.get(name) is not None]
    if not functions and given.get("module_file") is None:
        yield "expected build_model or run_fn, received neither", "pass build_model=, or run_fn= for full control"
    if len(functions) == 2:
        yield "expected build_model or run_fn, received both", "leave one of them out"
    if given.get("build_model") is not None and given.get("label") is None:
        yield "expected label=, received none: a model is trained towards something", "name an output of preprocessing_fn or a column"


@component(imports=("apache_beam", "keras"), check=_one_function)
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
    label: str | None = None,
    weight: str | None = None,
    hyperparameters: dict[str, Any] | None = None,
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
    custom_config: dict[str, Any] | None = None,
) -> None:
    """Trains a model and exports it as a SavedModel that takes raw columns.

    Args:
        examples: Transformed examples; or raw ones, to which the transform graph is applied as they are read.
        model: The exported model, with its training series in `training/`.
        transform_graph: What makes features of raw columns. Without one the raw columns are the features, and `schema` is needed.
        schema: Schema of the raw rows.
        base_model: A model whose weights this one starts from, variable by variable of equal shape.
        best_hyperparameters: Hyperparameters that go before those of `hyperparameters`.
        build_model: `build_model(features, **hyperparameters)` -> compiled `keras.Model`. `features` are KerasTensors by name;
            `features.spec[name]` has vocabulary and size.
        run_fn: `run_fn(fn_args)` trains and exports by itself; see `headrace.components.training.fn_args.FnArgs`.
        label: A raw column, or an output of `preprocessing_fn`.
        weight: Weight of a row: a raw column, or an output of `preprocessing_fn`.
        hyperparameters: Arguments for `build_model`.
        epochs: Passes over the training split.
        batch_size: Rows of a step.
        seed: Of weights, shuffling and dropout.
        train_split: The split to train on.
        eval_split: The split whose loss and metrics are told after each epoch, or None.
        train_steps: Steps of an epoch at most; None for the whole split.
        eval_steps: Steps of an evaluation at most; None for the whole split.
        callbacks: A function without arguments that gives a list of `keras.callbacks.Callback`.
        early_stopping: Arguments of `keras.callbacks.EarlyStopping`, such as ``{"monitor": "val_loss", "patience": 3}``.
        checkpoint_every: Steps between checkpoints, from which a training that was killed goes on.
        mixed_precision: Whether to compute in float16 or bfloat16 where that is safe (Keras' `mixed_*` policy of this machine).
        output_names: Names of the model's outputs in the SavedModel; `predictions` for one.
        custom_config: What else `run_fn` is to get.

    Raises:
        ValueError: The label is among the features, is nowhere, or is missing in a row; `build_model` returned no compiled model.

    >>> Trainer(                                                                          # doctest: +SKIP
    ...     examples=transform.outputs["transformed_examples"],
    ...     transform_graph=transform.outputs["transform_graph"],
    ...     build_model="flights.model:build_model",
    ...     label="late",
    ... )
    """
    from headrace.components.training.feature_source import FeatureSource, check_no_leak, target

    transform = _transform(examples, transform_graph, schema)
    columns = examples.schema.names
    label_target = target(label, transform, columns) if label is not None else None
    weight_target = target(weight, transform, columns) if weight is not None else None
    targets = {t.name for t in (label_target, weight_target) if t is not None}
    features = [name for name in transform.feature_names() if name not in targets]
    if label_target is not None:
        check_no_leak(label_target, features, transform)
    source = FeatureSource(examples, transform, features, label_target, weight_target)
    values = {**(hyperparameters or {}), **(best_hyperparameters.read() if best_hyperparameters is not None else {})}
    model.link(transform_graph=transform_graph, schema=schema, examples=examples, label=label, weight=weight, train_split=train_split)
    if run_fn is not None:
        _run_user_training(run_fn, source, model, schema, values, custom_config or {}, (train_steps, eval_steps), seed, (train_split, eval_split))
        return
    assert build_model is not None
    _prepare_keras(seed, mixed_precision)
    built = _build(build_model, transform.feature_inputs(features), values)
    if base_model is not None:
        _warm_start(built, base_model)
    plan = _Fit(source, epochs, batch_size, seed, train_split, eval_split, train_steps, eval_steps, early_stopping)
    checkpoints = _checkpoint_folder(examples, transform_graph, base_model, build_model, values, plan) if checkpoint_every else None
    _fit(built, plan, model.path / "training", callbacks, checkpoints, checkpoint_every)
    _export(built, transform, model.saved_model_path, output_names)


class _Fit:
    """The settings of one `fit`."""

    def __init__(self, source: FeatureSource, epochs: int, batch_size: int, seed: int, train_split: str, eval_split: str | None,
                 train_steps: int | None, eval_steps: int | None, early_stopping: dict[str, Any] | None) -> None:  # fmt: skip
        self.source, self.epochs, self.batch_size, self.seed = source, epochs, batch_size, seed
        self.train_split, self.train_steps, self.eval_steps = train_split, train_steps, eval_steps
        self.eval_split = eval_split if eval_split in source.examples.splits else None
        self.early_stopping = early_stopping


def _transform(examples: Examples, graph: TransformGraph | None, schema: Schema | None) -> Any:
    """The saved transform; without one, a transform in which every raw column is a feature."""
    from headrace.transforms.keras_graph import analyze_and_trace, load_transform

    if graph is not None:
        return load_transform(graph.path)
    if schema is None:
        raise ValueError("expected transform_graph= or schema=, received neither: the schema says which columns are features")
    folder = step_context().scratch / "identity"
    folder.mkdir()
    analyze_and_trace(dict, schema.read(), [], arrow_schema=examples.schema, engine="direct").save(folder)
    return load_transform(folder)


def _prepare_keras(seed: int, mixed_precision: bool) -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    half = "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"
    keras.mixed_precision.set_global_policy(half if mixed_precision else "float32")


def _build(build_model: Any, features: Any, hyperparameters: Mapping[str, Any]) -> keras.Model:
    import keras

    try:
        inspect.signature(build_model).bind(features, **hyperparameters)
    except TypeError as error:
        accepted = list(inspect.signature(build_model).parameters)[1:]
        raise ValueError(f"build_model does not take these hyperparameters: {error}; it takes {', '.join(accepted) or 'none'}") from None
    built = build_model(features, **hyperparameters)
    if not isinstance(built, keras.Model):
        raise ValueError(f"build_model returned {type(built).__name__}: expected a compiled keras.Model")
    if not built.compiled:
        raise ValueError("build_model returned a model that is not compiled: call model.compile(optimizer=, loss=) in it")
    return built


def _fit(
    model: keras.Model, plan: _Fit, folder: Path, callbacks: Any, checkpoints: Path | None, every: int | None
) -> None:
    import keras
    from headrace.components.training.checkpoints import CheckpointEvery, Position, restore
    from headrace.components.training.series import Series

    source = plan.source
    start = restore(model, checkpoints) if checkpoints is not None else Position()
    if start != Position():
        step_context().warn(f"training goes on from its checkpoint: epoch {start.epoch + 1}, step {start.step}")
    stream = source.stream(plan.train_split, plan.batch_size, shuffle=True, seed=plan.seed)
    if not stream.rows:
        raise ValueError(f"split {plan.train_split!r} has no rows to train on")
    steps = min(stream.steps, plan.train_steps or stream.steps)
    train = stream.dataset(source.packer(), first_epoch=start.epoch, skip=start.step)
    if plan.train_steps is not None:
        train = train.take(plan.train_steps)
    series = Series(steps, plan.batch_size, plan.epochs)
    used = [series, keras.callbacks.TensorBoard(str(folder / "tensorboard"), histogram_freq=0, write_graph=False)]
    if plan.early_stopping is not None:
        used.append(keras.callbacks.EarlyStopping(**plan.early_stopping))
    if checkpoints is not None and every is not None:
        used.append(CheckpointEvery(checkpoints, every, start))
    if callbacks is not None:
        used += callbacks()
    validation = None
    if plan.eval_split is not None:
        validation = source.stream(plan.eval_split, max(plan.batch_size, 8192)).dataset(source.packer())
        validation = validation.take(plan.eval_steps) if plan.eval_steps is not None else validation
    model.fit(train, epochs=plan.epochs, initial_epoch=start.epoch, validation_data=validation, callbacks=used, verbose=2)
    series.write(folder)


def _checkpoint_folder(
    examples: Examples, graph: TransformGraph | None, base: Model | None, build_model: Any, values: Mapping[str, Any], plan: _Fit
) -> Path | None:
    """A folder named after all that decides the training, so that only the same training goes on from it."""
    from headrace.pipelines.function_ref import FunctionRef

    context = step_context()
    if not storage.is_local(context.root):
        context.warn("checkpoint_every does nothing here: checkpoints need a pipeline root in a local folder")
        return None
    identity = digest_of(
        [
            examples.digest,
            graph.digest if graph is not None else None,
            base.digest if base is not None else None,
            FunctionRef.of(build_model).code_digest,
            dict(values),
            [plan.batch_size, plan.seed, plan.train_split, plan.train_steps],
        ]
    )
    return Path(context.root) / "checkpoints" / context.pipeline / f"{context.step}-{identity[:16]}"


def _warm_start(model: keras.Model, base: Model) -> None:
    """Takes over the weights of a base model's variables that have the same path and shape here."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(base.saved_model_path))
    earlier = {v.path if hasattr(v, "path") else v.name.split(":")[0]: v for v in loaded.model.variables}
    taken = 0
    for variable in model.variables:
        other = earlier.get(variable.path)
        if other is not None and tuple(other.shape) == tuple(variable.shape):
            variable.assign(other)
            taken += 1
    if not taken:
        raise ValueError(
            f"base_model has no variable that fits: it has {', '.join(sorted(earlier)[:5])}, the new model "
            f"{', '.join(v.path for v in model.variables[:5])}. Give the layers the same names"
        )
    step_context().warn(f"warm start: {taken} of {len(model.variables)} variables taken from the base model")


def _export(model: keras.Model, transform: Any, folder: Path, output_names: list[str] | None) -> None:
    from headrace.transforms.keras_graph import export_serving_model

    export_serving_model(model, transform, folder, output_names=output_names)


def _run_user_training(
    run_fn: Any,
    source: FeatureSource,
    model: Model,
    schema: Schema | None,
    values: Mapping[str, Any],
    custom_config: Mapping[str, Any],
    steps: tuple[int | None, int | None],
    seed: int,
    splits: tuple[str, str | None],
) -> None:
    from headrace.components.training.fn_args import FnArgs

    def files(split: str | None) -> list[str]:
        if split is None or split not in source.examples.splits:
            return []
        return list(dict.fromkeys(group.uri for group in source.examples.row_groups(split)))

    run_fn(
        FnArgs(
            train_files=files(splits[0]),
            eval_files=files(splits[1]),
            serving_model_dir=str(model.saved_model_path),
            model_run_dir=str(model.path / "training"),
            transform_output=str(source.transform.directory),
            schema_path=str(schema.path / schema.file) if schema is not None else None,
            train_steps=steps[0],
            eval_steps=steps[1],
            hyperparameters=values,
            custom_config=custom_config,
            source=source,
            seed=seed,
            splits=(splits[0], splits[1] or ""),
        )
    )
    if not (model.saved_model_path / "saved_model.pb").exists():
        raise ValueError(f"run_fn wrote no SavedModel to fn_args.serving_model_dir ({model.saved_model_path}): call fn_args.export(model)")
