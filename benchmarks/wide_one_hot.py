"""A one-hot of 10,000 categories over a million rows: peak memory and time of Transform.

    python benchmarks/wide_one_hot.py [--rows 1000000] [--categories 10000]

Dense, the features would be 40 GB. Prints one JSON line: seconds, CPU seconds, and the largest resident set of this
process in MB, with what was resident before Transform began.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def write_rows(folder: Path, rows: int, categories: int) -> tuple[Any, Any]:
    """Writes Examples with one string column of so many distinct values, and their schema."""
    import numpy as np
    import pyarrow as pa
    from google.protobuf import text_format
    from headrace.pipelines import Examples, Schema
    from tensorflow_metadata.proto.v0 import schema_pb2

    random = np.random.default_rng(0)
    words = pa.array([f"category-{number:06}" for number in range(categories)])
    examples, schema = Examples(str(folder / "examples")), Schema(str(folder / "schema"))
    with examples.writer(pa.schema([("word", pa.string())])) as writer:
        for start in range(0, rows, 65_536):
            chosen = random.integers(0, categories, min(65_536, rows - start))
            writer.write("train", pa.record_batch([words.take(pa.array(chosen))], ["word"]))
    examples.commit({})
    text = 'feature { name: "word" type: BYTES presence { min_fraction: 1 } }'
    schema.write(text_format.Parse(text, schema_pb2.Schema()))
    schema.commit({})
    return examples, schema


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    from keras import layers

    return {"word": layers.StringLookup(output_mode="one_hot")(inputs["word"])}


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--categories", type=int, default=10_000)
    arguments = parser.parse_args()
    import apache_beam  # noqa: F401  a worker has it imported already
    import keras  # noqa: F401
    from headrace.components import Transform

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        examples, schema = write_rows(folder, arguments.rows, arguments.categories)
        before, wall, cpu = peak_megabytes(), time.perf_counter(), time.process_time()
        result = Transform.call(
            out_dir=folder / "out", examples=examples, schema=schema, preprocessing_fn=preprocessing_fn
        )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        stored = sum(entry.size for entry in result.transformed_examples.manifest.files.values())
    figures = {
        "seconds": wall,
        "cpu": cpu,
        "peak_mb": peak_megabytes(),
        "before_mb": before,
        "stored_mb": stored / 2**20,
    }
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
