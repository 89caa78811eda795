"""Runs the benchmarks and prints one table.

    python -m benchmarks                  all but the long ones
    python -m benchmarks --long           all; the flights thirtyfold take an hour or more
    python -m benchmarks flights_pipeline second_run

Each runs in a process of its own, and both sides of a ratio are measured in one run of it, by turns. Close everything
else on the machine: a ratio of wall times is only as good as the quiet around it.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.results import MARK, Result, table, told

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS: dict[str, list[str]] = {
    "flights_pipeline": [],
    "gates": [],
    "second_run": [],
    "compile": [],
    "csv_ingest": [],
    "statistics_pass": [],
    "transform_pass": [],
    "transform_against_tft": [],
    "tft_engine": [],
    "evaluate": [],
    "serve": [],
    "small_steps": [],
    "wide_one_hot": [],
    "many_categories": [],
    "scale": ["1", "3"],
}
LONG = {**BENCHMARKS, "scale": ["1", "3", "10", "30"]}


def run(name: str, arguments: list[str]) -> tuple[list[Result], bool]:
    """Runs one benchmark, shows what it prints, and gives what it found and whether it ended well."""
    print(f"== {name} {' '.join(arguments)}".rstrip(), flush=True)
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
    lines = []
    with tempfile.TemporaryFile("w+") as chatter:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=chatter, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if not line.startswith(MARK):
                print(f"   {line}", end="", flush=True)
        if process.wait() != 0:
            chatter.seek(0)
            print("".join(f"   {line}\n" for line in chatter.read().splitlines()[-20:]), end="")
    return told("".join(lines)), process.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--long", action="store_true", help="also tenfold and thirtyfold rows")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    chosen = LONG if arguments.long else BENCHMARKS
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
    results: list[Result] = []
    failed = []
    for name in arguments.names or chosen:
        found, ended_well = run(name, chosen[name])
        results += found
        if not ended_well:
            failed.append(name)
    print("\n" + table(results))
    for name in failed:
        print(f"failed: python -m benchmarks.{name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
