"""The engine of TensorFlow Transform on 100,000 rows: `python -m benchmarks.tft_engine [rows] [no-small]`.

A `preprocessing_fn` of `tft.*` (10 z-scores, 4 vocabularies, 4 bucketised) as Transform runs it, from Parquet to
features and a SavedModel, imports excluded; and the same with batches of 1,000 rows, which is what small batches cost.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from headrace.transforms.row_groups import read, row_groups
from headrace.transforms.tft import transform_graph
from headrace.transforms.tft.analysis import BATCH_ROWS, analyze
from headrace.transforms.tft.transform_graph import TftTransform

from benchmarks.results import Result, tell
from benchmarks.transform_against_tft import of_tft, raw_table, schema

SECONDS = 12.0
SMALL = 1_000


def by_engine(path: str, folder: Path, batch_rows: int) -> None:
    groups = row_groups([path])
    transform_graph.BATCH_ROWS = batch_rows
    raw = analyze(of_tft, schema(), groups, folder, scratch=folder / "scratch", batch_rows=batch_rows)
    transform = TftTransform(folder, raw)
    with pq.ParquetWriter(folder / "features.parquet", transform.output_arrow_schema, compression="lz4") as writer:
        for group in groups:
            for features in transform.apply_in_pieces(read(group, transform.columns)):
                writer.write_batch(features)
    transform.save(folder)


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    sizes = [BATCH_ROWS] if "no-small" in sys.argv else [BATCH_ROWS, SMALL]
    with tempfile.TemporaryDirectory() as scratch:
        path = f"{scratch}/raw.parquet"
        pq.write_table(raw_table(rows), path, row_group_size=65_536)
        times = {}
        for size in sizes:
            folder = Path(scratch) / str(size)
            folder.mkdir()
            began = time.perf_counter(), time.process_time()
            by_engine(path, folder, size)
            times[size] = time.perf_counter() - began[0], time.process_time() - began[1]
            print(f"batches of {size:>6,} {times[size][0]:7.1f} s wall {times[size][1]:7.1f} s CPU")
    wall, cpu = times[BATCH_ROWS]
    tell(Result(f"TensorFlow Transform's engine, {rows:,} rows", wall, SECONDS, ours_cpu=cpu))
    if SMALL in times:
        what = f"TensorFlow Transform's engine, {rows:,} rows, against batches of {SMALL:,}"
        tell(Result(what, wall, 0.5, times[SMALL][0], "s", cpu, times[SMALL][1]))


if __name__ == "__main__":
    main()
