"""What stands between two braces: where it is in a text, and what it refers to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

# The fields of a step or task that another may refer to, beside its outputs.
NODE_FIELDS = ("id", "ip", "status", "startedAt", "finishedAt", "hostNodeName", "exitCode", "outputs.result")
_WORKFLOW = ("name", "namespace", "uid", "mainEntrypoint", "serviceAccountName", "priority", "duration", "status")
_WORKFLOW_TREES = ("creationTimestamp", "scheduledTime", "annotations", "labels", "outputs", "failures")
_RETRY = ("retries", "lastRetry.exitCode", "lastRetry.status", "lastRetry.duration", "lastRetry.message")

# `a.b.c`, `a.b['c']` and `a.b["c"]` in an expression, outside of its strings.
_PATH = re.compile(r"""(?<![\w.'"])(inputs|outputs|workflow|tasks|steps)((?:\??\.[\w-]+|\[(?:'[^']*'|"[^"]*")\])+)""")
_PART = re.compile(r"""\??\.([\w-]+)|\[(?:'([^']*)'|"([^"]*)")\]""")
_STRING = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")


@dataclass(frozen=True)
class Tag:
    """One pair of braces: what is between them, and whether it is an expression; `text` is None if it never closes."""

    text: str | None
    is_expression: bool = False


def tags(text: str) -> Iterator[Tag]:
    """Yields what stands between braces in a text, as Argo finds it: from two opening ones to the next two closing.

    >>> [tag.text for tag in tags("a {{b}} }} {{=c['{{']}} {{d")]
    ['b', "c['{{']", None]
    """
    end = 0
    while (begin := text.find("{{", end)) >= 0:
        end = text.find("}}", begin + 2)
        if end < 0:
            yield Tag(None)
            return
        found = text[begin + 2 : end]
        yield Tag(found.removeprefix("="), True) if found.startswith("=") else Tag(found.strip())
        end += 2


def references(tag: Tag) -> Iterator[str]:
    """Yields what a tag refers to, with dots: ``inputs.parameters.x``.

    >>> list(references(Tag("f(inputs.parameters['a-b'], tasks.c.outputs.result)", True)))
    ['inputs.parameters.a-b', 'tasks.c.outputs.result']
    """
    assert tag.text is not None
    if not tag.is_expression:
        yield tag.text
        return
    for root, path in _PATH.findall(tag.text):
        yield ".".join([root, *("".join(part) for part in _PART.findall(path))])


def unbalanced(expression: str) -> str | None:
    """Says which bracket or quote of an expression has no counterpart, if one has none."""
    rest = _STRING.sub("", expression)
    if quote := next((character for character in rest if character in "'\""), None):
        return quote
    opened = []
    for character in rest:
        if character in "([{":
            opened.append(character)
        elif character in ")]}" and (not opened or opened.pop() != "([{"[")]}".index(character)]):
            return character
    return opened[-1] if opened else None


@dataclass(frozen=True)
class Scope:
    """What may be referred to at a place.

    Args:
        names: Everything by its full name.
        trees: Names below which everything is allowed.
    """

    names: Set[str]
    trees: Set[str] = frozenset()

    def has(self, reference: str) -> bool:
        return reference in self.names or any(
            reference == tree or reference.startswith(f"{tree}.") for tree in self.trees
        )

    def having(self, names: Set[str], trees: Set[str] = frozenset()) -> Scope:
        return Scope(self.names | names, self.trees | trees)


def of_workflow(parameters: Set[str]) -> Scope:
    """What may be referred to everywhere in a workflow with these parameters."""
    names = {f"workflow.{name}" for name in _WORKFLOW} | {f"workflow.parameters.{name}" for name in parameters}
    trees = {f"workflow.{name}" for name in _WORKFLOW_TREES} | {"tasks.name", "steps.name", "node.name"}
    return Scope(names | {"workflow.parameters", "workflow.parameters.json"}, trees)


def of_template(scope: Scope, template: Mapping[str, Any], *, leaf: bool) -> Scope:
    """What may be referred to within a template."""
    inputs, outputs = template.get("inputs") or {}, template.get("outputs") or {}
    names = {f"inputs.parameters.{name}" for name in named(inputs.get("parameters"))} | {"inputs.parameters"}
    for name in named(inputs.get("artifacts")):
        names |= {f"inputs.artifacts.{name}", f"inputs.artifacts.{name}.path"}
    if leaf:
        names |= {f"outputs.{part}.{name}.path" for part in outputs for name in named(outputs.get(part))}
        names |= {"pod.name"}
    if template.get("retryStrategy") is not None:
        names |= set(_RETRY)
    return scope.having(names)


def named(items: Any) -> list[str]:
    """The names of a list of named things."""
    found = [item.get("name") for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []
    return [name for name in found if isinstance(name, str)]


def texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yields (place, text) for every string within a value."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(item, f"{place}.{key}")
    elif isinstance(value, list):
        from headrace.kubeflow.argo.shapes import item_place

        for number, item in enumerate(value):
            yield from texts(item, item_place(place, number, item))


def dangling(value: Any, place: str, scope: Scope) -> Iterator[tuple[str, str]]:
    """Yields (place, what is wrong) for each tag within a value that refers to nothing, or never closes."""
    for where, text in texts(value, place):
        if "{{" not in text:
            continue
        for tag in tags(text):
            if tag.text is None:
                yield where, "two opening braces have no closing ones"
                continue
            if tag.is_expression and (odd := unbalanced(tag.text)):
                yield where, f"the expression {tag.text!r} has a {odd} without its counterpart"
            for reference in references(tag):
                if not scope.has(reference):
                    yield where, f"{{{{{reference}}}}} refers to nothing that is there"
