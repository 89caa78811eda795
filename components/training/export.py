"""The trained model as a SavedModel over raw columns."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
from headrace.components.training.feature_source import FeatureSource
from headrace.components.training.reference_rows import record
from headrace.components.user_code import user_code
from headrace.pipelines.errors import Location, PipelineError, Problem
from headrace.transforms.keras_graph import ServingModelExport
from headrace.transforms.keras_graph.graph_function import PLAIN_LAYERS
from headrace.transforms.keras_graph.lambda_rules import Finding, findings
from headrace.transforms.keras_graph.serving import named_outputs
from headrace.transforms.serving_signature import ServingSignature

MOST_BYTES_BESIDE = 256 << 20
"""Weights that are written twice, so that the graph is written while they are trained."""


@dataclass(frozen=True)
class Interface:
    """What a client of the exported model sees beside the raw columns.

    Args:
        output_names: Names of its outputs; a dict's own keys, otherwise `predictions` for one and Keras' for several.
        signatures: More signatures than every export has.
        postprocess: What those do first with the outputs by name.
    """

    output_names: list[str] | None = None
    signatures: Sequence[ServingSignature] = ()
    postprocess: Callable[[dict[str, Any]], Any] | None = None


def export(
    model: keras.Model, source: FeatureSource, folder: Path, training: Path, interface: Interface = Interface()
) -> None:
    """Writes the model with its transform inside, and some rows as it was trained on them.

    Args:
        model: The model.
        source: What it was trained on: a label is never an input, whether Transform knew that it is one or not.
        folder: Where to write the SavedModel.
        training: Where to write the rows that serving is compared with later.
        interface: What a client sees.

    Raises:
        PipelineError: A Lambda layer of it would not survive in the SavedModel, or a signature does not fit it.
    """
    lambdas = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Lambda)]
    if found := [one for layer in lambdas for one in findings(layer)]:
        raise PipelineError(lambda_problems(found))
    served, names = _served(model, source, interface.output_names)
    _record(served, source, training, names)
    _prepared(served, source, folder, names, interface).write()


def lambda_problems(found: Sequence[Finding]) -> list[Problem]:
    """What is wrong with Lambda layers, each with the author's file and line."""
    return [Problem(one.what, one.fix, Location(one.file, one.line), one.rule) for one in found]


class ExportBesideFit:
    """An export whose graph is written while the model is trained, and whose weights are written at its end.

    Saving a graph is a second of Python's work, and most of a `fit` is TensorFlow's.

    Args:
        model, source, folder, training, interface: As `export` has them; of the model, `is_settled` holds.

    Attributes:
        callback: For `fit`: begins after the first step, since until then Python traces the step.
    """

    def __init__(
        self,
        model: keras.Model,
        source: FeatureSource,
        folder: Path,
        training: Path,
        interface: Interface = Interface(),
    ) -> None:
        self._served, self._names = _served(model, source, interface.output_names)
        self._source, self._training = source, training
        self._export = _prepared(self._served, source, folder, self._names, interface)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="export")
        self._written: Future[None] | None = None
        self.callback = _AfterFirstStep(self)

    def begin(self) -> None:
        """Begins to write the graph, if that was not begun yet."""
        if self._written is None:
            self._written = self._pool.submit(self._export.write)

    def finish(self) -> None:
        """Waits for the graph, and writes the weights as they are now."""
        self.begin()
        assert self._written is not None
        _record(self._served, self._source, self._training, self._names)
        self._written.result()
        self._export.write_weights()

    def __enter__(self) -> ExportBesideFit:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


class _AfterFirstStep(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, beside: ExportBesideFit) -> None:
        super().__init__()
        self._beside = beside

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._beside.begin()


def is_settled(model: keras.Model) -> bool:
    """Whether training changes nothing of a model but its weights, and these are no burden to write twice.

    A layer of the author's own may compute by an attribute that its training sets.
    """
    weights = sum(weight.value.dtype.size * weight.value.shape.num_elements() for weight in model.weights)
    ours = all(type(layer).__module__.startswith(PLAIN_LAYERS) for layer in model._flatten_layers())
    return ours and weights <= MOST_BYTES_BESIDE


def _served(
    model: keras.Model, source: FeatureSource, output_names: list[str] | None
) -> tuple[keras.Model, list[str] | None]:
    """The model as a client gets it, and the names of its outputs."""
    served = model
    if not getattr(model, "inputs", None):
        # A subclassed model does not say which features it takes: it was given these.
        inputs = source.transform.feature_inputs(list(source.features))
        served = keras.Model(dict(inputs), model(dict(inputs)))
    if output_names is None and len(served.outputs) > 1 and not isinstance(served.output, dict):
        output_names = list(served.output_names)
    return _in_float32(served), output_names


def _prepared(
    served: keras.Model, source: FeatureSource, folder: Path, names: list[str] | None, interface: Interface
) -> ServingModelExport:
    """The export with its signatures, in which the author's function is traced."""

    postprocess = interface.postprocess
    if postprocess is not None:

        @functools.wraps(postprocess)
        def told(outputs: dict[str, Any], own: Callable[[dict[str, Any]], Any] = postprocess) -> Any:
            with user_code("postprocess"):
                return own(outputs)

        postprocess = told
    signatures = [_with_vocabulary(one, source) for one in interface.signatures]
    try:
        return ServingModelExport(
            served,
            source.transform,
            folder,
            output_names=names,
            signatures=signatures,
            postprocess=postprocess,
        )
    except ValueError as error:
        if not signatures:
            raise
        raise PipelineError(Problem(str(error), "mend signatures=, or postprocess=", code="signature")) from error


def _with_vocabulary(asked: ServingSignature, source: FeatureSource) -> ServingSignature:
    """The signature with the labels' names, where it asks for those of the label's vocabulary."""
    if asked.labels != "vocabulary":
        return asked
    label = source.labels.get("", source.labels.get(asked.output or ""))
    words = label.spec.vocabulary if label is not None and label.spec is not None else None
    if words is None:
        named = f"the label {label.name!r}" if label is not None else "no label"
        what = f'signature {asked.name!r}: labels="vocabulary", but {named} has no vocabulary'
        fix = "make the label with a StringLookup in preprocessing_fn, or name the classes in labels="
        raise PipelineError(Problem(what, fix, code="signature"))
    return replace(asked, labels=[str(word) for word in words])


def _record(served: keras.Model, source: FeatureSource, training: Path, output_names: list[str] | None) -> None:
    source = source.for_model(served)

    def predict(features: Any) -> dict[str, Any]:
        return named_outputs(served, served(features, training=False), output_names)

    record(predict, source, list(source.examples.splits), training)


def _in_float32(model: keras.Model) -> keras.Model:
    """A client gets float32 also from a model that computes in half precision."""
    half = ("float16", "bfloat16")
    if not any(one.dtype in half for one in model.outputs):
        return model
    outputs = keras.tree.map_structure(
        lambda one: keras.ops.cast(one, "float32") if one.dtype in half else one, model.output
    )
    return keras.Model(model.input, outputs)
