"""How often each class was taken for which."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.pipelines.report.charts.svg import Svg, el, picture, text_of, titled
from headrace.pipelines.report.number_format import number, percent

SIDE = 260.0


def confusion(counts: Sequence[Sequence[float]], label: str) -> Svg:
    """Draws a matrix, a row for each true class, shaded by the share of the row.

    Args:
        counts: Weight by true class and predicted class.
        label: What a screen reader says.
    """
    classes = len(counts)
    cell, left, top = SIDE / max(1, classes), 30.0, 24.0
    parts = [
        el("text", "predicted", class_="axis-name middle", x=left + SIDE / 2, y=10.0),
        el(
            "text",
            "true",
            class_="axis-name middle",
            x=10.0,
            y=top + SIDE / 2,
            transform=f"rotate(-90 10 {top + SIDE / 2})",
        ),
    ]
    for k in range(classes) if classes <= 20 else ():
        parts.append(el("text", text_of(k), class_="tick middle", x=left + (k + 0.5) * cell, y=top - 3))
        parts.append(el("text", text_of(k), class_="tick end", x=left - 4, y=top + (k + 0.5) * cell + 3.5))
    for i, row in enumerate(counts):
        total = sum(row) or 1.0
        for j, count in enumerate(row):
            told = titled(f"true {i}, predicted {j}: {number(count)} ({percent(count / total)} of class {i})")
            x, y, gap = left + j * cell, top + i * cell, 1.0 if classes <= 20 else 0.0
            share = round(count / total, 3)
            size = cell - gap
            parts.append(el("rect", class_="cell-back", x=x, y=y, width=size, height=size))
            parts.append(el("rect", told, class_="cell s0", x=x, y=y, width=size, height=size, fill_opacity=str(share)))
            if classes <= 6:
                light = " on-dark" if share > 0.55 else ""
                place = {"x": x + size / 2, "y": y + size / 2 + 4}
                parts.append(el("text", text_of(number(count)), class_=f"cell-count middle{light}", **place))
    return picture(left + SIDE + 4, top + SIDE + 4, label, *parts)
