"""Statistics as a mergeable summary of all columns of a dataset."""

from __future__ import annotations

import pyarrow as pa
from headrace.transforms.feature_model import kind_of
from headrace.transforms.statistics.columns import ColumnSummary


class DatasetSummary:
    """Summaries of all columns, by name, and the number of rows."""

    __slots__ = ("columns", "rows")

    def __init__(self, rows: int, columns: dict[str, ColumnSummary]) -> None:
        self.rows = rows
        self.columns = columns


class StatisticsSummarizer:
    """Summarizes every column of a dataset; for `headrace.transforms.passes.run_pass`.

    Args:
        schema: Columns and their Arrow types.

    Raises:
        TypeError: A column has a type that the feature model has not.

    Example:
        >>> summarizer = StatisticsSummarizer(pa.schema([("x", pa.int64())]))
        >>> left = summarizer.summarize(pa.record_batch({"x": [1, None]}))
        >>> both = summarizer.merge(left, summarizer.summarize(pa.record_batch({"x": [5]})))
        >>> both.rows, both.columns["x"].missing, both.columns["x"].values.maximum
        (3, 1, 5)
    """

    def __init__(self, schema: pa.Schema) -> None:
        for field in schema:
            kind_of(field.type, field.name)
        self.schema = schema.remove_metadata()

    def create(self) -> DatasetSummary:
        return DatasetSummary(0, {field.name: ColumnSummary(field.type) for field in self.schema})

    def summarize(self, batch: pa.RecordBatch) -> DatasetSummary:
        return DatasetSummary(batch.num_rows, {name: _summary_of(name, batch[name]) for name in self.schema.names})

    def merge(self, left: DatasetSummary, right: DatasetSummary) -> DatasetSummary:
        left.rows += right.rows
        for name, column in left.columns.items():
            column.merge(right.columns[name])
        return left

    def finish(self, summary: DatasetSummary) -> DatasetSummary:
        return summary


def _summary_of(name: str, column: pa.Array) -> ColumnSummary:
    try:
        return ColumnSummary.of(column)
    except pa.ArrowInvalid as error:
        said = f"column {name!r} of {column.type} has a value that the feature model does not have: {error}"
        raise ValueError(said) from None
