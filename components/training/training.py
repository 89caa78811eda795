"""A training from its inputs to the exported model, by `build_model` or by `run_fn`."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
from headrace.components.tfx.run_fn import as_tfx_passes
from headrace.components.training.export import ExportBesideFit, Interface, export, is_settled, lambda_problems
from headrace.components.training.feature_source import FeatureSource
from headrace.components.training.fit import FitSettings, fit
from headrace.components.training.fn_args import FnArgs
from headrace.components.training.keras_file import save_keras
from headrace.components.training.pretrained import local_paths
from headrace.components.training.targets import check_no_leak, find_target
from headrace.components.training.warm_start import save_weights, warm_start
from headrace.components.user_code import user_code
from headrace.pipelines import Examples, Model, Schema, TransformGraph, step_context, storage
from headrace.pipelines.artifact import digest_of
from headrace.pipelines.errors import DataError, PipelineError, Problem
from headrace.pipelines.input_files import files_digest
from headrace.transforms.keras_graph import LambdaError, SavedTransform, analyze_and_trace, load_transform
from headrace.transforms.keras_graph.lambda_rules import lambdas_checked


@dataclass(frozen=True)
class Given:
    """The Trainer's input artifacts."""

    examples: Examples
    transform_graph: TransformGraph | None
    schema: Schema | None
    base_model: Model | None
    pretrained: Any = None

    def hyperparameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those that are given, with the paths of what is pretrained."""
        if not self.pretrained:
            return dict(given)
        return {**given, "pretrained": local_paths(self.pretrained, step_context().scratch)}


@dataclass(frozen=True)
class Settings:
    """The Trainer's parameters; see there."""

    label: str | Mapping[str, str] | None
    weight: str | None
    hyperparameters: Mapping[str, Any]
    epochs: int
    batch_size: int
    seed: int
    train_split: str
    eval_split: str | None
    train_steps: int | None
    eval_steps: int | None
    callbacks: Callable[[], list[Any]] | None
    early_stopping: dict[str, Any] | None
    checkpoint_every: int | None
    mixed_precision: bool
    interface: Interface

    @property
    def labels(self) -> dict[str, str]:
        """Label by output; by "" for the one output of a model that has one."""
        if self.label is None:
            return {}
        return {"": self.label} if isinstance(self.label, str) else dict(self.label)


def split_there_is(split: str | None, examples: Examples) -> str | None:
    """The evaluation split, or None if the examples lack it or it has no rows."""
    if split is None:
        return None
    there = split in examples.splits
    if there and examples.row_groups(split):
        return split
    what = f"split {split!r} has no rows" if there else f"no split {split!r}; there are {', '.join(examples.splits)}"
    step_context().warn(f"{what}: loss and metrics are told of the training split only. Give eval_split=, or None")
    return None


def feature_source(given: Given, settings: Settings) -> FeatureSource:
    """Finds features, labels and weight, and checks them before anything is trained.

    Raises:
        PipelineError: The label is nowhere, or among the features; the examples are not of the transform.
        DataError: A row has no label or weight, or there are no rows.
    """
    names = [*settings.labels.values(), *([settings.weight] if settings.weight is not None else [])]
    transform = _transform(given, names)
    schema = given.examples.schema
    labels = {output: find_target("label", name, transform, schema) for output, name in settings.labels.items()}
    weight = find_target("weight", settings.weight, transform, schema) if settings.weight is not None else None
    features = [name for name in transform.feature_names() if name not in names]
    source = FeatureSource(given.examples, transform, features, labels, weight)
    _check_columns(source)
    for warning in check_no_leak(list(labels.values()), features, transform):
        step_context().warn(warning)
    if not sum(group.rows for group in source.groups(settings.train_split)):
        raise DataError(f"split {settings.train_split!r} has no rows to train on", "look at how the splits are made")
    for split in (settings.train_split, settings.eval_split):
        for warning in source.check_targets(split) if split is not None else ():
            step_context().warn(warning)
    return source


