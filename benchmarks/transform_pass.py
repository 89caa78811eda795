"""Transform of a million rows against Keras' own `adapt` and `predict`: `python -m benchmarks.transform_pass [rows]`.

`python benchmarks/transform_pass.py 1000000 wide` is a 10,000-wide one-hot: its time and peak memory.

Both begin with imports done. Headrace reads Parquet, computes the state in passes over row groups (Beam's in-memory
runner) and writes the features as Parquet. Keras has the columns as NumPy arrays in memory, adapts each layer on its
whole column, which is its fastest way, and predicts in batches of 8,192; it reads and writes nothing. Times are this
process's CPU and wall seconds; the ratio is what counts.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from headrace.transforms.keras_graph import analyze_and_trace
from headrace.transforms.row_groups import read, row_groups
from keras import layers
from tensorflow_metadata.proto.v0 import schema_pb2

from benchmarks.results import Result, medians, tell

BATCH = 8_192
REPEAT = 3
FLOATS = [f"float{i}" for i in range(8)]
INTS = [f"int{i}" for i in range(5)]
STRINGS = [f"string{i}" for i in range(5)]


def raw_table(rows: int) -> pa.Table:
    """18 columns as real data has them: some missing floats, skewed categories."""
    rng = np.random.default_rng(0)
    columns: dict[str, pa.Array] = {}
    for name in FLOATS:
        columns[name] = pa.array(rng.lognormal(2, 1, rows).astype(np.float32), mask=rng.random(rows) < 0.02)
    for i, name in enumerate(INTS):
        columns[name] = pa.array(rng.integers(0, 10 * 4**i, rows))
    for i, name in enumerate(STRINGS):
        words = np.array([f"value {j}" for j in range(5 * 5**i)])
        columns[name] = pa.array(words[rng.zipf(1.3, rows) % len(words)])
    return pa.table(columns)


def schema() -> schema_pb2.Schema:
    """The schema that SchemaGen would infer."""
    made = schema_pb2.Schema()
    for names, kind in ((FLOATS, schema_pb2.FLOAT), (INTS, schema_pb2.INT), (STRINGS, schema_pb2.BYTES)):
        for name in names:
            made.feature.add(name=name, type=kind).presence.min_fraction = 0.0 if kind == schema_pb2.FLOAT else 1.0
    return made


def make_layers() -> dict[str, tuple[str, keras.layers.Layer]]:
    """Feature -> its column and layer."""
    made = {name: (name, layers.Normalization()) for name in FLOATS}
    made |= {f"{name}_bin": (name, layers.Discretization(num_bins=10)) for name in FLOATS[:3]}
    made |= {name: (name, layers.IntegerLookup()) for name in INTS}
    made |= {name: (name, layers.StringLookup()) for name in STRINGS}
    made[f"{STRINGS[0]}_hot"] = (STRINGS[0], layers.StringLookup(output_mode="one_hot"))
    made[f"{STRINGS[2]}_hot"] = (STRINGS[2], layers.StringLookup(output_mode="one_hot"))
    return made


def outputs_of(made: dict[str, tuple[str, keras.layers.Layer]], inputs: dict) -> dict:
    features = {name: layer(inputs[column]) for name, (column, layer) in made.items()}
    features["cross"] = layers.HashedCrossing(1000)((inputs[STRINGS[0]], inputs[STRINGS[1]]))
    features["ratio"] = layers.Lambda(lambda pair: pair[0] / (pair[1] + 1.0))([inputs["float0"], inputs["float1"]])
    return features


def by_headrace(path: str, folder: Path) -> None:
    groups = row_groups([path])
    transform = analyze_and_trace(lambda inputs: outputs_of(make_layers(), inputs), schema(), groups)
    clock("  state")
    transform.save(folder)
    clock("  saved model")
    columns = list(transform.inputs)
    with (
        pq.ParquetWriter(folder / "features.parquet", transform.output_arrow_schema, compression="zstd") as writer,
        ThreadPoolExecutor(2) as pool,
    ):
        for features in pool.map(lambda group: transform.apply(read(group, columns)), groups):
            writer.write_batch(features)
    clock("  features written")


def by_keras(arrays: dict[str, np.ndarray]) -> None:
    made = make_layers()
    for column, layer in made.values():
        # `adapt` knows no missing values: it gets the rows present.
        values = arrays[column]
        values = values[~np.isnan(values)] if values.dtype == np.float32 else values
        layer.adapt(values[:, None])
    clock("  adapt")
    inputs = {name: keras.Input((1,), name=name, dtype=_dtype(array)) for name, array in arrays.items()}
    model = keras.Model(inputs, outputs_of(made, inputs))
    tensors = {name: tf.convert_to_tensor(array[:, None]) for name, array in arrays.items()}
    model.predict(tensors, batch_size=BATCH, verbose=0)
    clock("  predict")


def _dtype(array: np.ndarray) -> str:
    return "string" if array.dtype == object else array.dtype.name


_started = [0.0, 0.0]


def clock(label: str = "") -> None:
    """Prints the seconds since the last call."""
    now = [time.perf_counter(), time.process_time()]
    if label:
        print(f"{label:<20} {now[0] - _started[0]:7.2f} s wall {now[1] - _started[1]:7.2f} s CPU")
    _started[:] = now


def timed(function, *arguments) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    clock()
    function(*arguments)
    return time.perf_counter() - wall, time.process_time() - cpu


def wide(rows: int) -> None:
    """One one-hot of 10,000 categories: Keras would make 40 GB of a million rows."""
    one = schema_pb2.Schema()
    one.feature.add(name="s", type=schema_pb2.BYTES).presence.min_fraction = 1.0
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/raw.parquet"
        with pq.ParquetWriter(path, pa.schema([("s", pa.string())])) as writer:
            for start in range(0, rows, 65_536):
                values = pa.array(rng.integers(0, 10_000, min(65_536, rows - start))).cast(pa.string())
                writer.write_batch(pa.record_batch([values], ["s"]))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        clock()
        groups = row_groups([path])
        hot = analyze_and_trace(
            lambda inputs: {"hot": layers.StringLookup(output_mode="one_hot")(inputs["s"])}, one, groups
        )
        with pq.ParquetWriter(f"{folder}/features.parquet", hot.output_arrow_schema) as writer:
            for group in groups:
                writer.write_batch(hot.apply(read(group, ["s"])))
        clock(f"  {rows:,} x {hot.feature_specs['hot'].size:,}")
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"peak RSS {before / 1024:,.0f} MB before, {after / 1024:,.0f} MB after")


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    import apache_beam  # noqa: F401  # imports are done before the clock starts, for both

    if sys.argv[2:] == ["wide"]:
        wide(rows)
        return
    table = raw_table(rows)
    arrays = {}
    for name in table.column_names:
        array = table[name].to_numpy()
        arrays[name] = array.astype(object) if array.dtype.kind in "UO" else array
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/raw.parquet"
        pq.write_table(table, path, row_group_size=65_536)
        ours, theirs = [], []
        for turn in range(REPEAT):
            print(f"headrace, {rows:,} rows")
            (Path(folder) / str(turn)).mkdir()
            ours.append(timed(by_headrace, path, Path(folder) / str(turn)))
            if not turn:
                print(f"peak RSS {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
            print("keras")
            theirs.append(timed(by_keras, arrays))
    what = f"Transform of {rows:,} rows of 18 columns, against adapt + predict"
    (wall, cpu), (their_wall, their_cpu) = medians(ours), medians(theirs)
    tell(Result(what, wall, 1.2, their_wall, "s", cpu, their_cpu))


if __name__ == "__main__":
    main()
