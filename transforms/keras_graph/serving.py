"""The final SavedModel: raw columns in, named predictions out, the transform inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from headrace.transforms.keras_graph.graph_function import resources_of
from headrace.transforms.keras_graph.raw_columns import tensor_specs
from headrace.transforms.keras_graph.saved_model import call_groups, columns_of, groups_of
from headrace.transforms.keras_graph.saved_transform import SavedTransform, load_transform


def export_serving_model(
    model: keras.Model,
    transform: str | Path | SavedTransform,
    directory: str | Path,
    *,
    output_names: Sequence[str] | None = None,
) -> dict[str, str]:
    """Writes a SavedModel whose `serving_default` takes raw columns and gives named outputs.

    Only the columns are inputs that the model's features depend on: never a label's, a weight's or an unused one. A
    second signature, `transform_features`, gives the model's features from the same columns.

    Args:
        model: Built on features of the transform, by name: a functional model's inputs are those it takes; another
            kind of model is called with a dict of all features that are no labels.
        transform: A saved transform, or its folder.
        directory: Where to write; a folder that does not exist, or is empty.
        output_names: Names of the outputs, in the model's order; a dict's own keys, otherwise `predictions` for one
            output and the model's `output_names` for several.

    Returns:
        The inputs of `serving_default`: the dtype of each column by name, in order.

    Raises:
        ValueError: The model has an input that is no feature, or another number of outputs than `output_names`.
    """
    import tensorflow as tf

    saved = transform if isinstance(transform, SavedTransform) else load_transform(transform)
    names = model_features(model, saved)
    needed = columns_of(saved.feature_specs, names)
    inputs = [one for column, one in saved.inputs.items() if column in needed]
    groups, specs = saved.loaded.groups, saved.feature_specs
    root = tf.Module()
    root.model = resources_of([model])
    # Not the loaded object: it would bring along the functions of labels.
    root.groups = [
        [group.function, group.resources]
        for group, (_, given) in zip(groups, groups_of(specs))
        if any(name in names for name in given)
    ]

    signature = [tensor_specs(inputs)]
    transform_features = tf.function(
        lambda raw: call_groups(groups, specs, names, raw), input_signature=signature, autograph=False
    )

    def serving_default(raw: dict[str, Any]) -> dict[str, Any]:
        features = transform_features(raw)
        for name, value in features.items():
            value.set_shape((None, *specs[name].shape))
        return _named(model, model(_packed(model, features), training=False), output_names)

    signatures = {
        "serving_default": tf.function(serving_default, input_signature=signature, autograph=False),
        "transform_features": transform_features,
    }
    tf.saved_model.save(root, str(directory), signatures=signatures)
    return {one.name: one.dtype for one in inputs}


def model_features(model: keras.Model, saved: SavedTransform) -> list[str]:
    """The features that the model takes, in the transform's order.

    Raises:
        ValueError: It has an input that is no feature.
    """
    if not _is_functional(model):
        return saved.feature_names()
    taken = [one.name for one in model.inputs]
    unknown = [name for name in taken if name not in saved.feature_specs]
    if unknown:
        raise ValueError(
            f"the model's inputs {unknown} are no features; the transform gives {saved.feature_names()}: build the "
            "model on the tensors that build_model receives"
        )
    return [name for name in saved.feature_specs if name in taken]


def _is_functional(model: keras.Model) -> bool:
    return bool(getattr(model, "inputs", None))


def _packed(model: keras.Model, features: Mapping[str, Any]) -> Any:
    """The features in the structure that the model was built on."""
    if not _is_functional(model):
        return dict(features)
    return keras.tree.map_structure(lambda one: features[one.name], model.input)


def _named(model: keras.Model, outputs: Any, names: Sequence[str] | None) -> dict[str, Any]:
    if isinstance(outputs, Mapping):
        given = dict(outputs)
        if names is not None and set(names) != set(given):
            raise ValueError(f"output_names={list(names)}, but the model's outputs are named {list(given)}")
        return given
    flat = keras.tree.flatten(outputs)
    if names is None:
        names = ["predictions"] if len(flat) == 1 else list(model.output_names)
    if len(names) != len(flat):
        raise ValueError(f"output_names={list(names)} names {len(names)} outputs; the model has {len(flat)}")
    return dict(zip(names, flat))
