"""The trained model as a SavedModel over raw columns."""

from __future__ import annotations

from pathlib import Path

import keras
from headrace.components.training.feature_source import FeatureSource
from headrace.transforms.keras_graph import export_serving_model


def export(model: keras.Model, source: FeatureSource, folder: Path, output_names: list[str] | None = None) -> None:
    """Writes the model with its transform inside.

    Args:
        model: The model.
        source: What it was trained on: a label is never an input, whether Transform knew that it is one or not.
        folder: Where to write.
        output_names: Names of its outputs; a dict's own keys, otherwise `predictions` for one and Keras' for several.
    """
    served = model
    if not getattr(model, "inputs", None):
        # A subclassed model does not say which features it takes: it was given these.
        inputs = source.transform.feature_inputs(list(source.features))
        served = keras.Model(dict(inputs), model(dict(inputs)))
    if output_names is None and len(served.outputs) > 1 and not isinstance(served.output, dict):
        output_names = list(served.output_names)
    served = _in_float32(served)
    export_serving_model(served, source.transform, folder, output_names=output_names)


def _in_float32(model: keras.Model) -> keras.Model:
    """A client gets float32 also from a model that computes in half precision."""
    half = ("float16", "bfloat16")
    if not any(one.dtype in half for one in model.outputs):
        return model
    outputs = keras.tree.map_structure(
        lambda one: keras.ops.cast(one, "float32") if one.dtype in half else one, model.output
    )
    return keras.Model(model.input, outputs)
