"""A component's docstring in its parts: what the pages of the documentation, and the contract test, read."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

SECTIONS = ("Args", "Returns", "Raises")


@dataclass(frozen=True)
class ComponentDoc:
    """The parts of a docstring in Google's style.

    Args:
        summary: Its first sentence.
        description: The paragraphs between the summary and the sections, as they are written.
        args: What is said of each argument.
        returns: What is said of the output parameters.
        raises: What is said of each exception.
        example: The source after `>>>`, without the prompts.
    """

    summary: str
    description: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    returns: str = ""
    raises: Mapping[str, str] = field(default_factory=dict)
    example: str = ""


def parse_doc(text: str) -> ComponentDoc:
    """Takes a docstring apart.

    Args:
        text: The docstring, indented or not.

    >>> doc = parse_doc('''Counts rows.
    ...
    ...     Args:
    ...         split: The split,
    ...             or none: all.
    ...
    ...     >>> Count(split="train")
    ...     ''')
    >>> doc.summary, doc.args, doc.example
    ('Counts rows.', {'split': 'The split, or none: all.'}, 'Count(split="train")')
    """
    summary, _, rest = inspect.cleandoc(text).partition("\n")
    lines = rest.split("\n")
    example = [line[4:] for line in lines if line.startswith((">>> ", "... "))]
    blocks = dict(_blocks([line for line in lines if not line.startswith((">>>", "..."))]))
    return ComponentDoc(
        summary,
        "\n".join(blocks.get("", [])).strip(),
        dict(_entries(blocks.get("Args", []))),
        " ".join(line.strip() for line in blocks.get("Returns", []) if line.strip()),
        dict(_entries(blocks.get("Raises", []))),
        "\n".join(re.sub(r"\s*# doctest: \+\w+$", "", line) for line in example),
    )


def _blocks(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The lines of each section; what stands before the first belongs to ``""``."""
    name: str = ""
    block: list[str] = []
    for line in lines:
        if line.rstrip(":") in SECTIONS and line.endswith(":"):
            yield name, block
            name, block = line.rstrip(":"), []
        else:
            block.append(line)
    yield name, block


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """`name: text` entries; a line that is indented further goes on with the one above."""
    name, text = "", ""
    for line in lines:
        started = re.match(r" {4}(\w[\w, ]*): ?(.*)$", line)
        if started:
            if name:
                yield name, text
            name, text = started[1], started[2]
        elif line.strip():
            text = f"{text} {line.strip()}".strip()
    if name:
        yield name, text
