"""The final SavedModel: raw columns in, named predictions out, the transform inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from headrace.transforms.keras_graph.graph_function import resources_of
from headrace.transforms.keras_graph.requested_signatures import Postprocess, RequestedSignature, captured_resources
from headrace.transforms.keras_graph.saved_model import columns_of
from headrace.transforms.keras_graph.saved_transform import SavedTransform, load_transform
from headrace.transforms.keras_graph.signature_inputs import (
    METHODS,
    SignatureInputs,
    by_column,
    by_example,
    state_in_file,
)
from headrace.transforms.serving_signature import ServingSignature


def export_serving_model(
    model: keras.Model,
    transform: str | Path | SavedTransform,
    directory: str | Path,
    *,
    output_names: Sequence[str] | None = None,
    signatures: Sequence[ServingSignature] = (),
    postprocess: Postprocess | None = None,
) -> dict[str, str]:
    """Writes a SavedModel whose `serving_default` takes raw columns and gives named outputs.

    Only the columns are inputs that the model's features depend on: never a label's, a weight's or an unused one. Two
    more signatures take the same: `serving_examples`, serialized `tf.Example`s; and `transform_features`, which gives
    the model's features. A column that has a value for missing ones may be left out: in a `tf.Example`, and where a
    server honours `SignatureDef.defaults`.

    Args:
        model: Built on features of the transform, by name: a functional model's inputs are those it takes; another
            kind of model is called with a dict of all features that are no labels.
        transform: A saved transform, or its folder.
        directory: Where to write; a folder that does not exist, or is empty.
        output_names: Names of the outputs, in the model's order; a dict's own keys, otherwise `predictions` for one
            output and the model's `output_names` for several.
        signatures: More signatures.
        postprocess: What those do with the outputs by name first, in the graph.

    Returns:
        The inputs of `serving_default`: the dtype of each column by name, in order.

    Raises:
        ValueError: The model has an input that is no feature, or another number of outputs than `output_names`;
            or a signature does not fit it.
    """
    prepared = ServingModelExport(
        model, transform, directory, output_names=output_names, signatures=signatures, postprocess=postprocess
    )
    prepared.write()
    return {one.name: one.dtype for one in prepared.inputs}


class ServingModelExport:
    """An export in two parts: the graph, which does not depend on the weights' values, and the weights.

    The graph may be written by another thread while the model is trained: what calls Keras is done here, for two
    threads must not call the layers of one model at once.

    Args:
        model, transform, directory, output_names, signatures, postprocess: As `export_serving_model` has them.

    Attributes:
        inputs: The columns that `serving_default` takes.

    Raises:
        ValueError: As `export_serving_model`.
    """

    def __init__(
        self,
        model: keras.Model,
        transform: str | Path | SavedTransform,
        directory: str | Path,
        *,
        output_names: Sequence[str] | None = None,
        signatures: Sequence[ServingSignature] = (),
        postprocess: Postprocess | None = None,
    ) -> None:
        import tensorflow as tf

        self._saved = saved = transform if isinstance(transform, SavedTransform) else load_transform(transform)
        self._directory = Path(directory)
        self._names = model_features(model, saved)
        specs = saved.feature_specs
        needed = columns_of(specs, self._names)
        self.inputs = [one for column, one in saved.inputs.items() if column in needed]
        self._tracked = resources_of([model])
        self._tracked_beside = [] if postprocess is None else captured_resources(postprocess)

        def predict(features: dict[str, Any]) -> dict[str, Any]:
            return named_outputs(model, model(_packed(model, features), training=False), output_names)

        features = {name: tf.TensorSpec((None, *specs[name].shape), specs[name].dtype) for name in self._names}
        self._predict = tf.function(predict, input_signature=[features], autograph=False).get_concrete_function()
        outputs = self._predict.structured_outputs
        self._requested = [RequestedSignature(one, self.inputs, outputs, postprocess) for one in signatures]

    def write(self) -> None:
        """Writes the SavedModel with the weights as they are."""
        import tensorflow as tf

        root = tf.Module()
        root.model, root.postprocess = self._tracked, self._tracked_beside
        root.transform = self._saved.resources(self._names)
        columns = by_column(self.inputs)

        def apply(raw: dict[str, Any]) -> dict[str, Any]:
            return self._saved.features(raw, self._names)

        predict = tf.function(lambda raw: self._predict(apply(raw)), input_signature=[columns.specs], autograph=False)

        def signature(taken: SignatureInputs, work: Any) -> Any:
            return tf.function(lambda given: work(taken.columns(given)), input_signature=[taken.specs], autograph=False)

        signatures = {
            "serving_default": signature(columns, predict),
            "serving_examples": signature(by_example(self.inputs, "examples"), predict),
            "transform_features": signature(columns, apply),
        }
        defaults = dict.fromkeys(("serving_default", "transform_features"), columns.defaults)
        for one in self._requested:
            signatures[one.asked.name] = one.function(predict)
            defaults[one.asked.name] = one.taken.defaults
        try:
            tf.saved_model.save(root, str(self._directory), signatures=signatures)
        except AssertionError as error:
            if "untracked" not in str(error) or not self._requested:
                raise
            raise ValueError(
                "postprocess uses a TensorFlow table or variable that a SavedModel cannot find: keep it, or the Keras "
                "layer that has it, in a variable of the function's module"
            ) from error
        methods = {one.asked.name: one.method for one in self._requested if one.method != METHODS["predict"]}
        state_in_file(self._directory, defaults, methods)

    def write_weights(self) -> None:
        """Writes the weights as they are now into the SavedModel that `write` wrote: its graph reads them."""
        import tensorflow as tf

        prefix = str(self._directory / tf.saved_model.VARIABLES_DIRECTORY / tf.saved_model.VARIABLES_FILENAME)
        reader = tf.train.load_checkpoint(prefix)
        tensors = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
        for number, one in enumerate(self._tracked):
            if isinstance(one, tf.Variable):
                tensors[f"model/{number}/.ATTRIBUTES/VARIABLE_VALUE"] = one
        names = sorted(tensors)
        tf.raw_ops.SaveV2(
            prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), tensors=[tensors[n] for n in names]
        )
        # It would tell of the weights before.
        (self._directory / "fingerprint.pb").unlink(missing_ok=True)


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


def named_outputs(model: keras.Model, outputs: Any, names: Sequence[str] | None) -> dict[str, Any]:
    """A model's outputs by the names that a client gets them by."""
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
