"""`Store`: the metadata store's parts together, and how it is opened."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Self

from headrace.pipelines.errors import StoreError
from headrace.pipelines.store import upgrade
from headrace.pipelines.store.cache import Cache
from headrace.pipelines.store.database import may_write, sqlite_file
from headrace.pipelines.store.lineage import Lineage
from headrace.pipelines.store.location import locate, shown
from headrace.pipelines.store.shared_runs import SharedRuns
from headrace.pipelines.store.steps import Steps


class Store(Steps, SharedRuns, Cache, Lineage):
    """What ran, on what, and what came of it, in a SQLite file or a PostgreSQL database.

    Any number of processes may have one store open and write to it.

    >>> import tempfile
    >>> from headrace.pipelines.store import NewArtifact, RunState, StepState
    >>> with tempfile.TemporaryDirectory() as root, Store.open(root) as store:
    ...     run = store.create_run("flights", root=root)
    ...     step = store.start_step(run.id, "SchemaGen", component="SchemaGen", cache_key="k")
    ...     schema = NewArtifact("SchemaGen/schema", "Schema", "d")
    ...     made = store.finish_step(step, StepState.SUCCEEDED, outputs={"schema": [schema]})
    ...     store.finish_run(run.id, RunState.SUCCEEDED)
    ...     store.lookup_cache("k", root=root).outputs == made
    True
    """

    @classmethod
    def open(cls, url: str | Path, *, create: bool = True) -> Self:
        """Opens a store, made or brought up to date first where that is needed.

        Args:
            url: A folder (the pipeline root; the store is ``.headrace/store.db`` in it), a file ending in ``.db``,
                ``sqlite:///PATH`` or ``postgresql://USER:PASSWORD@HOST/DATABASE``.
            create: Whether to make the store when there is none. Without, a SQLite file that this user may not write
                to is opened for reading: a colleague's runs can be looked at where they are.

        Raises:
            StoreError: It cannot be reached, read or written, is a newer Headrace's, or is missing with `create` off.
            MissingExtra: PostgreSQL's driver is not installed.
        """
        target = locate(url)
        file = sqlite_file(target)
        try:
            missing = file is not None and not file.exists()
            if file is not None and missing and create:
                file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the store's folder {Path(error.filename).parent} cannot be made: {error.strerror}"
                "\n    fix: give a store in a folder you may write to: --store URL"
            ) from error
        if missing and not create:
            raise StoreError(
                f"there is no store at {shown(target)}\n    fix: run a pipeline first, or give --store URL"
            )
        store = cls(target, read_only=not create and file is not None and not may_write(file))
        try:
            store._prepare(create)
        except BaseException:
            store.close()
            raise
        return store

    def _prepare(self, create: bool) -> None:
        with self._read() as connection:
            found = upgrade.at_head(connection, self.url)
            if not found and not create and upgrade.revision(connection) is None:
                raise StoreError(f"there is no store at {self.url}\n    fix: run a pipeline first, or give --store URL")
        if found:
            return
        if self.read_only:
            raise StoreError(
                f"the store {self.url} is an older Headrace's, and this user may not bring it up to date"
                "\n    fix: let its owner run `headrace runs` with this Headrace, or copy its folder"
            )
        if self._sqlite:
            with self._errors(), closing(self._engine.raw_connection()) as raw:
                upgrade.use_wal(raw)
        with self._write(ordered=True) as connection:
            # Another process may have done it while this one waited for the lock.
            if upgrade.revision(connection) is None and not upgrade.at_head(connection, self.url):
                upgrade.create(connection)
            elif not upgrade.at_head(connection, self.url):
                upgrade.upgrade(connection)
