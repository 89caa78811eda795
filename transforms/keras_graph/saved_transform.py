"""A saved transform: applied by the Trainer and the Evaluator, without `preprocessing_fn`."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.keras_graph import feature_specs, saved_model, stored_features
from headrace.transforms.keras_graph.feature_specs import FeatureSpec
from headrace.transforms.keras_graph.graph_parts import GraphParts
from headrace.transforms.keras_graph.raw_columns import raw_tensors
from headrace.transforms.keras_graph.traced_transform import apply_in_pieces, one_batch


class Features(dict[str, Any]):
    """The features as KerasTensors with static shapes, by name; `spec` has what is known of each.

    Example:
        >>> import keras
        >>> spec = FeatureSpec("carrier", "int64", (1,), ("carrier",), size=3, vocabulary=("[UNK]", "UA", "AA"))
        >>> features = Features({"carrier": keras.Input((1,), dtype="int64", name="carrier")}, {"carrier": spec})
        >>> keras.layers.Embedding(features.spec["carrier"].size, 4)(features["carrier"]).shape
        (None, 1, 4)
    """

    def __init__(self, tensors: Mapping[str, Any], spec: Mapping[str, FeatureSpec]) -> None:
        super().__init__(tensors)
        self.spec = dict(spec)


def _let_keras_flatten() -> None:
    # Keras flattens with optree, which looks at exact types; what Keras makes of Features is a plain dict. It goes by
    # the position in the flat list, and that of a plain dict is in the order of its sorted keys.
    import optree

    def flatten(features: Any) -> Any:
        names = tuple(sorted(features))
        return [features[name] for name in names], names, names

    def unflatten(names: Any, tensors: Any) -> Any:
        return dict(zip(names, tensors))

    optree.register_pytree_node(Features, flatten, unflatten, namespace="keras")


_let_keras_flatten()


def load_transform(directory: str | Path) -> SavedTransform:
    """Reads a transform that `TracedTransform.save` wrote; its SavedModel is loaded when it is first needed.

    Raises:
        FileNotFoundError: There is no transform.
        ValueError: It was written by a newer Headrace.
    """
    return SavedTransform(Path(directory))


class SavedTransform:
    """A transform read from a folder.

    Attributes:
        feature_specs: What is known of each output, labels included.
        labels: The outputs that are labels or weights.
        inputs: The raw columns that it takes, by name.
    """

    def __init__(self, directory: Path) -> None:
        document = json.loads((directory / saved_model.FEATURES).read_text(encoding="utf-8"))
        if document["version"] != saved_model.VERSION:
            raise ValueError(
                f"{directory}: expected a transform of version {saved_model.VERSION}, got {document['version']}: "
                "install the Headrace that wrote it, or run Transform again"
            )
        self.directory = directory
        self.feature_specs: dict[str, FeatureSpec] = feature_specs.from_json(document["features"])
        self.labels: tuple[str, ...] = tuple(document["labels"])
        self.inputs: dict[str, ModelInput] = {
            one["name"]: saved_model.input_from_json(one) for one in document["inputs"]
        }
        self._row_bytes: int = document["row_bytes"]
        self._schema = stored_features.arrow_schema(self.feature_specs)
        self._functions: dict[tuple[str, ...], Any] = {}

    @functools.cached_property
    def loaded(self) -> Any:
        """The SavedModel's root object."""
        import tensorflow as tf

        return tf.saved_model.load(str(self.directory / saved_model.SAVED_MODEL))

    @functools.cached_property
    def parts(self) -> GraphParts:
        """The function of all outputs, of which a part can be had."""
        return GraphParts(self.loaded.features)

    @property
    def output_arrow_schema(self) -> pa.Schema:
        """The schema of what `apply` gives."""
        return self._schema

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Raw rows to stored features: the same as `TracedTransform.apply`."""
        return one_batch(self.apply_in_pieces(batch))

    def apply_in_pieces(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Like `apply`, in pieces of bounded memory: for dense features of thousands of values."""
        return apply_in_pieces(batch, self.inputs, self.feature_specs, self._schema, self._stored, self._row_bytes)

    def _stored(self, raw: dict[str, Any]) -> dict[str, Any]:
        root = self.loaded
        return dict((root.stored if hasattr(root, "stored") else root.features)(raw))

    def feature_names(self) -> list[str]:
        """The outputs that are not labels."""
        return [name for name in self.feature_specs if name not in self.labels]

    def columns(self, names: Sequence[str] | None = None) -> list[str]:
        """The raw columns that the named features (all, labels too, when None) depend on."""
        needed = saved_model.columns_of(self.feature_specs, list(self.feature_specs) if names is None else names)
        return [name for name in self.inputs if name in needed]

    def raw_tensors(self, batch: pa.RecordBatch, names: Sequence[str] | None = None) -> dict[str, Any]:
        """The raw columns that the named features depend on, as tensors for `features`."""
        return raw_tensors(batch, {name: self.inputs[name] for name in self.columns(names)})

    def features(self, raw: Mapping[str, Any], names: Sequence[str] | None = None) -> dict[str, Any]:
        """Features from raw tensors, scalars of rank 1: works eagerly, in a tf.function and in `tf.data.Dataset.map`.

        Args:
            raw: Tensors by raw column; more than needed do no harm.
            names: The outputs wanted; all, labels too, when None.

        Returns:
            By name, `(rows, *shape)`, with static shapes: what the stored features give, without storing them.
        """
        wanted = list(self.feature_specs) if names is None else list(names)
        return dict(self._function(tuple(wanted))({name: raw[name] for name in self.columns(wanted)}))

    def _function(self, names: tuple[str, ...]) -> Any:
        if names not in self._functions:
            self._functions[names] = saved_model.part_function(self.parts, self.feature_specs, self.inputs, names)
        return self._functions[names]

    def resources(self, names: Sequence[str]) -> list[Any]:
        """What a SavedModel that computes the named outputs must track: their tables and variables."""
        return [mine for name, mine in zip(self.feature_specs, self.loaded.resources) if name in names]

    def feature_inputs(self, names: Sequence[str] | None = None) -> Features:
        """A `keras.Input` for each of the named features (all but labels when None), for `build_model`."""
        import keras

        specs = {name: self.feature_specs[name] for name in (self.feature_names() if names is None else names)}
        tensors = {name: keras.Input(spec.shape, name=name, dtype=spec.dtype) for name, spec in specs.items()}
        return Features(tensors, specs)
