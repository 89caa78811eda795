"""The author's file: `FILE[:NAME]` on a command line becomes a Plan."""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Mapping
from pathlib import Path

from headrace.pipelines.errors import HeadraceError, Location, PipelineError, Problem
from headrace.pipelines.function_ref import import_project_module, module_name, project_root
from headrace.pipelines.pipeline import Pipeline, PipelineFunction
from headrace.pipelines.plan import Plan
from headrace.pipelines.undefined_names import repaired, undefined_names

_executed: set[str] = set()


def load_plan(target: str, *, root: str | None = None) -> Plan:
    """Reads the pipeline that `FILE[:NAME]` means.

    Args:
        target: A Python file, or a YAML or JSON Plan; with `:NAME` where a Python file defines several pipelines.
        root: The project root, if not the nearest folder with a pyproject.toml, setup.py or .git.

    Raises:
        PipelineError: The file is missing, cannot be executed, or its pipeline is wrong; with every problem.
    """
    text, _, name = target.partition(":") if not Path(target).exists() else (target, "", "")
    path = Path(text)
    if not path.is_file():
        near = ", ".join(sorted(other.name for other in path.parent.glob("*.py"))[:8]) if path.parent.is_dir() else ""
        raise PipelineError(
            Problem(
                f"expected a file, found none at {path}", f"{path.parent} has {near}" if near else "correct the path"
            )
        )
    if path.suffix in (".yaml", ".yml", ".json"):
        return Plan.from_yaml(path.read_text(encoding="utf-8"), file=str(path), root=root)
    base = root or str(project_root(path))
    try:
        return _choose(pipelines_in(_execute(path.absolute(), base)), path, name).plan
    except NameError as error:
        raise PipelineError(_name_problems(path.absolute(), base, error)) from None


def _choose(found: Mapping[str, Pipeline | PipelineFunction], path: Path, name: str) -> Pipeline | PipelineFunction:
    where = Location(str(path), 1)
    if name:
        if name not in found:
            fix = f"it has {', '.join(found) or 'none'}"
            raise PipelineError(Problem(f"{path} defines no pipeline {name!r}", fix, where))
        return found[name]
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        fix = "decorate a function with @pipeline, or make a Pipeline(components=[...])"
        raise PipelineError(Problem(f"{path} defines no pipeline", fix, where))
    choices = ", ".join(f"{path}:{name}" for name in found)
    raise PipelineError(Problem(f"{path} defines {len(found)} pipelines", f"say which: {choices}", where))


def pipelines_in(module: types.ModuleType) -> dict[str, Pipeline | PipelineFunction]:
    """The pipelines that a module defines, by variable; one that it only imported does not count."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, Pipeline)
        or (isinstance(value, PipelineFunction) and value.function.__module__ == module.__name__)
    }


def _execute(path: Path, root: str) -> types.ModuleType:
    name = module_name(path, root)
    if name in _executed:
        # Executed before by a process that lives on: the file may say something else by now.
        sys.modules.pop(name, None)
    _executed.add(name)
    try:
        return import_project_module(name, root)
    except SyntaxError as error:
        where = Location(error.filename or str(path), error.lineno or 1)
        raise PipelineError(Problem(f"not Python: {error.msg}", "mend the line", where, "syntax")) from None


def _name_problems(path: Path, root: str, error: NameError) -> list[Problem]:
    """Every undefined name and, with those repaired as suggested, what is wrong with the graph."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    problems = list(undefined_names(tree, str(path)).values())
    if not problems:
        raise error
    mended = repaired(tree, str(path))
    if mended is None:
        return problems
    module = types.ModuleType(module_name(path, root))
    module.__file__ = str(path)
    try:
        exec(compile(mended, str(path), "exec"), vars(module))
        for pipeline in pipelines_in(module).values():
            _ = pipeline.plan
    except PipelineError as graph:
        problems += graph.problems
    except HeadraceError:
        raise
    except Exception as other:
        # The file has another fault behind its undefined names; it is told when those are mended.
        problems.append(
            Problem(f"with these mended: {type(other).__name__}: {other}", "", Location(str(path), 1), "execution")
        )
    return problems
