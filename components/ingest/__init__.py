"""Reads CSV, Parquet and any stream of batches as typed Arrow batches by split: the engine of the ExampleGens.

rule = split_rule({"train": 8, "eval": 2})
with ingest_csv(sources_of(paths, rule), scratch=folder) as rows:
    with examples.writer(rows.schema) as writer:
        for split, batch in rows:
            writer.write(split, batch)
rows.report.to_json()
"""

from headrace.components.ingest.csv_ingest import NULL_VALUES, CsvOptions, Source, ingest_csv, sources_of
from headrace.components.ingest.ingested import Ingested, IngestReport
from headrace.components.ingest.parquet_ingest import ingest_parquet
from headrace.components.ingest.split_stream import split_stream
from headrace.components.ingest.splits import HashSplit, SingleSplit, SplitRule, TimeSplit, split_rule

__all__ = [
    "NULL_VALUES",
    "CsvOptions",
    "HashSplit",
    "IngestReport",
    "Ingested",
    "SingleSplit",
    "Source",
    "SplitRule",
    "TimeSplit",
    "ingest_csv",
    "ingest_parquet",
    "sources_of",
    "split_rule",
    "split_stream",
]
