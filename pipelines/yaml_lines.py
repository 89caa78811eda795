"""A YAML document with the line of everything in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from headrace.pipelines.errors import Location, PipelineError, Problem

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class YamlDocument:
    """What a YAML text holds.

    Attributes:
        value: The document as Python values.
        duplicates: Keys that a mapping has twice: YAML would drop all but the last.
    """

    file: str
    value: Any
    lines: dict[Place, int] = field(repr=False)
    duplicates: tuple[Problem, ...] = ()

    def at(self, *place: str | int) -> Location:
        """The line of a place, such as ``("nodes", 0, "inputs")``; of what is not there, of what it would be in."""
        while place and place not in self.lines:
            place = place[:-1]
        return Location(self.file, self.lines.get(place, 1))

    def get(self, *place: str | int) -> Any:
        """The value at a place, None when there is none."""
        value = self.value
        for key in place:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def expect(self, kind: type[Any], *place: str | int) -> Iterator[Problem]:
        """Says when what is at a place is not a list, or not a mapping."""
        value = self.get(*place)
        if value is not None and not isinstance(value, kind):
            words: dict[type[Any], str] = {dict: "a mapping", list: "a list"}
            what = f"expected {words[kind]} at {_said(place)}, received {type(value).__name__} {value!r}"
            yield Problem(what, f"write {words[kind]}", self.at(*place), "yaml")

    def unknown_keys(self, place: Place, known: set[str]) -> Iterator[Problem]:
        """Says which keys of a mapping mean nothing."""
        for key in self.get(*place) or ():
            if key not in known:
                what = f"unknown key {key!r}" + (f" in {_said(place)}" if place else "")
                yield Problem(what, f"it takes {', '.join(sorted(known))}", self.at(*place, key), "yaml")


def load_yaml(text: str, file: str) -> YamlDocument:
    """Reads one YAML document.

    Raises:
        PipelineError: It is not YAML; with the line.
    """
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        value = loader.construct_document(root) if root is not None else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = Location(file, mark.line + 1 if mark else 1)
        said = getattr(error, "problem", None) or str(error)
        raise PipelineError(Problem(f"not YAML: {said}", "mend the line", where, "yaml")) from None
    lines: dict[Place, int] = {}
    duplicates: list[Problem] = []
    if root is not None:
        _walk(root, (), file, lines, duplicates)
    return YamlDocument(file, value, lines, tuple(duplicates))


def _walk(node: yaml.Node, place: Place, file: str, lines: dict[Place, int], duplicates: list[Problem]) -> None:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, str(key.value))
            line = key.start_mark.line + 1
            if inner in lines:
                what = f"{_said(inner)} is written twice, first in line {lines[inner]}"
                duplicates.append(Problem(what, "leave one of them out", Location(file, line), "yaml"))
            lines[inner] = line
            _walk(value, inner, file, lines, duplicates)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _walk(item, (*place, number), file, lines, duplicates)


def _said(place: Place) -> str:
    return ".".join(map(str, place))
