"""When executing a pipeline's file raises NameError: every undefined name of it, and what was most likely meant."""

from __future__ import annotations

import ast
import difflib
import sys
from collections.abc import Mapping

from headrace.pipelines.errors import Location, Problem


def undefined_names(tree: ast.Module, file: str) -> dict[str, Problem]:
    """Finds the names that a file uses and nobody defines.

    Returns:
        By name, the problem at its first place; the fix names the nearest defined one.
    """
    from pyflakes.checker import Checker  # type: ignore[import-untyped]
    from pyflakes.messages import ImportStarUsage, UndefinedName  # type: ignore[import-untyped]

    found = [
        message
        for message in Checker(tree, file).messages
        if isinstance(message, UndefinedName)
        or (isinstance(message, ImportStarUsage) and not _starred(message.message_args[0], tree))
    ]
    meant = _meant(tree, [message.message_args[0] for message in found])
    problems: dict[str, Problem] = {}
    for message in found:
        name = message.message_args[0]
        fix = f"{name} -> {meant[name]}" if name in meant else "define or import it"
        problems.setdefault(
            name, Problem(f"name {name!r} is not defined", fix, Location(file, message.lineno), "undefined-name")
        )
    return problems


def repaired(tree: ast.Module, file: str) -> ast.Module | None:
    """Gives the syntax tree with every undefined name replaced by the nearest defined one, None if one has none."""
    names = list(undefined_names(tree, file))
    meant = _meant(tree, names)
    if not names or set(names) - set(meant):
        return None
    renamed: ast.Module = ast.fix_missing_locations(_Rename(meant).visit(tree))
    return renamed


def _starred(name: str, tree: ast.Module) -> bool:
    """Tells whether one of the file's star imports, which were executed before the error, brought the name."""
    modules = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"]
    return any(hasattr(sys.modules.get(module or ""), name) for module in modules)


class _Rename(ast.NodeTransformer):
    def __init__(self, meant: Mapping[str, str]) -> None:
        self._meant = meant

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.copy_location(ast.Name(self._meant.get(node.id, node.id), node.ctx), node)


def _meant(tree: ast.Module, names: list[str]) -> dict[str, str]:
    """Pairs each undefined name with the nearest defined one.

    A name in a list, as in `components=[...]`, is not one that the list has already; and two undefined names of one
    list are two things.
    Names that a statement assigned from a call come before imported ones: a step is meant more often than its class.
    """
    assigned, other = _defined(tree)
    pairs: dict[str, str] = {}
    for name in dict.fromkeys(names):
        siblings = _siblings(tree, name) | {pairs.get(sibling, "") for sibling in _siblings(tree, name)}
        for pool in (assigned, other):
            candidates = [candidate for candidate in pool if candidate not in siblings]
            near = sorted(candidates, key=lambda candidate: (-_likeness(name, candidate), candidate))
            if near and _likeness(name, near[0]) >= 0.5:
                pairs[name] = near[0]
                break
    return pairs


def _likeness(name: str, candidate: str) -> float:
    """Similarity from 0 to 1: of the letters, or of the words between underscores where more of those agree."""
    letters = difflib.SequenceMatcher(None, name.lower(), candidate.lower()).ratio()
    words, others = set(name.lower().split("_")), set(candidate.lower().split("_"))
    shared = 2 * len(words & others) / (len(words) + len(others))
    return max(letters, shared + 0.01 if shared else 0.0)


def _defined(tree: ast.Module) -> tuple[list[str], list[str]]:
    assigned: dict[str, None] = {}
    other: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            (assigned if isinstance(node.value, ast.Call) else other).update(dict.fromkeys(names))
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            other[node.name] = None
        elif isinstance(node, ast.Import | ast.ImportFrom):
            other.update(dict.fromkeys((alias.asname or alias.name).split(".")[0] for alias in node.names))
        elif isinstance(node, ast.arg):
            other[node.arg] = None
    return list(assigned), [name for name in other if name not in assigned]


def _siblings(tree: ast.Module, name: str) -> set[str]:
    """The other names in the lists, tuples and sets that hold a name."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            members = {element.id for element in node.elts if isinstance(element, ast.Name)}
            if name in members:
                found |= members
    return found - {name}
