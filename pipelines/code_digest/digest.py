"""The digest of a function: of every definition that it reaches, and of the version of every distribution it names."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from headrace.pipelines.code_digest.definition_walk import DefinitionWalk
from headrace.pipelines.code_digest.module_index import ModuleIndex, module_index, sources_seen
from headrace.pipelines.code_digest.project_modules import FoundModule, ModuleFinder, Roots, search_folders
from headrace.pipelines.errors import Location, PipelineError, Problem


@dataclass(frozen=True)
class CodeDigest:
    """What a function's code is, for the cache and for `why`.

    Attributes:
        digest: ``"<definitions>.<environment>"``, in hexadecimal. The first half covers the source that belongs to no
            installed distribution and is the same on every machine that has that source; the second covers the
            versions of what is installed where the digest was made.
        parts: The name of each thing that counts, with its own digest: ``"examples.flights.model:build_model"``,
            ``"keras==3.15.1"``.
        caveats: What could not be seen from the source, one sentence each.
    """

    digest: str
    parts: dict[str, str]
    caveats: tuple[str, ...] = ()

    @property
    def definitions(self) -> str:
        """The half of `digest` that does not depend on what is installed."""
        return self.digest.partition(".")[0]


def digest_function(module: str, qualname: str, root: Roots) -> CodeDigest:
    """Digests a function or class, and transitively all that it names, from the source alone.

    Comments, docstrings and formatting do not count; nor does the code beside it. Annotations of arguments, returns
    and class attributes count, for components and dataclasses read them.

    Args:
        module: The module's name, such as ``"examples.flights.model"``.
        qualname: The function's name in it: ``"build_model"``, ``"Model.create"``.
        root: The project's root, or several folders that are searched in order.

    Raises:
        PipelineError: There is no such module or name (the nearest one is given), or a source file does not parse.

    >>> digest = digest_function("json", "dumps", ".")
    >>> [part.partition("==")[0] for part in digest.parts]
    ['python']
    """
    entry, walk = _walked(module, qualname, root)
    environment = walk.environment
    return CodeDigest(
        digest=f"{_combined(entry, walk.definitions)}.{_combined('', environment)[:16]}",
        parts={**dict(sorted(walk.definitions.items())), **dict(sorted(environment.items()))},
        caveats=tuple(walk.caveats),
    )


def digest_definitions(module: str, qualname: str, root: Roots) -> str:
    """`CodeDigest.definitions` alone: what a worker compares before it runs a function.

    Remembered in this process for as long as the files that were read have the same bytes.
    """
    key = (module, qualname, search_folders(root))
    if key in _definitions:
        digest, seen = _definitions[key]
        if all(_same_bytes(path, source) for path, source in seen.items()):
            return digest
    with sources_seen() as seen:
        entry, walk = _walked(module, qualname, root)
    digest = _combined(entry, walk.definitions)
    _definitions[key] = (digest, seen)
    return digest


_definitions: dict[tuple[str, str, tuple[Path, ...]], tuple[str, dict[Path, bytes]]] = {}


def _same_bytes(path: Path, source: bytes) -> bool:
    try:
        return path.read_bytes() == source
    except OSError:
        return False


def _walked(module: str, qualname: str, root: Roots) -> tuple[str, DefinitionWalk]:
    finder = ModuleFinder(root)
    found = finder.find(module)
    walk = DefinitionWalk(finder)
    if found.kind == "source":
        require_name(require_index(found, finder), module, qualname)
        walk.start(found.name, qualname.partition(".")[0])
    elif found.kind == "missing":
        raise unknown_module(module, finder)
    else:
        walk.note_installed(found)
    return f"{found.name}:{qualname}", walk


def check_name(module: str, qualname: str, root: Roots) -> None:
    """Checks ``module:qualname`` from the source, of an installed module too, as far as its source tells.

    Raises:
        PipelineError: There is no such module or name; the nearest one is given.
    """
    finder = ModuleFinder(root)
    found = finder.find(module)
    if found.kind == "missing" and found.file is None:
        raise unknown_module(module, finder)
    if found.kind == "source":
        require_name(require_index(found, finder), module, qualname)
    elif found.file is not None and found.file.suffix == ".py":
        source = found.file.read_bytes()
        if not any(mark in source for mark in (b"__getattr__", b"globals()", b"sys.modules", b"setattr(")):
            require_name(module_index(found.file), module, qualname)


def require_index(found: FoundModule, finder: ModuleFinder) -> ModuleIndex:
    """The index of a module's source file; an error when the module is a folder without one."""
    if found.file is None:
        raise PipelineError(
            Problem(
                f"expected a module with a source file, received the folder {found.name}",
                fix="name a module in it",
                code="function-ref",
            )
        )
    return module_index(found.file)


def require_name(index: ModuleIndex, module: str, qualname: str) -> None:
    """Checks that a module binds a name at its top, and that a class has the attribute that follows it.

    Raises:
        PipelineError: It does not; the nearest name that exists is given.
    """
    top = qualname.partition(".")[0]
    if index.binds(top) or index.stars or index.binds("__getattr__") or index.runs_dynamic_code:
        return
    near = difflib.get_close_matches(top, index.names, n=1, cutoff=0.5)
    places = [unit.node.lineno for name in near for unit in index.defined.get(name, [])]
    raise PipelineError(
        Problem(
            f"expected a function of {module}, received {qualname!r}, which it does not define",
            fix=f"did you mean {module}:{near[0]}?" if near else f"define {top} at the top level of {index.path}",
            where=Location(str(index.path), places[0] if places else 1),
            code="function-ref",
        )
    )


def unknown_module(module: str, finder: ModuleFinder) -> PipelineError:
    """The error for a module that is neither in the project nor installed, with the nearest one of the project."""
    near = difflib.get_close_matches(module, _project_modules(finder), n=1, cutoff=0.5)
    searched = ", ".join(str(folder) for folder in finder.folders)
    return PipelineError(
        Problem(
            f"expected an importable module, received {module!r}, which is neither below {searched} nor installed",
            fix=f"did you mean {near[0]}?" if near else "correct the name, or install the package that has it",
            code="function-ref",
        )
    )


def _project_modules(finder: ModuleFinder, limit: int = 2000) -> list[str]:
    names: list[str] = []
    for folder in finder.folders:
        pending = [(folder, "")] if folder.is_dir() else []
        while pending and len(names) < limit:
            current, prefix = pending.pop(0)
            for entry in sorted(current.iterdir()):
                if entry.suffix == ".py" and entry.stem != "__init__":
                    names.append(prefix + entry.stem)
                elif entry.is_dir() and entry.name.isidentifier() and entry.name != "__pycache__":
                    pending.append((entry, f"{prefix}{entry.name}."))
                    names.append(prefix + entry.name)
    return names


def _combined(entry: str, parts: dict[str, str]) -> str:
    text = "\n".join([entry, *(f"{name}={digest}" for name, digest in sorted(parts.items()))])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
