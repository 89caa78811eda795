"""Traces `preprocessing_fn` once per level of dependent layers, with one pass over the train split between traces.

A trace finds every layer that needs data and has none yet. Those that no other such layer feeds are ready: one pass
computes the state of all of them together, and the next trace gives each its state before it is called, so that a
one-hot has its true width where the next level is built. In a trace, a layer that is not ready yet gives a tensor of
a guessed width; nothing is computed from it, and an exception that the guess may have caused ends that trace only.
The last trace has no guess, and every state, before its layers are called or, where no shape depends on it, after that:
it is the transform.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pyarrow as pa
from headrace.transforms.feature_model import ModelInput, to_numpy
from headrace.transforms.keras_graph import symbolic_graph
from headrace.transforms.keras_graph.evaluator import Evaluator
from headrace.transforms.keras_graph.lambda_rules import LambdaError
from headrace.transforms.keras_graph.layer_state import Analyzer, SpillingAnalyzer
from headrace.transforms.keras_graph.raw_columns import check_exact, symbolic_inputs
from headrace.transforms.keras_graph.tracing import Key, Trace, TracedLayer, observing
from headrace.transforms.passes import run_pass
from headrace.transforms.row_groups import RowGroup

PreprocessingFn = Callable[[dict[str, Any]], dict[str, Any]]
_MOST_TRACES = 50


@dataclass
class Settled:
    """The last trace: every layer has its state.

    Args:
        symbolic: The `keras.Input`s by column.
        outputs: What `preprocessing_fn` returned.
        traces: How often it was traced.
        passes: How many passes over the train split there were.
    """

    symbolic: dict[str, Any]
    outputs: Any
    traces: int
    passes: int


@dataclass
class _Known:
    """States by key, and of each the fingerprints of the tensors it was computed from."""

    states: dict[Key, Any] = field(default_factory=dict)
    inputs: dict[Key, tuple[str, ...]] = field(default_factory=dict)
    created: dict[tuple[str, int], Key] = field(default_factory=dict)


def settle(
    preprocessing_fn: PreprocessingFn,
    inputs: Mapping[str, ModelInput],
    train_groups: Sequence[RowGroup],
    *,
    beam_args: Sequence[str] | None = None,
    engine: Literal["beam", "direct"] = "beam",
    on_rows: Callable[[int], None] | None = None,
) -> Settled:
    """Traces and computes until no layer lacks its state.

    Raises:
        ValueError: The train split has no rows, or the function differs from trace to trace.
        LambdaError: Lambda layers would not survive in a SavedModel.
        Exception: Whatever `preprocessing_fn` raises, as it is.
    """
    known = _Known()
    passes = 0
    for traces in range(1, _MOST_TRACES):
        symbolic = symbolic_inputs(inputs.values())
        trace = Trace(known.states, known.created)
        outputs, error = _run(preprocessing_fn, symbolic, trace)
        known.created.update(trace.creation_order())
        stale = _forget_stale(trace, known)
        pending = [one for one in trace.layers if one.pending]
        if not pending and not stale:
            if error is not None:
                raise error
            _check_lengths(symbolic_graph.symbolic_leaves(outputs), inputs)
            return Settled(symbolic, outputs, traces, passes)
        ready = _ready(pending)
        if not ready:
            if error is not None:
                raise error
            if not stale:
                names = [one.layer.name for one in pending]
                raise ValueError(
                    f"layers {names} are called on what they gave themselves: their state has no beginning"
                )
            continue
        if not any(group.rows for group in train_groups):
            raise ValueError(
                f"the train split has no rows, and {len(ready)} layers ({ready[0].layer.name!r} first) learn from "
                "it: look at the split and the filters of ExampleGen"
            )
        _check_lengths([tensor for one in ready for tensor in one.inputs], inputs)
        elsewhere = engine == "beam" and _leaves_this_process(beam_args)
        with TemporaryDirectory(prefix="headrace-tokens-") as folder:
            level = _level(ready, symbolic, inputs, portable=elsewhere, folder=None if elsewhere else folder)
            computed = run_pass(
                train_groups, level, columns=level.columns(), beam_args=beam_args, engine=engine, on_rows=on_rows
            )
        passes += 1
        for one, state in zip(ready, computed):
            known.states[one.key] = state
            known.inputs[one.key] = _fingerprints(one, trace)
        if error is None and not stale and trace.complete(known.states):
            _check_lengths(symbolic_graph.symbolic_leaves(outputs), inputs)
            return Settled(symbolic, outputs, traces, passes)
    raise ValueError(
        f"preprocessing_fn has other layers each time it is traced ({_MOST_TRACES} times): it must build the same "
        "graph from the same inputs; look for random numbers, and for layers made once and kept in a variable"
    )


def _run(preprocessing_fn: PreprocessingFn, symbolic: dict[str, Any], trace: Trace) -> tuple[Any, Exception | None]:
    with observing(trace):
        try:
            outputs, error = preprocessing_fn(dict(symbolic)), None
        except Exception as raised:
            if not trace.guessed_shapes and not trace.findings:
                raise
            outputs, error = None, raised
    if trace.findings:
        # They are the author's repair, and often the cause of the exception too.
        raise LambdaError(trace.findings) from error
    return outputs, error


def _fingerprints(traced: TracedLayer, trace: Trace) -> tuple[str, ...]:
    return tuple(trace.fingerprints.of(tensor) for tensor in traced.inputs)


def _forget_stale(trace: Trace, known: _Known) -> bool:
    """Forgets the state of layers that are called on other tensors than when it was computed."""
    stale = [
        one
        for one in trace.layers
        if not one.pending and one.inputs and known.inputs[one.key] != _fingerprints(one, trace)
    ]
    for one in stale:
        del known.states[one.key]
    return bool(stale)


def _ready(pending: list[TracedLayer]) -> list[TracedLayer]:
    without_state = {id(one.layer) for one in pending}
    return [
        one
        for one in pending
        if one.inputs
        and not any(
            id(symbolic_graph.producer(tensor)[0]) in without_state
            for called_on in one.inputs
            for tensor in symbolic_graph.upstream(called_on)
        )
    ]


def _check_lengths(tensors: list[Any], inputs: Mapping[str, ModelInput]) -> None:
    used = {column for tensor in tensors for column in symbolic_graph.columns(tensor)}
    for column in sorted(used):
        # Padded to the longest of a batch, a row's features would depend on the rows beside it.
        if None in inputs[column].shape:
            raise ValueError(
                f"column {column!r} is a list of any length, which preprocessing_fn cannot take; state a fixed length "
                "n in the schema, to which shorter lists are padded: "
                f'feature {{ name: "{column}" shape {{ dim {{ size: n }} }} }}'
            )


@dataclass(frozen=True)
class _Source:
    """Where an analyzer's values come from: a column's Arrow array, the column as an array, or a sub-graph's output."""

    kind: Literal["arrow", "dense", "output"]
    column: str = ""
    output: int = -1


