"""The process of a step whose functions' modules import TensorFlow Transform or TFX: prepared before anything else."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence

from headrace.components.tfx.module_imports import ModuleImports
from headrace.pipelines.errors import MissingExtra
from headrace.pipelines.function_ref import FunctionRef


def is_needed(functions: Sequence[FunctionRef], root: str | None) -> bool:
    """Whether the modules of some functions import what makes `tf.keras` Keras 2 for a whole process."""
    return bool(ModuleImports.of(functions, root).legacy)


def prepare() -> None:
    """Makes `tf.keras` Keras 2, as it is with TFX, and the names of TFX importable where it is not installed.

    Raises:
        MissingExtra: TensorFlow Transform is not installed.
    """
    from headrace.components.tfx import names

    if importlib.util.find_spec("tensorflow_transform") is None:
        raise MissingExtra("tft", "tensorflow_transform")
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    names.install()


def said(function: FunctionRef, root: str | None = None) -> str:
    """One line: what is imported, and which Keras that means."""
    imports = ModuleImports.of([function], root)
    keras = [f"{name} is {which}" for name, which in imports.keras.items()]
    engine = f"tensorflow_transform {importlib.metadata.version('tensorflow_transform')}"
    return f"{function.module} imports {', '.join(imports.legacy)}: a process of its own, {'; '.join([engine, *keras])}"
