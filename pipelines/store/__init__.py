"""The metadata store: what ran, on what, and what came of it.

`Store` needs SQLAlchemy, so it is imported on first use; the records need nothing.

>>> from headrace.pipelines.store import RunState
>>> RunState.SUCCEEDED.value
'succeeded'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.pipelines.errors import MissingExtra
from headrace.pipelines.store.records import (
    ArtifactRecord,
    CachedStep,
    FileStamp,
    History,
    NewArtifact,
    PastStep,
    RunRecord,
    RunState,
    StepKey,
    StepRecord,
    StepState,
)

if TYPE_CHECKING:
    from headrace.pipelines.store.store import Store

__all__ = [
    "ArtifactRecord",
    "CachedStep",
    "FileStamp",
    "History",
    "NewArtifact",
    "PastStep",
    "RunRecord",
    "RunState",
    "StepKey",
    "StepRecord",
    "StepState",
    "Store",
]


def __getattr__(name: str) -> Any:
    if name != "Store":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from headrace.pipelines.store.store import Store
    except ModuleNotFoundError as error:
        if error.name in ("sqlalchemy", "alembic"):
            raise MissingExtra("run", error.name) from error
        raise
    globals()["Store"] = Store
    return Store
