"""Time and memory as the rows grow: the flights onefold, threefold, tenfold and thirtyfold (10 million rows).

    python -m benchmarks.scale 1 3 10 30

Writes the joined flights as CSV shards of one copy each, the numbers of every copy jittered, and runs
`benchmarks/scale_pipeline.py` on them, cold. Time should grow with the rows or slower, step by step, and memory not at
all: it is the anonymous resident set, sampled, the largest of one process and the largest of all together. Each run
is done a second time, unchanged, which should take a second at any size.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.flights_pipeline import ROOT
from benchmarks.process_tree import Measured, measure
from benchmarks.results import Result, tell
from benchmarks.second_run import COMMAND, result, second_runs

PIPELINE = "benchmarks/scale_pipeline.py"
PROCESS_MIB, TOGETHER_MIB = 1536.0, 3072.0
JITTERED = ("temp", "dewp", "humid", "wind_speed", "pressure", "dest_lat", "dest_lon")


def write_shards(folder: Path, copies: int) -> None:
    """Writes the flights so many times, a file each: the first as they are, the others with jittered numbers."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv

    from benchmarks.by_hand import read

    flights = pa.concat_tables(read().values())
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(copies):
        random = np.random.default_rng(number)
        table = flights
        for name in JITTERED if number else ():
            values = table[name].to_numpy() + random.normal(0.0, 0.01, len(table)).round(3)
            column = pa.array(values.round(3), from_pandas=True)
            table = table.set_column(table.column_names.index(name), name, column)
        csv.write_csv(table, folder / f"flights-{number:03}.csv")


def run_cold(arguments: list[str]) -> tuple[Measured, dict[str, float]]:
    """A run on a new root, its memory watched; also the seconds of each step."""
    found = measure([*COMMAND, "run", *arguments, "--json"], cwd=ROOT, memory=True)
    events = [json.loads(line) for _, line in found.lines if line.startswith("{")]
    return found, {event["step"]: event["seconds"] for event in events if event["event"] == "step_finished"}


def measure_factor(folder: Path, factor: int) -> tuple[Measured, dict[str, float]]:
    """Runs one size, tells of its memory and its second run."""
    given = [PIPELINE, "--root", str(folder / "root"), "-p", f"input_base={folder / 'csv'}"]
    began = time.perf_counter()
    write_shards(folder / "csv", factor)
    print(f"x{factor}: shards written in {time.perf_counter() - began:.1f} s", flush=True)
    found, steps = run_cold(given)
    print(f"x{factor}: {found.wall:.1f} s in all, {found.cpu:.1f} s of processor time", flush=True)
    print("  " + ", ".join(f"{step} {seconds:.2f}" for step, seconds in steps.items()), flush=True)
    tell(Result(f"x{factor} rows: peak of one process", found.peak_process, PROCESS_MIB, unit="MiB"))
    tell(Result(f"x{factor} rows: peak of all together", found.peak_together, TOGETHER_MIB, unit="MiB"))
    tell(result(f"x{factor} rows: identical second run, whole process", 1.2, second_runs(given, 3)))
    return found, steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("factors", nargs="*", type=int, default=[1, 3])
    parser.add_argument("--folder", type=Path, help="where to work (thirtyfold: 6 GB), instead of the system's")
    arguments = parser.parse_args()
    first: tuple[int, Measured, dict[str, float]] | None = None
    for factor in arguments.factors:
        folder = Path(tempfile.mkdtemp(dir=arguments.folder))
        try:
            found, steps = measure_factor(folder, factor)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if first is None:
            first = (factor, found, steps)
            continue
        more = factor / first[0]
        for step, seconds in steps.items():
            tell(
                Result(
                    f"x{factor} rows: {step}, against {more:g} times x{first[0]}", seconds, 1.0, more * first[2][step]
                )
            )
        whole = f"x{factor} rows: in all, against {more:g} times x{first[0]}"
        tell(Result(whole, found.wall, 1.0, more * first[1].wall, "s", found.cpu, more * first[1].cpu))


if __name__ == "__main__":
    main()
