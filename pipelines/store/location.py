"""Where a store is: from what the user typed to a database URL, and to what may be shown of it."""

from __future__ import annotations

import os
from pathlib import Path

from headrace.pipelines.errors import MissingExtra, StoreError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_FILE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
_EXPECTED = "expected a folder, a file ending in .db, sqlite:///PATH, or postgresql://USER@HOST/DATABASE"


def locate(url: str | Path) -> URL:
    """The database URL of what the user typed.

    A bare path to a ``.db`` file is that file; any other bare path is a folder (a pipeline root) whose store is
    ``.headrace/store.db`` in it.

    Raises:
        StoreError: It is neither a path nor a URL of SQLite or PostgreSQL.
        MissingExtra: PostgreSQL's driver is not installed.

    >>> locate("/data/root").database
    '/data/root/.headrace/store.db'
    """
    text = str(url)
    if "://" not in text:
        return _sqlite(_file(Path(text).expanduser()))
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError):
        # The cause quotes the URL, password and all.
        scheme = text.partition("://")[0]
        raise StoreError(f"the store's URL ({scheme}://...) cannot be read\n    fix: {_EXPECTED}") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:" or parsed.query:
            raise StoreError(
                f"the store {shown(parsed)} is not a plain file, which is what outlives a run\n    fix: {_EXPECTED}"
            )
        return _sqlite(Path(parsed.database))
    if backend in ("postgresql", "postgres"):
        try:
            import psycopg  # noqa: F401
        except ImportError as error:
            raise MissingExtra("postgres", "psycopg") from error
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreError(f"the store cannot be kept in {backend!r}\n    fix: {_EXPECTED}")


def shown(url: URL) -> str:
    """The URL as it may be printed: no password, and no query, which may hold one too.

    >>> shown(make_url("postgresql+psycopg://ann:secret@db/headrace?sslpassword=secret"))
    'postgresql://ann@db/headrace'
    """
    if url.get_backend_name() == "sqlite":
        # As its path is written, not percent-encoded.
        return f"sqlite:///{url.database or ''}"
    bare = URL.create(url.get_backend_name(), url.username, None, url.host, url.port, url.database)
    return bare.render_as_string(hide_password=True)


def secrets(url: URL) -> tuple[str, ...]:
    """The texts of the URL that no message may hold; one or two letters are in every message."""
    found = [url.password]
    for name, values in url.query.items():
        if "password" in name or "secret" in name:
            found.extend([values] if isinstance(values, str) else values)
    return tuple(secret for secret in found if secret and len(secret) > 2)


def _file(path: Path) -> Path:
    # os.path, not Path: in a folder that may not be entered these say no, and opening the store says why.
    if os.path.isfile(path) or (path.suffix in _FILE_SUFFIXES and not os.path.isdir(path)):  # noqa: PTH112, PTH113
        return path
    return path / "store.db" if path.name == ".headrace" else path / ".headrace" / "store.db"


def _sqlite(path: Path) -> URL:
    # Absolute, so that a later chdir does not move the store.
    return URL.create("sqlite", database=str(path.absolute()))
