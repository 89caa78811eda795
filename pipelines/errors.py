"""Every exception that Headrace raises.

    HeadraceError
    ├── PipelineError        the pipeline is wrong (exit 2): one or many Problems, each with its place and its repair
    ├── DataError            the data is wrong: file, row, column, value and the repair
    ├── ArtifactError        an artifact is missing, damaged, or of another type
    ├── CodeChanged          the code here differs from the code the Plan was made from
    ├── StepFailed           a step of a run failed (exit 1)
    ├── UserCodeError        a user's function raised: raised `from` the original, whose traceback is shown first
    ├── StoreError           the store cannot be opened, is newer than this Headrace, or refuses a write
    ├── ClusterError         a server of a cluster cannot be reached, refuses a request, or does not know a run (exit 2)
    ├── NotBlessed           a model was not pushed because its blessing says no (exit 3)
    └── MissingExtra         a command needs an optional dependency that is not installed

A message says what was expected, what was received, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, order=True)
class Location:
    """A place in the author's source: a file and a line counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        try:
            shown = Path(self.file).relative_to(Path.cwd())
        except ValueError:
            shown = Path(self.file)
        return f"{shown}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a pipeline: what, where, and what to do.

    Args:
        what: One sentence that names the expected and the received thing.
        fix: One sentence that says what to do.
        where: The author's file and line, when known.
        code: A short stable name of the kind of problem, such as ``"cycle"``.
    """

    what: str
    fix: str = ""
    where: Location | None = None
    code: str = "problem"

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        repair = f"\n    fix: {self.fix}" if self.fix else ""
        return f"{place}{self.what}{repair}"


class HeadraceError(Exception):
    """The root of the tree; `exit_code` is what the command line returns for it."""

    exit_code = 1


class PipelineError(HeadraceError):
    """The pipeline is wrong. Carries every problem that was found, not only the first."""

    exit_code = 2

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(eq=False)
class DataError(HeadraceError):
    """The data is wrong.

    Args:
        what: One sentence: what was expected and what was received.
        fix: What to do about it.
        file: The data file.
        row: The row, counted from 1 as a person counts data rows (a header is not counted).
        column: The column's name.
        value: The offending text, shortened by the caller if it is long.
    """

    what: str
    fix: str = ""
    file: str | None = None
    row: int | None = None
    column: str | None = None
    value: str | None = None
    details: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        super().__init__(str(self))

    def __str__(self) -> str:
        place = ", ".join(
            part
            for part in (
                self.file,
                f"row {self.row:,}" if self.row is not None else None,
                f"column {self.column!r}" if self.column is not None else None,
                f"value {self.value!r}" if self.value is not None else None,
            )
            if part
        )
        lines = [f"{place}: {self.what}" if place else self.what, *self.details]
        if self.fix:
            lines.append(f"    fix: {self.fix}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.what, self.fix, self.file, self.row, self.column, self.value, self.details))


class ArtifactError(HeadraceError):
    """An artifact is missing, damaged, or not of the type that was expected."""


class CodeChanged(HeadraceError):
    """The code found here has another digest than the Plan: the image or worker was built from other code."""


class StepFailed(HeadraceError):
    """A step of a run failed; its log has the traceback."""


class UserCodeError(HeadraceError):
    """A user's function raised. Raised `from` the original exception, whose traceback is shown first."""


class StoreError(HeadraceError):
    """The store cannot be opened, is of a newer version, or refuses a write."""


class ClusterError(HeadraceError):
    """A server of a cluster cannot be reached, refuses a request, or does not know what it was asked for.

    Args:
        what: One line: what was asked of which server, and what it said.
        fix: What to do.
        passing: Whether the same request may do in a while: the server is away or overloaded.
    """

    exit_code = 2

    def __init__(self, what: str, fix: str = "", *, passing: bool = False) -> None:
        self.what, self.fix, self.passing = what, fix, passing
        super().__init__(what + (f"\n    fix: {fix}" if fix else ""))


class NotBlessed(HeadraceError):
    """A model was not pushed because its blessing says no."""

    exit_code = 3


class MissingExtra(HeadraceError):
    """A command needs an optional dependency that is not installed.

    >>> str(MissingExtra("run", "apache_beam"))
    "apache_beam is not installed: pip install 'headrace[run]'"
    """

    exit_code = 2

    def __init__(self, extra: str, module: str) -> None:
        self.extra, self.module = extra, module
        super().__init__(f"{module} is not installed: pip install 'headrace[{extra}]'")
