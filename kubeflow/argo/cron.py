"""Schedules as Argo reads them: five fields, or a word such as @daily."""

from __future__ import annotations

import re

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
_NAMES = {
    "month": ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    "weekday": ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}
_WORDS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_EVERY = re.compile(r"@every (\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")


def wrong_schedule(schedule: str) -> str | None:
    """Says what is wrong with a schedule, if anything is.

    Source: `ParseStandard` of github.com/robfig/cron v3, by which Argo reads it.

    >>> wrong_schedule("*/5 0-6,12 * JAN-MAR mon"), wrong_schedule("@daily")
    (None, None)
    >>> wrong_schedule("61 * * * *")
    'the minute 61 is not within 0 to 59'
    """
    text = re.sub(r"^(CRON_)?TZ=\S+\s+", "", schedule).strip()
    if text.startswith("@"):
        fits = text in _WORDS or _EVERY.fullmatch(text)
        return None if fits else f"expected one of {', '.join(_WORDS)}, or @every 1h"
    parts = text.split()
    if len(parts) != len(_FIELDS):
        return f"expected minute, hour, day, month and weekday, received {len(parts)} fields"
    for (name, least, most), part in zip(_FIELDS, parts, strict=True):
        for item in part.split(","):
            if wrong := _wrong_item(item, name, least, most):
                return wrong
    return None


def _wrong_item(item: str, name: str, least: int, most: int) -> str | None:
    span, slash, step = item.partition("/")
    if slash and (not step.isdigit() or int(step) == 0):
        return f"the {name} {item} has no step above 0"
    if span in ("*", "?"):
        return None
    ends = [_number(end, name) for end in span.split("-")]
    if len(ends) > 2 or None in ends:
        return f"the {name} {item!r} is neither a number nor a range"
    numbers = [end for end in ends if end is not None]
    if not all(least <= number <= most for number in numbers):
        return f"the {name} {span} is not within {least} to {most}"
    return f"the {name} {span} ends before it begins" if numbers[0] > numbers[-1] else None


def _number(text: str, name: str) -> int | None:
    if text.isascii() and text.isdigit():
        return int(text)
    names = _NAMES.get(name, [])
    if text.lower() not in names:
        return None
    return names.index(text.lower()) + (1 if name == "month" else 0)
