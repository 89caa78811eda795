"""The process of a step whose functions' modules import TensorFlow Transform or TFX: prepared before anything else."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Sequence

from headrace.components.tfx.module_imports import ModuleImports
from headrace.pipelines.errors import MissingExtra
from headrace.pipelines.function_ref import FunctionRef

_SHOWN = ("tensorflow_transform", "tf_keras")


def is_needed(functions: Sequence[FunctionRef], root: str | None) -> bool:
    """Whether the modules of some functions import what makes `tf.keras` Keras 2 for a whole process."""
    return bool(ModuleImports.of(functions, root).legacy)


def prepare() -> None:
    """Makes `tf.keras` Keras 2, as it is with TFX, and the names of TFX importable where it is not installed."""
    from headrace.components.tfx import names

    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    names.install()


def said(functions: Sequence[FunctionRef], root: str | None) -> str:
    """One line: what is imported, and which Keras that means.

    Raises:
        MissingExtra: What the modules import is not installed.
    """
    imports = ModuleImports.of(functions, root)
    for name in imports.legacy:
        if name != "tfx" and importlib.util.find_spec(name) is None:
            raise MissingExtra("tft", name)
    modules = ", ".join(dict.fromkeys(ref.module for ref in functions))
    versions = [f"{name} {importlib.metadata.version(name)}" for name in imports.legacy if name in _SHOWN]
    keras = [f"{name} is {which}" for name, which in imports.keras.items()]
    return f"{modules} imports {', '.join(imports.legacy)}: {'; '.join(['a process of its own', *versions, *keras])}"
