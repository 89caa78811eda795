"""ImportExampleGen: TFRecord files of tf.Examples become Examples."""

from __future__ import annotations

from typing import Literal

from headrace.components.split_arguments import split_problems
from headrace.pipelines import Examples, InputFiles, Output, component


@component(imports=("pyarrow",), check=split_problems)
def ImportExampleGen(
    examples: Output[Examples],
    *,
    input_base: InputFiles,
    payload_format: Literal["tf_example", "tf_sequence_example"] = "tf_example",
    splits: dict[str, int] | list[str] | None = None,
    split_by: str | list[str] | None = None,
    split_by_time: str | None = None,
    boundaries: list[str | int | float] | None = None,
) -> None:
    """Reads TFRecord files, plain or gzip, of `tf.Example`s or `tf.SequenceExample`s, and writes their rows, split.

    A feature with at most one value a record becomes a plain column, missing where a record has none; one with more a
    column of lists. Bytes that are UTF-8 in every record become text. A sequence's feature, of one value a step,
    becomes a column of lists.

    Args:
        examples: The rows by split.
        input_base: A folder, file or glob; with `{SPAN}`, `{VERSION}` or `{YYYY}-{MM}-{DD}`, or a `FilePattern` with
            a window of spans; or a dict with one of them for each split, such as TFX's
            ``{"train": "Split-train/*", "eval": "Split-eval/*"}``.
        payload_format: What a record is.
        splits: Ratio of hash buckets by split (default: train 2, eval 1); for a split by time the names, the earliest
            first.
        split_by: Feature or features whose equal values stay in one split.
        split_by_time: Feature to split by number.
        boundaries: Ascending places where the next split begins, such as ``[20131001]``.

    Raises:
        DataError: A file is damaged or no TFRecord file, a record is no example, or a feature has another type in
            another record; with file and record.
        MissingExtra: TFX's decoder is not installed: ``pip install 'headrace[tft]'``.

    >>> ImportExampleGen(input_base="data/*.tfrecord.gz", splits={"train": 8, "eval": 2})  # doctest: +SKIP
    """
    from headrace.components.ingest.examples_output import sources_for, write_examples
    from headrace.components.ingest.splits import split_rule
    from headrace.components.ingest.tf_example_ingest import ingest_tf_examples

    rule = split_rule(splits, split_by=split_by, split_by_time=split_by_time, boundaries=boundaries)
    sources = sources_for(input_base, rule, examples)
    write_examples(ingest_tf_examples(sources, sequences=payload_format == "tf_sequence_example"), examples)
