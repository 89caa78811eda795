"""The Plan: a small, frozen, versioned tree that every backend interprets.

A node is a Step, or a Condition, Loop, ExitHandler or SubPipeline that owns a list of nodes. A value is a constant, a
parameter, a channel, a function, a property of an artifact, a comparison, a one-of, a collected list, or a list or map
of values. Source locations lie beside the tree in `Plan.locations` and are no part of its JSON, so that one pipeline
written in three notations gives equal bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.pipelines.artifact import digest_of
from headrace.pipelines.errors import Location, PipelineError, Problem
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.plan_values import (
    Channel,
    Collected,
    Comparison,
    Const,
    Function,
    ListOf,
    MapOf,
    OneOf,
    Parameter,
    PropertyOf,
    Value,
    channels_in,
    parameters_in,
    value_from_json,
    value_to_json,
)
from headrace.pipelines.step_settings import Settings

__all__ = [
    "GROUP_KINDS",
    "VERSION",
    "ArtifactSlot",
    "Channel",
    "Collected",
    "Comparison",
    "Const",
    "Function",
    "Group",
    "Interface",
    "ListOf",
    "MapOf",
    "Node",
    "OneOf",
    "Parameter",
    "Plan",
    "PlanParameter",
    "PropertyOf",
    "Settings",
    "Step",
    "Value",
    "channels_in",
    "node_from_json",
    "parameters_in",
    "value_from_json",
    "value_to_json",
]
VERSION = 1


@dataclass(frozen=True)
class ArtifactSlot:
    """An input of a step: the artifact type it takes, whether a list of them, whether it may be left out."""

    type: str
    list: bool = False
    optional: bool = False

    def to_json(self) -> str:
        return (f"list[{self.type}]" if self.list else self.type) + ("?" if self.optional else "")

    @classmethod
    def from_json(cls, text: str) -> ArtifactSlot:
        name = text.removesuffix("?")
        inner = name.removeprefix("list[").removesuffix("]")
        return cls(inner, name != inner, name != text)


@dataclass(frozen=True)
class Interface:
    """What goes into a step and comes out: enough to check and compile without importing its component."""

    inputs: tuple[tuple[str, ArtifactSlot], ...] = ()
    outputs: tuple[tuple[str, str], ...] = ()
    results: tuple[tuple[str, str], ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        shown = {
            "inputs": {name: slot.to_json() for name, slot in self.inputs},
            "outputs": dict(self.outputs),
            "results": dict(self.results),
            "parameters": dict(self.parameters),
        }
        return {name: content for name, content in shown.items() if content}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Interface:
        return cls(
            tuple(sorted((name, ArtifactSlot.from_json(text)) for name, text in document.get("inputs", {}).items())),
            *(tuple(sorted(document.get(part, {}).items())) for part in ("outputs", "results", "parameters")),
        )


@dataclass(frozen=True)
class Step:
    """One call of a component.

    Args:
        id: Name of the step, unique in its list of nodes.
        component: The component's function.
        interface: Its inputs, outputs, output parameters and parameters, with types resolved.
        inputs: Artifact inputs by name.
        arguments: Parameters by name, defaults filled in.
        settings: How it is run.
        imports: Modules its worker is to have imported beforehand.
        place: ``"worker"``, or ``"driver"`` for a step that only asks the store.
    """

    id: str
    component: FunctionRef
    interface: Interface
    inputs: tuple[tuple[str, Value], ...] = ()
    arguments: tuple[tuple[str, Value], ...] = ()
    settings: Settings = field(default_factory=Settings)
    imports: tuple[str, ...] = ()
    place: str = "worker"

    def upstream(self) -> list[str]:
        """Ids of the steps whose outputs this one reads, each once, sorted."""
        values = [value for _, value in (*self.inputs, *self.arguments)]
        return sorted({channel.step for value in values for channel in channels_in(value)})

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "kind": "step",
            "id": self.id,
            "component": self.component.to_json(),
            "interface": self.interface.to_json(),
            "inputs": {name: value_to_json(value) for name, value in self.inputs},
            "arguments": {name: value_to_json(value) for name, value in self.arguments},
        }
        optional = {"settings": self.settings.to_json(), "imports": list(self.imports)}
        document |= {name: content for name, content in optional.items() if content}
        return document | ({"place": self.place} if self.place != "worker" else {})

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Step:
        return cls(
            id=document["id"],
            component=FunctionRef.from_json(document["component"]),
            interface=Interface.from_json(document.get("interface", {})),
            inputs=_values(document.get("inputs", {})),
            arguments=_values(document.get("arguments", {})),
            settings=Settings.from_json(document.get("settings", {})),
            imports=tuple(document.get("imports", ())),
            place=document.get("place", "worker"),
        )


@dataclass(frozen=True)
class Group:
    """A node that owns nodes: a condition, a loop, an exit handler or a sub-pipeline.

    Args:
        kind: ``"condition"``, ``"loop"``, ``"exit_handler"`` or ``"sub_pipeline"``.
        id: Name of the node, unique in its list.
        nodes: The nodes it owns.
        inputs: What its nodes read from outside, by name.
        outputs: What of its nodes is seen outside, by name.
        control: The condition, the loop's items, or the exit step, by name.
    """

    kind: str
    id: str
    nodes: tuple[Node, ...]
    inputs: tuple[tuple[str, Value], ...] = ()
    outputs: tuple[tuple[str, Value], ...] = ()
    control: tuple[tuple[str, Value], ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "id": self.id,
            "nodes": [node.to_json() for node in self.nodes],
            "inputs": {name: value_to_json(value) for name, value in self.inputs},
            "outputs": {name: value_to_json(value) for name, value in self.outputs},
            "control": {name: value_to_json(value) for name, value in self.control},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Group:
        return cls(
            kind=document["kind"],
            id=document["id"],
            nodes=tuple(node_from_json(node) for node in document["nodes"]),
            **{part: _values(document.get(part, {})) for part in ("inputs", "outputs", "control")},
        )


Node = Step | Group
GROUP_KINDS = ("condition", "loop", "exit_handler", "sub_pipeline")


def node_from_json(document: Mapping[str, Any]) -> Node:
    kind = document.get("kind", "step")
    if kind == "step":
        return Step.from_json(document)
    if kind in GROUP_KINDS:
        return Group.from_json(document)
    raise ValueError(f"unknown kind of node {kind!r}; there are step, {', '.join(GROUP_KINDS)}")


def _values(document: Mapping[str, Any]) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted((name, value_from_json(value)) for name, value in document.items()))


@dataclass(frozen=True)
class PlanParameter:
    """A run-time parameter of the pipeline: its kind and its default, if it has one."""

    name: str
    kind: str
    default: Any = None
    required: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"type": self.kind} | ({} if self.required else {"default": self.default})


@dataclass(frozen=True)
class Plan:
    """A checked pipeline.

    Args:
        name: The pipeline's name.
        nodes: Its nodes in an order that follows from the channels alone.
        parameters: Its run-time parameters.
        locations: Source place of each node by id; no part of the JSON.
        root: The project root; no part of the JSON.
        notes: What its author should know of how it was built; no part of the JSON.
    """

    name: str
    nodes: tuple[Node, ...]
    parameters: tuple[PlanParameter, ...] = ()
    locations: Mapping[str, Location] = field(default_factory=dict, compare=False, repr=False)
    root: str = field(default="", compare=False, repr=False)
    notes: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Every step of the tree, in order."""

        def below(nodes: tuple[Node, ...]) -> Iterator[Step]:
            for node in nodes:
                if isinstance(node, Step):
                    yield node
                else:
                    yield from below(node.nodes)

        return tuple(below(self.nodes))

    def step(self, id_: str) -> Step:
        """Gives a step by its id.

        Raises:
            PipelineError: There is none; the message names the nearest.
        """
        by_id = {step.id: step for step in self.steps}
        if id_ in by_id:
            return by_id[id_]
        import difflib

        near = difflib.get_close_matches(id_, by_id, 1, 0.4)
        hint = f"did you mean {near[0]}?" if near else ""
        raise PipelineError(Problem(f"no step {id_!r} in pipeline {self.name!r}; it has {', '.join(by_id)}", hint))

    @property
    def digest(self) -> str:
        return digest_of(self.to_document())

    def to_document(self) -> dict[str, Any]:
        return {
            "headrace_plan": VERSION,
            "name": self.name,
            "parameters": {parameter.name: parameter.to_json() for parameter in self.parameters},
            "nodes": [node.to_json() for node in self.nodes],
        }

    def to_json(self) -> str:
        """The Plan as canonical JSON: equal Plans give equal bytes."""
        return json.dumps(self.to_document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Reads what `to_json` wrote, as it is."""
        return cls.from_document(json.loads(text))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Plan:
        if document.get("headrace_plan") != VERSION:
            found = document.get("headrace_plan")
            raise PipelineError(
                Problem(f"expected a Plan of version {VERSION}, received {found!r}", "write it with this Headrace")
            )
        parameters = tuple(
            PlanParameter(name, entry["type"], entry.get("default"), "default" not in entry)
            for name, entry in sorted(document.get("parameters", {}).items())
        )
        return cls(document["name"], tuple(node_from_json(node) for node in document["nodes"]), parameters)

    def to_yaml(self) -> str:
        """The Plan as YAML, for people; `from_yaml` reads it back."""
        import yaml

        return yaml.safe_dump(self.to_document(), sort_keys=False, allow_unicode=True, width=120)

    @classmethod
    def from_yaml(cls, text: str, *, file: str = "<yaml>", root: str | None = None) -> Plan:
        """Reads a Plan written as YAML by `to_yaml` or by hand, and checks it as any other pipeline is checked.

        Args:
            text: The YAML text.
            file: Its file name, for messages.
            root: The project root under which its functions are found.

        Raises:
            PipelineError: With every problem, each with its line.
        """
        from headrace.pipelines.plan_yaml import read_plan

        return read_plan(text, file=file, root=root)

    def _repr_html_(self) -> str:
        from headrace.pipelines.html import plan_html

        return plan_html(self)