def _leaves_this_process(beam_args: Sequence[str] | None) -> bool:
    return any(one.startswith(("--runner", "--direct_running_mode")) for one in beam_args or ())


def _level(
    ready: list[TracedLayer],
    symbolic: dict[str, Any],
    inputs: Mapping[str, ModelInput],
    *,
    portable: bool,
    folder: str | None,
) -> Level:
    analyzers: list[Analyzer] = []
    sources: list[list[_Source]] = []
    behind: list[Any] = []
    for one in ready:
        first = one.inputs[0]
        analyzer = one.state.analyzer(one.layer, tuple(first.shape), str(first.dtype))
        spills = folder is not None and isinstance(analyzer, SpillingAnalyzer)
        analyzers.append(analyzer.spilling(folder) if spills else analyzer)
        mine: list[_Source] = []
        for tensor in one.inputs:
            if symbolic_graph.is_input(tensor):
                column = symbolic_graph.columns(tensor)[0]
                arrow = one.state.reads_arrow and not inputs[column].shape
                mine.append(_Source("arrow" if arrow else "dense", column))
            else:
                mine.append(_Source("output", output=len(behind)))
                behind.append(tensor)
        sources.append(mine)
    evaluator = Evaluator.of(behind, symbolic, inputs, portable=portable) if behind else None
    return Level(analyzers, sources, dict(inputs), evaluator)


class Level:
    """The summarizer of a pass: one summary for each layer of the level."""

    def __init__(
        self,
        analyzers: list[Analyzer],
        sources: list[list[_Source]],
        inputs: dict[str, ModelInput],
        evaluator: Evaluator | None,
    ) -> None:
        self._analyzers = analyzers
        self._sources = sources
        self._inputs = inputs
        self._evaluator = evaluator

    def columns(self) -> list[str]:
        """The raw columns that the pass reads."""
        direct = {source.column for some in self._sources for source in some if source.column}
        behind = self._evaluator.inputs if self._evaluator is not None else {}
        return [name for name in self._inputs if name in direct or name in behind]

    def create(self) -> list[Any]:
        return [analyzer.create() for analyzer in self._analyzers]

    def summarize(self, batch: pa.RecordBatch) -> list[Any]:
        summaries = self.create()
        for i, some in enumerate(self._sources):
            for source in some:
                if source.kind != "output":
                    values = self._column(batch, source)
                    summaries[i] = self._merged(i, summaries[i], values)
        if self._evaluator is not None:
            for outputs in self._evaluator.evaluate(batch):
                for i, some in enumerate(self._sources):
                    for source in some:
                        if source.kind == "output":
                            summaries[i] = self._merged(i, summaries[i], outputs[source.output])
        return summaries

    def merge(self, left: list[Any], right: list[Any]) -> list[Any]:
        return [one.merge(first, second) for one, first, second in zip(self._analyzers, left, right)]

    def finish(self, summary: list[Any]) -> list[Any]:
        return [analyzer.finish(one) for analyzer, one in zip(self._analyzers, summary)]

    def _merged(self, i: int, summary: Any, values: Any) -> Any:
        return self._analyzers[i].merge(summary, self._analyzers[i].summarize(values))

    def _column(self, batch: pa.RecordBatch, source: _Source) -> Any:
        column = batch.column(source.column)
        one = self._inputs[source.column]
        if source.kind == "arrow":
            return column
        check_exact(column, one)
        values = to_numpy(column, one)
        return values if one.shape else values[:, None]
