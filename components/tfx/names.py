"""The names of TFX that trainer and transform modules import, where TFX itself is not installed.

They are there for the process of a step that needs them, and nowhere else; with TFX installed, its own are used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_FN_ARGS = {
    "FnArgs": "headrace.components.training.fn_args:FnArgs",
    "DataAccessor": "headrace.components.tfx.data_accessor:DataAccessor",
}
_FILE_IO = dict.fromkeys(
    ("copy", "exists", "glob", "isdir", "listdir", "makedirs", "mkdir", "open", "remove", "rename", "rmtree", "stat"),
    "headrace.components.tfx.file_io:",
) | {"walk": "headrace.components.tfx.file_io:"}
_IO_UTILS = dict.fromkeys(
    ("parse_json_file", "parse_pbtxt_file", "read_string_file", "write_string_file"), "headrace.components.tfx.file_io:"
)
NAMES: dict[str, dict[str, str]] = {
    "tfx": {},
    "tfx.components": _FN_ARGS,
    "tfx.components.trainer": {},
    "tfx.components.trainer.executor": {"TrainerFnArgs": _FN_ARGS["FnArgs"]},
    "tfx.components.trainer.fn_args_utils": _FN_ARGS,
    "tfx.dsl": {},
    "tfx.dsl.io": {},
    "tfx.dsl.io.fileio": _FILE_IO,
    "tfx.utils": {},
    "tfx.utils.io_utils": _IO_UTILS,
    "tfx.v1": {},
    "tfx.v1.components": _FN_ARGS,
    "tfx.v1.dsl": {},
    "tfx.v1.dsl.io": {},
    "tfx.v1.dsl.io.fileio": _FILE_IO,
    "tfx.v1.utils": _IO_UTILS,
}
"""Name -> where it is (`module:name`; without a name the same one), by module."""


def install() -> None:
    """Makes the names importable in this process, unless TFX is installed."""
    if importlib.util.find_spec("tfx") is None and not any(isinstance(one, _Names) for one in sys.meta_path):
        sys.meta_path.insert(0, _Names())


def available() -> list[str]:
    """Every name, in full."""
    return sorted(f"{module}.{name}" for module, names in NAMES.items() for name in names)


class _Names(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "tfx":
            return None
        if fullname not in NAMES:
            # Not ModuleNotFoundError, which `from a import b` would replace by a message of its own.
            raise ImportError(_missing(fullname))
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        for name in NAMES:
            parent, _, child = name.rpartition(".")
            if parent == module.__name__:
                setattr(module, child, importlib.import_module(name))


class _Module(ModuleType):
    """A module of TFX's; a name is looked up when it is first used."""

    def __getattr__(self, name: str) -> Any:
        place = NAMES[self.__name__].get(name)
        if place is None:
            if name.startswith("__"):
                raise AttributeError(name)
            raise AttributeError(_missing(f"{self.__name__}.{name}"))
        module, _, attribute = place.partition(":")
        value = getattr(importlib.import_module(module), attribute or name)
        setattr(self, name, value)
        return value


def _missing(name: str) -> str:
    there = "\n        ".join(available())
    return (
        f"{name} is not here: tfx is not installed, and Headrace stands in for the names that trainer and transform "
        f"modules import:\n        {there}\n    fix: install tfx, or keep what needs {name} in a file of its own, "
        "such as the one that defines the pipeline"
    )
