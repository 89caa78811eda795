"""Forest plot: a metric's value with its confidence interval, one row a slice, on one scale with the thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.pipelines.report.charts.svg import Scale, Svg, at, el, extent, picture, text_of, ticks, titled
from headrace.pipelines.report.number_format import number

WIDTH, HEIGHT = 300.0, 26.0


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its confidence interval; None where it is not defined."""

    value: float | None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Forest:
    """The scale that all rows of one metric share.

    Args:
        scale: From the metric's values to pixels.
        guides: Values marked by a line through all rows, each with its kind: `threshold`, `overall` or `constant`.
    """

    scale: Scale
    guides: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, estimates: Sequence[Estimate], guides: Sequence[tuple[str, float]] = ()) -> Forest:
        """A scale on which all values, guides and intervals lie; an interval that would hide the rest is cut off."""
        values = [estimate.value for estimate in estimates] + [value for _, value in guides]
        low, high = extent(values, 0.12)
        ends = [end for e in estimates for end in (e.lower, e.upper) if end is not None]
        width = high - low
        low = max(min([low, *ends]), low - width)
        high = min(max([high, *ends]), high + width)
        return cls(Scale(low, high, 6.0, WIDTH - 6), tuple(guides))

    def row(
        self,
        estimate: Estimate,
        label: str,
        *,
        strong: bool = False,
        weak: bool = False,
        passed: bool | None = None,
        mark: float | None = None,
    ) -> Svg:
        """One row.

        Args:
            estimate: What to draw.
            label: What it tells when pointed at.
            strong: Whether it is that of all rows together.
            weak: Whether it is of few rows.
            passed: Whether its thresholds passed, None where none was asked.
            mark: A value of this row alone to compare with, such as what the best constant reaches on its rows.
        """
        middle = HEIGHT / 2
        parts = [
            el("path", class_=f"guide {kind}", d=f"M{at(self.scale(v))} 0V{at(HEIGHT)}") for kind, v in self.guides
        ]
        kind = " strong" if strong else " weak" if weak else ""
        kind += "" if passed is None else " passed" if passed else " missed"
        if mark is not None:
            x = self.scale.clamped(mark)
            parts.append(
                el("path", titled(f"best constant: {number(mark)}"), class_="mark", d=f"M{at(x)} 5V{at(HEIGHT - 5)}")
            )
        if estimate.lower is not None and estimate.upper is not None:
            left, right = self.scale.clamped(estimate.lower), self.scale.clamped(estimate.upper)
            parts.append(el("path", class_=f"interval{kind}", d=f"M{at(left)} {at(middle)}H{at(right)}"))
        if estimate.value is not None:
            x = self.scale.clamped(estimate.value)
            if strong:
                shape = f"M{at(x)} {at(middle - 6)}l6 6l-6 6l-6-6z"
                parts.append(el("path", titled(label), class_=f"point{kind}", d=shape))
            else:
                parts.append(el("circle", titled(label), class_=f"point{kind}", cx=x, cy=middle, r=3.6))
        return picture(WIDTH, HEIGHT, label, *parts, class_="chart lane")

    def axis(self) -> Svg:
        """The scale, for the head of the column."""
        parts = []
        for value in ticks(self.scale.low, self.scale.high, 4):
            x = self.scale(value)
            if 12 < x < WIDTH - 12:
                parts.append(el("text", text_of(number(value)), class_="tick middle", x=x, y=11.0))
                parts.append(el("path", class_="axis", d=f"M{at(x)} 14v4"))
        return picture(WIDTH, 18.0, "scale", *parts, class_="chart lane")
