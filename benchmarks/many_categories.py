"""A lookup over millions of categories, each of them once: peak memory of Transform's analysis, whatever their number.

    python -m benchmarks.many_categories [--categories 1000000 10000000] [--max-tokens 100000]

An id of 20 bytes a row, half of them seen a second time. Each number of categories in a process of its own, which gives
the most that was resident, less what was before: imports, and the first trace. Without `--max-tokens` the layer itself
holds every category, in Keras and in TensorFlow's table; the counting is the same.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.results import Result, tell

MOST_MB = 1024


def write_rows(path: Path, categories: int) -> None:
    """Writes the ids in an order that repeats none soon."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, pa.schema([("id", pa.string())]), use_dictionary=False) as writer:
        for most in (categories, categories // 2):
            for start in range(0, most, 65_536):
                numbers = pa.array(np.arange(start, min(start + 65_536, most)) * 7_919 % categories)
                digits = pc.utf8_lpad(pc.cast(numbers, pa.string()), 12, "0")
                writer.write(pa.table({"id": pc.binary_join_element_wise("customer", digits, "")}))


def look_up(max_tokens: int | None) -> Any:
    def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
        from keras import layers

        return {"id": layers.StringLookup(max_tokens=max_tokens)(inputs["id"])}

    return preprocessing_fn


def resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(categories: int, max_tokens: int | None) -> None:
    """Prints megabytes above those of the imports, and seconds."""
    from google.protobuf import text_format
    from headrace.transforms.keras_graph import analyze_and_trace
    from headrace.transforms.row_groups import row_groups
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = text_format.Parse('feature { name: "id" type: BYTES presence { min_fraction: 1 } }', schema_pb2.Schema())
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder, "few.parquet"), Path(folder, "many.parquet")
        write_rows(few, 1_000)
        write_rows(many, categories)
        analyze_and_trace(look_up(max_tokens), schema, row_groups([str(few)]))
        before, began = resident(), time.perf_counter()
        traced = analyze_and_trace(look_up(max_tokens), schema, row_groups([str(many)]))
        seconds = time.perf_counter() - began
        words = traced.feature_specs["id"].vocabulary
        assert len(words) == min(max_tokens or categories + 1, categories + 1)
    print(resident() - before, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--categories", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--max-tokens", type=int, default=100_000, help="0 for all")
    parser.add_argument("--alone", action="store_true", help="in this process")
    arguments = parser.parse_args()
    if arguments.alone:
        measure(arguments.categories[0], arguments.max_tokens or None)
        return
    for categories in arguments.categories:
        command = [sys.executable, "-m", "benchmarks.many_categories", "--alone", "--categories", str(categories)]
        done = subprocess.run(
            [*command, "--max-tokens", str(arguments.max_tokens)], capture_output=True, text=True, check=True
        )
        megabytes, seconds = map(float, done.stdout.split()[-2:])
        print(f"{categories:,} categories: {seconds:.1f} s, {megabytes:,.0f} MB above the imports")
    what = f"memory to count {categories:,} categories, {arguments.max_tokens:,} kept"
    tell(Result(what, megabytes, MOST_MB, unit="MB"))


if __name__ == "__main__":
    main()
