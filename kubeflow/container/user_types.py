"""Artifact types of the user's own: where in the project they are defined, so that a step knows them by name.

A component's own module is imported with it. A step of Headrace's own, such as a Resolver, may handle a type that
another module defines: a local run has imported the author's file by then, a container has not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from headrace.pipelines.artifact import artifact_classes
from headrace.pipelines.code_digest.project_modules import module_name
from headrace.pipelines.function_ref import import_project_module
from headrace.pipelines.plan import Const, Step

_SKIPPED = ("node_modules", "site-packages", "build", "dist")


def import_types(names: Iterable[str], project: str) -> list[str]:
    """Imports the modules of a project that define artifact types which are not known yet.

    Args:
        names: Types' names.
        project: The project's folder.

    Returns:
        What could not be imported, a line each.
    """
    problems = []
    for name in sorted(set(names) - {"Artifact"}):
        for file in _defining(name, Path(project)) if name not in artifact_classes() else ():
            try:
                import_project_module(module_name(file, Path(project)), project)
            except Exception as error:
                problems.append(f"type {name}: {file} cannot be imported: {type(error).__name__}: {error}")
            if name in artifact_classes():
                break
    return problems


def types_of(step: Step) -> set[str]:
    """The names of the artifact types that a step handles."""
    kinds = dict(step.interface.parameters)
    found = {slot.type for _, slot in step.interface.inputs} | {type_ for _, type_ in step.interface.outputs}
    for name, value in step.arguments:
        if kinds.get(name, "").startswith("artifact_type") and isinstance(value, Const) and value.value:
            found.add(str(value.value))
    return found


def _defining(name: str, project: Path) -> Iterator[Path]:
    """The project's files that define a class of that name at their top level."""
    definition = re.compile(rf"^class\s+{re.escape(name)}\b", re.MULTILINE)
    for file in sorted(project.rglob("*.py")):
        inside = file.relative_to(project).parts
        if any(part.startswith(".") or part in _SKIPPED for part in inside):
            continue
        try:
            if definition.search(file.read_text(encoding="utf-8")):
                yield file
        except (OSError, UnicodeDecodeError):
            continue
