"""A Plan as Mermaid, which Markdown viewers draw (https://mermaid.js.org/syntax/flowchart.html)."""

from __future__ import annotations

from headrace.pipelines.graph_drawing.graph import Box, Owner, graph_of
from headrace.pipelines.plan import Plan


def to_mermaid(plan: Plan) -> str:
    """Writes a Plan as a Mermaid flowchart.

    Names are quoted and escaped as Mermaid's entity codes, so that no step's name can become syntax.

    >>> print(to_mermaid(Plan("empty", ())), end="")
    flowchart TB
    """
    graph = graph_of(plan)
    ids = {box.id: f"s{number}" for number, box in enumerate(graph.boxes)}
    lines = ["flowchart TB"]
    open_: list[Owner] = []
    for box in graph.boxes:
        open_ = _move(lines, open_, box)
        lines.append("  " * (len(open_) + 1) + f'{ids[box.id]}["{_quoted(box.id)}"]')
    _close(lines, open_, 0)
    for link in graph.links:
        lines.append(f'  {ids[link.source]} -- "{_quoted(link.output)}" --> {ids[link.target]}')
    return "\n".join(lines) + "\n"


def _move(lines: list[str], open_: list[Owner], box: Box) -> list[Owner]:
    common = 0
    while common < min(len(open_), len(box.owners)) and open_[common] == box.owners[common]:
        common += 1
    _close(lines, open_, common)
    for depth in range(common, len(box.owners)):
        owner = box.owners[depth]
        title = _quoted(f"{owner.kind.replace('_', ' ')} {owner.id}")
        lines.append("  " * (depth + 1) + f'subgraph g{len(lines)}["{title}"]')
    return list(box.owners)


def _close(lines: list[str], open_: list[Owner], depth: int) -> None:
    for level in range(len(open_), depth, -1):
        lines.append("  " * level + "end")


def _quoted(text: str) -> str:
    plain = all(char.isalnum() or char in " _-.:" for char in text)
    return text if plain else "".join(char if char.isalnum() or char in " _-.:" else f"#{ord(char)};" for char in text)
