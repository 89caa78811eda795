"""CSV files to typed batches by split, in one pass over the text, block by block in a few threads.

    bytes --CsvStream--> blocks of whole rows --parse_block--> columns of text --+--> hash of the text --> split
                                                                                 +--> values, and what they say of the
                                                                                 type

The type of a column is known when all rows have been seen. Until then each block is kept as the values it parses to,
in memory and then in a scratch file (`Spill`); afterwards it is widened to the final types, which costs nothing in
the usual case that it has them. Only where a column proves to be text after blocks of it were kept as values (`007`
is lost in 7) are the files read a second time, with the types then known. When every type is given, rows stream
through and nothing is kept. Memory is bounded by the blocks in flight and `Spill`'s bound.

For a sample, a file is read until each split that it may fill has enough rows; types are those of the rows read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from headrace.components.ingest.column_types import (
    ColumnSummary,
    find_missing,
    finish_part,
    given_part,
    infer_part,
    parse_types,
)
from headrace.components.ingest.csv_files import open_csv
from headrace.components.ingest.csv_rows import BLOCK_BYTES, BadRow, CsvBlock, CsvStream
from headrace.components.ingest.csv_text import TextBlock, parse_block
from headrace.components.ingest.ingested import Ingested, IngestReport
from headrace.components.ingest.ordered_map import ordered_map, worker_count
from headrace.components.ingest.quarantine import Quarantine
from headrace.components.ingest.spill import Spill
from headrace.components.ingest.split_stream import split_batch
from headrace.components.ingest.splits import UNPLACED, SingleSplit, SplitRule, TimeSplit
from headrace.pipelines.errors import DataError

NULL_VALUES = ("", "NA", "null")
# A sample is often in the first of them; they grow, so that one that is not is still read in few blocks.
SAMPLE_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class CsvOptions:
    """How CSV text is read.

    Args:
        null_values: Texts of a cell that mean missing. A quoted one is text in a text column, so that `""` is the
            empty string; in a column of another type it is missing, since there is no such number, date or bool.
        column_types: Types by column (`given_type`), instead of inferring them. A cell that is not of its type is a
            bad row.
        delimiter: One character.
        encoding: Of the text.
        block_bytes: About how much text to handle at a time.
        workers: Threads; default one per processor.
        sample: Rows of each split that are enough, or None for all.
    """

    null_values: Sequence[str] = NULL_VALUES
    column_types: Mapping[str, str | pa.DataType] = field(default_factory=dict)
    delimiter: str = ","
    encoding: str = "utf-8"
    block_bytes: int = BLOCK_BYTES
    workers: int = field(default_factory=worker_count)
    sample: int | None = None


class Source(NamedTuple):
    """A file and the rule that splits its rows."""

    path: str
    rule: SplitRule


def ingest_csv(
    sources: Sequence[Source],
    *,
    scratch: str | Path,
    quarantine: str | Path | None = None,
    options: CsvOptions | None = None,
) -> Ingested:
    """Reads CSV files as typed batches by split.

    Args:
        sources: Files in order, each with its rule.
        scratch: Folder for a scratch file.
        quarantine: Parquet file for bad rows (file, row, column, text, reason), written if there are any; None makes a
            bad row an error.
        options: How the text is read.

    Returns:
        The schema, in the first file's column order, and the batches in the order of the rows.

    Raises:
        DataError: A header is empty, has duplicate names or other columns than the first file's; a row is malformed,
            not UTF-8, not of a given type, or without the time that splits it; a column is almost but not quite of one
            type; there are no rows.

    >>> import tempfile, pathlib
    >>> from headrace.components.ingest.splits import split_rule
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.csv").write_text("x,y\\n1,NA\\n2,0.5\\n")
    >>> rows = ingest_csv([Source(str(folder / "a.csv"), split_rule())], scratch=folder)
    >>> [str(field.type) for field in rows.schema]
    ['int64', 'double']
    """
    options = options or CsvOptions()
    _check_files(sources)
    reader = _Pass(sources, options, parse_types(options.column_types), Quarantine(quarantine))
    names = tuple(dict.fromkeys(name for source in sources for name in source.rule.names))
    if reader.is_given():
        return Ingested(reader.schema(), names, reader.checked(), reader.report, reader.quarantine.close)
    spill = Spill(scratch)
    try:
        for split, batch in reader.checked():
            spill.add(split, batch)
        kinds = {name: summary.resolve(name) for name, summary in reader.summaries.items()}
    except BaseException:
        spill.close()
        raise
    schema = pa.schema([(name, reader.given.get(name) or kinds[name]) for name in reader.names])
    if not any(summary.needs_text(kinds[name]) for name, summary in reader.summaries.items()):
        return Ingested(schema, names, _finished(spill, schema), reader.report, spill.close)
    spill.close()
    again = _Pass(sources, options, dict(zip(schema.names, schema.types)), Quarantine(quarantine))
    again.report.cut = reader.report.cut
    return Ingested(schema, names, again.checked(), again.report, again.quarantine.close)


def _check_files(sources: Sequence[Source]) -> None:
    if not sources:
        raise DataError("there are no files to read", "Give at least one.")
    for source in sources:
        if source.path.lower().endswith(".parquet"):
            raise DataError("is Parquet, expected CSV", "Read it with ParquetExampleGen.", file=source.path)


def _finished(spill: Spill, schema: pa.Schema) -> Iterator[tuple[str, pa.RecordBatch]]:
    for split, batch in spill.drain():
        columns = [finish_part(part, kind) for part, kind in zip(batch.columns, schema.types)]
        yield split, pa.record_batch(columns, schema=schema)


class _Job(NamedTuple):
    file: str
    names: tuple[str, ...]
    block: CsvBlock
    rule: SplitRule


@dataclass
class _Done:
    """A block's rows by split, its bad rows, its null markers, and what its columns say of their types."""

    file: str
    rule: SplitRule
    rows: int
    bad: list[BadRow]
    parts: list[tuple[str, pa.RecordBatch]] = field(default_factory=list)
    markers: dict[str, Counter[str]] = field(default_factory=dict)
    summaries: dict[str, ColumnSummary] = field(default_factory=dict)


