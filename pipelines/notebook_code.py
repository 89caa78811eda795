"""Functions defined in a notebook's cell: written, with the definitions they use, to a module that a worker imports.

The module's name is made from its content, so that the same code has the same name in every session of the notebook,
and so that two versions of a function never meet in one file.
"""

from __future__ import annotations
import __future__ as future_flags

import ast
import builtins
import inspect
import linecache
import os
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from headrace.pipelines.code_digest.digest import digest_function
from headrace.pipelines.code_digest.name_references import Reference, references_of
from headrace.pipelines.code_digest.stable_dump import digest_nodes
from headrace.pipelines.errors import PipelineError, Problem
from headrace.pipelines.function_ref import FunctionRef, project_root, stable_module

_HEADER = "# Written by Headrace from the cells of a notebook. The file's name is made from its content.\n"
_MAX_CONSTANT = 1_000_000
# Types of `Features = dict[str, float]`, `T = TypeVar("T")`: their expression is carried, for it has no state.
_TYPE_EXPRESSIONS = frozenset({"typing", "types", "collections.abc", "_collections_abc"})


def capture_notebook_function(function: Callable[..., Any], folder: Path | str) -> FunctionRef:
    """Writes a function of a notebook's cell to a content-named module in a folder.

    With it go, transitively, the functions and classes of other cells that it names, the imports, and the values of
    the globals that can be written as a literal.

    Args:
        function: A function or class defined at the top of a cell, or a lambda that was assigned to a name there.
        folder: Where the module is written. A worker finds it there when the folder is among the roots it is given:
            ``ref.load(root, code_path=(folder,))``.

    Raises:
        PipelineError: It names something that cannot be written down (a DataFrame, an open file), or its source is
            not kept, as at the plain ``python`` prompt.
    """
    cells = _CellCapture(inspect.unwrap(function).__globals__ if hasattr(function, "__globals__") else vars(_main()))
    qualname = cells.define(_name_of(function, cells.namespace), function)
    text = cells.text()
    module = f"headrace_notebook_{digest_nodes([ast.parse(text)])[:16]}"
    target = Path(folder)
    _write(target, f"{module}.py", text)
    digest = digest_function(module, qualname, (target, project_root(Path.cwd()))).digest
    return FunctionRef(module, qualname, digest)


