"""When each step ran: a bar on the run's time axis."""

from __future__ import annotations

from headrace.pipelines.report.charts.svg import Scale, Svg, at, el, picture, text_of, ticks, titled
from headrace.pipelines.report.number_format import THIN, number, seconds

WIDTH, HEIGHT = 300.0, 22.0


def bar(began: float, took: float, total: float, state: str, label: str) -> Svg:
    """One step's bar.

    Args:
        began: Seconds after the run began.
        took: Seconds that the step took.
        total: Seconds that the run took: the right edge.
        state: The step's state, which colours the bar.
        label: What it tells when pointed at.
    """
    x = _scale(total)
    grid = [el("path", class_="grid", d=f"M{at(x(value))} 0V{at(HEIGHT)}") for value in ticks(0, max(total, 1e-3))]
    left, right = x.clamped(began), x.clamped(began + took)
    width = max(2.5, right - left)
    rect = el(
        "rect",
        titled(label),
        class_=f"step-bar is-{state}",
        x=min(left, WIDTH - 3),
        y=5.0,
        width=width,
        height=HEIGHT - 10,
        rx=2.0,
    )
    return picture(WIDTH, HEIGHT, label, *grid, rect, class_="chart lane")


def axis(total: float) -> Svg:
    """The time axis, for the head of the column of bars."""
    x = _scale(total)
    values = ticks(0, max(total, 1e-3))
    labels = [
        el(
            "text",
            text_of(_tick(v)),
            class_="tick " + ("start" if k == 0 else "middle"),
            x=x(v),
            y=14.0,
        )
        for k, v in enumerate(values)
        if x(v) < WIDTH - 14
    ]
    return picture(WIDTH, 18.0, "time since the run began", *labels, class_="chart lane")


def _tick(value: float) -> str:
    """A round number of seconds."""
    return f"{number(value)}{THIN}s" if 1 <= value < 60 else seconds(value) if value else "0"


def _scale(total: float) -> Scale:
    return Scale(0.0, max(total, 1e-3), 1.0, WIDTH - 2)
