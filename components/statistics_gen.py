"""StatisticsGen: what is in each column of each split."""

from __future__ import annotations

from headrace.pipelines import Examples, Input, Output, Statistics, component, step_context
from headrace.pipelines.errors import DataError


@component(imports=("apache_beam", "headrace.transforms.beam_pass", "headrace.transforms.statistics"))
def StatisticsGen(
    examples: Input[Examples],
    statistics: Output[Statistics],
    *,
    splits: list[str] | None = None,
    histogram_buckets: int = 20,
    quantiles: int = 20,
    top_values: int = 20,
) -> None:
    """Computes statistics of every column of every split in one pass.

    Counts, missing, zeros, minimum, maximum, mean, standard deviation, median, quantiles and histograms of numbers;
    unique and top values
    and lengths of strings; lengths of lists. What is not exact (quantiles, and counts past a bound) says by how much.

    Args:
        examples: The rows.
        statistics: One dataset per split, in the format of tensorflow-metadata.
        splits: The splits to look at; all when None.
        histogram_buckets: Buckets of the histogram of equal widths.
        quantiles: Buckets of the histogram of equal counts.
        top_values: How many of the most frequent values are named.

    Raises:
        DataError: There is no such split, or a column has a type or a value that the feature model does not have.

    >>> StatisticsGen(examples=example_gen.outputs["examples"])  # doctest: +SKIP
    """
    import pyarrow as pa
    from headrace.transforms.passes import run_pass
    from headrace.transforms.row_groups import RowGroup
    from headrace.transforms.statistics import StatisticsSummarizer, to_proto

    context = step_context()
    if unknown := [split for split in splits or () if split not in examples.splits]:
        raise DataError(f"no split {unknown[0]!r}; the examples have {', '.join(examples.splits)}", "correct splits=")
    chosen = splits or examples.splits
    groups = {split: [RowGroup(*group) for group in examples.row_groups(split)] for split in chosen}
    total = sum(group.rows for listed in groups.values() for group in listed)
    try:
        summaries = run_pass(
            groups,
            StatisticsSummarizer(examples.schema),
            beam_args=context.beam_args,
            engine=context.engine,
            on_rows=lambda rows: context.progress(rows, total),
        )
    except pa.ArrowInvalid:  # a damaged file, which is a ValueError too
        raise
    except (TypeError, ValueError) as error:
        raise DataError(str(error), "make it another type in the source, such as a string of an id or hash") from error
    statistics.write(
        to_proto(summaries, histogram_buckets=histogram_buckets, quantiles=quantiles, top_values=top_values)
    )
    statistics.link(examples=examples)
