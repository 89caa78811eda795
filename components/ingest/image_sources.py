"""Where images lie: each file a row, or a table whose rows have their bytes or name their files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path

import pyarrow as pa
from headrace.components.ingest.csv_ingest import Source, ingest_csv
from headrace.components.ingest.image_check import ImageProblem
from headrace.components.ingest.image_ingest import PIECE_ROWS, Cell, Piece, Place, pieces_of
from headrace.components.ingest.ingested import Ingested
from headrace.components.ingest.parquet_ingest import ingest_parquet
from headrace.components.ingest.splits import SingleSplit, SplitRule
from headrace.pipelines.errors import DataError
from headrace.pipelines.file_listing import FileEntry
from headrace.pipelines.file_patterns import DATA_SUFFIXES, ResolvedFiles

_MAGIC = re.compile(r"[*?[{]")


def is_table(files: ResolvedFiles) -> bool:
    """Whether the files are a table's and no images.

    Raises:
        DataError: Some are the one, some the other.
    """
    tables = [path for path in files.paths if path.lower().endswith(DATA_SUFFIXES)]
    if tables and len(tables) < len(files.paths):
        other = next(path for path in files.paths if path not in tables)
        raise DataError(
            f"is no table, and {tables[0]} beside it is one",
            "Give the table as input_base= and its image files as images=, or a glob of the images alone.",
            file=other,
        )
    return bool(tables)


def base_of(files: ResolvedFiles) -> str:
    """The folder that paths of images are relative to: the pattern's up to its first placeholder.

    >>> base_of(ResolvedFiles("a/b/*/*.png", ()))
    'a/b'
    """
    pattern = files.pattern.removeprefix("file://")
    magic = _MAGIC.search(pattern)
    if magic:
        return pattern[: magic.start()].rpartition("/")[0]
    folder = pattern.rstrip("/")
    return folder if all(path.startswith(f"{folder}/") for path in files.paths) else folder.rpartition("/")[0]


class ImageFiles:
    """Image files, each a row: its path, and the name of its folder as its label.

    Attributes:
        schema: Of the columns beside the image's.
        named: The files that are rows.

    Args:
        files: The files, each with the rule that splits it.
        path_column: Name of the column of paths relative to the folder of all.
        label_column: Name of the column of labels; None for none.
        interleaved: Whether to take the folders' files in turns: the first files of a sample are then of each.
    """

    def __init__(
        self,
        files: Sequence[tuple[ResolvedFiles, SplitRule]],
        path_column: str,
        label_column: str | None,
        *,
        interleaved: bool = False,
    ) -> None:
        self._files, self._label, self._interleaved = files, label_column, interleaved
        self.named = {path for found, _ in files for path in found.paths}
        self.schema = pa.schema([(name, pa.string()) for name in (path_column, label_column) if name is not None])

    def pieces(self) -> Iterator[Piece]:
        """The rows, sorted by path in each split."""
        for found, rule in self._files:
            base = base_of(found)
            entries = _in_turns(found.files) if self._interleaved else found.files
            for start in range(0, len(entries), PIECE_ROWS):
                part = entries[start : start + PIECE_ROWS]
                columns = [[_relative(entry.path, base) for entry in part]]
                if self._label is not None:
                    columns.append([self._label_of(entry, base) for entry in part])
                batch = pa.record_batch([pa.array(one, pa.string()) for one in columns], schema=self.schema)
                yield from pieces_of(rule, batch, [Cell(Place(entry.path), file=entry) for entry in part])

    def _label_of(self, entry: FileEntry, base: str) -> str:
        folder = posixpath.dirname(_relative(entry.path, base))
        if not folder:
            raise DataError(
                f"lies in {base or '.'} itself: label_column={self._label!r} has nothing to say of it",
                "Put it into a folder with its class's name, or leave label_column= out.",
                file=entry.path,
            )
        return posixpath.basename(folder)


class ImageTable:
    """A table's rows, with the bytes of images or the paths of their files.

    Attributes:
        schema: Of the columns beside the image's.
        named: The files that rows named, as far as they were read.

    Args:
        sources: The table's files, each with the rule that splits its rows.
        scratch: Folder for a scratch file.
        image_column: The column of bytes, or the one to make of the files.
        path_column: The column of paths; None where `image_column` has bytes.
        images: The files that paths may name.

    Raises:
        DataError: The table cannot be read, or lacks such a column.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        scratch: Path,
        image_column: str,
        path_column: str | None,
        images: ResolvedFiles | None,
    ) -> None:
        self._sources, self._image, self._path = sources, image_column, path_column
        self._rows = _table(sources, scratch)
        self._find = None if images is None else _finder(images)
        self._check_columns()
        self.named: set[str] = set()
        left_out = (image_column,) if path_column is None else ()
        self.schema = pa.schema([one for one in self._rows.schema if one.name not in left_out])

    def pieces(self) -> Iterator[Piece]:
        """The rows in their order."""
        first = [1] * len(self._sources)
        for split, batch in self._rows:
            number = int(split)
            source = self._sources[number]
            cells = list(self._cells(batch, source.path, first[number]))
            first[number] += batch.num_rows
            yield from pieces_of(source.rule, batch.select(self.schema.names), cells)

    def _cells(self, batch: pa.RecordBatch, file: str, first: int) -> Iterator[Cell]:
        if self._path is None:
            for row, value in enumerate(batch[self._image], first):
                # What serving takes for a missing image is one in the data too.
                yield Cell(Place(file, row, self._image), value.as_py() or None)
            return
        for row, value in enumerate(batch[self._path].to_pylist(), first):
            place = Place(file, row, self._path, value)
            if not value:
                yield Cell(place)
                continue
            found = self._find(value) if self._find is not None else None
            if isinstance(found, FileEntry):
                self.named.add(found.path)
                yield Cell(place, file=found)
            else:
                yield Cell(place, problem=found)

    def _check_columns(self) -> None:
        schema, file = self._rows.schema, self._sources[0].path
        wanted = self._image if self._path is None else self._path
        if wanted not in schema.names:
            argument = "image_column" if self._path is None else "path_column"
            what = f"{argument} names no column: the columns are {', '.join(schema.names)}"
            raise DataError(what, f"Set {argument}.", file, column=wanted)
        kind = schema.field(wanted).type
        if self._path is None and not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            what = f"is {kind}, expected the bytes of images"
            fix = f"Where it has paths: path_column={wanted!r}, images= their files, and another image_column=."
            raise DataError(what, fix, file, column=wanted)
        if self._path is not None and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            what = f"is {kind}, expected the paths of image files"
            fix = "Where it has the bytes of images, give it as image_column=, and no path_column=."
            raise DataError(what, fix, file, column=wanted)
        if self._path is not None and self._image in schema.names:
            what = "is a column of the table, and the images read from path_column= would be called so too"
            raise DataError(what, "Give another image_column=.", file, column=self._image)
        for source in self._sources:
            source.rule.check([*schema.names, self._image])


