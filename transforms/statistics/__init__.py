"""Statistics of a dataset in one pass: `StatisticsSummarizer` for `run_pass`, `to_proto` for tensorflow-metadata."""

from headrace.transforms.statistics.proto import to_proto
from headrace.transforms.statistics.summarizer import DatasetSummary, StatisticsSummarizer

__all__ = ["DatasetSummary", "StatisticsSummarizer", "to_proto"]
