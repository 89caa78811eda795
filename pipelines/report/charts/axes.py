"""The frame of a chart with two axes: grid, tick labels, axis names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.pipelines.report.charts.svg import Scale, Svg, at, el, text_of, ticks
from headrace.pipelines.report.number_format import number

WIDTH, HEIGHT = 380.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 12.0, 10.0, 34.0


@dataclass(frozen=True)
class Frame:
    """Scales of a chart's two axes."""

    x: Scale
    y: Scale

    @classmethod
    def of(cls, x: tuple[float, float], y: tuple[float, float]) -> Frame:
        return cls(Scale(*x, LEFT, WIDTH - RIGHT), Scale(*y, HEIGHT - BOTTOM, TOP))

    def draw(self, x_name: str, y_name: str = "", x_ticks: Sequence[float] | None = None) -> list[Svg]:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = []
        for value in ticks(self.y.low, self.y.high):
            y = self.y(value)
            parts.append(el("path", class_="grid", d=f"M{at(LEFT)} {at(y)}H{at(right)}"))
            parts.append(el("text", text_of(number(value)), class_="tick end", x=LEFT - 6, y=y + 3.5))
        for value in ticks(self.x.low, self.x.high) if x_ticks is None else x_ticks:
            x = self.x(value)
            parts.append(el("path", class_="axis", d=f"M{at(x)} {at(bottom)}v4"))
            parts.append(el("text", text_of(number(value)), class_="tick middle", x=x, y=bottom + 15))
        parts.append(el("path", class_="axis", d=f"M{at(LEFT)} {at(bottom)}H{at(right)}"))
        parts.append(el("text", text_of(x_name), class_="axis-name middle", x=(LEFT + right) / 2, y=HEIGHT - 4))
        if y_name:
            middle = (TOP + bottom) / 2
            turn = f"rotate(-90 10 {at(middle)})"
            parts.append(el("text", text_of(y_name), class_="axis-name middle", x=10.0, y=middle, transform=turn))
        return parts
