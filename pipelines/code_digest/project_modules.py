"""The project of a file, the stable name of its module, and where the source of a module is: without importing."""

# ruff: noqa: PTH100, PTH112, PTH113, PTH118
# os.path costs a fifth of pathlib here, and `resolve` would follow links

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Literal

from headrace.pipelines.code_digest.distributions import (
    Distribution,
    distribution_in,
    distribution_of_finder,
    editable_distribution_of,
)
from headrace.pipelines.errors import Location, PipelineError, Problem

Roots = Path | str | tuple[Path | str, ...]
PROJECT_MARKS = ("pyproject.toml", "setup.py", ".git")


@dataclass(frozen=True)
class FoundModule:
    """Where a module's code comes from.

    Attributes:
        kind: ``"source"`` is code whose definitions count one by one: the project's, and any module that no installed
            distribution owns. The others count by version.
        name: The module's stable name.
        file: Its source file; None for a folder without ``__init__.py`` and for what is not Python source.
        folders: Where its submodules are, for a package.
        distribution: The owner, for ``"distribution"``.
    """

    kind: Literal["source", "stdlib", "distribution", "missing"]
    name: str
    file: Path | None = None
    folders: tuple[Path, ...] = ()
    distribution: Distribution | None = None


def project_root(file: Path | str) -> Path:
    """The nearest folder upward with a pyproject.toml, setup.py or .git; the file's own folder when there is none.

    A notebook's cell has the name of a file in a folder that does not exist: its project is the working folder's.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     project_root(f"{folder}/pipeline.py") == Path(folder)
    True
    """
    path = Path(os.path.abspath(file))
    folder = path if path.is_dir() else path.parent
    for candidate in (folder, *folder.parents):
        if any((candidate / mark).exists() for mark in PROJECT_MARKS):
            return candidate
    return folder if folder.is_dir() or folder == Path.cwd() else project_root(Path.cwd())


def search_folders(roots: Roots) -> tuple[Path, ...]:
    """The folders in which a project's modules are looked up: each root, and its `src` folder in the src layout."""
    folders: list[Path] = []
    for root in roots if isinstance(roots, tuple) else (roots,):
        folder = Path(os.path.abspath(root))
        folders.append(folder)
        source = folder / "src"
        if source.is_dir() and not (source / "__init__.py").exists():
            folders.append(source)
    return tuple(folders)


def module_name(file: Path | str, root: Path | str | None = None) -> str:
    """The name under which a project's file is imported, the same in every process and container.

    Args:
        file: A Python file.
        root: The project's root; `project_root(file)` when not given.

    Raises:
        PipelineError: The file is not below the root, is not a ``.py`` file, or has a dot in its name or folder.

    >>> module_name("/repo/examples/flights/pipeline.py", "/repo")
    'examples.flights.pipeline'
    >>> module_name("/repo/my-pipeline.py", "/repo")
    'my-pipeline'
    """
    path = Path(os.path.abspath(file))
    base = Path(os.path.abspath(root)) if root is not None else project_root(path)
    for folder in reversed(search_folders(base)):
        if path.is_relative_to(folder):
            parts = list(path.relative_to(folder).parts)
            break
    else:
        raise _unusable(path, f"expected a file below the project root {base}, received {path}", "pass its own root")
    if path.suffix != ".py":
        raise _unusable(path, f"expected a .py file, received {path.name}", "rename the file to end in .py")
    parts[-1] = parts[-1].removesuffix(".py")
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    for part in parts:
        if "." in part:
            raise _unusable(path, f"{part!r} cannot be part of a module's name, for it has a dot", "rename it with _")
    return ".".join(parts)


def _unusable(path: Path, what: str, fix: str) -> PipelineError:
    return PipelineError(Problem(what, fix=fix, where=Location(str(path), 1), code="module-name"))