class _Pass:
    """One reading of all files."""

    def __init__(
        self, sources: Sequence[Source], options: CsvOptions, given: Mapping[str, pa.DataType], quarantine: Quarantine
    ) -> None:
        self.sources, self.options, self.given, self.quarantine = sources, options, given, quarantine
        self.report = IngestReport()
        self.summaries: dict[str, ColumnSummary] = {}
        self.names: tuple[str, ...] = ()
        self._first_file = ""
        self._text: set[str] = set()

    def is_given(self) -> bool:
        """Whether every column's type is given; reads the first header."""
        for file, stream in open_csv(self.sources[0].path, self.options.encoding):
            names = CsvStream(file, stream, self.options.delimiter, 1 << 16).names
            self._check_columns(file, names, self.sources[0].rule)
            return set(self.given) >= set(names)
        return False

    def schema(self) -> pa.Schema:
        """The given types in the first file's order."""
        return pa.schema([(name, self.given[name]) for name in self.names])

    def checked(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Batches by split in order; raises for the first bad row in order unless it is set aside."""
        rows_of: dict[str, int] = {}
        try:
            for done in ordered_map(self._handle, self._jobs(), self.options.workers):
                if self._has_enough(done.rule):
                    # What was read ahead does not count: what is read would depend on the number of threads.
                    continue
                before = rows_of.get(done.file, 0)
                rows_of[done.file] = before + done.rows
                for bad in done.bad:
                    self.quarantine.add(done.file, before + bad.row + 1, bad)
                self._merge(done, before)
                for split, batch in done.parts:
                    self.report.rows[split] += batch.num_rows
                    yield split, batch
        finally:
            # Of a sample, the end is not asked for.
            self.quarantine.close()
            self.report.quarantined = self.quarantine.count
        if not self.report.rows.total():
            raise self._no_rows()

    def _merge(self, done: _Done, before: int) -> None:
        for name, summary in done.summaries.items():
            for family, cells in summary.others.items():
                summary.others[family] = [cell._replace(file=done.file, row=before + cell.row + 1) for cell in cells]
            self.summaries.setdefault(name, ColumnSummary()).merge(summary)
            if summary.forms == {"text"} and summary.present:
                self._text.add(name)
        for name, markers in done.markers.items():
            counts = self.report.null_markers.setdefault(name, {})
            for marker, count in markers.items():
                counts[marker] = counts.get(marker, 0) + count

    def _jobs(self) -> Iterator[_Job]:
        most = self.options.block_bytes
        for source in self.sources:
            for file, stream in open_csv(source.path, self.options.encoding):
                if self._has_enough(source.rule):
                    self.report.cut = True
                    break
                first = most if self.options.sample is None else min(most, SAMPLE_BLOCK_BYTES)
                rows = CsvStream(file, stream, self.options.delimiter, first)
                self._check_columns(file, rows.names, source.rule)
                self.report.files.append(file)
                for block in rows:
                    if self._has_enough(source.rule):
                        self.report.cut = True
                        break
                    yield _Job(file, rows.names, block, source.rule)
                    rows.block_bytes = min(most, rows.block_bytes + SAMPLE_BLOCK_BYTES)

    def _has_enough(self, rule: SplitRule) -> bool:
        """Whether a sample has enough rows of each split that the rule gives rows to."""
        enough = self.options.sample
        return enough is not None and all(self.report.rows[name] >= enough for name in rule.names)

    def _check_columns(self, file: str, names: tuple[str, ...], rule: SplitRule) -> None:
        if not self.names:
            self.names, self._first_file = names, file
            unknown = [name for name in self.given if name not in names]
            if unknown:
                raise DataError(
                    f"column_types names a column that is not there: the columns are {', '.join(names)}",
                    "Correct column_types.",
                    file=file,
                    column=unknown[0],
                )
        for here, there, file_of in ((names, self.names, self._first_file), (self.names, names, file)):
            odd = [name for name in there if name not in here]
            if odd:
                other = file if file_of == self._first_file else self._first_file
                raise DataError(
                    f"{file_of} has this column, this file has not",
                    "Give every file the same columns, in any order, or read them as different inputs.",
                    file=other,
                    column=odd[0],
                )
        rule.check(names)

    def _handle(self, job: _Job) -> _Done:
        """Everything that is done to one block; runs in a worker."""
        text = parse_block(job.block, job.names, self.options.delimiter, self.options.null_values)
        rows = len(text.rows) + len(text.bad)
        done = _Done(job.file, job.rule, rows, text.bad)
        if text.bad and self.quarantine.path is None:
            return done
        columns, numbers, bad = self._given_columns(text, job.rule, done)
        if bad:
            text = text.without(bad)
            done.bad = text.bad
            if self.quarantine.path is None:
                return done
            columns, numbers, _ = self._given_columns(text, job.rule, done)
        for name in self.names:
            if name not in columns:
                columns[name] = self._inferred(name, text, done)
        batch = pa.record_batch([columns[name] for name in self.names], names=list(self.names))
        done.parts = list(split_batch(batch, numbers, job.rule.names))
        return done

    def _given_columns(
        self, text: TextBlock, rule: SplitRule, done: _Done
    ) -> tuple[dict[str, pa.Array], np.ndarray, list[tuple[int, BadRow]]]:
        """Columns of given type, split numbers, and the rows that lack a value of that type or a time."""
        columns: dict[str, pa.Array] = {}
        bad: list[tuple[int, BadRow]] = []
        for name, kind in self.given.items():
            missing = find_missing(text.cells[name], self.options.null_values, text.quoted.get(name))
            done.markers[name] = missing.counts
            columns[name], wrong = given_part(text.columns[name], missing, kind)
            fix = f'Correct the cell, add it to null_values, or give column_types={{"{name}": "string"}}.'
            for index in wrong:
                bad.append((int(index), _bad_cell(text, int(index), name, f"is not {kind}", fix)))
        numbers = rule.assign(text.batch(), text.cells)
        if isinstance(rule, TimeSplit):
            for index in np.flatnonzero(numbers == UNPLACED):
                why = "has no date, time or number to split by"
                fix = "Give every row its time, or split otherwise."
                bad.append((int(index), _bad_cell(text, int(index), rule.column, why, fix)))
        return columns, numbers, bad

    def _inferred(self, name: str, text: TextBlock, done: _Done) -> pa.Array:
        cells = text.cells[name]
        missing = find_missing(cells, self.options.null_values, text.quoted.get(name))
        done.markers[name] = missing.counts
        part, summary = infer_part(text.columns[name], cells, missing, keep_text=name in self._text)
        for family, others in summary.others.items():
            summary.others[family] = [cell._replace(row=int(text.rows[cell.row])) for cell in others]
        done.summaries[name] = summary
        return part

    def _no_rows(self) -> DataError:
        if self.quarantine.first is not None:
            first = self.quarantine.first
            return replace(first, what=f"{first.what}; all {self.quarantine.count:,} rows were set aside, none is left")
        return DataError(
            "there are no rows: only headers", "Give files that have rows.", file=", ".join(self.report.files[:3])
        )


def _bad_cell(text: TextBlock, index: int, name: str, reason: str, fix: str) -> BadRow:
    value = text.columns[name][index].as_py()
    return BadRow(int(text.rows[index]), text.line(index), reason, fix, name, value)


def sources_of(paths: Sequence[str] | Mapping[str, Sequence[str]], rule: SplitRule | None) -> list[Source]:
    """The sources of files split by one rule, or of files that are each a split's own.

    Args:
        paths: Files, or files by split.
        rule: How to split; not used for files by split.
    """
    if isinstance(paths, Mapping):
        return [Source(path, SingleSplit(split)) for split, files in paths.items() for path in files]
    if rule is None:
        raise DataError("there is no rule to split by", "Give one: split_rule().")
    return [Source(path, rule) for path in paths]