@dataclass
class _CellCapture:
    """Collects the text of a module from live objects, dependencies first."""

    namespace: dict[str, Any]
    imports: set[str] = field(default_factory=set)
    constants: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    _started: set[str] = field(default_factory=set)
    _postponed_annotations: bool = False

    def define(self, name: str, value: Any) -> str:
        """Adds the definition of a function or class of a cell; gives the name that it has in its source."""
        statement, source = _definition(name, value)
        defined = name if isinstance(statement, ast.Assign) else str(getattr(statement, "name", name))
        if defined not in self._started:
            self._started.add(defined)
            code = getattr(inspect.unwrap(value), "__code__", None)
            if code is not None and code.co_flags & future_flags.annotations.compiler_flag:
                self._postponed_annotations = True
            self._carry_names(defined, statement)
            self.definitions[defined] = source
        return defined

    def _carry_names(self, user: str, statement: ast.stmt) -> None:
        references = references_of(statement)
        for how in references.dynamic:
            raise _refused(
                f"{user} uses {how}, so what it needs cannot be seen", "name what it uses, or move it to a file"
            )
        names = [reference for reference in references.names if isinstance(reference.root, str)]
        for reference in sorted(names, key=lambda reference: (str(reference.root), reference.attributes)):
            name = str(reference.root)
            if name in self.namespace:
                self._carry(user, reference, self.namespace[name])
            elif not hasattr(builtins, name) and not reference.optional:
                raise _refused(
                    f"{user} names {name!r}, which no cell has defined yet", f"run the cell that defines {name}"
                )

    def _carry(self, user: str, reference: Reference, value: Any) -> None:
        name = str(reference.root)
        if isinstance(value, ModuleType):
            self._carry_module(name, reference.attributes, value)
        elif name in self.constants or name in self._started:
            return
        elif _is_defined_in_cell(value):
            defined = self.define(name, value)
            if defined != name:
                self._started.add(name)
                self.definitions[name] = f"{name} = {defined}\n"
        elif (statement := _import_of(name, value)) is not None:
            self.imports.add(statement)
        elif type(value).__module__ in _TYPE_EXPRESSIONS:
            assignment, source = _assignment(name)
            self._started.add(name)
            self._carry_names(name, assignment)
            self.definitions[name] = source
        else:
            literal = _literal(user, name, value)
            if len(literal) > _MAX_CONSTANT:
                fix = "write it to a file and pass the file to the component"
                raise _refused(f"{user} captures {name}, whose text has {len(literal):,} characters", fix)
            self.constants[name] = literal

    def _carry_module(self, name: str, attributes: tuple[str, ...], module: ModuleType) -> None:
        path = module.__name__
        top = stable_module(path, _file_of(module), project_root(Path.cwd()))
        self.imports.add(f"import {top}" if top == name else f"import {top} as {name}")
        for attribute in attributes:
            # `import a.b` binds only `a`: what makes `a.b` work must be imported too.
            path = f"{path}.{attribute}"
            if not isinstance(sys.modules.get(path), ModuleType):
                break
            self.imports.add(f"import {path}")

    def text(self) -> str:
        """The module: imports, constants by name, then the definitions in an order in which they can run."""
        future = ["from __future__ import annotations\n"] if self._postponed_annotations else []
        imports = [f"{statement}\n" for statement in sorted(self.imports)]
        constants = [f"{name} = {literal}\n" for name, literal in sorted(self.constants.items())]
        blocks = ["".join([*future, *imports]), "".join(constants), *self.definitions.values()]
        return "\n\n".join([_HEADER, *(block for block in blocks if block)])


def _main() -> ModuleType:
    return sys.modules["__main__"]


def _name_of(function: Callable[..., Any], namespace: dict[str, Any]) -> str:
    name = str(getattr(inspect.unwrap(function), "__name__", ""))
    if name == "<lambda>" or namespace.get(name) is not function:
        name = next((other for other, value in namespace.items() if value is function and other[:1] != "_"), name)
    if getattr(inspect.unwrap(function), "__closure__", None):
        raise _refused(f"{name} uses variables of the function around it", "define it at the top of a cell")
    return name


def _is_defined_in_cell(value: Any) -> bool:
    plain = inspect.unwrap(value) if callable(value) else value
    return (
        inspect.isfunction(plain) or inspect.isclass(plain) if getattr(plain, "__module__", "") == "__main__" else False
    )


def _file_of(module: ModuleType) -> Path | None:
    path = getattr(module, "__file__", None)
    return Path(path) if path and path.endswith(".py") else None


# Source text, from the cells that IPython keeps in linecache


def _definition(name: str, value: Any) -> tuple[ast.stmt, str]:
    plain = inspect.unwrap(value)
    code = getattr(plain, "__code__", None)
    if code is not None:
        lines = linecache.getlines(code.co_filename)
        for statement in _statements(lines):
            if code.co_name == "<lambda>":
                if _is_assignment_to(statement, name) and statement.lineno <= code.co_firstlineno <= _last(statement):
                    return statement, _source(statement, lines)
            elif getattr(statement, "name", None) == code.co_name and _first_line(statement) == code.co_firstlineno:
                return statement, _source(statement, lines)
    else:
        for lines in _cells_of_class(plain):
            for statement in _statements(lines):
                if isinstance(statement, ast.ClassDef) and statement.name == plain.__name__:
                    return statement, _source(statement, lines)
    raise _refused(f"the source of {name} is not kept", "define it in a file, or at the top of a notebook's cell")


