"""A Plan as SVG: a card for each step, its outputs as tags on the lower edge, a curve from a tag to its readers."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from html import escape
from pathlib import Path

from headrace.pipelines.graph_drawing.graph import Box, Graph, Link, graph_of
from headrace.pipelines.graph_drawing.layout import GAP_Y, Layout, Point, place
from headrace.pipelines.graph_drawing.states import sign_of
from headrace.pipelines.plan import Plan

CARD = 46.0
TAG = 17.0
TAG_GAP = 6.0
PAD = 13.0
LIGHT = 15.0
MARGIN = 8.0


def stylesheet() -> str:
    """The style of the picture, for a page that holds several or that keeps its style in one place."""
    return Path(__file__).with_name("graph.css").read_text(encoding="utf-8")


def to_svg(
    plan: Plan,
    states: Mapping[str, str] | None = None,
    *,
    notes: Mapping[str, str] | None = None,
    hrefs: Mapping[str, str] | None = None,
    style: bool = True,
) -> str:
    """Draws a Plan as SVG, which needs nothing from outside itself and follows the reader's light or dark setting.

    Args:
        plan: What to draw.
        states: State of each step by id: it colours the card and gives it a sign.
        notes: A few words for the second line of a step's card, such as its time; otherwise the component's name.
        hrefs: Where a click on a step leads, such as ``"#step-Trainer"``.
        style: Whether the picture carries its own style; without, the page has `stylesheet()`.

    Raises:
        MissingExtra: grandalf, which lays the graph out, is not installed.
    """
    graph = graph_of(plan)
    words = {box.id: _words(box, states, notes) for box in graph.boxes}
    sizes = {box.id: _size(box, words[box.id]) for box in graph.boxes}
    layout = place(graph, sizes)
    cards = [
        _card(box, layout.centres[box.id], sizes[box.id], words[box.id], states, hrefs, graph) for box in graph.boxes
    ]
    width, height = layout.width + 2 * MARGIN, layout.height + 2 * MARGIN
    title = f"Pipeline {plan.name}: {len(graph.boxes)} steps"
    return "\n".join(
        [
            # An image has no links inside for a screen reader, a group has.
            f'<svg xmlns="http://www.w3.org/2000/svg" class="hr-graph" role="{"group" if hrefs else "img"}"'
            f' aria-label="{_text(title)}"'
            f' viewBox="{_n(-MARGIN)} {_n(-MARGIN)} {_n(width)} {_n(height)}"'
            f' width="{_n(width)}" height="{_n(height)}">',
            f"<title>{_text(title)}</title>",
            *([f"<style>{stylesheet()}</style>"] if style else []),
            *_curves(graph, layout, sizes),
            *cards,
            "</svg>\n",
        ]
    )


Words = tuple[str, str]


def _words(box: Box, states: Mapping[str, str] | None, notes: Mapping[str, str] | None) -> Words:
    if notes is not None and notes.get(box.id):
        second = notes[box.id]
    else:
        second = box.component if box.component != box.id else ""
    if box.owners:
        second = " · ".join(
            [*(f"{o.kind.replace('_', ' ')} {o.id}" for o in box.owners), *([second] if second else [])]
        )
    return box.id, second or (sign_of(states.get(box.id)).state if states is not None else "")


def _size(box: Box, words: Words) -> tuple[float, float]:
    title = text_width(words[0], 9.2) + 2 * PAD + LIGHT
    second = text_width(words[1], 6.9) + 2 * PAD + LIGHT
    tags = sum(_tag_width(output) for output in box.outputs) + TAG_GAP * (len(box.outputs) + 1)
    return max(120.0, title, second, tags), CARD + (TAG / 2 if box.outputs else 0.0)


def text_width(text: str, per_char: float) -> float:
    """A guess of a text's width in pixels: no font is asked, so that the picture is the same everywhere."""
    return per_char * sum(
        2.0 if unicodedata.east_asian_width(c) in "WF" else 0.5 if c in "ijltf.,:'|I" else 1.0 for c in text
    )


def _tag_width(output: str) -> float:
    return text_width(output, 6.4) + 14


def _tag_places(box: Box, centre: Point, size: tuple[float, float]) -> dict[str, Point]:
    """The centre of each output's tag on the lower edge of the card."""
    widths = [_tag_width(output) for output in box.outputs]
    x = centre[0] - (sum(widths) + TAG_GAP * (len(widths) - 1)) / 2
    y = centre[1] - size[1] / 2 + CARD
    places = {}
    for output, width in zip(box.outputs, widths):
        places[output] = (x + width / 2, y)
        x += width + TAG_GAP
    return places


