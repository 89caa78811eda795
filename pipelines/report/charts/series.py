"""Curves over steps and epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.pipelines.report.charts.axes import HEIGHT, WIDTH, Frame
from headrace.pipelines.report.charts.svg import Svg, at, drawable, el, extent, line, picture, ticks, titled
from headrace.pipelines.report.number_format import number


@dataclass(frozen=True)
class Curve:
    """A named series of points; `dots` draws each point too, `faint` puts it behind the others."""

    name: str
    points: Sequence[tuple[float, float | None]]
    color: int = 0
    dots: bool = False
    faint: bool = False


def curves(several: Sequence[Curve], label: str, x_name: str, *, whole_x: bool = False) -> Svg:
    """Draws curves over one x axis; a value that is None or not finite breaks its curve.

    Args:
        several: What to draw.
        label: What a screen reader says.
        x_name: Name of the x axis.
        whole_x: Whether x takes whole numbers only, as epochs do.
    """
    xs = [x for curve in several for x, _ in curve.points]
    low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    frame = Frame.of((low, high), _robust_extent(several))
    x_ticks = [value for value in ticks(low, high) if not whole_x or value == int(value)]
    drawn: list[Svg] = frame.draw(x_name, x_ticks=x_ticks)
    for curve in sorted(several, key=lambda curve: not curve.faint):
        drawn += _draw(curve, frame)
    return picture(WIDTH, HEIGHT, label, *drawn)


def _robust_extent(several: Sequence[Curve]) -> tuple[float, float]:
    """The range of all values, but that the first steps' losses, often far above the rest, do not flatten it."""
    values = sorted(y for curve in several for _, y in curve.points if y is not None and drawable(y))
    if len(values) < 20:
        return extent(values, 0.08)
    low, high = values[0], values[-1]
    upper, lower = values[int(len(values) * 0.98)], values[int(len(values) * 0.02)]
    spread = upper - lower
    high = upper + 0.5 * spread if high > upper + spread else high
    low = lower - 0.5 * spread if low < lower - spread else low
    return extent((low, high), 0.05)


def _draw(curve: Curve, frame: Frame) -> list[Svg]:
    class_ = f"curve s{curve.color}" + (" faint" if curve.faint else "")
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in curve.points:
        if y is None or not drawable(y):
            runs.append([])
        else:
            runs[-1].append((frame.x(x), frame.y.clamped(y)))
    drawn = [el("path", titled(curve.name), class_=class_, d=line(points)) for points in runs if len(points) > 1]
    if curve.dots or len(curve.points) == 1:
        for x, y in curve.points:
            if y is not None and drawable(y):
                told = titled(f"{curve.name}, {number(x)}: {number(y)}")
                drawn.append(
                    el("circle", told, class_=f"dot s{curve.color}", cx=frame.x(x), cy=frame.y.clamped(y), r=3.2)
                )
    return drawn


def diagonal(frame: Frame) -> Svg:
    """The line y = x."""
    low, high = max(frame.x.low, frame.y.low), min(frame.x.high, frame.y.high)
    start, end = (at(frame.x(low)), at(frame.y(low))), (at(frame.x(high)), at(frame.y(high)))
    return el("path", class_="guide", d=f"M{start[0]} {start[1]}L{end[0]} {end[1]}")
