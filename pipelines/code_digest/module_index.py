"""One source file, read once: which top-level statements define, import and change which names."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from headrace.pipelines.code_digest.name_references import (
    ImportTarget,
    References,
    attribute_chain,
    base_name,
    bindings_of,
    references_of,
)
from headrace.pipelines.code_digest.stable_dump import digest_nodes
from headrace.pipelines.errors import Location, PipelineError, Problem

_RUN_TIME_NAMES = (b"globals", b"eval", b"exec", b"__import__", b"import_module", b"sys.modules")
# "statement" is a call whose value is dropped: it is made for its effect.
How = Literal["assign", "statement", "call", "decorator", "argument"]
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(eq=False)
class Unit:
    """A top-level statement."""

    node: ast.stmt

    @cached_property
    def references(self) -> References:
        return references_of(self.node)

    @cached_property
    def digest(self) -> str:
        return digest_nodes([self.node])

    @property
    def is_function(self) -> bool:
        return isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef)

    @property
    def is_definition(self) -> bool:
        return isinstance(self.node, _DEFINITIONS)


@dataclass(frozen=True, eq=False)
class ImportedChange:
    """A top-level statement that changes, calls, or decorates with something that the module imported."""

    name: str
    attributes: tuple[str, ...]
    unit: Unit
    how: How


@dataclass(eq=False)
class ModuleIndex:
    """The names of one module. Everything is read from the source; nothing is imported.

    Attributes:
        units: The top-level statements that run on import, but for pure imports.
        defined: The statements that bind or change each name.
        imports: What each imported name may stand for (several in an `if` or a `try`).
        submodules: The full names of ``import a.b``, which binds only ``a``.
        type_imports: Imports under ``if TYPE_CHECKING``, which do not run.
        stars: The modules of ``from x import *``.
        imported_changes: Statements that act on imported things: patches, registrations, global settings.
        runs_dynamic_code: True when a top-level statement builds names at run time.
    """

    path: Path
    tree: ast.Module
    units: list[Unit] = field(default_factory=list)
    defined: dict[str, list[Unit]] = field(default_factory=dict)
    imports: dict[str, list[ImportTarget]] = field(default_factory=dict)
    submodules: list[ImportTarget] = field(default_factory=list)
    type_imports: set[ImportTarget] = field(default_factory=set)
    stars: list[ImportTarget] = field(default_factory=list)
    imported_changes: list[ImportedChange] = field(default_factory=list)
    runs_dynamic_code: bool = False
    future: str = ""

    def binds(self, name: str) -> bool:
        return name in self.defined or name in self.imports

    def digest(self, units: Iterable[Unit]) -> str:
        return digest_nodes([], self.future, *(unit.digest for unit in units))

    @cached_property
    def whole_digest(self) -> str:
        return digest_nodes([self.tree])

    @property
    def names(self) -> list[str]:
        return sorted({*self.defined, *self.imports})


_indexed: dict[Path, tuple[bytes, ModuleIndex]] = {}
_seen: ContextVar[dict[Path, bytes] | None] = ContextVar("headrace_sources_seen", default=None)


@contextmanager
def sources_seen() -> Iterator[dict[Path, bytes]]:
    """Collects the source files that are indexed inside, with their bytes."""
    seen: dict[Path, bytes] = {}
    token = _seen.set(seen)
    try:
        yield seen
    finally:
        _seen.reset(token)


def module_index(path: Path) -> ModuleIndex:
    """The index of a source file; remembered in this process for as long as the file has the same bytes.

    Raises:
        PipelineError: The file is not valid Python.
    """
    # Reading a source file costs less than trusting its time stamp: two edits can share one.
    source = path.read_bytes()
    seen = _seen.get()
    if seen is not None:
        seen[path] = source
    known = _indexed.get(path)
    if known is not None and known[0] == source:
        return known[1]
    try:
        tree = ast.parse(source, filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        message = getattr(error, "msg", None) or str(error)
        raise PipelineError(
            Problem(
                f"expected Python source, received text that does not parse: {message}",
                fix="correct the syntax error",
                where=Location(str(path), line),
                code="syntax",
            )
        ) from error
    index = _build(path, tree, source)
    _indexed[path] = (source, index)
    return index


def _build(path: Path, tree: ast.Module, source: bytes) -> ModuleIndex:
    index = ModuleIndex(path, tree)
    may_be_dynamic = any(name in source for name in _RUN_TIME_NAMES)
    for statement in tree.body:
        if _is_main_guard(statement):
            continue  # a worker imports the file; it never runs it as a script
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            index.future = ",".join(sorted(alias.name for alias in statement.names))
            continue
        bound, _ = bindings_of([statement])
        for name, targets in bound.items():
            if name == "*":
                index.stars += targets
            elif targets:
                index.imports.setdefault(name, []).extend(targets)
        if _only_imports_for_types(statement):
            index.type_imports.update(target for targets in bound.values() for target in targets)
            continue
        index.submodules += [
            ImportTarget(alias.name)
            for node in _runs_on_import(statement)
            if isinstance(node, ast.Import)
            for alias in node.names
            if "." in alias.name
        ]
        if isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        unit = Unit(statement)
        index.units.append(unit)
        for name in bound:
            index.defined.setdefault(name, []).append(unit)
        if may_be_dynamic and not unit.is_definition and unit.references.dynamic:
            index.runs_dynamic_code = True
    for unit in index.units:
        _note_changes(index, unit)
    return index


def _note_changes(index: ModuleIndex, unit: Unit) -> None:
    for name, attributes, how in _changes(unit.node):
        if name in index.defined:
            for changed in changed_names(index, (name, *attributes), how):
                holders = index.defined.get(changed, [])
                if holders and unit not in holders:
                    holders.append(unit)
        elif name in index.imports and how != "argument":
            index.imported_changes.append(ImportedChange(name, attributes, unit, how))


def changed_names(index: ModuleIndex, path: tuple[str, ...], how: How) -> list[str]:
    """The names of a module that change when a statement acts on ``path`` of it in this way."""
    holders = index.defined.get(path[0], [])
    is_definition = bool(holders) and all(holder.is_definition for holder in holders)
    if how == "argument":
        return [] if is_definition else [path[0]]  # a call may change the list it is given, not the function
    if how == "assign" or not is_definition:
        return [] if how == "call" else [path[0]]
    changed = [name for holder in holders for name in holder.references.changed]
    return [*changed, path[0]] if len(path) > 1 else changed


def _changes(statement: ast.stmt) -> Iterator[tuple[str, tuple[str, ...], How]]:
    """What a top-level statement does, when it runs, to names that it does not bind: (name, attributes, how)."""
    for node in _runs_on_import(statement):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                for decorator in node.decorator_list:
                    if (base := base_name(decorator)) is not None:
                        yield *base, "decorator"
            case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                if (base := base_name(node)) is not None:
                    yield *base, "assign"
            case ast.Expr(value=ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[patched, name, *_])):
                if (chain := attribute_chain(patched)) is not None:
                    attribute = (str(name.value),) if isinstance(name, ast.Constant) else ()
                    yield chain[0], (*chain[1], *attribute), "assign"
            case ast.Expr(value=ast.Call() as call):
                if (base := base_name(call.func)) is not None:
                    yield *base, "statement"
                for argument in [*call.args, *(keyword.value for keyword in call.keywords)]:
                    if (chain := attribute_chain(argument)) is not None:
                        yield *chain, "argument"
            case ast.Call(func=ast.Name(id=called)):
                yield called, (), "call"


def _runs_on_import(statement: ast.stmt) -> Iterator[ast.AST]:
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            stack += node.decorator_list
        elif not isinstance(node, ast.Lambda):
            stack += ast.iter_child_nodes(node)


def _is_main_guard(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.If) or statement.orelse:
        return False
    match statement.test:
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return True
        case ast.Compare(left=ast.Constant(value="__main__"), ops=[ast.Eq()], comparators=[ast.Name(id="__name__")]):
            return True
    return False


def _only_imports_for_types(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.If) or statement.orelse:
        return False
    chain = attribute_chain(statement.test)
    is_guard = chain is not None and (chain[0], *chain[1])[-1] == "TYPE_CHECKING"
    return is_guard and all(isinstance(inner, ast.Import | ast.ImportFrom) for inner in statement.body)