def _assignment(name: str) -> tuple[ast.stmt, str]:
    for lines in _all_cells():
        for statement in reversed(list(_statements(lines))):
            if _is_assignment_to(statement, name):
                return statement, _source(statement, lines)
    raise _refused(f"the source of {name} is not kept", "define it in a file")


def _statements(lines: list[str]) -> Iterator[ast.stmt]:
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        return
    for node in ast.walk(tree):
        for block in ("body", "orelse", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda | ast.IfExp):
                yield from getattr(node, block, [])


def _all_cells() -> list[list[str]]:
    """The lines of every cell, the latest first: a cell is an entry of linecache that has no file."""
    names = [name for name, entry in linecache.cache.items() if len(entry) > 1 and entry[1] is None]
    return [linecache.getlines(name) for name in reversed(names)]


def _cells_of_class(plain: type) -> list[list[str]]:
    codes = [getattr(inspect.unwrap(member), "__code__", None) for member in vars(plain).values() if callable(member)]
    own = [linecache.getlines(code.co_filename) for code in codes if code is not None]
    return [*(lines for lines in own if lines), *_all_cells()]


def _is_assignment_to(statement: ast.stmt, name: str) -> bool:
    if isinstance(statement, ast.AnnAssign):
        return isinstance(statement.target, ast.Name) and statement.target.id == name
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _last(statement: ast.stmt) -> int:
    return statement.end_lineno or statement.lineno


def _source(statement: ast.stmt, lines: list[str]) -> str:
    text = textwrap.dedent("".join(lines[_first_line(statement) - 1 : _last(statement)]))
    try:
        if len(ast.parse(text).body) == 1:
            return text if text.endswith("\n") else text + "\n"
    except SyntaxError:
        pass
    return ast.unparse(statement) + "\n"  # it shares its line with another statement


# Values


def _import_of(name: str, value: Any) -> str | None:
    """The import statement that gives this object in another process, or None."""
    attribute = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    candidates = [(getattr(value, "__module__", None), attribute)]
    for lines in _all_cells():
        for statement in _statements(lines):
            if isinstance(statement, ast.ImportFrom) and not statement.level:
                candidates += [(statement.module, a.name) for a in statement.names if (a.asname or a.name) == name]
    for module_name, attribute in candidates:
        module = sys.modules.get(module_name) if isinstance(module_name, str) else None
        if module is None or module_name == "__main__" or not isinstance(attribute, str):
            continue
        if getattr(module, attribute, None) is value and attribute.isidentifier():
            stable = stable_module(module.__name__, _file_of(module), project_root(Path.cwd()))
            return f"from {stable} import {attribute}" + (f" as {name}" if name != attribute else "")
    return None


def _literal(user: str, path: str, value: Any) -> str:
    """The Python text of a value made of plain types."""
    kind = type(value)
    if kind in {type(None), bool, int, str, bytes}:
        return repr(value)
    if kind is float:
        return repr(value) if value - value == 0 else f"float({str(value)!r})"
    if kind in {list, tuple, set, frozenset}:
        items = [_literal(user, f"{path}[{position}]", item) for position, item in enumerate(value)]
        if kind is list:
            return f"[{', '.join(items)}]"
        if kind is tuple:
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        return f"{kind.__name__}([{', '.join(sorted(items))}])"
    if kind is dict:
        pairs = [
            f"{_literal(user, f'a key of {path}', key)}: {_literal(user, f'{path}[{key!r}]', item)}"
            for key, item in value.items()
        ]
        return f"{{{', '.join(pairs)}}}"
    shown = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.").removeprefix("__main__.")
    raise _refused(
        f"{user} captures {path}, a {shown}, which cannot be written down for another process",
        f"pass it as a parameter or an artifact, or make it inside {user}",
    )


def _refused(what: str, fix: str) -> PipelineError:
    return PipelineError(Problem(f"a function of a notebook cannot travel: {what}", fix=fix, code="notebook-function"))


def _write(folder: Path, name: str, text: str) -> None:
    target = folder / name
    if target.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).replace(target)
