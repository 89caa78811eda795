"""The store's part of the cache: which step can be taken again, and what there was before, for ``why``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from time import time_ns

from headrace.pipelines.store import rows
from headrace.pipelines.store.database import Database
from headrace.pipelines.store.records import CachedStep, FileStamp, History, StepKey, StepRecord, StepState
from headrace.pipelines.store.schema import file_digests, runs, step_outputs, steps
from sqlalchemy import and_, bindparam, or_, select

# A step that ran to its end and says no can be taken again as well, with its refusal; one that broke cannot.
_REUSABLE = or_(
    steps.c.state.in_([StepState.SUCCEEDED.value, StepState.NOT_BLESSED.value]),
    and_(steps.c.state == StepState.FAILED.value, steps.c.refusal.is_not(None)),
)
_HITS = (
    select(
        steps.c.id,
        runs.c.id,
        steps.c.path,
        steps.c.loop_index,
        steps.c.attempt,
        steps.c.state,
        steps.c.ended,
        steps.c.refusal,
        steps.c.output_parameters,
    )
    .join(runs, runs.c.sequence == steps.c.run)
    .where(steps.c.cache_key == bindparam("key"), runs.c.root == bindparam("root"), _REUSABLE)
    .order_by(steps.c.id.desc())
)
_OUTPUTS = rows.select_used(step_outputs, step_outputs.c.step == bindparam("step"))


_PREVIOUS = (
    select(steps.c.id)
    .join(runs, runs.c.sequence == steps.c.run)
    .where(
        steps.c.path == bindparam("path"),
        steps.c.loop_index == bindparam("loop_index"),
        steps.c.cache_key.is_not(None),
        runs.c.pipeline == bindparam("pipeline"),
        runs.c.root == bindparam("root"),
        runs.c.scope == bindparam("scope"),
    )
    .order_by(steps.c.id.desc())
    .limit(1)
)
_EARLIER_RUN = select(runs.c.sequence).where(runs.c.id == bindparam("before_run")).scalar_subquery()
_PREVIOUS_OF_EARLIER_RUN = _PREVIOUS.where(steps.c.run < _EARLIER_RUN)


class Cache(Database):
    """The part of the store that says what need not run again."""

    def lookup_cache(self, key: str, *, root: str) -> CachedStep | None:
        """The newest step with this cache key, under this root, whose outputs are all still there.

        It may be of another pipeline: the key says all that matters.
        """
        with self._read() as connection:
            for row in connection.execute(_HITS, {"key": key, "root": root}).all():
                step, *named, state, ended, refusal, parameters = row
                outputs = rows.used(connection.execute(_OUTPUTS, {"step": step})).get(step, {})
                if all(made.live for made_all in outputs.values() for made in made_all):
                    return CachedStep(step, StepKey(*named), StepState(state), ended, refusal, parameters, outputs)
        return None

    def previous_step(
        self,
        history: History,
        path: str,
        *,
        loop_index: str = "",
        before_run: str | None = None,
        states: Collection[StepState] | None = None,
    ) -> StepRecord | None:
        """The newest step at this path that has key fields, to compare with.

        Args:
            before_run: Only runs started before this one; None for all.
            states: Only steps in one of these states; None for all.
        """
        query = _PREVIOUS if before_run is None else _PREVIOUS_OF_EARLIER_RUN
        if states is not None:
            query = query.where(steps.c.state.in_([state.value for state in states]))
        with self._read() as connection:
            values = {"path": path, "loop_index": loop_index, "before_run": before_run, **history._asdict()}
            step = connection.execute(query, values).scalar()
            return None if step is None else rows.step_records(connection, select(steps.c.id).filter_by(id=step))[0]

    def known_digests(self, stamps: Iterable[FileStamp]) -> dict[str, str]:
        """The digests, by path, of those files that have not changed since they were remembered."""
        wanted = {stamp.path: _text(stamp) for stamp in stamps}
        found: dict[str, str] = {}
        paths = list(wanted)
        with self._read() as connection:
            for start in range(0, len(paths), 500):
                query = select(file_digests).where(file_digests.c.path.in_(paths[start : start + 500]))
                rows_ = connection.execute(query)
                found.update({path: digest for path, stamp, digest in rows_ if wanted.get(path) == stamp})
        return found

    def remember_digests(self, digests: Mapping[FileStamp, str]) -> None:
        """Remembers the digests of files, by the stamps taken before their content was read.

        A file changed in the last two seconds is not remembered: it could change again without a new stamp. Nor is
        anything by a store that may only be read.
        """
        if self.read_only:
            return
        now = time_ns()
        entries = [
            {"path": stamp.path, "stamp": _text(stamp), "digest": digest}
            for stamp, digest in digests.items()
            if not stamp.racy(now)
        ]
        if entries:
            with self._write() as connection:
                connection.execute(self._insert_or_replace(file_digests, "path"), entries)


def _text(stamp: FileStamp) -> str:
    return f"{stamp.size}:{stamp.mtime_ns}:{stamp.inode}:{stamp.version}"
