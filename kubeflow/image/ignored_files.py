"""Which files of a project belong to its image: all but those that `.dockerignore` names and those that never do.

The patterns are Docker's: those of Go's `filepath.Match` with `**`, relative to the folder; what matches a folder
matches all below it; a line that begins with `!` takes back; the last line that matches decides.
https://docs.docker.com/build/concepts/context/#dockerignore-files
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

# Results, environments, history and secrets are no part of a project's code. A `!` line takes one back.
NEVER = (
    ".git",
    ".hg",
    ".headrace",
    ".venv",
    ".env",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "**/.ipynb_checkpoints",
    "**/__pycache__",
    "**/*.pyc",
)


def project_files(folder: Path) -> Iterator[str]:
    """Yields the files of a project that belong to its image, as paths relative to it, sorted.

    Args:
        folder: The project's folder.
    """
    ignored = Patterns([*NEVER, *_lines(folder / ".dockerignore")])
    for path in sorted(_walk(folder, ignored)):
        if not ignored.match(path):
            yield path


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8-sig").splitlines() if file.is_file() else []


def _walk(folder: Path, ignored: Patterns) -> Iterator[str]:
    for base, folders, files in os.walk(folder):
        inside = Path(base).relative_to(folder)
        if not ignored.takes_back:
            folders[:] = [name for name in folders if not ignored.match((inside / name).as_posix())]
        yield from ((inside / name).as_posix() for name in files if (Path(base) / name).is_file())


class Patterns:
    """The lines of a `.dockerignore` file.

    >>> patterns = Patterns(["data", "!data/small.csv", "**/*.log"])
    >>> [patterns.match(path) for path in ("data/big.csv", "data/small.csv", "a/b/x.log", "a.py")]
    [True, False, True, False]
    """

    def __init__(self, lines: Iterable[str]) -> None:
        found = [line.strip() for line in lines]
        self._rules = [_rule(line) for line in found if line and not line.startswith("#")]

    @property
    def takes_back(self) -> bool:
        """Whether something below an ignored folder may belong all the same."""
        return any(not ignores for _, ignores in self._rules)

    def match(self, path: str) -> bool:
        """Whether a path, relative to the folder and with slashes, is ignored."""
        parts = path.split("/")
        above = ["/".join(parts[: number + 1]) for number in range(len(parts))]
        ignored = False
        for pattern, ignores in self._rules:
            if any(pattern.fullmatch(one) for one in above):
                ignored = ignores
        return ignored


def _rule(line: str) -> tuple[re.Pattern[str], bool]:
    pattern = os.path.normpath(line.removeprefix("!").strip()).strip("/")
    return re.compile("".join(_regex(pattern))), not line.startswith("!")


def _regex(pattern: str) -> Sequence[str]:
    """A pattern of Go's `filepath.Match`, with `**` for any number of folders, as a regular expression."""
    found, at = [], 0
    while at < len(pattern):
        rest = pattern[at:]
        if rest.startswith("**"):
            at += 3 if rest.startswith("**/") else 2
            found.append("(?:.*/)?" if rest.startswith("**/") else ".*")
            continue
        if (close := rest.find("]", 1)) > 0 and rest[0] == "[":
            inside = rest[1:close].replace("\\", "\\\\")
            found.append(f"[{inside}]")
            at += close + 1
            continue
        if rest[0] == "\\" and len(rest) > 1:
            at += 1
            found.append(re.escape(pattern[at]))
        else:
            found.append({"*": "[^/]*", "?": "[^/]"}.get(rest[0], re.escape(rest[0])))
        at += 1
    return found
