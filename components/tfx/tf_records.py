"""Examples as TFRecord files of `tf.Example`s, in TFX's layout, for a TFX user's other tools."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from headrace.components.ingest.tf_records import write_records
from headrace.pipelines import Examples, storage
from headrace.pipelines.errors import MissingExtra
from headrace.transforms.row_groups import RowGroup, read
from headrace.transforms.tf_example_rows import serialized


def write_tf_records(
    examples: Examples, folder: str | Path, *, splits: Sequence[str] | None = None, compress: bool = True
) -> dict[str, list[str]]:
    """Writes raw rows or features as `tf.Example`s: `FOLDER/Split-train/data_tfrecord-00000-of-00002.gz` and so on.

    A missing value is a feature without values. Integers, bools, dates and times are int64 lists (docs/feature-model.md
    says in which unit), floats float lists, text and bytes byte lists; what is stored as indices is written as the
    vector that a model gets.

    Args:
        examples: Raw rows, or Transform's `transformed_examples`.
        folder: A local path or an fsspec URL.
        splits: The splits to write; all when None.
        compress: Whether as gzip, as TFX does.

    Returns:
        The files of each split, one for each Parquet shard.

    Raises:
        MissingExtra: TFX's encoder is not installed: ``pip install 'headrace[tft]'``.

    >>> write_tf_records(example_gen.outputs["examples"].read(), "tfrecords")             # doctest: +SKIP
    """
    written: dict[str, list[str]] = {}
    for split in examples.splits if splits is None else splits:
        shards: dict[str, list[RowGroup]] = {}
        for group in examples.row_groups(split):
            shards.setdefault(group.uri, []).append(RowGroup(*group))
        written[split] = []
        for number, groups in enumerate(shards.values()):
            name = f"data_tfrecord-{number:05}-of-{len(shards):05}{'.gz' if compress else ''}"
            file = storage.join(str(folder), f"Split-{split}", name)
            write_records(file, _encoded(groups), compress=compress)
            written[split].append(file)
    return written


def _encoded(groups: Sequence[RowGroup]) -> Iterator[bytes]:
    try:
        for group in groups:
            yield from serialized(read(group))
    except ModuleNotFoundError as error:
        raise MissingExtra("tft", error.name or "tfx_bsl") from error
