"""From rows to records: the columns each record is read from, and the joins that give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headrace.pipelines.store.records import (
    ArtifactRecord,
    History,
    RunRecord,
    RunState,
    StepKey,
    StepRecord,
    StepState,
)
from headrace.pipelines.store.schema import artifacts, cache_keys, runs, step_inputs, step_outputs, steps
from sqlalchemy import ColumnElement, Connection, FromClause, Row, Select, Table, select

RUN_COLUMNS = tuple(column for column in runs.columns)

# Beside the step and run that a query is about, the ones that made an artifact.
_maker = steps.alias("maker")
_maker_run = runs.alias("maker_run")
ARTIFACT_COLUMNS = (
    artifacts.c.id,
    artifacts.c.root,
    artifacts.c.uri,
    artifacts.c.type,
    artifacts.c.digest,
    artifacts.c.properties,
    artifacts.c.links,
    artifacts.c.live,
    artifacts.c.created,
    _maker_run.c.id,
    _maker.c.path,
    _maker.c.loop_index,
    _maker.c.attempt,
    artifacts.c.output,
)


def join_producer(left: FromClause) -> FromClause:
    """`left`, which has `artifacts`, with the step and run that made each."""
    return left.join(_maker, _maker.c.id == artifacts.c.producer).join(
        _maker_run, _maker_run.c.sequence == _maker.c.run
    )


def select_artifacts(source: FromClause = artifacts) -> Select[Any]:
    """The artifacts of `source`, to be narrowed by the caller, as rows for `artifact`."""
    return select(*ARTIFACT_COLUMNS).select_from(join_producer(source))


def of(history: History) -> tuple[ColumnElement[bool], ...]:
    """That the joined run is one of the history."""
    return runs.c.pipeline == history.pipeline, runs.c.root == history.root, runs.c.scope == history.scope


def artifact(row: Sequence[Any]) -> ArtifactRecord:
    """The record of a row of `ARTIFACT_COLUMNS`."""
    *content, run_id, path, loop_index, attempt, output = row
    return ArtifactRecord(*content, StepKey(run_id, path, loop_index, attempt), output)  # type: ignore[call-arg]


def run(row: Row[Any]) -> RunRecord:
    """The record of a row of `RUN_COLUMNS`."""
    fields = dict(row._mapping)
    return RunRecord(**{**fields, "state": RunState(fields["state"])})


_source = steps.alias("source")
_source_run = runs.alias("source_run")
_STEP_COLUMNS = (
    *steps.columns,
    runs.c.id.label("run_id"),
    runs.c.pipeline.label("pipeline"),
    cache_keys.c.fields.label("key_fields"),
    _source_run.c.id.label("source_run_id"),
    _source.c.path.label("source_path"),
    _source.c.loop_index.label("source_loop_index"),
    _source.c.attempt.label("source_attempt"),
)
_STEP_FROM = (
    steps.join(runs, runs.c.sequence == steps.c.run)
    .outerjoin(cache_keys, cache_keys.c.key == steps.c.cache_key)
    .outerjoin(_source, _source.c.id == steps.c.cached_from)
    .outerjoin(_source_run, _source_run.c.sequence == _source.c.run)
)


def step_records(connection: Connection, query: Select[Any]) -> tuple[StepRecord, ...]:
    """The steps whose ids `query` selects, in the order they were started, with what they read and wrote."""
    wanted = query.scalar_subquery()
    found = select(*_STEP_COLUMNS).select_from(_STEP_FROM).where(steps.c.id.in_(wanted)).order_by(steps.c.id)
    inputs = used(connection.execute(select_used(step_inputs, step_inputs.c.step.in_(wanted))))
    outputs = used(connection.execute(select_used(step_outputs, step_outputs.c.step.in_(wanted))))
    return tuple(
        _step(row._mapping, inputs.get(row.id, {}), outputs.get(row.id, {})) for row in connection.execute(found)
    )


def select_used(usage: Table, condition: ColumnElement[bool]) -> Select[Any]:
    """What steps read (`step_inputs`) or wrote (`step_outputs`), as rows for `used`."""
    return (
        select(usage.c.step, usage.c.name, *ARTIFACT_COLUMNS)
        .select_from(join_producer(usage.join(artifacts, artifacts.c.id == usage.c.artifact)))
        .where(condition)
        .order_by(usage.c.step, usage.c.name, usage.c.position)
    )


def used(found: Iterable[Sequence[Any]]) -> dict[int, dict[str, tuple[ArtifactRecord, ...]]]:
    """The artifacts of rows of `select_used`: by step, by name, in order."""
    steps_: dict[int, dict[str, tuple[ArtifactRecord, ...]]] = {}
    for step, name, *columns in found:
        names = steps_.setdefault(step, {})
        names[name] = (*names.get(name, ()), artifact(columns))
    return steps_


def _step(
    row: Mapping[Any, Any],
    inputs: Mapping[str, tuple[ArtifactRecord, ...]],
    outputs: Mapping[str, tuple[ArtifactRecord, ...]],
) -> StepRecord:
    source = (row["source_run_id"], row["source_path"], row["source_loop_index"], row["source_attempt"])
    return StepRecord(
        id=row["id"],
        key=StepKey(row["run_id"], row["path"], row["loop_index"], row["attempt"]),
        pipeline=row["pipeline"],
        component=row["component"],
        state=StepState(row["state"]),
        cache_key=row["cache_key"],
        key_fields=row["key_fields"],
        parameters=row["parameters"],
        started=row["started"],
        ended=row["ended"],
        error=row["error"],
        refusal=row["refusal"],
        output_parameters=row["output_parameters"],
        progress=row["progress"],
        log_uri=row["log_uri"],
        peak_rss=row["peak_rss"],
        cached_from=StepKey(*source) if source[0] is not None else None,
        inputs=inputs,
        outputs=outputs,
    )
