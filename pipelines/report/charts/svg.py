"""Elements of SVG as text, and scales from data to pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


class Svg(str):
    """Markup that is safe as it is; templates do not escape it again."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


# HTML knows self-closing tags only inside SVG, and `br`; anything else that is empty needs its end tag.
_SHAPES = frozenset(("rect", "path", "circle", "br"))


def el(tag: str, *children: str, **attributes: object) -> Svg:
    """One element. Attributes that are None are left out, `_` in a name is `-`; children are markup, see `text_of`.

    >>> el("rect", width=2.50, class_="bar", aria_label='a"b')
    '<rect width="2.5" class="bar" aria-label="a&quot;b"/>'
    """
    shown = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    inside = "".join(children)
    return Svg(f"<{tag}{shown}/>" if tag in _SHAPES and not inside else f"<{tag}{shown}>{inside}</{tag}>")


def text_of(text: object) -> str:
    """Text as markup, without characters that XML does not allow."""
    return escape(_allowed(text))


def titled(text: object) -> str:
    return f"<title>{text_of(text)}</title>"


def picture(width: float, height: float, label: str, *children: str, class_: str = "chart") -> Svg:
    """A whole picture, with the label that a screen reader says."""
    return el(
        "svg",
        *children,
        class_=class_,
        role="img",
        aria_label=label,
        viewBox=f"0 0 {at(width)} {at(height)}",
        width=width,
        height=height,
    )


def at(value: float) -> str:
    """A coordinate to a tenth of a pixel.

    >>> at(1.04), at(-0.01), at(7.0)
    ('1', '0', '7')
    """
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def _value(value: object) -> str:
    if isinstance(value, float):
        return at(value)
    return escape(_allowed(value), quote=True)


def _allowed(text: object) -> str:
    return "".join(char if char.isprintable() or char.isspace() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


@dataclass(frozen=True)
class Scale:
    """A linear map from a domain to pixels.

    >>> Scale(0, 10, 100, 200)(2.5)
    125.0
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        if self.high == self.low:
            return (self.start + self.end) / 2
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def clamped(self, value: float) -> float:
        return self(min(max(value, self.low), self.high))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that part a range.

    >>> ticks(0, 1), ticks(-3, 17)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 5.0, 10.0, 15.0])
    """
    if not math.isfinite(low) or not math.isfinite(high) or high <= low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]


def drawable(value: float | None) -> bool:
    """Whether a value has a place on an axis: the width of one that spans more than this is no float."""
    return value is not None and abs(value) <= 1e300


def extent(values: Iterable[float | None], pad: float = 0.05) -> tuple[float, float]:
    """The range of the finite values, a little widened."""
    finite = [value for value in values if value is not None and drawable(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    margin = (high - low) * pad or abs(high) * pad or 1.0
    return low - margin, high + margin


def line(points: Sequence[tuple[float, float]]) -> str:
    """The path through points."""
    return "".join(f"{'L' if number else 'M'}{at(x)} {at(y)}" for number, (x, y) in enumerate(points))
