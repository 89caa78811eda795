"""Bringing the database to this Headrace's schema, once, however many processes open it together."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from headrace.pipelines.errors import StoreError
from headrace.pipelines.store.database import BUSY_SECONDS
from headrace.pipelines.store.schema import REVISIONS, VERSION_TABLE, metadata
from sqlalchemy import Connection, PoolProxiedConnection, inspect, text
from sqlalchemy.exc import DBAPIError

_REVISION = text(f"SELECT version_num FROM {VERSION_TABLE}")


def revision(connection: Connection) -> str | None:
    """The schema's revision in the database, None when it has no store yet."""
    savepoint = connection.begin_nested()
    try:
        found = connection.execute(_REVISION).scalar()
    except DBAPIError as error:
        # The only error that means "no such table"; a broken file is another and stays one.
        if not _no_such_table(error):
            raise
        savepoint.rollback()
        return None
    savepoint.commit()
    return None if found is None else str(found)


def at_head(connection: Connection, url: str) -> bool:
    """Whether the schema is this Headrace's.

    Raises:
        StoreError: It is a newer Headrace's, or the database belongs to something else.
    """
    found = revision(connection)
    if found is None:
        _refuse_foreign(connection, url)
    elif found not in REVISIONS:
        raise StoreError(
            f"the store {url} is of revision {found!r}, which is newer than this Headrace (it knows up to"
            f" {REVISIONS[-1]!r})\n    fix: pip install --upgrade headrace, or give another store: --store URL"
        )
    return found == REVISIONS[-1]


def create(connection: Connection) -> None:
    """Makes the schema in an empty database, inside the caller's transaction: what all migrations together give.

    Without Alembic, whose import is a good part of a new store's first second.
    """
    metadata.create_all(connection)
    # As Alembic makes it.
    key = f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num)"
    connection.execute(text(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL, {key})"))
    connection.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES (:head)"), {"head": REVISIONS[-1]})


def upgrade(connection: Connection) -> None:
    """Runs the migrations that are missing, inside the caller's transaction: all of them take effect or none."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    # Alembic reads options by configparser, to which % is special.
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def use_wal(connection: PoolProxiedConnection) -> None:
    """Turns a SQLite file's write-ahead log on, by which readers and the writer do not wait for each other.

    The switch is kept in the file. It does not wait for other processes, as everything else does, so it is retried.
    """
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.cursor().execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.005)


def _no_such_table(error: DBAPIError) -> bool:
    return "no such table" in str(error.orig) or getattr(error.orig, "sqlstate", None) == "42P01"


def _refuse_foreign(connection: Connection, url: str) -> None:
    ours = sorted(set(inspect(connection).get_table_names()) & set(metadata.tables))
    if ours:
        raise StoreError(
            f"the store {url} has tables of these names that Headrace did not make: {', '.join(ours)}"
            "\n    fix: give a database of its own: --store URL"
        )
