"""How user functions travel: by name and by the digest of their code, never as a pickle."""

# ruff: noqa: PTH100, PTH110, PTH113, PTH121
# `resolve` would follow links, and a linked file would lose its place in the project

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from headrace.pipelines.code_digest.digest import (
    CodeDigest,
    check_name,
    digest_definitions,
    digest_function,
    unknown_module,
)
from headrace.pipelines.code_digest.module_index import module_index
from headrace.pipelines.code_digest.project_modules import (
    ModuleFinder,
    Roots,
    module_name,
    project_root,
    search_folders,
)
from headrace.pipelines.errors import CodeChanged, Location, PipelineError, Problem

__all__ = ["FunctionRef", "import_project_module", "module_name", "notebook_folder", "project_root"]

# The entries that this module put on sys.path, so that a second project in one process does not meet the first one's.
_on_path: list[str] = []
# The code that each function had when it was loaded, so that an edit is seen by a process that lives on (a notebook).
_loaded: dict[str, str] = {}


@dataclass(frozen=True)
class FunctionRef:
    """A function or class by name, with the digest of its code.

    Attributes:
        module: Its module's stable name, relative to the project's root: the same in worker, Beam and container.
        qualname: Its name in the module.
        code_digest: `CodeDigest.digest`: ``"<definitions>.<environment>"``; or the first half alone, after `portable`.

    >>> ref = FunctionRef.of("json:dumps")
    >>> ref.load()([1])
    '[1]'
    >>> FunctionRef.from_json(ref.to_json()) == ref
    True
    """

    module: str
    qualname: str
    code_digest: str

    def __str__(self) -> str:
        return f"{self.module}:{self.qualname}"

    @classmethod
    def of(
        cls,
        function: Callable[..., Any] | str | FunctionRef,
        *,
        root: Path | str | None = None,
        notebook: Path | str | None = None,
    ) -> FunctionRef:
        """Names a function or class.

        Args:
            function: The function itself, or ``"package.module:name"``, which is checked and digested from the source
                without importing it.
            root: The project's root; by default that of the function's file, or of the working folder for a text.
            notebook: The folder for functions that were defined in a notebook's cell; `notebook_folder()` by default.

        Raises:
            PipelineError: A worker could not import it: a lambda, an inner function, a `functools.partial`, a bound
                method, an unknown name. The message has the repair.
        """
        if isinstance(function, FunctionRef):
            return function
        if isinstance(function, str):
            return cls._of_name(function, root or project_root(Path.cwd()))
        qualname = _qualname(function)
        module = str(getattr(inspect.unwrap(function), "__module__", None) or "builtins")
        file = _source_file(function, module)
        if module == "__main__" and file is None:
            from headrace.pipelines.notebook_code import capture_notebook_function

            return capture_notebook_function(function, notebook or notebook_folder())
        base = Path(os.path.abspath(root)) if root else project_root(file or Path.cwd())
        return cls._of_source(stable_module(module, file, base), qualname, base)

    @classmethod
    def from_module_file(cls, file: Path | str, *, root: Path | str | None = None) -> dict[str, FunctionRef]:
        """Names the functions at the top level of a file, as TFX's ``module_file=`` does.

        Args:
            file: The Python file, relative to the working folder.
            root: The project's root; that of the file by default.

        Raises:
            PipelineError: The file does not exist or does not parse.
        """
        path = Path(os.path.abspath(file))
        if not path.is_file():
            near = sorted(other.name for other in path.parent.glob("*.py")) if path.parent.is_dir() else []
            fix = f"{path.parent} has {', '.join(near[:10])}" if near else "correct the path"
            raise PipelineError(Problem(f"expected a Python file, found none at {path}", fix=fix, code="function-ref"))
        base = Path(os.path.abspath(root)) if root else project_root(path)
        module = _module_of_file(path, base)
        index = module_index(path)
        names = [name for name, units in index.defined.items() if any(unit.is_function for unit in units)]
        return {name: cls._of_source(module, name, base) for name in names}

    @classmethod
    def _of_name(cls, text: str, root: Roots) -> FunctionRef:
        module, colon, qualname = text.partition(":")
        if not (module and colon and qualname):
            raise PipelineError(
                Problem(
                    f"expected a function as 'package.module:name', received {text!r}",
                    fix="write the module, a colon and the function's name",
                    code="function-ref",
                )
            )
        check_name(module, qualname, root)
        return cls._of_source(module, qualname, root)

    @classmethod
    def _of_source(cls, module: str, qualname: str, root: Roots) -> FunctionRef:
        return cls(module, qualname, digest_function(module, qualname, root).digest)

    def portable(self) -> FunctionRef:
        """The same without the half of the digest that depends on what is installed: for a compiled pipeline."""
        return FunctionRef(self.module, self.qualname, self.code_digest.partition(".")[0])

    def digest(self, root: Path | str | None = None, code_path: Sequence[Path | str] = ()) -> CodeDigest:
        """The digest of the code that is here now, with its parts and caveats."""
        return digest_function(self.module, self.qualname, self.roots(root, code_path))

    def load(self, root: Path | str | None = None, code_path: Sequence[Path | str] = ()) -> Any:
        """Imports the function, when the code here is the code that the reference was made from.

        Args:
            root: The project's root here; that of the working folder by default.
            code_path: More folders that modules are looked up in, such as one with notebook functions.

        Raises:
            CodeChanged: The source here has another digest. (A distribution of another version is no reason: it only
                changes the cache's key.)
            PipelineError: The module or the name is not here.
        """
        roots = self.roots(root, code_path)
        found = digest_definitions(self.module, self.qualname, roots)
        self._require_code(found, roots)
        if _loaded.setdefault(str(self), found) != found:
            _forget_project(ModuleFinder(roots))
            _loaded[str(self)] = found
        value: Any = import_project_module(self.module, roots)
        for name in self.qualname.split("."):
            try:
                value = getattr(value, name)
            except AttributeError as error:
                problem = Problem(
                    f"{self.module} has no {self.qualname} after its import", "define it at the top level"
                )
                raise PipelineError(problem) from error
        return value

    def as_here(self, root: Path | str | None = None, code_path: Sequence[Path | str] = ()) -> FunctionRef:
        """The same with the whole digest, where `portable` left the half that what is installed here decides.

        Raises:
            CodeChanged: The source here has another digest.
        """
        roots = self.roots(root, code_path)
        found = digest_function(self.module, self.qualname, roots)
        self._require_code(found.definitions, roots)
        return FunctionRef(self.module, self.qualname, found.digest)

    def _require_code(self, found: str, roots: Roots) -> None:
        expected = self.code_digest.partition(".")[0]
        if expected != found:
            raise CodeChanged(
                f"expected the code of {self} that the plan was made from ({expected[:12]}), found other code"
                f" ({found[:12]}) in {', '.join(map(str, search_folders(roots)))}\n"
                "    fix: plan again, or build the image from the code that was planned"
            )

    def roots(self, root: Path | str | None, code_path: Sequence[Path | str] = ()) -> Roots:
        """The folders in which its module is looked up, in order."""
        return (root or project_root(Path.cwd()), *code_path, notebook_folder())

    def to_json(self) -> dict[str, str]:
        return {"module": self.module, "qualname": self.qualname, "code_digest": self.code_digest}

    @classmethod
    def from_json(cls, document: Mapping[str, str]) -> FunctionRef:
        """Reads what `to_json` wrote.

        Raises:
            PipelineError: The keys are not those three.
        """
        if set(document) != {"module", "qualname", "code_digest"}:
            raise PipelineError(
                Problem(
                    f"expected the keys module, qualname and code_digest, received {', '.join(map(str, document))}",
                    fix="make the plan again with this version of Headrace",
                    code="function-ref",
                )
            )
        return cls(**document)