class ModuleFinder:
    """Finds modules in the order in which a worker imports them, without importing anything.

    The standard library first, then the project, then what is installed; then a module beside the file that names it
    (as for a script); then a project folder without ``__init__.py``.
    """

    def __init__(self, roots: Roots) -> None:
        self.folders = search_folders(roots)
        self._found: dict[tuple[str, Path | None], FoundModule] = {}

    def find(self, name: str, importer: Path | None = None) -> FoundModule:
        """The module of an absolute name; `importer` is the file that imports it."""
        beside = importer.parent if importer is not None else None
        key = (name, beside)
        if key not in self._found:
            self._found[key] = self._find(name, beside)
        return self._found[key]

    def child(self, package: FoundModule, name: str) -> FoundModule | None:
        """A package's submodule, or None when it has none of that name."""
        if package.kind in {"stdlib", "missing"}:
            return None
        found = self.find(f"{package.name}.{name}")
        return found if found.kind != "missing" else None

    def _find(self, name: str, beside: Path | None) -> FoundModule:
        parts = name.split(".")
        if parts[0] in sys.stdlib_module_names:
            found = _in_folder(Path(os.__file__).parent, parts)
            return FoundModule("stdlib", name, found[0] if found else None)
        namespace: FoundModule | None = None
        for folder in self.folders:
            found = _in_folder(folder, parts)
            if found is not None and (found[2] or (len(parts) > 1 and found[0])):
                return FoundModule("source", name, found[0], found[1])
            if found is not None and namespace is None:
                namespace = FoundModule("source", name, None, found[1])
        installed = self._installed(name, parts, self._outside)
        if installed is not None and (installed.file or installed.kind == "distribution"):
            return installed
        found = _in_folder(beside, parts) if beside is not None else None
        if found is not None and found[0]:
            return FoundModule("source", self._stable_name(name, found[0]), found[0], found[1])
        inside = self._installed(name, parts, lambda site: not self._outside(site))
        return inside or namespace or installed or FoundModule("missing", name)

    def _outside(self, site: Path) -> bool:
        # Folders of scripts come and go on sys.path: what a name means must not depend on what was imported before.
        return site.name.endswith("-packages") or not any(site.is_relative_to(folder) for folder in self.folders)

    def _stable_name(self, name: str, file: Path | None) -> str:
        for folder in self.folders:
            if file is not None and file.is_relative_to(folder):
                return module_name(file, folder)
        return name

    def _installed(self, name: str, parts: list[str], searched: Callable[[Path], bool]) -> FoundModule | None:
        namespace: FoundModule | None = None
        for entry in sys.path:
            site = Path(os.path.abspath(entry or "."))
            found = _in_folder(site, parts) if searched(site) and site.is_dir() else None
            if found is None:
                continue
            file, folders, is_regular = found
            if not is_regular and file is None:
                namespace = namespace or FoundModule("source", name, None, folders)
                continue
            anchor = file or folders[0]
            if is_regular and (site / parts[0]).is_dir():
                anchor = site / parts[0] / "__init__.py"  # one question per package, not one per module
            owner = distribution_in(site, anchor.relative_to(site).as_posix(), parts[0])
            owner = owner or editable_distribution_of(anchor)
            return self._classified(name, file, folders, owner)
        return self._editable(name, parts) or namespace

    def _editable(self, name: str, parts: list[str]) -> FoundModule | None:
        for finder in sys.meta_path:
            if "editable" not in getattr(finder, "__module__", ""):
                continue
            for depth in range(1, len(parts) + 1):
                spec = finder.find_spec(".".join(parts[:depth]), None)
                if spec is None or not spec.has_location or spec.origin is None:
                    continue
                origin = Path(spec.origin)
                base = origin.parent if origin.name == "__init__.py" else origin
                rest = parts[depth:]
                found = _in_folder(base, rest) if rest else (origin, (base,), True)
                if found is not None:
                    anchor = found[0] or found[1][0]
                    owner = distribution_of_finder(finder) or editable_distribution_of(anchor)
                    return self._classified(name, found[0], found[1], owner)
        return None

    def _classified(
        self, name: str, file: Path | None, folders: tuple[Path, ...], owner: Distribution | None
    ) -> FoundModule:
        if owner is not None and not self._is_own_project(owner):
            return FoundModule("distribution", name, file, folders, owner)
        if file is not None and file.suffix != ".py":
            return FoundModule("missing", name, file)
        return FoundModule("source", self._stable_name(name, file), file, folders)

    def _is_own_project(self, owner: Distribution) -> bool:
        # A project that is installed in place is still the author's code: its definitions count one by one.
        # Headrace itself is the exception, so that the digest of a user's function does not walk through it.
        return owner.name != "headrace" and any(
            package.is_relative_to(folder) for package in owner.packages for folder in self.folders
        )


def _in_folder(folder: Path, parts: list[str]) -> tuple[Path | None, tuple[Path, ...], bool] | None:
    """(file, folders of submodules, whether the first part is a module or a package with ``__init__.py``)."""
    base = str(folder)
    is_regular = False
    for position, part in enumerate(parts):
        base = os.path.join(base, part)
        init = os.path.join(base, "__init__.py")
        last = position == len(parts) - 1
        if os.path.isfile(init):
            is_regular = is_regular or position == 0
            if last:
                return Path(init), (Path(base),), is_regular
        elif last and (source := _module_file(base)) is not None:
            return source, (), is_regular or position == 0
        elif os.path.isdir(base):
            if last:
                return None, (Path(base),), is_regular
        else:
            return None
    return None


def _module_file(base: str) -> Path | None:
    for suffix in (".py", *EXTENSION_SUFFIXES):
        if os.path.isfile(base + suffix):
            return Path(base + suffix)
    return None
