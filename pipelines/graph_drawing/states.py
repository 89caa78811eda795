"""How the state of a step is shown: a sign, and the same sign in plain ASCII."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sign:
    """Args: state: its name for people; sign: one character; ascii: the same where only ASCII can be shown."""

    state: str
    sign: str
    ascii: str


_SIGNS = {
    "succeeded": Sign("succeeded", "✓", "+"),
    "cached": Sign("cached", "≡", "="),
    "failed": Sign("failed", "✗", "x"),
    "skipped": Sign("skipped", "·", "."),
    "refused": Sign("refused", "⊘", "!"),
    "running": Sign("running", "▸", ">"),
    "interrupted": Sign("interrupted", "◼", "#"),
    "waiting": Sign("waiting", "○", "o"),
}
# The store's word for a step whose work was to say no.
_SAME = {"not_blessed": "refused", "not blessed": "refused"}


def sign_of(state: str | None) -> Sign:
    """Gives the sign of a state; a step without one is waiting.

    >>> sign_of("not_blessed").state
    'refused'
    """
    text = str(getattr(state, "value", state) or "waiting").lower()
    return _SIGNS.get(_SAME.get(text, text), Sign(text, "?", "?"))
