"""Beam's side of a pass: thin adapters from pure summarizers to a ParDo and a CombineFn.

Only (split, row groups) references go in and pickled summaries come out; data is read inside the workers.
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import DirectOptions, GoogleCloudOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import fn_runner
from headrace.transforms.passes import OnRows, Progress, Summarizer, merge_all, together
from headrace.transforms.row_groups import RowGroup

_LOCAL_RUNNERS = ("DirectRunner", "BundleBasedDirectRunner", "FnApiRunner", "SwitchingDirectRunner")


class _Watch:
    """What a pass in this process reports back beside its summaries: progress, and the exception it met."""

    def __init__(self, on_rows: OnRows | None) -> None:
        self.progress = Progress(on_rows)
        self.error: BaseException | None = None


# By name, not by reference: a DoFn travels pickled, even within one process. Elsewhere the name is unknown.
_watches: dict[str, _Watch] = {}


class _Summarize(beam.DoFn):
    def __init__(self, summarizer: Summarizer[Any], columns: list[str] | None, watch: str) -> None:
        self._summarizer = summarizer
        self._columns = columns
        self._watch = watch

    def process(self, element: tuple[str, list[tuple[str, int, int]]]) -> Iterator[tuple[str, bytes]]:
        split, groups = element
        watch = _watches.get(self._watch) or _Watch(None)
        try:
            merged = merge_all([RowGroup(*group) for group in groups], self._summarizer, self._columns, watch.progress)
        except BaseException as error:
            watch.error = error
            raise
        yield split, pickle.dumps(merged, protocol=5)


class _Merge(beam.CombineFn):
    """Merges pickled summaries; the accumulator stays an object while it is in one worker."""

    def __init__(self, summarizer: Summarizer[Any]) -> None:
        self._summarizer = summarizer

    def create_accumulator(self) -> Any:
        return self._summarizer.create()

    def add_input(self, accumulator: Any, summary: bytes) -> Any:
        return self._summarizer.merge(accumulator, pickle.loads(summary))

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        merged = self._summarizer.create()
        for one in accumulators:
            merged = self._summarizer.merge(merged, one)
        return merged

    def extract_output(self, accumulator: Any) -> bytes:
        return pickle.dumps(accumulator, protocol=5)


class _Write(beam.DoFn):
    def __init__(self, folder: str, names: list[str]) -> None:
        self._folder = folder
        self._names = names

    def process(self, element: tuple[str, bytes]) -> None:
        split, summary = element
        with FileSystems.create(FileSystems.join(self._folder, f"{self._names.index(split)}.pickle")) as file:
            file.write(summary)


def run_on_beam(
    splits: Mapping[str, Sequence[RowGroup]],
    summarizer: Summarizer[Any],
    columns: list[str] | None,
    beam_args: list[str],
    on_rows: OnRows | None,
) -> dict[str, Any]:
    """Runs the pass as one Beam pipeline; gives the merged summary of each split.

    The summaries come back through files: of the options' `temp_location` where the workers are on other machines.
    """
    options = PipelineOptions(beam_args)
    local = _is_local(options)
    in_memory = local and options.view_as(DirectOptions).direct_running_mode in (None, "in_memory")
    elements = _elements(splits, in_memory)
    if not elements:
        return {name: summarizer.create() for name in splits}
    token = uuid.uuid4().hex
    watch = _watches[token] = _Watch(on_rows)
    folder, remote = _result_folder(options, local, token)
    try:
        pipeline = beam.Pipeline(runner=runner_of(options), options=options)
        references = pipeline | "RowGroups" >> beam.Create(elements, reshuffle=not in_memory)
        _ = (
            references
            | "Summarize" >> beam.ParDo(_Summarize(summarizer, columns, token))
            | "Merge" >> beam.CombinePerKey(_Merge(summarizer))
            | "Write" >> beam.ParDo(_Write(folder, list(splits)))
        )
        try:
            pipeline.run().wait_until_finish()
        except Exception:
            if watch.error is not None:
                raise watch.error from None
            raise
        return {name: _read(folder, i, summarizer, bool(splits[name])) for i, name in enumerate(splits)}
    finally:
        del _watches[token]
        FileSystems.delete([folder]) if remote else shutil.rmtree(folder, ignore_errors=True)


def runner_of(options: PipelineOptions) -> Any:
    """Beam's in-memory runner, unless the options name another than DirectRunner; None for the one they name."""
    # FnApiRunner by name: `DirectRunner` first tries to download a Prism binary, and waits for it when offline.
    return fn_runner.FnApiRunner() if _is_local(options) else None


def _is_local(options: PipelineOptions) -> bool:
    runner = options.view_as(StandardOptions).runner
    return runner is None or runner.split(".")[-1] in _LOCAL_RUNNERS


def _elements(
    splits: Mapping[str, Sequence[RowGroup]], in_memory: bool
) -> list[tuple[str, list[tuple[str, int, int]]]]:
    """In memory an element is many row groups; elsewhere Beam spreads single ones."""
    return [
        (name, [(group.uri, group.index, group.rows) for group in part])
        for name, groups in splits.items()
        for part in (together(groups) if in_memory else [[group] for group in groups])
    ]


def _result_folder(options: PipelineOptions, local: bool, token: str) -> tuple[str, bool]:
    shared = options.view_as(GoogleCloudOptions).temp_location
    if shared is None:
        if not local and options.view_as(StandardOptions).runner.split(".")[-1] == "DataflowRunner":
            raise ValueError("the DataflowRunner needs --temp_location=, where its workers leave the summaries")
        return tempfile.mkdtemp(prefix="headrace-pass-"), False
    folder = FileSystems.join(shared, f"headrace-pass-{token}")
    FileSystems.mkdirs(folder)
    return folder, True


def _read(folder: str, index: int, summarizer: Summarizer[Any], present: bool) -> Any:
    if not present:
        return summarizer.create()
    with FileSystems.open(FileSystems.join(folder, f"{index}.pickle")) as file:
        return pickle.loads(file.read())
