"""Writing a transform as one SavedModel that needs TensorFlow alone, with `features.json` beside it.

Outputs that depend on the same raw columns are one function (and wide hot ones another), and the signatures call those
functions. So a model that takes some of the features asks a client for their columns only: the label's are not among
them, though Transform does not know which output a Trainer will take as its label.
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
from headrace.transforms.keras_graph.graph_function import graph_function, resources, storage_function
from headrace.transforms.keras_graph.levels import Settled
from headrace.transforms.keras_graph.raw_columns import tensor_specs

SAVED_MODEL = "saved_model"
FEATURES = "features.json"
VERSION = 1
_PYTHON_OPERATIONS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def check_survives(function: Any) -> None:
    """Raises ValueError if the graph calls Python, which no other process would have."""
    for operation in function.graph.get_operations():
        if operation.type in _PYTHON_OPERATIONS:
            raise ValueError(
                f"preprocessing_fn calls Python code while the graph runs ({operation.name!r}: tf.py_function or "
                "tf.numpy_function); a SavedModel cannot hold it: write it with keras.ops or TensorFlow operations"
            )


def groups_of(specs: Mapping[str, FeatureSpec]) -> list[tuple[tuple[str, ...], list[str]]]:
    """Raw columns and outputs of each function: outputs of equal columns together, wide hot ones apart."""
    groups: dict[tuple[tuple[str, ...], bool], list[str]] = {}
    for name, spec in specs.items():
        groups.setdefault((spec.columns, spec.encoding != "dense"), []).append(name)
    return [(columns, names) for (columns, _), names in groups.items()]


def write(
    settled: Settled,
    inputs: Mapping[str, ModelInput],
    specs: Mapping[str, FeatureSpec],
    labels: Sequence[str],
    row_bytes: int,
    directory: Path,
) -> None:
    """Writes the SavedModel and `features.json`.

    The root object has `groups`, each with `function`, `resources` and, for wide hot outputs, `indices`.
    """
    import tensorflow as tf

    root = tf.Module()
    root.groups = []
    for columns, names in groups_of(specs):
        mine = {column: inputs[column] for column in columns}
        outputs = {name: settled.outputs[name] for name in names}
        group = tf.Module()
        group.function = graph_function(settled.symbolic, mine, outputs)
        if specs[names[0]].encoding != "dense":
            group.indices, _ = storage_function(settled.symbolic, mine, outputs, specs)
        group.resources = resources(list(outputs.values()))
        root.groups.append(group)
    features = [name for name in specs if name not in labels]
    signatures = {"transform_features": signature(root.groups, specs, inputs, features)}
    if labels:
        signatures["transform_labels"] = signature(root.groups, specs, inputs, list(labels))
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


def call_groups(
    groups: Sequence[Any], specs: Mapping[str, FeatureSpec], names: Sequence[str], raw: Any
) -> dict[str, Any]:
    """The named outputs from raw tensors, by the functions that give them."""
    values: dict[str, Any] = {}
    for group, (columns, given) in zip(groups, groups_of(specs)):
        if any(name in names for name in given):
            values.update(group.function({column: raw[column] for column in columns}))
    return {name: values[name] for name in names}


def columns_of(specs: Mapping[str, FeatureSpec], names: Sequence[str]) -> set[str]:
    """The raw columns that the named outputs depend on."""
    return {column for name in names for column in specs[name].columns}


def signature(
    groups: Sequence[Any], specs: Mapping[str, FeatureSpec], inputs: Mapping[str, ModelInput], names: list[str]
) -> Any:
    import tensorflow as tf

    needed = columns_of(specs, names)
    wanted = [one for name, one in inputs.items() if name in needed]

    def function(raw: dict[str, Any]) -> Any:
        return call_groups(groups, specs, names, raw)

    return tf.function(function, input_signature=[tensor_specs(wanted)], autograph=False)
