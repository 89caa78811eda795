"""A Plan as text: one line a step, and a rail for each channel, from the step that makes it to the last that reads it.

    CsvExampleGen ──╮ examples
    StatisticsGen ──●──╮ statistics
    SchemaGen ──────│──●──╮ schema
    Transform ──────●─────●──

A box-and-arrow drawing of a pipeline in which everything reads the examples and the schema is wider than a terminal;
here the width grows with the channels that are open at one time, which are few.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.pipelines.graph_drawing.graph import Box, Graph, graph_of
from headrace.pipelines.graph_drawing.states import Sign, sign_of
from headrace.pipelines.plan import Plan

_ASCII = str.maketrans("─│╮┬●…·", "-|++*.-")


@dataclass(frozen=True)
class Rail:
    """A channel's vertical line: its column, the row that makes it, and the rows that read it."""

    output: str
    column: int
    start: int
    reads: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.reads[-1]


def to_text(plan: Plan, states: Mapping[str, str] | None = None, *, width: int = 100, ascii: bool = False) -> str:
    """Draws a Plan for a terminal.

    Args:
        plan: What to draw.
        states: State of each step by id; a step that is not in it is shown as waiting.
        width: Columns that there are; the rails move together, then labels are cut, to fit.
        ascii: Whether to use ASCII alone.

    Returns:
        Lines that end in a line break. Steps from top to bottom in an order in which each comes after what it reads.

    >>> print(to_text(Plan("empty", ())), end="")
    empty · no steps
    """
    graph = graph_of(plan)
    if not graph.boxes:
        return f"{_printable(plan.name)} · no steps\n".translate(_ASCII if ascii else {})
    rails = _lay_rails(graph)
    signs = {box.id: sign_of(states.get(box.id)) for box in graph.boxes} if states is not None else {}
    lines: list[str] = []
    for pitch in (4, 3, 2):
        lines = _draw(graph, rails, signs, pitch, ascii)
        if max(map(len, lines)) <= width:
            break
    head = f"{_printable(plan.name)} · {len(graph.boxes)} step{'s' * (len(graph.boxes) != 1)}, {len(graph.links)} links"
    text = "\n".join([head, "", *(_cut(line, width) for line in lines), "", *_legend(signs, width, ascii)]) + "\n"
    return text.translate(_ASCII) if ascii else text


def _lay_rails(graph: Graph) -> list[Rail]:
    """Gives each channel that is read the leftmost column right of every channel that is still open."""
    row = {box.id: number for number, box in enumerate(graph.boxes)}
    rails: list[Rail] = []
    for number, box in enumerate(graph.boxes):
        column = max((rail.column for rail in rails if rail.end >= number), default=-1) + 1
        for output in box.outputs:
            reads = sorted({row[link.target] for link in graph.links if (link.source, link.output) == (box.id, output)})
            if reads:
                rails.append(Rail(output, column, number, tuple(reads)))
                column += 1
    return rails


def _draw(graph: Graph, rails: list[Rail], signs: Mapping[str, Sign], pitch: int, ascii: bool) -> list[str]:
    names = [_name(box, signs, ascii) for box in graph.boxes]
    left = max(map(_width, names)) + 2
    lines: list[str] = []
    shown: tuple[object, ...] = ()
    for number, (box, name) in enumerate(zip(graph.boxes, names)):
        if box.owners != shown and box.owners:
            lines.append(_through(_heading(box), rails, number, left, pitch))
        shown = box.owners
        lines.append(_row(number, name, box, graph, rails, left, pitch))
    return [line.rstrip() for line in lines]


def _row(number: int, name: str, box: Box, graph: Graph, rails: list[Rail], left: int, pitch: int) -> str:
    marks: dict[int, str] = {}
    for rail in rails:
        if rail.start < number <= rail.end:
            marks[rail.column] = "●" if number in rail.reads else "│"
    made = sorted((rail for rail in rails if rail.start == number), key=lambda rail: rail.column)
    marks |= {rail.column: "┬" for rail in made}
    if made:
        marks[made[-1].column] = "╮"
    last = max((column for column, mark in marks.items() if mark != "│"), default=-1)
    line = name + " " + "─" * (left - _width(name) - 1) if last >= 0 else name + " " * (left - _width(name))
    for column in range(max(marks, default=-1) + 1):
        mark, inside = marks.get(column), column < last
        gap = "─" if inside else " "
        line += (mark or gap) + gap * (pitch - 1)
    labels = ", ".join(_printable(rail.output) for rail in made)
    unread = [output for output in box.outputs if not graph.is_read(box.id, output)]
    if unread:
        labels += f"{' ' if labels else ''}({', '.join(map(_printable, unread))})"
    return f"{line.rstrip()} {labels}"


def _through(heading: str, rails: list[Rail], number: int, left: int, pitch: int) -> str:
    open_ = {rail.column for rail in rails if rail.start < number <= rail.end}
    cells = "".join(
        ("│" if column in open_ else " ") + " " * (pitch - 1) for column in range(max(open_, default=-1) + 1)
    )
    return heading + " " * (left - _width(heading)) + cells


def _heading(box: Box) -> str:
    owner = box.owners[-1]
    return f"  {'  ' * (len(box.owners) - 1)}{owner.kind.replace('_', ' ')} {_printable(owner.id)}:"


def _name(box: Box, signs: Mapping[str, Sign], ascii: bool) -> str:
    sign = signs.get(box.id)
    shown = f"{sign.ascii if ascii else sign.sign} " if sign else ""
    return f"  {'  ' * len(box.owners)}{shown}{_printable(box.id)}"


def _legend(signs: Mapping[str, Sign], width: int, ascii: bool) -> list[str]:
    rails = "╮ makes   ● reads   │ passes   (output) that nobody reads"
    used = {sign.state: sign for sign in signs.values()}
    states = "   ".join(f"{sign.ascii if ascii else sign.sign} {sign.state}" for sign in used.values())
    return [_cut(f"  {line}", width) for line in (states, rails) if line]


def _printable(text: str) -> str:
    """A name without line breaks, terminal escapes and right-to-left marks."""
    return "".join(
        char if char.isprintable() and unicodedata.bidirectional(char)[:2] not in ("RL", "LR") else "?" for char in text
    )


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _cut(line: str, width: int) -> str:
    if _width(line) <= width:
        return line
    while _width(line) > width - 1:
        line = line[:-1]
    return line + "…"
