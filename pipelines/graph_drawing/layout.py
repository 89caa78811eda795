"""Where boxes and links lie: layers by grandalf's Sugiyama layout, the same for the same graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headrace.pipelines.errors import MissingExtra
from headrace.pipelines.graph_drawing.graph import Graph
from headrace.pipelines.optional_imports import without

Point = tuple[float, float]
GAP_X = 26.0
GAP_Y = 44.0
LANE = 10.0


@dataclass(frozen=True)
class Layout:
    """Centres of the boxes, the bends of each pair's link from top to bottom, and the size of it all, in pixels."""

    centres: Mapping[str, Point]
    bends: Mapping[tuple[str, str], tuple[Point, ...]] = field(default_factory=dict)
    width: float = 0.0
    height: float = 0.0


class _View:
    """What grandalf wants of a vertex: a size, and a place to write to."""

    def __init__(self, w: float, h: float) -> None:
        self.w, self.h = w, h
        self.xy: Point = (0.0, 0.0)


class _EdgeView:
    def setpath(self, points: list[Point]) -> None:
        """Takes grandalf's route; the bends are read from its dummy vertices, which it keeps."""


def place(graph: Graph, sizes: Mapping[str, tuple[float, float]]) -> Layout:
    """Lays a graph out in layers, each step below all that it reads.

    Args:
        graph: What to lay out.
        sizes: Width and height of each box by its id.

    Raises:
        MissingExtra: grandalf is not installed.
    """
    try:
        from grandalf.graphs import Edge, Vertex, graph_core
    except ImportError as error:
        raise MissingExtra("run", "grandalf") from error
    vertices: dict[str, Any] = {}
    for box in graph.boxes:
        vertices[box.id] = Vertex(box.id)
        vertices[box.id].view = _View(*sizes[box.id])
    pairs = dict.fromkeys((link.source, link.target) for link in graph.links)
    edges = {pair: Edge(vertices[pair[0]], vertices[pair[1]]) for pair in pairs}
    for edge in edges.values():
        edge.view = _EdgeView()
    centres: dict[str, Point] = {}
    bends: dict[tuple[str, str], tuple[Point, ...]] = {}
    right, bottom = 0.0, 0.0
    # grandalf's own Graph would part the edges through a set, whose order changes from process to process.
    for members in _components(graph):
        inside = [edge for (source, _), edge in edges.items() if source in members]
        component = graph_core([vertices[id_] for id_ in members], inside)
        found, routes, width, height = _place_component(component)
        centres |= {id_: (x + right, y) for id_, (x, y) in found.items()}
        bends |= {pair: tuple((x + right, y) for x, y in points) for pair, points in routes.items()}
        right, bottom = right + width + 2 * GAP_X, max(bottom, height)
    return Layout(centres, bends, max(0.0, right - 2 * GAP_X), bottom)


def _components(graph: Graph) -> list[list[str]]:
    """Lists the boxes that links connect, in the graph's order."""
    together = {box.id: [box.id] for box in graph.boxes}
    for link in graph.links:
        first, second = together[link.source], together[link.target]
        if first is not second:
            first.extend(second)
            together |= dict.fromkeys(second, first)
    order = {box.id: number for number, box in enumerate(graph.boxes)}
    distinct = {id(members): members for members in together.values()}
    return [sorted(members, key=order.__getitem__) for members in distinct.values()]


def _place_component(component: Any) -> tuple[dict[str, Point], dict[tuple[str, str], tuple[Point, ...]], float, float]:
    # grandalf takes NumPy for a layout that is not this one: a tenth of a second.
    with without("numpy"):
        from grandalf.layouts import SugiyamaLayout

    layout = SugiyamaLayout(component)
    layout.xspace, layout.yspace = GAP_X, GAP_Y
    layout.dw = LANE
    layout.init_all(optimize=True)
    layout.draw(8)
    _part(layout)
    vertices = list(component.sV)
    left = min(v.view.xy[0] - v.view.w / 2 for v in vertices)
    tops = _row_tops(layout)
    centres = {v.data: (v.view.xy[0], tops[layout.grx[v].rank] + v.view.h / 2) for v in vertices}
    routes = {}
    for edge in component.sE:
        first, last = layout.grx[edge.v[0]].rank, layout.grx[edge.v[1]].rank
        inner = [(rank, vertex) for rank, vertex in sorted(layout.ctrls.get(edge, {}).items()) if first < rank < last]
        routes[edge.v[0].data, edge.v[1].data] = tuple(
            (vertex.view.xy[0], tops[rank] + down) for rank, vertex in inner for down in (0.0, _tallest(layout, rank))
        )
    xs = [x for points in routes.values() for x, _ in points]
    left = min([left, *(x - LANE / 2 for x in xs)])
    right = max([max(v.view.xy[0] + v.view.w / 2 for v in vertices), *(x + LANE / 2 for x in xs)])
    centres = {id_: (x - left, y) for id_, (x, y) in centres.items()}
    moved = {pair: tuple((x - left, y) for x, y in points) for pair, points in routes.items()}
    return centres, moved, right - left, tops[-1] - GAP_Y


def _part(layout: Any) -> None:
    """Moves to the right what overlaps in a layer: grandalf's alignment of four lets it happen, rarely."""
    for layer in layout.layers:
        free = -math.inf
        for vertex in layer:
            half = vertex.view.w / 2
            x, y = vertex.view.xy
            x = max(x, free + half)
            vertex.view.xy = (x, y)
            free = x + half + LANE


def _tallest(layout: Any, rank: int) -> float:
    return max((v.view.h for v in layout.layers[rank] if not layout.grx[v].dummy), default=0.0)


def _row_tops(layout: Any) -> list[float]:
    """The top of each layer, and below the last where a next one would begin."""
    tops = [0.0]
    for rank in range(len(layout.layers)):
        tops.append(tops[-1] + _tallest(layout, rank) + GAP_Y)
    return tops
