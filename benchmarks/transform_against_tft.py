"""Transform with stock Keras layers against TensorFlow Transform, on a million rows.

    python -m benchmarks.transform_against_tft [rows]

10 z-scores, 4 vocabularies and 4 bucketised columns. Both begin with imports done, read the same Parquet file, run on
Beam's in-memory runner, and write a SavedModel and the features as Parquet, encoded alike; Headrace takes the features'
digest too. TensorFlow Transform gets record batches of 20,000 rows, its best size here, and its own deep-copy
optimisation; it is called as its guide says, not by Headrace's engine. The target is a fifth of its time.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.runners.portability.fn_api_runner import fn_runner
from headrace.pipelines import Examples
from headrace.pipelines.parquet_encoding import dictionary_columns
from headrace.transforms.keras_graph import analyze_and_trace
from headrace.transforms.row_groups import RowGroup, read, row_groups
from headrace.transforms.tft.raw_examples import RawExamples, read_batches, together
from keras import layers
from tensorflow_metadata.proto.v0 import schema_pb2

from benchmarks.results import alternate, tell

BATCH_ROWS = 20_000
REPEAT = 2
NUMBERS = [f"number{i}" for i in range(10)]
WORDS = [f"word{i}" for i in range(4)]
BINNED = [f"binned{i}" for i in range(4)]
BINS = 10


def raw_table(rows: int) -> pa.Table:
    """18 columns: normal numbers, skewed categories of 20 to 20,000 words, long-tailed numbers."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {name: rng.normal(3, 2, rows).astype(np.float32) for name in NUMBERS}
    for i, name in enumerate(WORDS):
        words = np.array([f"word {j}" for j in range(20 * 10**i)])
        columns[name] = words[rng.zipf(1.3, rows) % len(words)]
    columns |= {name: rng.lognormal(2, 1, rows).astype(np.float32) for name in BINNED}
    return pa.table(columns)


def schema() -> schema_pb2.Schema:
    """Every row has every column."""
    made = schema_pb2.Schema()
    for name in [*NUMBERS, *WORDS, *BINNED]:
        feature = made.feature.add(name=name, type=schema_pb2.BYTES if name in WORDS else schema_pb2.FLOAT)
        feature.presence.min_fraction = 1.0
        feature.shape.dim.add(size=1)
    return made


def of_keras(inputs: dict[str, Any]) -> dict[str, Any]:
    """The `preprocessing_fn` of stock Keras layers."""
    return {
        **{f"{name}_z": layers.Normalization()(inputs[name]) for name in NUMBERS},
        **{f"{name}_id": layers.StringLookup()(inputs[name]) for name in WORDS},
        **{f"{name}_bin": layers.Discretization(num_bins=BINS)(inputs[name]) for name in BINNED},
    }


def of_tft(inputs: dict[str, Any]) -> dict[str, Any]:
    """The same for TensorFlow Transform."""
    return {
        **{f"{name}_z": tft.scale_to_z_score(inputs[name]) for name in NUMBERS},
        **{f"{name}_id": tft.compute_and_apply_vocabulary(inputs[name], num_oov_buckets=1) for name in WORDS},
        **{f"{name}_bin": tft.bucketize(inputs[name], BINS) for name in BINNED},
    }


def by_headrace(path: str, folder: Path) -> None:
    groups = row_groups([path])
    transform = analyze_and_trace(of_keras, schema(), groups)
    transform.save(folder)
    with (
        Examples(str(folder / "features")).writer(transform.output_arrow_schema) as writer,
        ThreadPoolExecutor(2) as pool,
    ):
        for features in pool.map(lambda group: transform.apply(read(group, transform.columns)), groups):
            writer.write("train", features)


class _Read(beam.DoFn):
    def __init__(self, raw: RawExamples) -> None:
        self._raw = raw

    def process(self, element: list[tuple[str, int, int]]) -> Iterator[pa.RecordBatch]:
        yield from read_batches([RowGroup(*group) for group in element], self._raw, BATCH_ROWS)


class _Write(beam.DoFn):
    """Writes each batch as a Parquet file: the cheapest way there is."""

    def __init__(self, folder: str) -> None:
        self._folder, self._count = folder, 0

    def process(self, element: tuple[pa.RecordBatch, dict]) -> None:
        self._count += 1
        table = pa.Table.from_batches([element[0]])
        path = f"{self._folder}/part-{self._count:05}.parquet"
        pq.write_table(table, path, compression="lz4", use_dictionary=dictionary_columns(table))


def by_tft(path: str, folder: Path) -> None:
    raw = RawExamples.of(schema())
    references = [[tuple(group) for group in some] for some in together(row_groups([path]), BATCH_ROWS)]
    (folder / "features").mkdir()
    with (
        beam.Pipeline(fn_runner.FnApiRunner()) as pipeline,
        tft_beam.Context(temp_dir=str(folder / "scratch"), use_deep_copy_optimization=True),
    ):
        rows = (
            pipeline
            | beam.Create(references, reshuffle=False)
            | beam.ParDo(_Read(raw)).with_output_types(pa.RecordBatch)
        )
        (features, _), transform_fn = (rows, raw.adapter_config()) | tft_beam.AnalyzeAndTransformDataset(
            of_tft, output_record_batches=True
        )
        _ = features | beam.ParDo(_Write(str(folder / "features")))
        _ = transform_fn | tft_beam.WriteTransformFn(str(folder / "transform"))


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    what = f"Transform of {rows:,} rows, 10 z-scores, 4 vocabularies, 4 bucketised, against TensorFlow Transform"
    with tempfile.TemporaryDirectory() as scratch:
        path = f"{scratch}/raw.parquet"
        pq.write_table(raw_table(rows), path, row_group_size=65_536)

        def into(function: Callable[[str, Path], None]) -> Callable[[], None]:
            return lambda: function(path, Path(tempfile.mkdtemp(dir=scratch)))

        tell(alternate(what, 0.2, into(by_headrace), into(by_tft), REPEAT))


if __name__ == "__main__":
    main()
