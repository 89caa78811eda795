"""Which installed distribution a module belongs to, and at what version, from the `.dist-info` folder beside it.

`importlib.metadata.packages_distributions` reads every RECORD (a quarter of a second in a TensorFlow environment);
this looks at the folder of the same name first, and searches the others as bytes.
"""

# ruff: noqa: PTH112, PTH116, PTH118, PTH119, PTH120, PTH123, PTH208
# os.path costs a fifth of pathlib here, and `resolve` would follow links

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlparse


@dataclass(frozen=True)
class Distribution:
    """An installed distribution.

    Attributes:
        name: As its metadata folder spells it (``scikit_learn``).
        version: Its version.
        packages: Of an editable install, the source folders that it maps to import names; empty otherwise.
    """

    name: str
    version: str
    packages: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def content_digest(self) -> str:
        """What the code key holds of it: the version, and of an editable install also the Python files' contents."""
        content = _content_of(self.packages) if self.packages else ""
        return hashlib.sha256(f"{self}\0{content}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _Metadata:
    folder: str
    name: str
    version: str


def distribution_in(site: Path, relative: str, top_level: str) -> Distribution | None:
    """The distribution that installed a file into a folder of `sys.path`.

    Args:
        site: The folder, such as ``site-packages``.
        relative: The file's path below it, with slashes.
        top_level: The first part of the module's name.

    Returns:
        None when no distribution in that folder owns the file: a script, or a module on `PYTHONPATH`.
    """
    return _owner(str(site), site.stat().st_mtime_ns, relative, top_level)


def editable_distribution_of(file: Path) -> Distribution | None:
    """The editable install (`pip install -e`) whose source folder holds the file."""
    best: tuple[int, Distribution] | None = None
    for entry in dict.fromkeys(sys.path):
        if not entry or not os.path.isdir(entry):
            continue
        for project, distribution in _editable_in(entry, os.stat(entry).st_mtime_ns):
            depth = len(project.parts)
            if file.is_relative_to(project) and (best is None or depth > best[0]):
                best = depth, distribution
    return best[1] if best else None


def distribution_of_finder(finder: object) -> Distribution | None:
    """The editable install that an import hook of setuptools stands for, from the hook's own table."""
    module = sys.modules.get(getattr(finder, "__module__", ""))
    file, mapping = getattr(module, "__file__", None), getattr(module, "MAPPING", None)
    if module is None or file is None or not isinstance(mapping, dict):
        return None
    site = os.path.dirname(file)
    for metadata in _installed(site, os.stat(site).st_mtime_ns):
        # The hook's module is named after the distribution and its version, in the letters of an identifier.
        named = metadata.name.replace(".", "_") in module.__name__
        if named and re.sub(r"\W+", "_", f"__editable___{metadata.name}-{metadata.version}_finder") == module.__name__:
            packages = tuple(sorted(Path(folder) for folder in mapping.values()))
            return Distribution(metadata.name, metadata.version, packages)
    return None


@lru_cache(maxsize=256)
def _installed(site: str, _changed: int) -> tuple[_Metadata, ...]:
    # Installing or removing a distribution changes the folder's modification time, and so this cache's key.
    # `setup.py develop` leaves an egg-info in a source folder: that is a project, not an installation.
    suffixes = (".dist-info", ".egg-info") if os.path.basename(site).endswith("-packages") else (".dist-info",)
    found = []
    for name in sorted(os.listdir(site)):
        if name.endswith(suffixes):
            distribution, _, version = name.rpartition(".")[0].partition("-")
            found.append(_Metadata(os.path.join(site, name), distribution, version.partition("-py")[0] or "unknown"))
    return tuple(found)


@lru_cache(maxsize=4096)
def _owner(site: str, changed: int, relative: str, top_level: str) -> Distribution | None:
    installed = _installed(site, changed)
    wanted = _normalised(top_level)
    same_name = [metadata for metadata in installed if _normalised(metadata.name) == wanted]
    for metadata in same_name:
        if _records(metadata, relative) is not False:
            return Distribution(metadata.name, metadata.version)
    for metadata in installed:
        if metadata not in same_name and _records(metadata, relative):
            return Distribution(metadata.name, metadata.version)
    return None


def _records(metadata: _Metadata, relative: str) -> bool | None:
    """Whether the distribution lists the file among its own; None when it has no list."""
    line = relative.encode()
    for name, ends in (("RECORD", (b",",)), ("installed-files.txt", (b"\n",)), ("top_level.txt", ())):
        try:
            listed = b"\n" + Path(metadata.folder, name).read_bytes().replace(b"\r\n", b"\n")
        except OSError:
            continue
        if name == "top_level.txt":
            return b"\n" + line.partition(b"/")[0].removesuffix(b".py") + b"\n" in listed + b"\n"
        prefix = b"\n" if name == "RECORD" else b"/"
        return any(prefix + line + end in listed or prefix + b'"' + line + b'"' + end in listed for end in ends)
    return None


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=64)
def _editable_in(site: str, changed: int) -> tuple[tuple[Path, Distribution], ...]:
    found = []
    for metadata in _installed(site, changed):
        try:
            direct = json.loads(Path(metadata.folder, "direct_url.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if direct.get("dir_info", {}).get("editable"):
            project = Path(unquote(urlparse(direct["url"]).path))
            found.append((project, Distribution(metadata.name, metadata.version, _package_folders(project))))
    return tuple(found)


def _package_folders(project: Path) -> tuple[Path, ...]:
    source = project / "src" if (project / "src").is_dir() else project
    packages = {init.parent for init in source.glob("*/__init__.py")}
    return tuple(sorted({*packages, *source.glob("*.py")}))


@lru_cache(maxsize=64)
def _content_of(packages: tuple[Path, ...]) -> str:
    # Once per process: code that this process imported does not change under it either.
    content = hashlib.sha256()
    for package in packages:
        for path in sorted(_python_files(str(package))):
            content.update(os.path.relpath(path, package.parent).encode())
            with open(path, "rb") as file:
                content.update(file.read())
    return content.hexdigest()


def _python_files(path: str) -> list[str]:
    if path.endswith(".py"):
        return [path]
    found = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    found.append(entry.path)
                elif entry.is_dir() and entry.name.isidentifier() and entry.name != "__pycache__":
                    found += _python_files(entry.path)
    except OSError:
        return found
    return found
