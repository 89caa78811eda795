"""What was predicted against what came true, and the curves of a decision's threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.pipelines.report.charts.axes import HEIGHT, WIDTH, Frame
from headrace.pipelines.report.charts.series import diagonal
from headrace.pipelines.report.charts.svg import Svg, el, line, picture, titled
from headrace.pipelines.report.number_format import number, percent


@dataclass(frozen=True)
class Bin:
    """Predictions of one range: their mean, the mean of their labels, and their share of all weight."""

    prediction: float
    label: float
    share: float


def reliability(bins: Sequence[Bin], label: str) -> Svg:
    """Draws a reliability diagram: on the diagonal, of the rows given 30 % just 30 % are positive.

    The area of a point is its share of the rows.
    """
    top = min(1.0, max([0.1, *(value for b in bins for value in (b.prediction, b.label))]) * 1.06)
    frame = Frame.of((0.0, top), (0.0, top))
    drawn = [*frame.draw("predicted", "observed"), diagonal(frame)]
    points = [(frame.x(b.prediction), frame.y(b.label)) for b in bins]
    drawn.append(el("path", class_="curve s0 faint", d=line(points)))
    for b, (x, y) in zip(bins, points):
        told = f"predicted {number(b.prediction, 3)}, observed {number(b.label, 3)}: {percent(b.share)} of the rows"
        drawn.append(el("circle", titled(told), class_="dot s0", cx=x, cy=y, r=2.2 + 11 * b.share**0.5))
    return picture(WIDTH, HEIGHT, label, *drawn)


def unit_curve(points: Sequence[tuple[float, float]], label: str, x_name: str, y_name: str, *, chance: bool) -> Svg:
    """Draws a curve in the unit square, such as ROC or precision over recall.

    Args:
        points: In order along the curve.
        label: What a screen reader says.
        x_name, y_name: Names of the axes.
        chance: Whether to draw the diagonal that guessing gives.
    """
    frame = Frame.of((0.0, 1.0), (0.0, 1.0))
    drawn = frame.draw(x_name, y_name)
    if chance:
        drawn.append(diagonal(frame))
    drawn.append(el("path", class_="curve s0", d=line([(frame.x(x), frame.y(y)) for x, y in _thinned(points)])))
    return picture(WIDTH, HEIGHT, label, *drawn)


def _thinned(points: Sequence[tuple[float, float]], most: int = 240) -> list[tuple[float, float]]:
    """So many points that more would not be seen."""
    if len(points) <= most:
        return list(points)
    return [points[round(k * (len(points) - 1) / (most - 1))] for k in range(most)]
