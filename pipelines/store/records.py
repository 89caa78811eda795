"""The records that the store takes and gives: plain frozen dataclasses that know no database."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple


class RunState(StrEnum):
    """The states of a run; all but `RUNNING` are final."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NOT_BLESSED = "not_blessed"
    INTERRUPTED = "interrupted"


class StepState(StrEnum):
    """The states of a step; all but `RUNNING` are final."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CACHED = "cached"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_BLESSED = "not_blessed"
    INTERRUPTED = "interrupted"


class StepKey(NamedTuple):
    """What names one attempt at one step of one run."""

    run_id: str
    path: str
    loop_index: str = ""
    attempt: int = 1


class History(NamedTuple):
    """The runs that one run may be compared with: the same pipeline, under the same root, of the same scope.

    Args:
        root: The pipeline root: what another person's run left on another disk cannot be read here.
        scope: Empty for full runs; a run on a sample must not become the baseline of a full one.
    """

    pipeline: str
    root: str
    scope: str = ""


@dataclass(frozen=True)
class RunRecord:
    """One run of a pipeline.

    Args:
        id: The name that a person types; it sorts by time, and any unambiguous beginning of it will do.
        sequence: Grows with every run of the store.
        root: The pipeline root that the artifacts' relative URIs start from.
        scope: See `History`.
        process: The driver's host, boot and process, by which `recover_dead_runs` knows that it was killed.
    """

    id: str
    sequence: int
    pipeline: str
    state: RunState
    started: datetime
    ended: datetime | None
    plan_digest: str
    parameters: Mapping[str, Any]
    root: str
    experiment: str
    scope: str
    labels: Mapping[str, str]
    error: Mapping[str, Any] | None
    process: Mapping[str, Any]

    @property
    def history(self) -> History:
        return History(self.pipeline, self.root, self.scope)


@dataclass(frozen=True)
class NewArtifact:
    """An artifact as a step hands it over to be recorded.

    Args:
        uri: Relative to the run's root, or absolute when it lies outside it.
        type: The artifact type's name, such as ``"Model"``.
        digest: The semantic digest of the content.
    """

    uri: str
    type: str
    digest: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ArtifactRecord:
    """A recorded artifact.

    Args:
        id: Grows in the order of commits, in all runs of the store together: "before" compares ids, never clocks.
        live: False once the payload was found missing or replaced.
        producer: The step that first made it.
        output: The name of the producer's output.
    """

    id: int
    root: str
    uri: str
    type: str
    digest: str
    properties: Mapping[str, Any]
    links: Mapping[str, Any]
    live: bool
    created: datetime
    producer: StepKey
    output: str


Artifacts = Mapping[str, tuple[ArtifactRecord, ...]]


@dataclass(frozen=True)
class StepRecord:
    """One attempt at a step, with the artifacts it read and wrote by input and output name, in order.

    Args:
        id: The handle that `finish_step` and the others take.
        refusal: Why the step says no, when it ran to its end and does (bad data, a model not good enough).
        cached_from: The step whose outputs were taken, when `state` is `CACHED`.
        peak_rss: The worker's largest resident memory, in bytes.
    """

    id: int
    key: StepKey
    pipeline: str
    component: str
    state: StepState
    cache_key: str | None
    key_fields: Mapping[str, Any] | None
    parameters: Mapping[str, Any]
    started: datetime
    ended: datetime | None
    error: Mapping[str, Any] | None
    refusal: str | None
    output_parameters: Mapping[str, Any]
    progress: Mapping[str, Any]
    log_uri: str | None
    peak_rss: int | None
    cached_from: StepKey | None
    inputs: Artifacts
    outputs: Artifacts


@dataclass(frozen=True)
class CachedStep:
    """What a cache hit gives: the outputs of the newest step with the same key, all of them still there."""

    step_id: int
    key: StepKey
    state: StepState
    ended: datetime
    refusal: str | None
    output_parameters: Mapping[str, Any]
    outputs: Artifacts


@dataclass(frozen=True)
class PastStep:
    """One step that ended, as it was written down outside of a store.

    Args:
        key: Run, step and attempt.
        component: Its component's name.
        state: How it ended.
        started, ended: When.
        inputs: The artifacts it read, by input name; their ids do not count.
        outputs: The artifacts it made, or took from the cache.
    """

    key: StepKey
    component: str
    state: StepState
    started: datetime
    ended: datetime
    inputs: Mapping[str, Sequence[ArtifactRecord]] = field(default_factory=dict)
    outputs: Mapping[str, Sequence[ArtifactRecord]] = field(default_factory=dict)


@dataclass(frozen=True)
class FileStamp:
    """What tells, without reading it, that a file has not changed.

    Args:
        path: An absolute path or URL.
        version: The ETag or version of a remote object; a local file has none.

    >>> FileStamp("/data/a.csv", 10, 1_000_000_000, 7).racy(now_ns=1_500_000_000)
    True
    """

    path: str
    size: int
    mtime_ns: int = 0
    inode: int = 0
    version: str = ""

    # Coarse file systems (FAT, some network ones) tick every two seconds.
    RACY_NS = 2_000_000_000

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> FileStamp:
        """The stamp of a local file, taken now: take it before the content is read."""
        found = os.stat(path)  # noqa: PTH116 - takes any path-like, and this is the cache's hot path
        return cls(os.path.abspath(path), found.st_size, found.st_mtime_ns, found.st_ino)  # noqa: PTH100

    def racy(self, now_ns: int) -> bool:
        """Whether the file changed so shortly before `now_ns` that a next change could leave the stamp as it is.

        Git's rule for its index: https://git-scm.com/docs/racy-git
        """
        return not self.version and now_ns - self.mtime_ns < self.RACY_NS
