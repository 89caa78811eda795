"""What is drawn of a Plan: a box for each step, a link for each channel that a step reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from headrace.pipelines.plan import Channel, Group, Node, Plan, Step, Value, channels_in


@dataclass(frozen=True)
class Owner:
    """A condition, loop, exit handler or sub-pipeline around a box."""

    kind: str
    id: str


@dataclass(frozen=True)
class Box:
    """A step.

    Args:
        id: The step's id.
        component: The component's name.
        outputs: Names of its artifacts, also of those that nobody reads, and of the output parameters that are read.
        owners: The groups it stands in, outermost first.
    """

    id: str
    component: str
    outputs: tuple[str, ...]
    owners: tuple[Owner, ...] = ()


@dataclass(frozen=True)
class Link:
    """A channel from the step that makes it to one that reads it, as which argument."""

    source: str
    output: str
    target: str
    input: str


@dataclass(frozen=True)
class Graph:
    """The boxes in the Plan's order, which follows from the channels, and the links between them."""

    name: str
    boxes: tuple[Box, ...]
    links: tuple[Link, ...]

    def is_read(self, box: str, output: str) -> bool:
        return any(link.source == box and link.output == output for link in self.links)


def graph_of(plan: Plan) -> Graph:
    """Gives the graph of a Plan; a group's output leads to the step inside that makes it."""
    placed = list(_steps(plan.nodes, ()))
    groups = dict(_groups(plan.nodes))
    made = {step.id for step, _, _ in placed}
    links = []
    for step, _, controls in placed:
        for name, value in (*step.inputs, *step.arguments, *controls):
            for channel in channels_in(value):
                origin = _origin(channel, groups)
                if origin.step in made:
                    links.append(Link(origin.step, origin.output, step.id, name))
    read = {(link.source, link.output) for link in links}
    boxes = []
    for step, owners, _ in placed:
        artifacts = [name for name, _ in step.interface.outputs]
        results = [name for name, _ in step.interface.results if (step.id, name) in read]
        boxes.append(Box(step.id, step.component.qualname.rpartition(".")[2], (*artifacts, *results), owners))
    return Graph(plan.name, tuple(boxes), tuple(dict.fromkeys(links)))


Placed = tuple[Step, tuple[Owner, ...], tuple[tuple[str, Value], ...]]


def _steps(
    nodes: tuple[Node, ...], owners: tuple[Owner, ...], controls: tuple[tuple[str, Value], ...] = ()
) -> Iterator[Placed]:
    for node in nodes:
        if isinstance(node, Step):
            yield node, owners, controls
        else:
            yield from _steps(node.nodes, (*owners, Owner(node.kind, node.id)), (*controls, *node.control))


def _groups(nodes: tuple[Node, ...]) -> Iterator[tuple[str, Group]]:
    for node in nodes:
        if isinstance(node, Group):
            yield node.id, node
            yield from _groups(node.nodes)


def _origin(channel: Channel, groups: dict[str, Group]) -> Channel:
    seen = set()
    while channel.step in groups and channel not in seen:
        seen.add(channel)
        value = dict(groups[channel.step].outputs).get(channel.output)
        channel = next(channels_in(value), channel) if value is not None else channel
    return channel
