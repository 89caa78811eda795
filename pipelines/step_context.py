"""What a running component may ask of its step: progress, warnings, scratch space, Beam's arguments, a verdict."""

from __future__ import annotations

import contextvars
import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headrace.pipelines.errors import StoreError
from headrace.pipelines.store.records import History

if TYPE_CHECKING:
    from headrace.pipelines.store import Store


@dataclass
class StepContext:
    """The step that is running.

    Attributes:
        pipeline, run, step, attempt: Where it stands.
        root: The pipeline root, a folder or URL.
        store_url: URL of the store, when the step is told of one.
        store_root: What the store calls the pipeline root.
        beam_args: Arguments for Beam pipelines of this step.
        sample: Rows to read of each split, or None for all.
        warnings: What the step wants its user to know.
        refusal: Why the step declined to do what it is for, such as a push without a blessing.
        rejection: Why what the step looked at stops the run, such as anomalies in the data.
    """

    pipeline: str = "adhoc"
    run: str = "adhoc"
    step: str = "adhoc"
    attempt: int = 1
    root: str = ""
    store_url: str | None = None
    store_root: str = ""
    beam_args: tuple[str, ...] = ()
    sample: int | None = None
    report: Callable[[dict[str, Any]], None] = lambda event: None
    warnings: list[str] = field(default_factory=list)
    refusal: str | None = None
    rejection: str | None = None
    _store: Store | None = None
    _scratch: tempfile.TemporaryDirectory[str] | None = None

    @property
    def engine(self) -> Literal["beam", "direct"]:
        """How data passes run: ``"beam"``, or ``"direct"`` in a sample run."""
        return "direct" if self.sample is not None else "beam"

    @property
    def scratch(self) -> Path:
        """A folder for temporary files; it goes when the step ends."""
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="headrace-scratch-")
        return Path(self._scratch.name)

    def progress(self, done: float, total: float | None = None, unit: str = "rows", **shown: Any) -> None:
        """Reports how far the step is; `shown` are figures to print beside, such as ``loss=0.5``."""
        self.report({"kind": "progress", "done": done, "total": total, "unit": unit, "shown": shown})

    def warn(self, message: str) -> None:
        """Tells the user something that is not an error."""
        self.warnings.append(message)
        self.report({"kind": "warning", "message": message})

    def refuse(self, reason: str) -> None:
        """Ends as refused: the step did its work, and its work was to say no. The run's exit code is then 3."""
        self.refusal = reason

    def reject(self, reason: str) -> None:
        """Ends as failed although the step worked: what it saw is wrong. Its outputs stay, nothing runs after it."""
        self.rejection = reason

    @property
    def store(self) -> Store:
        """The metadata store, opened when it is first asked for.

        Raises:
            StoreError: The step was told of no store.
        """
        from headrace.pipelines.store import Store

        if self._store is None:
            if self.store_url is None:
                raise StoreError(f"step {self.step} asks the store, and was told of none\n    fix: give --store URL")
            self._store = Store.open(self.store_url, create=False)
        return self._store

    @property
    def history(self) -> History:
        """The earlier runs that this one may be compared with."""
        return History(
            self.pipeline, self.store_root or self.root, f"sample-{self.sample}" if self.sample is not None else ""
        )

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None


_CURRENT: contextvars.ContextVar[StepContext | None] = contextvars.ContextVar("headrace_step", default=None)


def step_context() -> StepContext:
    """Gives the context of the step that is running; outside one, a context of its own."""
    return _CURRENT.get() or _outside()


@functools.cache
def _outside() -> StepContext:
    return StepContext()


def inside_a_step() -> bool:
    """Tells whether a step runs here."""
    return _CURRENT.get() is not None


def enter(context: StepContext) -> contextvars.Token[StepContext | None]:
    return _CURRENT.set(context)


def leave(token: contextvars.Token[StepContext | None]) -> None:
    _CURRENT.reset(token)
