"""The store's tables.

A change here needs a migration in `migrations/versions`, and its revision at the end of `REVISIONS`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

REVISIONS = ("0001",)
"""Every revision of the schema that this Headrace knows, oldest first. Kept here so that opening needs no Alembic."""

VERSION_TABLE = "headrace_version"
"""Not Alembic's default, which the other tenants of a shared PostgreSQL database use."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Moment(TypeDecorator[datetime]):
    """A UTC datetime as microseconds since 1970: exact and ordered alike on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Json(TypeDecorator[Any]):
    """JSON as ASCII text: PostgreSQL's own types refuse NaN and NUL, which metrics and free text have."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else json.loads(value)


class Name(TypeDecorator[str]):
    """Text from outside: what a database cannot hold (NUL, undecodable bytes of a file name) is escaped."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


# SQLite gives out growing numbers only for a column of exactly INTEGER.
Number = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

plans = Table(
    "plans",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("document", Json, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("sequence", Number, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("pipeline", Name, nullable=False),
    Column("state", Text, nullable=False),
    Column("started", Moment, nullable=False),
    Column("ended", Moment),
    Column("plan_digest", Text, nullable=False),
    Column("parameters", Json, nullable=False),
    Column("root", Name, nullable=False),
    Column("experiment", Name, nullable=False),
    Column("scope", Name, nullable=False),
    Column("labels", Json, nullable=False),
    Column("error", Json),
    Column("process", Json, nullable=False),
    Index("runs_by_pipeline", "pipeline", "sequence"),
    Index("runs_by_state", "state"),
    sqlite_autoincrement=True,
)

cache_keys = Table(
    "cache_keys",
    metadata,
    Column("key", Text, primary_key=True),
    Column("fields", Json, nullable=False),
)

steps = Table(
    "steps",
    metadata,
    Column("id", Number, primary_key=True),
    Column("run", Number, ForeignKey("runs.sequence"), nullable=False),
    Column("path", Name, nullable=False),
    Column("loop_index", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("component", Name, nullable=False),
    Column("state", Text, nullable=False),
    Column("cache_key", Text),
    Column("parameters", Json, nullable=False),
    Column("started", Moment, nullable=False),
    Column("ended", Moment),
    Column("error", Json),
    Column("refusal", Name),
    Column("output_parameters", Json, nullable=False),
    Column("progress", Json, nullable=False),
    Column("log_uri", Name),
    Column("peak_rss", BigInteger),
    Column("cached_from", Number, ForeignKey("steps.id")),
    UniqueConstraint("run", "path", "loop_index", "attempt", name="steps_once"),
    Index("steps_by_cache_key", "cache_key"),
    Index("steps_by_path", "path"),
    sqlite_autoincrement=True,
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("id", Number, primary_key=True),
    Column("root", Name, nullable=False),
    Column("uri", Name, nullable=False),
    Column("type", Name, nullable=False),
    Column("digest", Text, nullable=False),
    Column("properties", Json, nullable=False),
    Column("links", Json, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("created", Moment, nullable=False),
    Column("producer", Number, ForeignKey("steps.id"), nullable=False),
    Column("output", Name, nullable=False),
    # Other content at the same place (an imported folder that changed) is another artifact.
    UniqueConstraint("root", "uri", "digest", name="artifacts_once"),
    Index("artifacts_by_digest", "type", "digest"),
    Index("artifacts_by_producer", "producer"),
    sqlite_autoincrement=True,
)


def _usage(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("step", Number, ForeignKey("steps.id"), nullable=False),
        Column("name", Name, nullable=False),
        Column("position", Integer, nullable=False),
        Column("artifact", Number, ForeignKey("artifacts.id"), nullable=False),
        PrimaryKeyConstraint("step", "name", "position", name=f"{name}_once"),
        Index(f"{name}_by_artifact", "artifact"),
    )


step_inputs = _usage("step_inputs")
step_outputs = _usage("step_outputs")

metrics = Table(
    "metrics",
    metadata,
    Column("step", Number, ForeignKey("steps.id"), nullable=False),
    Column("name", Name, nullable=False),
    Column("number", BigInteger, nullable=False),
    # NULL is NaN: SQLite has none.
    Column("value", Float),
    PrimaryKeyConstraint("step", "name", "number", name="metrics_once"),
)

file_digests = Table(
    "file_digests",
    metadata,
    Column("path", Name, primary_key=True),
    # size, mtime, inode or version in one text: inodes are unsigned 64 bits, which no column of both databases holds.
    Column("stamp", Name, nullable=False),
    Column("digest", Text, nullable=False),
)
