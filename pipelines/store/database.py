"""A connection to the store's database: transactions, and what went wrong said in the user's terms."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

from headrace.pipelines.errors import StoreError
from headrace.pipelines.store.location import secrets, shown
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

BUSY_SECONDS = 60
"""How long a write waits for another process' write."""

# Any constant does, as long as no other program on the database uses it: "headrace" in hexadecimal.
ADVISORY_LOCK = 0x6865616472616365

_LOCK = text("SELECT pg_advisory_xact_lock(:key)").bindparams(key=ADVISORY_LOCK)

# What the database says -> what the user can do.
_REPAIRS = (
    ("not a database|malformed", "move the file away and run again, or restore a copy of it; artifacts are not lost"),
    ("readonly|read-only|unable to open|permission denied", "give a store you may write to: --store URL"),
    ("database is locked", "end the process that has held the store for so long, or use PostgreSQL: --store URL"),
    ("disk is full|no space left|disk i/o", "make room on the disk the store is on"),
    ("password|authentication|role ", "check the user and the password in the store's URL"),
    ('database ".*" does not exist', "create the database first: createdb NAME"),
    ("connection|connect|timeout|resolve", "check that the server runs and that its host and port are right"),
)


class Database:
    """The engine of a store and its transactions; the store's concepts are built on it, one class each.

    One object serves the threads of one process. A forked child must open its own: SQLite's locks are not inherited.

    Args:
        url: Of the database.
        read_only: Read a SQLite file that this user may not write to; a write is an error.
    """

    def __init__(self, url: URL, *, read_only: bool = False) -> None:
        self.url, self.read_only = shown(url), read_only
        self._secrets = secrets(url)
        self._pid = os.getpid()
        self._sqlite = url.get_backend_name() == "sqlite"
        self._engine = _sqlite_engine(url, read_only) if self._sqlite else _postgresql_engine(url)
        self._writer = self._engine.execution_options(headrace_write=True)
        # SQLite's own wait polls with pauses of up to 100 ms; threads of one process need not pay that.
        self._writing = threading.Lock()
        self._last_moment = datetime.min.replace(tzinfo=UTC)
        self._statements: dict[tuple[str, str], Any] = {}
        self._run_sequences: dict[str, int] = {}

    @property
    def folder(self) -> Path | None:
        """The folder of a store that is a file, None for a server."""
        file = sqlite_file(self._engine.url)
        return file.parent if file is not None else None

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the database; what was recorded is already there."""
        if os.getpid() == self._pid:
            self._engine.dispose()

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the store throughout."""
        with self._errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _write(self, *, ordered: bool = False) -> Iterator[Connection]:
        """A transaction that writes; with `ordered`, the numbers it is given grow in the order of commits.

        SQLite has one writer at a time, so there they always do. PostgreSQL gives numbers out before the commit: were
        it not for the lock, a smaller number could appear after a larger one was read, and an "as of" would change.
        """
        if not self._sqlite:
            with self._errors(), self._writer.begin() as connection:
                if ordered:
                    connection.execute(_LOCK)
                yield connection
            return
        with self._errors(), self._writing, self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if os.getpid() != self._pid:
            raise StoreError(f"the store {self.url} was opened in another process\n    fix: open it again after a fork")
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            said = str(getattr(error, "orig", None) or error).strip()
            if any(secret in said for secret in self._secrets):
                # Drivers do not quote passwords; should one ever do, its error must not be shown as the cause either.
                raise StoreError(f"the store {self.url} fails with a message that quotes a secret of its URL") from None
            fix = next((fix for signs, fix in _REPAIRS if re.search(signs, said.lower())), "")
            raise StoreError(f"the store {self.url}: {said}" + (f"\n    fix: {fix}" if fix else "")) from error

    def _insert_or_keep(self, table: Table) -> Any:
        """An insert that leaves a row with the same key as it is: for what is named by its own digest."""
        return self._statement("keep", table, lambda: self._insert(table).on_conflict_do_nothing())

    def _insert_or_replace(self, table: Table, *key: str) -> Any:
        """An insert that replaces the row with the same key."""

        def replace() -> Any:
            new = self._insert(table)
            rest = {column.name: new.excluded[column.name] for column in table.columns if column.name not in key}
            return new.on_conflict_do_update(index_elements=key, set_=rest)

        return self._statement("replace", table, replace)

    def _statement(self, kind: str, table: Table, make: Callable[[], Any]) -> Any:
        """One statement object for each use: SQLAlchemy then finds its compiled form fastest."""
        known = self._statements.get((kind, table.name))
        if known is None:
            known = self._statements[kind, table.name] = make()
        return known

    def _insert(self, table: Table) -> Any:
        """An insert that knows ON CONFLICT, which both databases write alike and SQLAlchemy keeps in two classes."""
        if self._sqlite:
            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)

    def _now(self) -> datetime:
        """The time, later than every time this store has given before."""
        self._last_moment = max(datetime.now(UTC), self._last_moment + timedelta(microseconds=1))
        return self._last_moment


def _sqlite_engine(url: URL, read_only: bool) -> Engine:
    # hide_parameters: an error is printed and kept in logs, and parameters hold the user's data.
    if read_only:
        # A connection for each transaction: how the file may be read changes when its owner writes to it.
        connect = partial(_connect_read_only, Path(url.database or ""))
        engine = create_engine(url, creator=connect, poolclass=NullPool, hide_parameters=True)
    else:
        engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        # Python's own BEGIN comes late and is never IMMEDIATE, so it is turned off and sent below.
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A deferred transaction that turns to writing fails at once where an immediate one would wait.
        write = connection.get_execution_options().get("headrace_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _connect_read_only(file: Path) -> sqlite3.Connection:
    """Reads a file in a folder where SQLite may not make the files beside it that a write-ahead log has.

    While its owner writes they are there, and SQLite reads them. When they are gone the file is all there is, and
    SQLite must be told that nobody writes to it, or it would try to make them.
    """
    log = file.with_name(f"{file.name}-wal")
    mode = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    return sqlite3.connect(f"{file.as_uri()}?{mode}", uri=True, timeout=BUSY_SECONDS, check_same_thread=False)


def _postgresql_engine(url: URL) -> Engine:
    return create_engine(
        url,
        connect_args={"connect_timeout": 10, "application_name": "headrace"},
        hide_parameters=True,
        pool_pre_ping=True,
    )


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite URL, None for a server."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


def may_write(file: Path) -> bool:
    """Whether this user may write to a SQLite file, which takes its folder too: the log is made beside it."""
    return os.access(file, os.W_OK) and os.access(file.parent, os.W_OK | os.X_OK)