def _transform(given: Given, targets: list[str]) -> SavedTransform:
    """The saved transform; without one, a transform in which every raw column but the targets is a feature."""
    if given.transform_graph is not None:
        return load_transform(given.transform_graph.path)
    if given.schema is None or given.examples.properties.get("transformed"):
        what = "transformed examples" if given.schema is not None else "raw examples"
        wanted = "transform_graph=" if given.schema is not None else "transform_graph= or schema="
        raise PipelineError(Problem(f"expected {wanted} beside {what}, received none", "pass it", code="argument"))
    schema = given.schema.read()
    kept = [feature for feature in schema.feature if feature.name not in targets]
    del schema.feature[:]
    schema.feature.extend(kept)
    folder = step_context().scratch / "identity"
    folder.mkdir()
    analyze_and_trace(dict, schema, [], arrow_schema=given.examples.schema, engine="direct").save(folder)
    return load_transform(folder)


def _check_columns(source: FeatureSource) -> None:
    wanted = source.features if source.transformed else source.transform.columns(source.features)
    lacking = [name for name in wanted if name not in source.examples.schema.names]
    if lacking:
        kind = "transformed" if source.transformed else "raw"
        what = f"expected the columns {', '.join(lacking)} in {kind} examples, they are not in {source.examples.uri}"
        raise PipelineError(Problem(what, "take examples and transform_graph from one Transform", code="argument"))


@contextmanager
def keras_prepared(seed: int, mixed_precision: bool) -> Iterator[None]:
    """Seeds Keras and sets its precision, for as long as a training takes."""
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    half = "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(half if mixed_precision else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def by_build_model(
    build_model: Callable[..., Any], given: Given, source: FeatureSource, settings: Settings, output: Model
) -> None:
    """Builds the model, trains it and exports it."""
    folder = output.path / "training"
    model = _build(build_model, source, given.hyperparameters(settings.hyperparameters))
    source = source.for_model(model)
    if given.base_model is not None:
        warm_start(model, given.base_model)
    checkpoints = _checkpoint_folder(given, build_model, settings) if settings.checkpoint_every is not None else None
    how = FitSettings(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        train_split=settings.train_split,
        eval_split=settings.eval_split,
        train_steps=settings.train_steps,
        eval_steps=settings.eval_steps,
        callbacks=settings.callbacks,
        early_stopping=settings.early_stopping,
        checkpoints=checkpoints,
        checkpoint_every=settings.checkpoint_every or 0,
    )
    what = "the training of build_model's model"
    # The author's callbacks may change what the model computes, and not only its weights.
    if settings.callbacks is None and is_settled(model):
        with ExportBesideFit(model, source, output.saved_model_path, folder, settings.interface) as beside:
            with user_code(what):
                fit(model, source, how, folder, beside.callback)
            beside.finish()
    else:
        with user_code(what):
            fit(model, source, how, folder)
        export(model, source, output.saved_model_path, folder, settings.interface)
    save_weights(model, folder)
    save_keras(model, folder)
    if checkpoints is not None:
        storage.remove_tree(checkpoints)


def _build(build_model: Callable[..., Any], source: FeatureSource, hyperparameters: Mapping[str, Any]) -> keras.Model:
    features = source.transform.feature_inputs(list(source.features))
    signature = inspect.signature(build_model)
    try:
        signature.bind(features, **hyperparameters)
    except TypeError as error:
        accepted = ", ".join(list(signature.parameters)[1:]) or "none"
        what = f"build_model does not take the hyperparameters {dict(hyperparameters)}: {error}; it takes {accepted}"
        raise PipelineError(
            Problem(what, "mend hyperparameters=, or build_model's arguments", code="argument")
        ) from None
    with _layers_of("build_model"):
        model = build_model(features, **hyperparameters)
    if not isinstance(model, keras.Model) or not model.compiled:
        got = type(model).__name__ if not isinstance(model, keras.Model) else "one that is not compiled"
        fix = "call model.compile(optimizer=, loss=) and return the model"
        if type(model).__module__.startswith("tf_keras."):
            got = f"a model of Keras 2: in this module tf.keras is that (tf_keras), {type(model).__module__}"
            fix = "build it with `import keras`, which is Keras 3; or train and save it in a run_fn"
        what = f"expected a compiled keras.Model from build_model, received {got}"
        raise PipelineError(Problem(what, fix, code="build-model"))
    if not model.built:
        with _layers_of("the model's call"):
            model(dict(features))
    return model


