"""What a function's module imports, by its source: nothing is imported to find out."""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.pipelines.code_digest.module_index import module_index
from headrace.pipelines.code_digest.project_modules import FoundModule, ModuleFinder, project_root
from headrace.pipelines.function_ref import FunctionRef

LEGACY = ("tensorflow_transform", "tfx", "tfx_bsl", "tf_keras")
"""Packages with which `tf.keras` is Keras 2: TensorFlow Transform makes it so, and TFX imports that."""


@dataclass(frozen=True)
class ModuleImports:
    """What a module of the project and those of the project that it imports name in import statements.

    Attributes:
        modules: Full names: ``"tensorflow_transform"``, ``"tensorflow.keras"``.
        attributes: The parts of dotted names of TensorFlow's that occur, such as ``"keras"`` of ``tf.keras.Model``.
    """

    modules: frozenset[str]
    attributes: frozenset[str]

    @classmethod
    def of(cls, refs: Sequence[FunctionRef], root: str | None) -> ModuleImports:
        """Reads the modules of some functions.

        Args:
            refs: The functions.
            root: The project's root; None for that of the working folder.
        """
        modules: set[str] = set()
        attributes: set[str] = set()
        seen: set[str] = set()
        for ref in refs:
            finder = ModuleFinder(ref.roots(root))
            _collect(finder.find(ref.module), finder, modules, attributes, seen)
        return cls(frozenset(modules), frozenset(attributes))

    @property
    def packages(self) -> set[str]:
        """The top-level packages."""
        return {name.partition(".")[0] for name in self.modules}

    @property
    def legacy(self) -> list[str]:
        """Those of `LEGACY` that are imported."""
        return [name for name in LEGACY if name in self.packages]

    @property
    def keras(self) -> dict[str, str]:
        """Which Keras each way of writing it is, for the ways that occur: ``{"tf.keras": "Keras 2", ...}``."""
        found = {}
        if "keras" in self.attributes or any(name.startswith("tensorflow.keras") for name in self.modules):
            found["tf.keras"] = "Keras 2 (tf_keras)" if self.legacy else "Keras 3"
        if "tf_keras" in self.packages:
            found["tf_keras"] = "Keras 2"
        if "keras" in self.packages:
            found["keras"] = "Keras 3"
        return found


def _collect(found: FoundModule, finder: ModuleFinder, modules: set[str], attributes: set[str], seen: set[str]) -> None:
    if found.kind != "source" or found.file is None or found.name in seen:
        return
    seen.add(found.name)
    tree = module_index(found.file).tree
    package = found.name if found.file.name == "__init__.py" else found.name.rpartition(".")[0]
    for name in _imported(tree, package):
        target = finder.find(name, found.file)
        if target.kind == "source":
            _collect(target, finder, modules, attributes, seen)
        else:
            modules.add(name)
    attributes |= _tensorflow_attributes(tree)


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Full names of what is imported anywhere in a module, but for type checking."""
    for node in _nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            # What is imported may be a module itself.
            yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def _tensorflow_attributes(tree: ast.Module) -> set[str]:
    names = {
        alias.asname or alias.name
        for node in _nodes(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name in ("tensorflow", "tensorflow.compat.v2")
    }
    return {part for node in ast.walk(tree) for part in _dotted(node, names)}


def _dotted(node: ast.AST, names: set[str]) -> list[str]:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return parts if isinstance(node, ast.Name) and node.id in names else []


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _nodes(child)


def uses_transform(ref: FunctionRef, root: str | None = None) -> bool:
    """Whether a function, or what it calls in the project, names TensorFlow Transform: which engine it is for."""
    return _uses(ref, root)


@functools.lru_cache(maxsize=64)
def _uses(ref: FunctionRef, root: str | None) -> bool:
    return any(
        part.startswith(("tensorflow-transform==", "tensorflow_transform==", "tensorflow_transform (not installed)"))
        for part in ref.digest(root).parts
    )


def located(function: Callable[..., Any]) -> tuple[FunctionRef, str]:
    """A live function's reference, and the root of the project that its file is in: not that of the working folder."""
    file = inspect.getsourcefile(inspect.unwrap(function))
    return FunctionRef.of(function), str(project_root(file or Path.cwd()))
