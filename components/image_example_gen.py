"""ImageExampleGen: image files, or a table with images, become Examples."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from headrace.components.split_arguments import split_problems
from headrace.pipelines import Examples, InputFiles, Output, QuarantinedRows, component, step_context
from headrace.pipelines.errors import DataError
from headrace.pipelines.file_patterns import ResolvedFiles

if TYPE_CHECKING:
    from headrace.components.ingest import SplitRule
    from headrace.components.ingest.image_sources import ImageFiles, ImageTable

Files = ResolvedFiles | dict[str, ResolvedFiles]

_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_CHANNELS = (1, 3, 4)


def image_problems(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Says what in the arguments of a call does not go together: (what, fix)."""
    yield from split_problems(given)
    if given.get("images") is not None and given.get("path_column") is None:
        yield "received images= without path_column=", "name the table's column that has the paths: path_column="
    if given.get("images") is not None and given.get("label_column") is not None:
        yield (
            "received images= and label_column=",
            "leave label_column= out: it is for images without a table; a table's labels are a column of it",
        )
    images = given.get("images")
    if isinstance(images, Mapping) and "pattern" not in images:
        yield "received images= by split", "give the table's files by split, input_base=, and images= as one pattern"
    modes = given.get("modes")
    if isinstance(modes, list | tuple) and (unknown := [mode for mode in modes if mode not in _MODES]):
        yield f"modes= has {unknown[0]!r}", f"give modes of a PNG or JPEG as Pillow calls them: {', '.join(_MODES)}"
    shape = given.get("pixels")
    if isinstance(shape, list | tuple) and (
        len(shape) != 3 or any(not isinstance(size, int) or size < 1 for size in shape) or shape[2] not in _CHANNELS
    ):
        yield f"pixels={list(shape)!r} is no shape", "write [height, width, channels] with 1, 3 or 4 channels"