def _card(
    box: Box,
    centre: Point,
    size: tuple[float, float],
    words: Words,
    states: Mapping[str, str] | None,
    hrefs: Mapping[str, str] | None,
    graph: Graph,
) -> str:
    left, top = centre[0] - size[0] / 2, centre[1] - size[1] / 2
    sign = sign_of(states.get(box.id)) if states is not None else None
    kind = f" hr-{sign.state}" if sign and sign.state.isalpha() else ""
    middle = top + (CARD - (5 if box.outputs else 0)) / 2
    x = left + PAD + (LIGHT if sign else 0)
    lines = [
        f'<rect class="hr-card" x="{_n(left)}" y="{_n(top)}" width="{_n(size[0])}" height="{_n(CARD)}" rx="9"/>',
        f'<text class="hr-name" x="{_n(x)}" y="{_n(middle - 1 if words[1] else middle + 4)}">{_text(words[0])}</text>',
    ]
    if words[1]:
        lines.append(f'<text class="hr-note" x="{_n(x)}" y="{_n(middle + 13)}">{_text(words[1])}</text>')
    if sign:
        lines.append(f'<circle class="hr-light" cx="{_n(left + PAD + 4)}" cy="{_n(middle - 5.5)}" r="4.5"/>')
    for output, (tag_x, y) in _tag_places(box, centre, size).items():
        width = _tag_width(output)
        unread = "" if graph.is_read(box.id, output) else " hr-unread"
        lines += [
            f'<rect class="hr-tag{unread}" x="{_n(tag_x - width / 2)}" y="{_n(y - TAG / 2)}"'
            f' width="{_n(width)}" height="{_n(TAG)}" rx="{_n(TAG / 2)}"/>',
            f'<text class="hr-output{unread}" x="{_n(tag_x)}" y="{_n(y + 3.6)}">{_text(output)}</text>',
        ]
    told = f"{box.id} ({box.component})" + (f": {sign.state}" if sign else "")
    body = f'<g class="hr-step{kind}"><title>{_text(told)}</title>{"".join(lines)}</g>'
    href = hrefs.get(box.id) if hrefs else None
    return f'<a href="{_text(href)}" aria-label="{_text(told)}">{body}</a>' if href else body


def _curves(graph: Graph, layout: Layout, sizes: Mapping[str, tuple[float, float]]) -> list[str]:
    tags = {box.id: _tag_places(box, layout.centres[box.id], sizes[box.id]) for box in graph.boxes}
    paths = {link: [tags[link.source][link.output], *_shifted(link, graph, layout)] for link in graph.links}
    ends = _entries(graph, layout, sizes, paths)
    return [_curve(link, [*paths[link], ends[link]]) for link in graph.links]


def _shifted(link: Link, graph: Graph, layout: Layout) -> list[Point]:
    """The bends of a link, beside those of other links between the same two steps."""
    same = [other for other in graph.links if (other.source, other.target) == (link.source, link.target)]
    shift = (same.index(link) - (len(same) - 1) / 2) * 7.0
    return [(x + shift, y) for x, y in layout.bends.get((link.source, link.target), ())]


def _entries(
    graph: Graph, layout: Layout, sizes: Mapping[str, tuple[float, float]], paths: Mapping[Link, list[Point]]
) -> dict[Link, Point]:
    """Where each link meets its step: along the top edge, in the order in which the links come from the left."""
    ends: dict[Link, Point] = {}
    for box in graph.boxes:
        incoming = sorted((link for link in graph.links if link.target == box.id), key=lambda link: paths[link][-1][0])
        (x, y), (width, height) = layout.centres[box.id], sizes[box.id]
        step = min(22.0, (width - 40) / max(1, len(incoming) - 1))
        for number, link in enumerate(incoming):
            ends[link] = (x + (number - (len(incoming) - 1) / 2) * step, y - height / 2)
    return ends


def _curve(link: Link, points: list[Point]) -> str:
    (x, y), *rest = points
    y += TAG / 2
    path = f"M{_n(x)} {_n(y)}"
    for number, (next_x, next_y) in enumerate(rest):
        end = number == len(rest) - 1
        next_y -= 5 if end else 0
        if abs(next_x - x) < 0.5:
            path += f"L{_n(next_x)} {_n(next_y)}"
        else:
            pull = min(abs(next_y - y) * 0.55, GAP_Y)
            path += f"C{_n(x)} {_n(y + pull)} {_n(next_x)} {_n(next_y - pull)} {_n(next_x)} {_n(next_y)}"
        x, y = next_x, next_y
    head = f"M{_n(x - 3.6)} {_n(y - 1.5)}L{_n(x)} {_n(y + 4.5)}L{_n(x + 3.6)} {_n(y - 1.5)}Z"
    told = _text(f"{link.source}.{link.output} → {link.target}, as {link.input}")
    paths = f'<path class="hr-line" d="{path}"/><path class="hr-head" d="{head}"/>'
    return f'<g class="hr-link"><title>{told}</title>{paths}</g>'


def _text(text: str) -> str:
    return escape("".join(char if char.isprintable() or char.isspace() else "?" for char in text), quote=True)


def _n(value: float) -> str:
    """A coordinate to a tenth of a pixel; never a negative zero."""
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")
