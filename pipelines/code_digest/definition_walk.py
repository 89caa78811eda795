"""Follows the names of a definition to the definitions, modules and distributions that they stand for."""

from __future__ import annotations

import builtins
import hashlib
import re
import sys
from collections.abc import Iterable

from headrace.pipelines.code_digest.import_closure import absolute_name, import_closure
from headrace.pipelines.code_digest.module_index import (
    ImportedChange,
    ModuleIndex,
    Unit,
    changed_names,
    module_index,
)
from headrace.pipelines.code_digest.name_references import ImportTarget, Reference
from headrace.pipelines.code_digest.project_modules import FoundModule, ModuleFinder

_BUILTINS = frozenset(dir(builtins))
_MODULE_ATTRIBUTES = frozenset({"__name__", "__file__", "__doc__", "__package__", "__spec__", "__path__", "__dict__"})
# Calls at a module's top whose effect no function's result depends on.
_WITHOUT_EFFECT = frozenset({"logging", "warnings", "headrace"})
_NOTEBOOK_MODULE = re.compile(r"headrace_notebook_[0-9a-f]{16}$")
_MAX_IMPORTED_FILES = 200


class DefinitionWalk:
    """Collects what a definition depends on.

    Attributes:
        definitions: ``"module:name"`` of each definition reached with its digest; ``"module:*"`` is a whole module.
        caveats: What could not be seen.
    """

    def __init__(self, finder: ModuleFinder) -> None:
        self.definitions: dict[str, str] = {}
        self.caveats: dict[str, None] = {}
        self._finder = finder
        self._installed: dict[FoundModule, None] = {}
        self._pending: list[tuple[FoundModule, ModuleIndex, Iterable[Unit]]] = []
        self._visited: set[tuple[str, ...]] = set()
        # What other modules' top-level statements do to a definition: patches and registrations.
        self._changed_elsewhere: dict[tuple[str, str], list[tuple[FoundModule, ModuleIndex, Unit]]] = {}

    def start(self, module: str, name: str) -> None:
        """Follows one top-level name of a source module, to the end."""
        found = self._finder.find(module)
        self._note_import_effects(found)
        self._visit(found, name, ())
        while self._pending:
            module_found, index, units = self._pending.pop()
            for unit in units:
                self._follow(module_found, index, unit)

    def note_installed(self, found: FoundModule) -> None:
        """Counts an installed distribution, the standard library, or something that is not installed here."""
        if found.kind == "missing" and found.file is None:
            top = found.name.partition(".")[0]
            self.caveats[f"{top} is neither in the project nor installed: its code does not count"] = None
        self._installed[found] = None

    @property
    def environment(self) -> dict[str, str]:
        """``"name==version"`` of each distribution that was named. Read here, for only the cache's key needs it."""
        parts: dict[str, str] = {}
        for found in self._installed:
            if found.kind == "stdlib":
                version = f"{sys.version_info.major}.{sys.version_info.minor}"
                parts[f"python=={version}"] = version
            elif found.distribution is not None:
                parts[str(found.distribution)] = found.distribution.content_digest
            elif found.file is not None:
                parts[f"{found.name} (compiled)"] = hashlib.sha256(found.file.read_bytes()).hexdigest()[:32]
            else:
                parts[f"{found.name.partition('.')[0]} (not installed)"] = ""
        return parts

    # From a name to its definitions

    def _follow(self, found: FoundModule, index: ModuleIndex, unit: Unit) -> None:
        references = unit.references
        for how in references.dynamic:
            self._whole(found, index, f"it uses {how}")
        for reference in references.names:
            if isinstance(reference.root, ImportTarget):
                self._import(found, reference.root, reference.attributes)
            else:
                self._global(found, index, reference)
        for star in index.stars:
            self._star(found, star)

    def _global(self, found: FoundModule, index: ModuleIndex, reference: Reference) -> None:
        name = reference.root
        assert isinstance(name, str)
        if index.binds(name):
            self._visit(found, name, reference.attributes)
        elif name == "__file__":
            self.caveats[f"{_shown(found)} uses __file__: a file that it reads counts only when it is declared"] = None
        elif name not in _BUILTINS and name not in _MODULE_ATTRIBUTES and not index.stars and not reference.optional:
            self.caveats[f"{found.name} names {name!r}, which it does not define"] = None

    def _visit(self, found: FoundModule, name: str, attributes: tuple[str, ...]) -> None:
        assert found.file is not None
        index = module_index(found.file)
        units = index.defined.get(name, [])
        if self._is_new("import", found.name, name, *attributes):
            for target in index.imports.get(name, []):
                self._import(found, target, attributes)
        if not self._is_new("definition", found.name, name):
            return
        if units:
            self._count(found, name, index.digest(units))
            self._pending.append((found, index, units))
        if index.runs_dynamic_code:
            self._whole(found, index, "its top level builds names at run time")
        for elsewhere, other_index, unit in self._changed_elsewhere.get((found.name, name), []):
            self._count(elsewhere, f"(changes {_shown(found)}:{name})", other_index.digest([unit]))
            self._pending.append((elsewhere, other_index, [unit]))

    def _import(self, importer: FoundModule, target: ImportTarget, attributes: tuple[str, ...]) -> None:
        module = absolute_name(importer, target)
        if target.name:
            attributes = (target.name, *attributes)
        self._module(self._finder.find(module, importer.file), attributes)

    def _module(self, found: FoundModule, attributes: tuple[str, ...]) -> None:
        """Follows ``module.a.b.c``: to a definition of the module, or through its submodules."""
        if found.kind in {"stdlib", "distribution"}:
            self.note_installed(found)
        elif found.kind == "missing" or found.file is None:
            child = self._finder.find(f"{found.name}.{attributes[0]}") if attributes else None
            if child is not None and (child.kind != "missing" or len(attributes) > 1):
                self._module(child, attributes[1:])
            elif found.kind == "missing":
                self.note_installed(found)
        elif not attributes:
            self._whole(found, module_index(found.file), "it is used as a value, or by a computed attribute")
        else:
            self._attribute(found, module_index(found.file), attributes)

    def _attribute(self, found: FoundModule, index: ModuleIndex, attributes: tuple[str, ...]) -> None:
        name, rest = attributes[0], attributes[1:]
        if index.binds(name) or (found.name, name) in self._changed_elsewhere:
            self._visit(found, name, rest)
            return
        child = self._finder.child(found, name)
        if child is not None:
            self._module(child, rest)
        elif index.binds("__getattr__"):
            self._whole(found, index, "it makes attributes in __getattr__")
        elif index.stars:
            for star in index.stars:
                self._star(found, star)
        elif index.runs_dynamic_code:
            self._whole(found, index, "its top level builds names at run time")
        elif name not in _MODULE_ATTRIBUTES:
            self.caveats[f"{found.name} does not define {name!r}, which is named"] = None

    # What cannot be seen: the whole module

    def _star(self, importer: FoundModule, target: ImportTarget) -> None:
        found = self._finder.find(absolute_name(importer, target), importer.file)
        if found.kind == "source" and found.file is not None:
            self._whole(found, module_index(found.file), f"{_shown(importer)} imports * from it")
        else:
            self.note_installed(found)

    def _whole(self, found: FoundModule, index: ModuleIndex, why: str) -> None:
        if not self._is_new("whole", found.name):
            return
        self._count(found, "*", index.whole_digest)
        self.caveats[f"all of {_shown(found)} counts: {why}"] = None
        self._pending.append((found, index, index.units))
        for target in [*index.stars, *(target for targets in index.imports.values() for target in targets)]:
            if target.name == "*":
                self._star(found, target)
            elif target.name:
                self._import(found, target, ())

    def _is_new(self, *key: str) -> bool:
        if key in self._visited:
            return False
        self._visited.add(key)
        return True

    def _count(self, found: FoundModule, name: str, digest: str) -> None:
        self.definitions[f"{_shown(found)}:{name}"] = digest

    # What importing the function's module runs

    def _note_import_effects(self, start: FoundModule) -> None:
        for number, (found, index) in enumerate(import_closure(start, self._finder)):
            if number == _MAX_IMPORTED_FILES:
                what = f"{_shown(start)} imports over {number} modules: patches made in the rest are not seen"
                self.caveats[what] = None
                return
            effects = [unit for change in index.imported_changes for unit in self._effect(found, index, change)]
            if effects:
                self._count(found, "(statements)", index.digest(dict.fromkeys(effects)))

    def _effect(self, found: FoundModule, index: ModuleIndex, change: ImportedChange) -> list[Unit]:
        """Files a change under the project's definition that it changes; returns it when it changes a library."""
        effects: list[Unit] = []
        for target in index.imports[change.name]:
            module = self._finder.find(absolute_name(found, target), found.file)
            path = (target.name, *change.attributes) if target.name else change.attributes
            while path and (module.file is None or not self._binds(module, path[0])):
                child = self._finder.child(module, path[0])
                if child is None:
                    break
                module, path = child, path[1:]
            if module.kind == "source" and module.file is not None:
                if path:
                    self._file_change(found, index, change, module, path)
                else:
                    effects.append(change.unit)  # setattr(module, <computed name>, ...)
            elif change.how in {"assign", "statement"} and module.name.partition(".")[0] not in _WITHOUT_EFFECT:
                effects.append(change.unit)
        return effects

    def _file_change(
        self, found: FoundModule, index: ModuleIndex, change: ImportedChange, module: FoundModule, path: tuple[str, ...]
    ) -> None:
        assert module.file is not None
        names = changed_names(module_index(module.file), path, change.how)
        for name in names:
            self._changed_elsewhere.setdefault((module.name, name), []).append((found, index, change.unit))

    def _binds(self, module: FoundModule, name: str) -> bool:
        return module.kind == "source" and module.file is not None and module_index(module.file).binds(name)


def _shown(found: FoundModule) -> str:
    # A notebook module's name is a hash of its content: shown, every part would seem to have changed.
    return "notebook" if _NOTEBOOK_MODULE.match(found.name) else found.name
