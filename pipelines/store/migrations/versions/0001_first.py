"""The first schema: runs, steps, artifacts, lineage, metrics, and the cache's memory."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A migration never changes once released, so it names no table or type of the present schema.
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "cache_keys",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "file_digests",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("stamp", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("path"),
    )
    op.create_table(
        "plans",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "runs",
        sa.Column("sequence", NUMBER, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.Column("plan_digest", sa.Text(), nullable=False),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("process", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("runs_by_pipeline", "runs", ["pipeline", "sequence"], unique=False)
    op.create_index("runs_by_state", "runs", ["state"], unique=False)
    op.create_table(
        "steps",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("run", NUMBER, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("loop_index", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("component", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("cache_key", sa.Text(), nullable=True),
        sa.Column("parameters", sa.Text(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("output_parameters", sa.Text(), nullable=False),
        sa.Column("progress", sa.Text(), nullable=False),
        sa.Column("log_uri", sa.Text(), nullable=True),
        sa.Column("peak_rss", sa.BigInteger(), nullable=True),
        sa.Column("cached_from", NUMBER, nullable=True),
        sa.ForeignKeyConstraint(
            ["cached_from"],
            ["steps.id"],
        ),
        sa.ForeignKeyConstraint(
            ["run"],
            ["runs.sequence"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("run", "path", "loop_index", "attempt", name="steps_once"),
        sqlite_autoincrement=True,
    )
    op.create_index("steps_by_cache_key", "steps", ["cache_key"], unique=False)
    op.create_index("steps_by_path", "steps", ["path"], unique=False)
    op.create_table(
        "artifacts",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("properties", sa.Text(), nullable=False),
        sa.Column("links", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("producer", NUMBER, nullable=False),
        sa.Column("output", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["producer"],
            ["steps.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("root", "uri", "digest", name="artifacts_once"),
        sqlite_autoincrement=True,
    )
    op.create_index("artifacts_by_digest", "artifacts", ["type", "digest"], unique=False)
    op.create_index("artifacts_by_producer", "artifacts", ["producer"], unique=False)
    op.create_table(
        "metrics",
        sa.Column("step", NUMBER, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["step"],
            ["steps.id"],
        ),
        sa.PrimaryKeyConstraint("step", "name", "number", name="metrics_once"),
    )
    op.create_table(
        "step_inputs",
        sa.Column("step", NUMBER, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("artifact", NUMBER, nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact"],
            ["artifacts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["step"],
            ["steps.id"],
        ),
        sa.PrimaryKeyConstraint("step", "name", "position", name="step_inputs_once"),
    )
    op.create_index("step_inputs_by_artifact", "step_inputs", ["artifact"], unique=False)
    op.create_table(
        "step_outputs",
        sa.Column("step", NUMBER, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("artifact", NUMBER, nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact"],
            ["artifacts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["step"],
            ["steps.id"],
        ),
        sa.PrimaryKeyConstraint("step", "name", "position", name="step_outputs_once"),
    )
    op.create_index("step_outputs_by_artifact", "step_outputs", ["artifact"], unique=False)
