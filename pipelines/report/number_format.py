"""Numbers as people read them."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

MINUS = "\N{MINUS SIGN}"
THIN = "\N{NARROW NO-BREAK SPACE}"


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many significant digits, and thousands parted.

    >>> number(336776), number(0.68731), number(-12.0), number(1.5e-9), number(None)
    ('336,776', '0.6873', '−12', '1.5e−9', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e15 or size < 1e-4:
        mantissa, exponent = f"{value:.{max(0, digits - 1)}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(exponent)}".replace("-", MINUS)
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    text = f"{value:,.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", MINUS)


def fixed(value: float | None, digits: int = 4) -> str:
    """A number with trailing zeros kept, so that a column of them lines up.

    >>> fixed(0.69), fixed(21.5), fixed(1234.5)
    ('0.6900', '21.50', '1,234')
    """
    if value is None or not math.isfinite(value) or value == 0 or not 1e-4 <= abs(value) < 1e15:
        return number(value, digits)
    decimals = min(digits, max(0, digits - 1 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def percent(share: float | None) -> str:
    """A share as per cent; what is there is never rounded to none, nor what is missing to all.

    >>> percent(0.0281), percent(0.00001), percent(0), percent(1), percent(0.99999)
    ('2.8\\u202f%', '<0.1\\u202f%', '0\\u202f%', '100\\u202f%', '>99.9\\u202f%')
    """
    if share is None or math.isnan(share):
        return "–"
    if 0 < share < 0.001:
        return f"<0.1{THIN}%"
    if 0.999 < share < 1:
        return f">99.9{THIN}%"
    text = f"{100 * share:.1f}".removesuffix(".0")
    return f"{text}{THIN}%"


def seconds(value: float) -> str:
    """A duration.

    >>> seconds(0.0042), seconds(5.61), seconds(123.0), seconds(7384)
    ('4\\u202fms', '5.6\\u202fs', '2\\u202fmin\\u202f03\\u202fs', '2\\u202fh\\u202f03\\u202fmin')
    """
    if value < 0.9995:
        return f"{1000 * value:.0f}{THIN}ms"
    if value < 59.95:
        return f"{value:.1f}{THIN}s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60}{THIN}min{THIN}{whole % 60:02}{THIN}s"
    return f"{whole // 3600}{THIN}h{THIN}{whole % 3600 // 60:02}{THIN}min"


def moment(value: float, arrow_type: str) -> str | None:
    """A number that stands for a day or an instant, as such; None for any other type or what no calendar has.

    Days of a date and microseconds of a timestamp, both since 1970, as in `headrace.transforms.feature_model`.

    >>> moment(15706, "date32[day]"), moment(1.357e15, "timestamp[us, tz=UTC]"), moment(3, "int64")
    ('2013-01-01', '2013-01-01 00:26', None)
    """
    kind = arrow_type.partition("[")[0]
    if kind not in ("date32", "date64", "timestamp") or not math.isfinite(value):
        return None
    since = timedelta(days=round(value)) if kind != "timestamp" else timedelta(microseconds=round(value))
    try:
        instant = datetime(1970, 1, 1) + since
    except OverflowError:
        return None
    return instant.strftime("%Y-%m-%d" if kind != "timestamp" else "%Y-%m-%d %H:%M")


def size(count: int) -> str:
    """A number of bytes.

    >>> size(812), size(1_250_000_000)
    ('812\\u202fB', '1.2\\u202fGB')
    """
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f}{THIN}{unit}" if unit == "B" else f"{value:.1f}{THIN}{unit}"
        value /= 1000
    return f"{value:.1f}{THIN}TB"