def notebook_folder() -> Path:
    """Where a notebook's functions are written unless told otherwise: ``.headrace/notebook`` of the working folder."""
    return Path.cwd() / ".headrace" / "notebook"


def import_project_module(name: str, root: Roots) -> ModuleType:
    """Imports a module of a project by its stable name.

    The root (its `src` in the src layout), then the folder of a script, are put on `sys.path`: the root before what
    is installed but after the standard library, so that it shadows no more than ``python file.py`` in it would; the
    script's folder last. A module that runs as ``__main__`` is given as it is, and not run a second time.

    Args:
        name: Such as ``"examples.flights.pipeline"``.
        root: The project's root, or several folders that are searched in order (a folder of notebook functions).

    Raises:
        PipelineError: There is no such module, or another one of that name hides it.
    """
    finder = ModuleFinder(root)
    found = finder.find(name)
    if found.kind == "missing":
        raise unknown_module(name, finder)
    main = sys.modules.get("__main__")
    if found.kind == "source" and found.file is not None and _is_file(main, found.file):
        assert main is not None
        return main
    _put_on_path(finder.folders)
    if found.file is not None and found.kind == "source":
        folder = str(found.file.parent)
        if not (found.file.parent / "__init__.py").exists() and folder not in sys.path:
            sys.path.append(folder)
            _on_path.append(folder)
        _forget_another(name, found.file)
        _claim_folder(name, finder.folders)
    module = _import_from_source(name)
    if found.kind == "source" and found.file is not None and not _is_file(module, found.file):
        raise PipelineError(
            Problem(
                f"expected module {name} from {found.file}, but Python imports it from {module.__file__}",
                fix="rename the file or its top folder, or add an __init__.py to that folder",
                where=Location(str(found.file), 1),
                code="module-name",
            )
        )
    return module


