"""Writing a transform as one SavedModel that needs TensorFlow alone, with `features.json` beside it.

All outputs are one function of all raw columns, from which a model's part is cut: a client is asked for the columns of
its features only. The label's are not among them, though Transform does not know which output a Trainer will take.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from headrace.transforms.feature_model import ModelInput
from headrace.transforms.keras_graph import feature_specs
from headrace.transforms.keras_graph.feature_specs import FeatureSpec
from headrace.transforms.keras_graph.graph_function import graph_function, resources
from headrace.transforms.keras_graph.graph_parts import GraphParts
from headrace.transforms.keras_graph.levels import Settled
from headrace.transforms.keras_graph.raw_columns import tensor_specs

SAVED_MODEL = "saved_model"
FEATURES = "features.json"
VERSION = 2
_PYTHON_OPERATIONS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def check_survives(function: Any) -> None:
    """Raises ValueError if the graph calls Python, which no other process would have."""
    for operation in function.graph.get_operations():
        if operation.type in _PYTHON_OPERATIONS:
            raise ValueError(
                f"preprocessing_fn calls Python code while the graph runs ({operation.name!r}: tf.py_function or "
                "tf.numpy_function); a SavedModel cannot hold it: write it with keras.ops or TensorFlow operations"
            )


def write(
    settled: Settled,
    stored: Any,
    inputs: Mapping[str, ModelInput],
    specs: Mapping[str, FeatureSpec],
    labels: Sequence[str],
    row_bytes: int,
    directory: Path,
) -> None:
    """Writes the SavedModel and `features.json`.

    The root object has `features`, a function of all raw columns to all outputs; `stored`, the same to the outputs as
    they are stored, where one is not stored as it is; and `resources`, tables and variables of each output.

    Args:
        settled: The transform.
        stored: The concrete function of all raw columns to the outputs as they are stored.
        inputs: The raw columns.
        specs: What is known of each output.
        labels: The outputs that are labels or weights.
        row_bytes: What a row takes while the outputs are computed.
        directory: Where to write.
    """
    import tensorflow as tf

    outputs: dict[str, Any] = settled.outputs
    root = tf.Module()
    if all(spec.encoding == "dense" for spec in specs.values()):
        root.features = stored
    else:
        root.features = graph_function(settled.symbolic, inputs, outputs)
        root.stored = stored
    captured = [*root.features.captured_inputs, *stored.captured_inputs]
    root.resources = [resources([outputs[name]], captured) for name in specs]
    signatures = signatures_of(root.features, specs, inputs, labels)
    try:
        tf.saved_model.save(root, str(directory / SAVED_MODEL), signatures=signatures)
    except AssertionError as error:
        if "untracked" not in str(error):
            raise
        raise ValueError(
            "preprocessing_fn uses a TensorFlow table or variable that no layer owns, perhaps in a Lambda: make it an "
            "attribute of a keras.layers.Layer of your own, or use StringLookup or IntegerLookup"
        ) from error
    document = {
        "version": VERSION,
        "inputs": [input_to_json(one) for one in inputs.values()],
        "labels": list(labels),
        "row_bytes": row_bytes,
        "features": feature_specs.to_json(specs),
    }
    (directory / FEATURES).write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def input_to_json(one: ModelInput) -> dict[str, Any]:
    # NaN is no JSON; the dtype says it.
    missing = None if isinstance(one.missing, float) and one.missing != one.missing else one.missing
    return {**asdict(one), "missing": missing, "nan": missing is not one.missing}


def input_from_json(document: Mapping[str, Any]) -> ModelInput:
    """The ModelInput that `write` wrote."""
    given = {key: value for key, value in document.items() if key != "nan"}
    given["shape"] = tuple(given["shape"])
    return ModelInput(**{**given, "missing": float("nan") if document["nan"] else given["missing"]})


def columns_of(specs: Mapping[str, FeatureSpec], names: Sequence[str]) -> set[str]:
    """The raw columns that the named outputs depend on."""
    return {column for name in names for column in specs[name].columns}


def signatures_of(
    features: Any, specs: Mapping[str, FeatureSpec], inputs: Mapping[str, ModelInput], labels: Sequence[str]
) -> dict[str, Any]:
    """`transform_features` and `transform_labels`, where there are any, as parts of the function of all outputs."""
    parts = GraphParts(features)
    wanted = {"transform_features": [name for name in specs if name not in labels], "transform_labels": list(labels)}
    return {signature: part_function(parts, specs, inputs, names) for signature, names in wanted.items() if names}


def part_function(
    parts: GraphParts, specs: Mapping[str, FeatureSpec], inputs: Mapping[str, ModelInput], names: Sequence[str]
) -> Any:
    """A `tf.function` of one dict, the raw columns that the named outputs depend on, to these."""
    import tensorflow as tf

    needed = columns_of(specs, names)

    def function(raw: dict[str, Any]) -> Any:
        values = parts.outputs(names, raw)
        return {name: tf.ensure_shape(value, (None, *specs[name].shape)) for name, value in values.items()}

    wanted = [one for name, one in inputs.items() if name in needed]
    return tf.function(function, input_signature=[tensor_specs(wanted)], autograph=False)