@contextmanager
def _layers_of(what: str) -> Iterator[None]:
    """The author's code that calls layers: a Lambda that would not survive in the SavedModel is refused."""
    try:
        with lambdas_checked(), user_code(what):
            yield
    except LambdaError as error:
        raise PipelineError(lambda_problems(error.findings)) from error


def _checkpoint_folder(given: Given, build_model: Callable[..., Any], settings: Settings) -> str:
    """A folder named after all that decides the training, so that only the same training goes on from it."""
    import tensorflow as tf
    from headrace.pipelines.function_ref import FunctionRef

    context = step_context()
    inputs = (given.examples, given.transform_graph, given.schema, given.base_model)
    callbacks = settings.callbacks
    identity = digest_of(
        [
            [artifact.digest if artifact is not None else None for artifact in inputs],
            files_digest(given.pretrained) if given.pretrained else None,
            FunctionRef.of(build_model).code_digest,
            FunctionRef.of(callbacks).code_digest if callbacks is not None else None,
            [settings.label, settings.weight, settings.hyperparameters, settings.early_stopping],
            [settings.batch_size, settings.seed, settings.train_split, settings.train_steps],
            [settings.eval_split, settings.eval_steps, settings.mixed_precision],
            [keras.__version__, tf.__version__],
        ]
    )
    return storage.join(context.root, "checkpoints", context.pipeline, f"{context.step}-{identity[:16]}")


def by_run_fn(
    run_fn: Callable[[FnArgs], Any],
    given: Given,
    source: FeatureSource,
    settings: Settings,
    custom_config: Mapping[str, Any],
    output: Model,
) -> None:
    """Lets the author's `run_fn` train and export.

    Raises:
        PipelineError: It wrote no SavedModel.
    """

    def files(split: str | None) -> list[str]:
        return list(dict.fromkeys(group.uri for group in source.groups(split))) if split is not None else []

    folder = output.path / "training"
    folder.mkdir(parents=True, exist_ok=True)
    schema, base = given.schema, given.base_model
    fn_args = FnArgs(
        train_files=files(settings.train_split),
        eval_files=files(settings.eval_split),
        serving_model_dir=str(output.saved_model_path),
        model_run_dir=str(folder),
        transform_graph_path=str(source.transform.directory),
        eval_model_dir=str(output.path / "eval_model"),
        working_dir=str(step_context().scratch),
        schema_file=str(schema.path / schema.file) if schema is not None else None,
        base_model=str(base.saved_model_path) if base is not None else None,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=settings.seed,
        train_steps=settings.train_steps,
        eval_steps=settings.eval_steps,
        hyperparameters=given.hyperparameters(settings.hyperparameters),
        custom_config=custom_config,
        interface=settings.interface,
        source=source,
    )
    fn_args = as_tfx_passes(fn_args, run_fn, given.examples, settings.train_split, settings.eval_split)
    with user_code("run_fn"), warnings.catch_warnings():
        # Keras would then take the features by position.
        warnings.filterwarnings("error", message="The structure of `inputs` doesn't match")
        run_fn(fn_args)
    if not (output.saved_model_path / "saved_model.pb").exists():
        what = f"expected a SavedModel in fn_args.serving_model_dir ({output.saved_model_path}), run_fn wrote none"
        raise PipelineError(Problem(what, "call fn_args.export(model)", code="run-fn"))