def _import_from_source(name: str) -> ModuleType:
    importlib.invalidate_caches()
    # A .pyc is trusted by whole seconds and size: two quick edits would import the first one's code.
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return importlib.import_module(name)
    finally:
        sys.dont_write_bytecode = writes


def _put_on_path(folders: tuple[Path, ...]) -> None:
    wanted = [str(folder) for folder in folders if folder.is_dir()]
    if all(folder in sys.path for folder in wanted):
        return
    for folder in _on_path:
        if folder in sys.path:
            sys.path.remove(folder)
    _on_path[:] = [folder for folder in wanted if folder not in sys.path]
    installed = (i for i, entry in enumerate(sys.path) if Path(entry).name in {"site-packages", "dist-packages"})
    position = next(installed, len(sys.path))
    sys.path[position:position] = _on_path


def _forget_another(name: str, file: Path) -> None:
    """Drops modules of another project that have the same name in this process."""
    known = sys.modules.get(name)
    if known is None or _is_file(known, file):
        top = sys.modules.get(name.partition(".")[0])
        top_file = getattr(top, "__file__", None)
        if "." not in name or top_file is None or file.is_relative_to(Path(top_file).parent):
            return
    top_name = name.partition(".")[0]
    for other in [other for other in sys.modules if other == top_name or other.startswith(f"{top_name}.")]:
        del sys.modules[other]


def _forget_project(finder: ModuleFinder) -> None:
    """Drops the project's modules, so that they are imported again from their changed files."""
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        inside = path and any(Path(path).is_relative_to(folder) for folder in finder.folders)
        if inside and name != "__main__" and finder.find(name).kind == "source":
            del sys.modules[name]


