"""The store's artifacts: found by what they are, by what they came from, and as of a moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace.pipelines.errors import StoreError
from headrace.pipelines.store import rows
from headrace.pipelines.store.database import Database
from headrace.pipelines.store.records import ArtifactRecord, History, StepState
from headrace.pipelines.store.schema import artifacts, runs, step_inputs, step_outputs, steps
from sqlalchemy import ColumnElement, FromClause, Table, func, select, update

_DONE = [StepState.SUCCEEDED.value, StepState.NOT_BLESSED.value, StepState.CACHED.value]


class Lineage(Database):
    """The part of the store that is about artifacts and what they came from."""

    def artifact(self, artifact: int) -> ArtifactRecord:
        """One artifact by its id.

        Raises:
            StoreError: There is none.
        """
        with self._read() as connection:
            row = connection.execute(rows.select_artifacts().where(artifacts.c.id == artifact)).one_or_none()
        if row is None:
            raise StoreError(f"the store {self.url} has no artifact {artifact}")
        return rows.artifact(row)

    def artifacts(
        self,
        *,
        type: str | None = None,
        digest: str | None = None,
        uri: str | None = None,
        root: str | None = None,
        live: bool | None = None,
        limit: int | None = 100,
    ) -> tuple[ArtifactRecord, ...]:
        """The newest artifacts that are all that is asked for, newest first."""
        query = rows.select_artifacts().order_by(artifacts.c.id.desc()).limit(limit)
        wanted = {"type": type, "digest": digest, "uri": uri, "root": root, "live": live}
        query = query.where(*(artifacts.c[name] == value for name, value in wanted.items() if value is not None))
        with self._read() as connection:
            return tuple(rows.artifact(row) for row in connection.execute(query))

    def mark_artifact_gone(self, artifact: int) -> None:
        """Records that an artifact's payload is missing or damaged, so that no cache hit gives it."""
        with self._write() as connection:
            connection.execute(update(artifacts).where(artifacts.c.id == artifact).values(live=False))

    def ancestors(self, artifact: int) -> tuple[ArtifactRecord, ...]:
        """All artifacts it was made from, directly and indirectly, nearest first."""
        read_by_producer = artifacts.join(step_inputs, step_inputs.c.step == artifacts.c.producer)
        found = self._closure(artifact, read_by_producer, artifacts.c.id, step_inputs.c.artifact)
        return tuple(reversed(found))

    def descendants(self, artifact: int) -> tuple[ArtifactRecord, ...]:
        """All artifacts that were made from it, directly and indirectly, nearest first."""
        made_by_reader = step_inputs.join(artifacts, artifacts.c.producer == step_inputs.c.step)
        return self._closure(artifact, made_by_reader, step_inputs.c.artifact, artifacts.c.id)

    def first_produced(self, history: History, type: str, digest: str) -> int | None:
        """When, as an artifact id, content with this digest first came out of a step of the history.

        This is the "as of" of `latest_artifact` and `latest_blessed_model`: an identical rerun, which makes the same
        content, is compared with what the first was compared with.
        """
        query = (
            select(func.min(artifacts.c.id))
            .select_from(_made())
            .where(artifacts.c.type == type, artifacts.c.digest == digest, *rows.of(history))
        )
        with self._read() as connection:
            return connection.execute(query).scalar()

    def latest_artifact(
        self,
        history: History,
        type: str,
        *,
        path: str | None = None,
        output: str | None = None,
        before: int | None = None,
        not_digest: str | None = None,
    ) -> ArtifactRecord | None:
        """The newest artifact of a type that a finished step of the history made and that is still there.

        Args:
            path: The step that made it; None for any.
            output: The name of that step's output; None for any.
            before: Only artifacts of a smaller id: what `first_produced` gave for the one to compare with.
            not_digest: The digest of the candidate, which is never compared with itself.
        """
        query = rows.select_artifacts(_made()).where(artifacts.c.type == type, artifacts.c.live)
        query = query.where(steps.c.state.in_(_DONE), *rows.of(history), *_as_of(artifacts, before, not_digest))
        for column, wanted in ((steps.c.path, path), (step_outputs.c.name, output)):
            if wanted is not None:
                query = query.where(column == wanted)
        with self._read() as connection:
            row = connection.execute(query.order_by(artifacts.c.id.desc()).limit(1)).one_or_none()
        return None if row is None else rows.artifact(row)

    def latest_blessed_model(
        self,
        history: History,
        *,
        before: int | None = None,
        not_digest: str | None = None,
        model: str = "model",
        model_type: str = "Model",
        blessing_type: str = "Blessing",
    ) -> ArtifactRecord | None:
        """The model that was blessed last among those that are still there.

        A model is blessed by a finished step that read it as its input `model` and made a blessing whose property
        ``blessed`` is true; the moment is the blessing's, not the model's.

        Args:
            before: Only blessings of a smaller artifact id: what `first_produced` gave for the candidate.
            not_digest: The digest of the candidate, which is never compared with itself.
        """
        blessing = artifacts.alias("blessing")
        source = (
            steps.join(runs, runs.c.sequence == steps.c.run)
            .join(step_outputs, step_outputs.c.step == steps.c.id)
            .join(blessing, blessing.c.id == step_outputs.c.artifact)
            .join(step_inputs, step_inputs.c.step == steps.c.id)
            .join(artifacts, artifacts.c.id == step_inputs.c.artifact)
        )
        query = (
            rows.select_artifacts(source)
            .add_columns(blessing.c.properties)
            .where(blessing.c.type == blessing_type, artifacts.c.type == model_type, artifacts.c.live)
            .where(step_inputs.c.name == model, steps.c.state.in_(_DONE), *rows.of(history))
            .order_by(blessing.c.id.desc(), steps.c.id.desc())
        )
        if before is not None:
            query = query.where(blessing.c.id < before)
        if not_digest is not None:
            query = query.where(artifacts.c.digest != not_digest)
        with self._read() as connection:
            for *row, properties in connection.execute(query):
                if properties.get("blessed") is True:
                    return rows.artifact(row)
        return None

    def _closure(
        self, artifact: int, edges: FromClause, start: ColumnElement[Any], end: ColumnElement[Any]
    ) -> tuple[ArtifactRecord, ...]:
        """What is reached from an artifact over the edges. Ids grow from a step's inputs to its outputs: an order."""
        reached = select(end.label("id")).select_from(edges).where(start == artifact).cte("reached", recursive=True)
        further = select(end).select_from(edges.join(reached, reached.c.id == start))
        reached = reached.union(further)
        query = rows.select_artifacts().where(artifacts.c.id.in_(select(reached.c.id))).order_by(artifacts.c.id)
        with self._read() as connection:
            return tuple(rows.artifact(row) for row in connection.execute(query))


def _made() -> FromClause:
    """What steps of runs made or took from the cache."""
    return (
        step_outputs.join(artifacts, artifacts.c.id == step_outputs.c.artifact)
        .join(steps, steps.c.id == step_outputs.c.step)
        .join(runs, runs.c.sequence == steps.c.run)
    )


def _as_of(table: Table, before: int | None, not_digest: str | None) -> Iterator[ColumnElement[bool]]:
    if before is not None:
        yield table.c.id < before
    if not_digest is not None:
        yield table.c.digest != not_digest
