"""Distributions in small: bars of a histogram or of the most frequent values, and a strip of quantiles below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.pipelines.report.charts.svg import Scale, Svg, at, el, picture, titled
from headrace.pipelines.report.number_format import number, percent

WIDTH, BARS, STRIP = 170.0, 46.0, 12.0


@dataclass(frozen=True)
class Bucket:
    """A range of values and the share of the values that lie in it."""

    low: float
    high: float
    share: float

    @property
    def density(self) -> float:
        return self.share / (self.high - self.low) if self.high > self.low else 0.0


@dataclass(frozen=True)
class Quantiles:
    """Where 5, 25, 50, 75 and 95 per cent of the values lie below."""

    p5: float
    p25: float
    p50: float
    p75: float
    p95: float


def histogram(
    buckets: Sequence[Bucket],
    domain: tuple[float, float],
    densest: float,
    label: str,
    *,
    color: int = 0,
    quantiles: Quantiles | None = None,
    details: bool = True,
) -> Svg:
    """Bars whose areas are shares.

    Args:
        buckets: What to draw; what lies outside the domain is cut off.
        domain: The values at the left and right edge, the same for every split of a feature.
        densest: The density that is drawn at full height, the same for every split of a feature.
        label: What a screen reader says.
        color: Number of the split, from 0.
        quantiles: Drawn as a strip below the bars.
        details: Whether a bar tells its range when it is pointed at; without, the bars are one path.
    """
    x = Scale(*domain, 1.0, WIDTH - 1)
    bars = []
    for bucket in buckets:
        low, high = max(bucket.low, domain[0]), min(bucket.high, domain[1])
        if high <= low or bucket.share <= 0:
            continue
        height = max(1.0, min(1.0, bucket.density / densest if densest else 0.0) * (BARS - 2))
        width = max(0.8, x(high) - x(low) - 0.6)
        bars.append((x(low), width, height, f"{number(bucket.low)} to {number(bucket.high)}: {percent(bucket.share)}"))
    return _draw(bars, label, color, details, _strip(quantiles, x) if quantiles else [])


def value_bars(
    shares: Sequence[tuple[str, float]], largest: float, label: str, *, color: int = 0, details: bool = True
) -> Svg:
    """A bar for each of the most frequent values, in an order that every split shares.

    Args:
        shares: Value and its share of the values; 0 where this split does not have it.
        largest: The share that is drawn at full height.
        label, color, details: As in `histogram`.
    """
    pitch = min(28.0, (WIDTH - 2) / max(1, len(shares)))
    bars = [
        (1 + k * pitch, max(0.8, pitch - 1.5), max(1.0, share / largest * (BARS - 2)), f"{value}: {percent(share)}")
        for k, (value, share) in enumerate(shares)
        if share > 0 and largest > 0
    ]
    return _draw(bars, label, color, details, [])


def _draw(
    bars: Sequence[tuple[float, float, float, str]], label: str, color: int, details: bool, below: list[Svg]
) -> Svg:
    class_ = f"bar s{color}"
    if details:
        drawn = [el("rect", titled(told), class_=class_, x=x, y=BARS - h, width=w, height=h) for x, w, h, told in bars]
    else:
        path = "".join(f"M{at(x)} {at(BARS)}v{at(-h)}h{at(w)}v{at(h)}z" for x, w, h, _ in bars)
        drawn = [el("path", class_=class_, d=path)] if path else []
    base = el("path", class_="axis", d=f"M0 {at(BARS)}H{at(WIDTH)}")
    return picture(WIDTH, BARS + (STRIP if below else 2), label, *drawn, base, *below, class_="chart spark")


def _strip(quantiles: Quantiles, x: Scale) -> list[Svg]:
    y = BARS + STRIP / 2 + 1
    told = ", ".join(f"{name} {number(getattr(quantiles, key))}" for key, name in _NAMES.items())
    return [
        el(
            "g",
            titled(told),
            el("path", class_="whisker", d=f"M{at(x.clamped(quantiles.p5))} {at(y)}H{at(x.clamped(quantiles.p95))}"),
            el("path", class_="box", d=f"M{at(x.clamped(quantiles.p25))} {at(y)}H{at(x.clamped(quantiles.p75))}"),
            el("circle", class_="median", cx=x.clamped(quantiles.p50), cy=y, r=2.6),
        )
    ]


_NAMES = {"p5": "5 %", "p25": "25 %", "p50": "median", "p75": "75 %", "p95": "95 %"}
