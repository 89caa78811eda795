"""Statistics of a million rows of 18 columns against a bare NumPy/Arrow pass that computes the same numbers.

    python -m benchmarks.statistics_pass [--rows 1000000] [--repeat 3] [--engine beam|direct]

Both read the same Parquet files. The bare pass is what one would write by hand for data that fits in memory: each
column read whole, NumPy's own exact functions. It prints wall and CPU seconds of both and their ratio.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from headrace.transforms.passes import run_pass
from headrace.transforms.row_groups import row_groups
from headrace.transforms.statistics import StatisticsSummarizer, to_proto

from benchmarks.results import alternate, tell

ROWS_A_GROUP = 65_536
GROUPS_A_FILE = 8


def make_batch(rng: np.random.Generator, rows: int) -> pa.Table:
    """Six ints, six floats and six strings, with few and with many distinct values, some missing."""
    carriers = np.array(["AA", "AS", "B6", "DL", "EV", "F9", "UA", "US", "WN", "YV"])
    airports = np.array([f"A{i:03d}" for i in range(300)])
    tails = np.array([f"N{i:05d}" for i in range(4_000)])
    missing = rng.random(rows) < 0.03
    columns: dict[str, Any] = {
        "month": rng.integers(1, 13, rows),
        "hour": rng.integers(0, 24, rows),
        "distance": rng.integers(80, 5000, rows),
        "flight": pa.array(rng.integers(1, 9000, rows), mask=missing),
        "customer": rng.integers(0, 10**12, rows),
        "late": rng.integers(0, 2, rows),
        "temperature": rng.normal(12, 8, rows),
        "pressure": pa.array(rng.normal(1013, 7, rows), mask=missing),
        "latitude": rng.uniform(20, 60, rows),
        "longitude": rng.uniform(-120, -60, rows).astype(np.float32),
        "dep_delay": pa.array(np.round(rng.exponential(20, rows)) - 10, mask=missing),
        "visibility": rng.choice(np.array([0.25, 0.5, 1, 2, 5, 10]), rows),
        "carrier": carriers[rng.integers(0, 10, rows)],
        "origin": airports[rng.integers(0, 3, rows)],
        "destination": airports[rng.integers(0, 300, rows)],
        "tail": pa.array(tails[np.minimum(rng.zipf(1.3, rows), 3999)], mask=missing),
        "weekday": np.array(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])[rng.integers(0, 7, rows)],
        "ticket": pa.array(np.char.add("T-", rng.integers(0, 10**9, rows).astype(str))),
    }
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def write(folder: Path, rows: int) -> list[str]:
    """Writes shards of whole row groups."""
    rng = np.random.default_rng(7)
    paths = []
    for start in range(0, rows, ROWS_A_GROUP * GROUPS_A_FILE):
        path = folder / f"part-{len(paths):05d}.parquet"
        table = make_batch(rng, min(ROWS_A_GROUP * GROUPS_A_FILE, rows - start))
        pq.write_table(table, path, row_group_size=ROWS_A_GROUP)
        paths.append(str(path))
    return paths


def bare_pass(paths: list[str]) -> dict[str, Any]:
    """The same numbers by hand: each column whole in memory."""
    numbers: dict[str, Any] = {}
    for name in pq.read_schema(paths[0]).names:
        column = pa.concat_tables([pq.read_table(path, columns=[name]) for path in paths])[name].combine_chunks()
        present = column.drop_null()
        stats: dict[str, Any] = {"rows": len(column), "missing": column.null_count}
        if pa.types.is_string(column.type):
            counted = pc.value_counts(present)
            order = pc.sort_indices(counted.field(1), sort_keys=[("", "descending")])[:1000]
            lengths = pc.utf8_length(present)
            stats |= {"unique": len(counted), "top": counted.take(order).to_pylist()}
            stats |= {"length": (pc.mean(lengths), pc.min_max(lengths))}
        else:
            values = present.to_numpy(zero_copy_only=False)
            stats |= {"mean": values.mean(dtype=np.float64), "std": values.std(dtype=np.float64)}
            stats |= {"min": values.min(), "max": values.max(), "zeros": int((values == 0).sum())}
            stats |= {"quantiles": np.quantile(values, np.linspace(0, 1, 21)), "median": np.median(values)}
            stats |= {"histogram": np.histogram(values, 20), "unique": len(np.unique(values))}
        numbers[name] = stats
    return numbers


def timed(function: Callable[[], Any], repeat: int) -> dict[str, float]:
    """The best of several runs: wall and CPU seconds."""
    walls, cpus = [], []
    for _ in range(repeat):
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return {"wall_s": round(min(walls), 3), "cpu_s": round(min(cpus), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--engine", choices=("beam", "direct"), default="beam")
    parser.add_argument("--no-bare", action="store_true", help="only ours: for the memory of many rows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), options.rows)
        groups = row_groups(paths)
        summarizer = StatisticsSummarizer(pq.read_schema(paths[0]))

        def ours() -> Any:
            return to_proto({"train": run_pass(groups, summarizer, engine=options.engine)})

        if options.engine == "beam":
            run_pass(groups[:1], summarizer)  # imports Beam
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result: dict[str, Any] = {"rows": options.rows, "engine": options.engine}
        result["headrace"] = timed(ours, 1 if not options.no_bare else options.repeat)
        result["peak_rss_growth_mb"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        print(json.dumps(result))
        if not options.no_bare:
            what = f"statistics of {options.rows:,} rows of 18 columns, against a bare pass"
            tell(alternate(what, 2.0, ours, lambda: bare_pass(paths), options.repeat))


if __name__ == "__main__":
    main()