def _claim_folder(name: str, folders: tuple[Path, ...]) -> None:
    """Makes the project's plain folder win over an installed package of its name, for a module that lies in it.

    Some distributions install a top-level ``tests`` or ``examples`` by mistake; a folder without ``__init__.py`` loses
    to them on any position of `sys.path`.
    """
    top = name.partition(".")[0]
    if top == name or top in sys.modules:
        return
    for folder in folders:
        if (folder / top).is_dir():
            hiding = PathFinder.find_spec(top)
            if hiding is not None and hiding.origin and not Path(hiding.origin).is_relative_to(folder / top):
                package = ModuleType(top)
                package.__path__ = [str(folder / top)]
                package.__spec__ = ModuleSpec(top, None, is_package=True)
                package.__spec__.submodule_search_locations = [str(folder / top)]
                sys.modules[top] = package
            return


def _is_file(module: ModuleType | None, file: Path) -> bool:
    path = getattr(module, "__file__", None)
    return path is not None and os.path.exists(path) and os.path.samefile(path, file)


def stable_module(module: str, file: Path | None, root: Path) -> str:
    """The name under which another process finds a module that was imported here, perhaps under another name.

    Raises:
        PipelineError: The file's name in the project is taken by another module.
    """
    finder = ModuleFinder(root)
    found = finder.find(module, file)
    if file is None or _same(found.file, file) or (found.kind in {"stdlib", "distribution"} and module != "__main__"):
        return found.name
    return _module_of_file(file, root)


def _module_of_file(file: Path, root: Path) -> str:
    name = module_name(file, root)
    found = ModuleFinder(root).find(name)
    if not _same(found.file, file):
        taken = {"stdlib": "the standard library", "distribution": str(found.distribution)}.get(found.kind, found.file)
        raise PipelineError(
            Problem(
                f"expected to import {file.name} as {name}, but that name is taken by {taken}",
                fix="rename the file or its top folder",
                where=Location(str(file), 1),
                code="module-name",
            )
        )
    return name


def _same(one: Path | None, other: Path) -> bool:
    return one is not None and one.exists() and os.path.samefile(one, other)


def _source_file(function: Callable[..., Any], module: str) -> Path | None:
    """The file that defines a function; None for a cell, the interactive prompt, and what is written in C."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    path = code.co_filename if code is not None else getattr(sys.modules.get(module), "__file__", None)
    if module == "__main__" and "ipykernel" in (path or ""):
        return None  # the kernel's name of a cell; a file of that name exists while a debugger is attached
    return Path(os.path.abspath(path)) if path and path.endswith(".py") and os.path.isfile(path) else None


def _qualname(function: Callable[..., Any]) -> str:
    if isinstance(function, functools.partial):
        raise _not_importable(function, f"a functools.partial of {_said(function.func)}", "write a def that calls it")
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, type | ModuleType):
        raise _not_importable(function, f"a method bound to {_said(type(owner))}", "write a def that makes the object")
    qualname = getattr(function, "__qualname__", None) or getattr(inspect.unwrap(function), "__qualname__", None)
    if not isinstance(qualname, str):
        fix = "write a def at the top level of a module that calls it"
        raise _not_importable(function, f"an object of {type(function).__qualname__}", fix)
    if qualname == "<lambda>":
        names = [name for name, value in function.__globals__.items() if value is function]
        if names:
            return names[0]
    if "<lambda>" in qualname:
        raise _not_importable(function, "a lambda without a name", "write it as a def at the top level of the module")
    if "<locals>" in qualname:
        outer, _, inner = qualname.partition(".<locals>.")
        fix = f"move {inner} to the top level of the module, and pass what it takes from {outer} as parameters"
        raise _not_importable(function, f"{inner}, defined inside {outer}", fix)
    return qualname


def _not_importable(function: object, received: str, fix: str) -> PipelineError:
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    where = Location(code.co_filename, code.co_firstlineno) if code is not None else None
    what = f"expected a function that a worker can import by name, received {received}"
    return PipelineError(Problem(what, fix=fix, where=where, code="function-ref"))


def _said(value: object) -> str:
    return getattr(value, "__qualname__", None) or repr(value)