def _table(sources: Sequence[Source], scratch: Path) -> Ingested:
    """All rows; a batch's split is its file's number, by which its rows are counted."""
    numbered = [Source(source.path, SingleSplit(str(number))) for number, source in enumerate(sources)]
    parquet = [source.path.lower().endswith(".parquet") for source in sources]
    if any(parquet) and not all(parquet):
        other = sources[parquet.index(False)].path
        raise DataError("is CSV, and other files of the table are Parquet", "Give files of one kind.", file=other)
    return ingest_parquet(numbered) if all(parquet) else ingest_csv(numbered, scratch=scratch)


def _finder(images: ResolvedFiles) -> Callable[[str], FileEntry | ImageProblem]:
    """From a cell to the file that it names: absolute, as in `images=`, or relative to its folder."""
    base = base_of(images)
    by_path: Mapping[str, FileEntry] = {posixpath.normpath(_plain(entry.path)): entry for entry in images.files}

    def find(cell: str) -> FileEntry | ImageProblem:
        joined = posixpath.normpath(posixpath.join(_plain(base), _plain(cell)))
        found = by_path.get(joined) or by_path.get(posixpath.normpath(_plain(cell)))
        if found is not None:
            return found
        return ImageProblem(
            f"names no image: images= has {len(by_path):,} files in {base or '.'}, and not this one",
            f"Give the path relative to {base or '.'}, or add the file.",
        )

    return find


def _plain(path: str) -> str:
    # normpath would make one slash of a URL's two.
    return path.replace("://", ":/")


def _relative(path: str, base: str) -> str:
    return path.removeprefix(base).lstrip("/") if base else path


def _in_turns(entries: Iterable[FileEntry]) -> list[FileEntry]:
    folders: dict[str, list[FileEntry]] = {}
    for entry in entries:
        folders.setdefault(posixpath.dirname(entry.path), []).append(entry)
    return [entry for entry in chain.from_iterable(zip_longest(*folders.values())) if entry is not None]
