"""Warm start: a model begins with the weights of one that was trained before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
from headrace.pipelines import Model, step_context
from headrace.pipelines.errors import ArtifactError

FILE = "weights.npz"


def save_weights(model: keras.Model, folder: Path) -> None:
    """Writes every weight with its path, such as `dense/kernel`, for a later warm start."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = json.dumps([weight.path for weight in model.weights])
    values: dict[str, Any] = {
        f"w{number}": np.asarray(weight, dtype=_stored(weight)) for number, weight in enumerate(model.weights)
    }
    np.savez(folder / FILE, paths=paths, **values)


def _stored(weight: Any) -> Any:
    # NumPy has no bfloat16 in its files.
    return np.float32 if "float" in str(weight.dtype) and str(weight.dtype) != "float64" else None


def warm_start(model: keras.Model, base: Model) -> None:
    """Takes over the weights of a base model that fit: by path and shape, or all of them by order.

    Keras numbers the layers that nobody named in each process anew, so two models of one `build_model` may have other
    paths; when all shapes are equal in order, the order is what counts.

    Raises:
        ArtifactError: No weight fits, or the base model has none beside it.
    """
    place = base.path / "training" / FILE
    if not place.exists():
        raise ArtifactError(
            f"base_model {base.uri} has no training/{FILE}: it is of a run_fn that wrote its SavedModel by itself\n"
            "    fix: let run_fn call fn_args.export(model)"
        )
    with np.load(place) as saved:
        paths = json.loads(str(saved["paths"]))
        values = [saved[f"w{number}"] for number in range(len(paths))]
    same_order = [value.shape for value in values] == [tuple(weight.shape) for weight in model.weights]
    earlier = dict(zip(paths, values))
    taken = 0
    for number, weight in enumerate(model.weights):
        value = values[number] if same_order else earlier.get(weight.path)
        if value is not None and value.shape == tuple(weight.shape):
            weight.assign(value)
            taken += 1
    if not taken:
        raise ArtifactError(
            f"no weight of base_model {base.uri} fits: it has {_said(earlier)}, the new model has "
            f"{_said({weight.path: weight for weight in model.weights})}\n    fix: give the layers the same names "
            "and sizes"
        )
    if taken < len(model.weights):
        step_context().warn(f"warm start: {taken} of {len(model.weights)} weights fit and come from the base model")


def _said(weights: dict[str, Any]) -> str:
    return ", ".join(f"{path} {tuple(value.shape)}" for path, value in list(weights.items())[:5]) or "none"
