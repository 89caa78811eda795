"""The project's modules that importing one of them imports too, and the packages that this loads."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.pipelines.code_digest.module_index import ModuleIndex, module_index
from headrace.pipelines.code_digest.name_references import ImportTarget
from headrace.pipelines.code_digest.project_modules import FoundModule, ModuleFinder, Roots


def import_closure(start: FoundModule, finder: ModuleFinder) -> Iterator[tuple[FoundModule, ModuleIndex]]:
    """A source module and, transitively, the source modules that its top-level statements import."""
    seen = {start.name}
    pending = [start]
    while pending:
        found = pending.pop()
        if found.file is None:
            continue
        index = module_index(found.file)
        yield found, index
        for target in imported_targets(index):
            for imported in _modules(found, target, finder):
                if imported.kind == "source" and imported.file is not None and imported.name not in seen:
                    seen.add(imported.name)
                    pending.append(imported)


def packages_imported_by(module: str, root: Roots) -> frozenset[str]:
    """The top-level packages outside the project that importing a module loads, from the source alone.

    For telling an author what a ``import tensorflow`` at the top of a pipeline's file costs. Imports inside functions
    and under ``if TYPE_CHECKING`` are not among them.

    >>> sorted(packages_imported_by("headrace.pipelines.errors", "."))
    []
    """
    finder = ModuleFinder(root)
    found = finder.find(module)
    packages: set[str] = set()
    if found.kind == "source":
        for importer, index in import_closure(found, finder):
            for target in imported_targets(index):
                name = absolute_name(importer, target)
                if finder.find(name, importer.file).kind in {"distribution", "missing", "stdlib"}:
                    packages.add(name.partition(".")[0])
    return frozenset(packages)


def imported_targets(index: ModuleIndex) -> list[ImportTarget]:
    """What a module's top-level statements import when they run."""
    named = [target for targets in index.imports.values() for target in targets]
    return [*index.stars, *(target for target in [*named, *index.submodules] if target not in index.type_imports)]


def absolute_name(importer: FoundModule, target: ImportTarget) -> str:
    """The absolute name of the module that an import statement names, relative imports resolved."""
    if not target.level:
        return target.module
    parts = importer.name.split(".")
    is_package = importer.file is not None and importer.file.name == "__init__.py"
    kept = len(parts) - target.level + (1 if is_package else 0)
    return ".".join([*parts[: max(kept, 0)], *([target.module] if target.module else [])])


def _modules(importer: FoundModule, target: ImportTarget, finder: ModuleFinder) -> list[FoundModule]:
    module = absolute_name(importer, target)
    names = [module, f"{module}.{target.name}"] if target.name and target.name != "*" else [module]
    return [finder.find(name, importer.file) for name in names]
