"""A pipeline's parameters as a workflow's arguments: typed values as text, and back out of none."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union

from headrace.kubeflow.step_document import inert_json
from headrace.pipelines.errors import Problem
from headrace.pipelines.parameter_kinds import annotation_of
from headrace.pipelines.parameter_values import NotAllowed, encode
from headrace.pipelines.plan import Plan, PlanParameter


@dataclass(frozen=True)
class Arguments:
    """The values that are known when a pipeline is compiled.

    Args:
        texts: Text of each parameter that has a value.
        problems: What is wrong with the others.
    """

    texts: Mapping[str, str]
    problems: tuple[Problem, ...]

    def missing(self, plan: Plan) -> list[Problem]:
        """The parameters without a value: nobody is there to give one when a schedule fires."""
        return [
            Problem(
                f"parameter {parameter.name!r} has no value, and a CronWorkflow is not asked for one",
                f"give it with -p {parameter.name}=..., or give it a default",
                code="parameter",
            )
            for parameter in plan.parameters
            if parameter.name not in self.texts and not any(f"{parameter.name!r}" in p.what for p in self.problems)
        ]


def checked(plan: Plan, given: Mapping[str, Any]) -> Arguments:
    """Checks given values against the kinds of a pipeline's parameters, and writes them and the defaults as text."""
    by_name = {parameter.name: parameter for parameter in plan.parameters}
    texts: dict[str, str] = {}
    found = [
        Problem(f"no parameter {name!r}; there are {', '.join(by_name) or 'none'}", "correct it", code="parameter")
        for name in sorted(given.keys() - by_name.keys())
    ]
    for name, parameter in by_name.items():
        if name not in given and parameter.required:
            continue
        try:
            value = encode(given[name], annotation_of(parameter.kind)) if name in given else parameter.default
            texts[name] = text_of(value, parameter.kind)
        except NotAllowed as error:
            found.append(Problem(f"parameter {name!r}: {error}", error.fix or "correct it", code="parameter"))
    return Arguments(texts, tuple(found))


def text_of(value: Any, kind: str) -> str:
    """Text of a parameter's value: of a string the string itself, of all else JSON.

    >>> text_of("a", "str"), text_of([1, 2], "list[int]")
    ('a', '[1,2]')

    Raises:
        NotAllowed: Argo would change the text, or cannot hold it.
    """
    if kind != "str":
        return inert_json(value)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise NotAllowed(f"half of a surrogate pair in {value!r} is no character, which YAML cannot hold", "remove it")
    if "{{" in value:
        fix = "write it without two braces in a row, or make it a constant of a step: those arrive as they are"
        raise NotAllowed(f"{value!r} contains '{{{{', which Argo takes for a template", fix)
    return str(value)


def declared(parameter: PlanParameter, text: str | None) -> dict[str, Any]:
    """The parameter as Argo declares it."""
    declaration: dict[str, Any] = {"name": parameter.name}
    if text is not None:
        declaration["value"] = text
    if choices := _choices(parameter.kind):
        declaration["enum"] = choices
    return {**declaration, "description": parameter.kind if parameter.kind == "str" else f"{parameter.kind}, as JSON"}


def _choices(kind: str) -> list[str]:
    """All the texts that a parameter can have, when they can be counted; Argo's page then offers them."""
    annotation = annotation_of(kind)
    if annotation is bool:
        return ["true", "false"]
    members = typing.get_args(annotation) if typing.get_origin(annotation) in (Union, UnionType) else (annotation,)
    if not all(typing.get_origin(member) is Literal for member in members):
        return []
    return [inert_json(choice) for member in members for choice in typing.get_args(member)]