@component(imports=("pyarrow",), check=image_problems)
def ImageExampleGen(
    examples: Output[Examples],
    quarantined: Output[QuarantinedRows],
    *,
    input_base: InputFiles,
    images: InputFiles | None = None,
    image_column: str = "image",
    path_column: str | None = None,
    label_column: str | None = None,
    modes: list[str] | None = None,
    pixels: list[int] | None = None,
    splits: dict[str, int] | list[str] | None = None,
    split_by: str | list[str] | None = None,
    split_by_time: str | None = None,
    boundaries: list[str | int | float] | None = None,
    on_bad_row: Literal["error", "quarantine"] = "error",
) -> None:
    """Reads PNG and JPEG images, each a row with its bytes, and splits them.

    From a folder of images, in which the folder of each may be its class; from a table (CSV or Parquet) that names the
    images' files beside other columns; or from a Parquet table that has the images' bytes. The bytes are kept as they
    are: the model's graph decodes them, in training as in serving. Each image is decoded once here, so that a damaged
    one is found with its file and row. An empty cell, or one of no bytes, is a missing image.

    Images split by hash go by their bytes: the same picture twice is in one split.

    Args:
        examples: The rows by split.
        quarantined: Rows whose image is bad, with file, row, path and reason; absent when there are none.
        input_base: Image files (a folder means all in it and its folders), or a table's (`.csv`, `.csv.gz`,
            `.csv.zip`, `.parquet`); a path, folder, glob or `FilePattern`; or a dict with one of them for each split.
        images: The image files that the table's paths name: a folder, which they are relative to, or a glob.
        image_column: The column of bytes: the table's, or the one to make.
        path_column: The table's column of paths; without a table the column to make of them, `path` by default.
        label_column: Without a table: a column to make of the name of each image's folder.
        modes: Modes of Pillow's that are right, such as ``["L"]`` (grey) or ``["RGB"]``; an image of another is bad.
        pixels: ``[height, width, channels]``: also writes each image's pixels, so resized, as a list column
            `<image_column>_pixels` of uint8.
        splits: Ratio of hash buckets by split (default: train 2, eval 1); for a split by time the names, the earliest
            first.
        split_by: Column or columns whose equal values stay in one split, such as who is in the picture.
        split_by_time: Column to split by time or by number.
        boundaries: Ascending places where the next split begins, such as ``["2013-10-01"]``.
        on_bad_row: ``"error"`` refuses the first image that cannot be decoded, has another mode or is not there;
            ``"quarantine"`` sets such rows aside.

    Raises:
        DataError: With file, row, column, path and repair.

    >>> ImageExampleGen(input_base="flowers/", label_column="kind")                                   # doctest: +SKIP
    >>> ImageExampleGen(input_base="birds.csv", path_column="photo", images="photos/")                # doctest: +SKIP
    """
    from headrace.components.ingest.examples_output import keep_quarantined, sources_for, write_examples
    from headrace.components.ingest.image_check import Shape
    from headrace.components.ingest.image_ingest import ImageHash, ImageOptions, ingest_images
    from headrace.components.ingest.image_sources import ImageTable
    from headrace.components.ingest.splits import HashSplit, split_rule

    rule = split_rule(splits, split_by=split_by, split_by_time=split_by_time, boundaries=boundaries)
    if isinstance(rule, HashSplit) and not rule.columns:
        rule = ImageHash(rule.ratios, image_column)
    options = ImageOptions(image_column, modes, None if pixels is None else Shape(*pixels))
    sources = sources_for(input_base, rule, examples)
    context = step_context()
    aside = context.scratch / "quarantine.parquet"
    rows: ImageFiles | ImageTable
    if _is_table(input_base):
        if label_column is not None:
            what = f"label_column={label_column!r} is of images without a table, and input_base= is a table"
            raise DataError(what, "Leave it out: a table's labels are a column of it.", sources[0].path)
        rows = ImageTable(sources, context.scratch, image_column, path_column, images)
    elif images is not None:
        what = "received images=, which a table names, and input_base= has images"
        raise DataError(what, "Give the table as input_base=, or leave images= out.", sources[0].path)
    else:
        rows = _image_files(input_base, rule, path_column or "path", label_column)
    ingested = ingest_images(
        rows.pieces(),
        rows.schema,
        list(dict.fromkeys(name for source in sources for name in source.rule.names)),
        options,
        quarantine=aside if on_bad_row == "quarantine" else None,
        files=[source.path for source in sources],
    )
    write_examples(ingested, examples)
    keep_quarantined(ingested, quarantined, aside)
    if images is not None and context.sample is None:
        _tell_unnamed(images.paths, rows.named)


def _is_table(input_base: Files) -> bool:
    from headrace.components.ingest.image_sources import is_table

    found = [input_base] if isinstance(input_base, ResolvedFiles) else list(input_base.values())
    kinds = {is_table(one) for one in found}
    if len(kinds) > 1:
        raise DataError("some splits are tables and some are images", "Give all splits as the one or the other.")
    return kinds.pop()


def _image_files(input_base: Files, rule: SplitRule, path_column: str, label_column: str | None) -> ImageFiles:
    from headrace.components.ingest.image_sources import ImageFiles
    from headrace.components.ingest.splits import SingleSplit, in_usual_order

    files: list[tuple[ResolvedFiles, SplitRule]]
    if isinstance(input_base, ResolvedFiles):
        files = [(input_base, rule)]
    else:
        files = [(input_base[split], SingleSplit(split)) for split in in_usual_order(input_base)]
    found = ImageFiles(files, path_column, label_column, interleaved=step_context().sample is not None)
    rule.check([*found.schema.names])
    return found


def _tell_unnamed(paths: Iterable[str], named: Collection[str]) -> None:
    unnamed = [path for path in paths if path not in named]
    if unnamed:
        files = "1 file of images= is" if len(unnamed) == 1 else f"{len(unnamed):,} files of images= are"
        step_context().warn(f"{files} named by no row of the table, such as {unnamed[0]}")
