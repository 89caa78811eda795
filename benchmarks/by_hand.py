"""What an expert writes by hand for the flights, as fast as one process goes: the yardstick of the whole pipeline.

    python benchmarks/by_hand.py --out /tmp/by_hand

The same query, `preprocessing_fn`, `build_model`, rows, steps and batch as the pipeline of `examples/flights`, with the
same statistics, sliced metrics and export; no artifacts, no cache, no lineage, no schema, no validation, no gates. It
writes `statistics.json`, `metrics.json` and a SavedModel, and prints seconds and CPU seconds per phase as JSON.

What makes it fast: only the columns that the query names are parsed; statistics come from the distinct values and their
counts; `preprocessing_fn` runs once, eagerly, over whole columns, and each layer gets its state when its first input
arrives; the rows are shuffled once and given to tf.data in whole batches; saving walks the variables and tables, not
the Keras objects; and nothing is torn down at exit.
"""

from __future__ import annotations

import time

WALL, CPU = time.perf_counter(), time.process_time()

import argparse  # noqa: E402
import datetime  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import zipfile  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.modules["sklearn"] = None  # type: ignore[assignment]  # else Keras imports it, 0.5 s, for wrappers not used here
ROOT = Path(__file__).resolve().parent.parent
BATCH = 512
FIRST_EVAL_DAY = datetime.date(2013, 10, 1)
LABEL, SPLIT_COLUMN, SLICE_COLUMN = "late", "flight_date", "carrier"
Columns = dict[str, Any]


class Clock:
    """Seconds and CPU seconds (user + system, all threads) of each phase."""

    def __init__(self) -> None:
        self.phases: dict[str, dict[str, float]] = {}
        self._wall, self._cpu = WALL, CPU

    def lap(self, phase: str) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        self.phases[phase] = {"wall": round(wall - self._wall, 3), "cpu": round(cpu - self._cpu, 3)}
        self._wall, self._cpu = wall, cpu

    def total(self) -> None:
        self._wall, self._cpu = WALL, CPU
        self.lap("total")


def read() -> dict[str, Any]:
    """Reads the columns that the query names and joins them: {"train": table, "eval": table}."""
    import duckdb
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    from examples.flights.data import QUERY, tables

    columns = {
        "flights": "year month day minute sched_dep_time sched_arr_time arr_delay carrier flight origin dest distance "
        "time_hour",
        "airports": "faa lat lon",
        "weather": "origin time_hour temp dewp humid wind_dir wind_speed wind_gust precip pressure visib",
    }
    connection = duckdb.connect()
    for name, path in tables().items():
        source: Any = path
        if path.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                source = pa.BufferReader(archive.read(archive.namelist()[0]))
        options = csv.ConvertOptions(include_columns=columns[name].split())
        connection.register(name, csv.read_csv(source, convert_options=options))
    rows = connection.sql(QUERY.read_text(encoding="utf-8")).to_arrow_table()
    is_train = pc.less(rows[SPLIT_COLUMN], pa.scalar(FIRST_EVAL_DAY))
    return {"train": rows.filter(is_train), "eval": rows.filter(pc.invert(is_train))}


# --- statistics -------------------------------------------------------------------------------------------------------


def statistics(table: Any) -> dict[str, Any]:
    """The numbers of every column, from its distinct values and their counts."""
    import pyarrow as pa

    return {
        name: (_text_statistics if pa.types.is_string(table.schema.field(name).type) else _number_statistics)(
            table[name]
        )
        for name in table.column_names
    }


def _distinct(column: Any) -> tuple[Any, Any]:
    import pyarrow.compute as pc

    pairs = pc.value_counts(pc.drop_null(column))
    return pairs.field("values"), pairs.field("counts").to_numpy()


def _number_statistics(column: Any) -> dict[str, Any]:
    import numpy as np
    import pyarrow as pa

    if pa.types.is_date(column.type):
        column = column.cast(pa.int32())
    distinct, counts = _distinct(column)
    values = distinct.to_numpy(zero_copy_only=False).astype(np.float64)
    order = np.argsort(values)
    values, counts = values[order], counts[order]
    below = np.cumsum(counts)
    rows = int(below[-1])
    mean = float(values @ counts / rows)
    deciles = values[np.searchsorted(below, np.linspace(0.0, 1.0, 11) * rows)]
    histogram, edges = np.histogram(values, bins=10, weights=counts)
    top = np.argsort(-counts, kind="stable")[:20]
    return {
        "count": rows,
        "missing": column.null_count,
        "min": float(values[0]),
        "max": float(values[-1]),
        "mean": mean,
        "std": float(np.sqrt(np.square(values - mean) @ counts / rows)),
        "median": float(values[np.searchsorted(below, rows / 2)]),
        "zeros": int(counts[values == 0.0].sum()),
        "unique": len(values),
        "quantiles": deciles.tolist(),
        "histogram": {"edges": edges.tolist(), "counts": histogram.tolist()},
        "top": [(float(values[i]), int(counts[i])) for i in top],
    }


def _text_statistics(column: Any) -> dict[str, Any]:
    import numpy as np
    import pyarrow.compute as pc

    distinct, counts = _distinct(column)
    words, lengths = distinct.to_pylist(), pc.utf8_length(distinct).to_numpy()
    ranked = sorted(zip(counts.tolist(), words), key=lambda pair: (-pair[0], pair[1]))
    return {
        "count": int(counts.sum()),
        "missing": column.null_count,
        "unique": len(words),
        "mean_length": float(lengths @ counts / counts.sum()),
        "min_length": int(np.min(lengths)),
        "max_length": int(np.max(lengths)),
        "top": [(word, count) for count, word in ranked[:20]],
        "ranks": [count for count, _ in ranked],
    }


# --- transform --------------------------------------------------------------------------------------------------------


class Spec(NamedTuple):
    """How many ids a feature has; None for a number."""

    size: int | None


class Features(dict[str, Any]):
    """What `build_model` takes: feature -> KerasTensor, with `spec`."""

    spec: dict[str, Spec]


def tensors(table: Any) -> Columns:
    """Raw columns as `preprocessing_fn` takes them: (rows, 1), missing as NaN and ""."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import tensorflow as tf

    inputs: Columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        if pa.types.is_string(column.type):
            words = pc.fill_null(column, "").dictionary_encode()
            column = tf.gather(tf.constant(words.dictionary.to_pylist()), words.indices.to_numpy())
        elif pa.types.is_integer(column.type) and column.null_count == 0:
            column = tf.constant(column.to_numpy())
        elif name != SPLIT_COLUMN:
            floats = pc.fill_null(column.cast(pa.float32()), np.float32("nan"))
            column = tf.constant(floats.to_numpy())
        if name != SPLIT_COLUMN:
            inputs[name] = column[:, None]
    return inputs


class Fitted:
    """The layers of `preprocessing_fn` that need data, in the order in which it calls them.

    `fit` gives each layer its state, from the whole columns that reach it, just before its first call. `replay` lets
    those layers take the calls of the new ones that `preprocessing_fn` makes each time.
    """

    def __init__(self, function: Callable[[Columns], Columns]) -> None:
        from keras import layers

        self._function = function
        self._layers: list[Any] = []
        self._set_state: dict[type, Callable[[Any, Any], None]] = {
            layers.Normalization: _set_moments,
            layers.Discretization: _set_boundaries,
            layers.StringLookup: _set_vocabulary,
            layers.IntegerLookup: _set_vocabulary,
        }

    def fit(self, inputs: Columns) -> Columns:
        def fitted(layer: Any, x: Any) -> Any:
            self._set_state[type(layer)](layer, x)
            self._layers.append(layer)
            return layer

        with self._instead(fitted):
            return self._function(inputs)

    def replay(self, inputs: Columns) -> Columns:
        rest = iter(self._layers)
        with self._instead(lambda layer, x: next(rest)):
            return self._function(inputs)

    @contextmanager
    def _instead(self, substitute: Callable[[Any, Any], Any]) -> Iterator[None]:
        from keras import layers

        call = layers.Layer.__call__

        def wrapped(layer: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
            needs_data = type(layer) in self._set_state and getattr(layer, "bin_boundaries", None) is None
            return call(substitute(layer, x) if needs_data else layer, x, *args, **kwargs)

        layers.Layer.__call__ = wrapped
        try:
            yield
        finally:
            layers.Layer.__call__ = call


def _present(x: Any) -> Any:
    import numpy as np

    values = np.asarray(x, dtype=np.float64).ravel()
    return values[~np.isnan(values)]


def _set_moments(layer: Any, x: Any) -> None:
    values = _present(x)
    layer.build(tuple(x.shape))
    layer.adapt_mean.assign(values.mean())
    layer.adapt_variance.assign(values.var())
    layer.finalize_state()


def _set_boundaries(layer: Any, x: Any) -> None:
    import numpy as np

    quantiles = np.quantile(_present(x), np.arange(1, layer.num_bins) / layer.num_bins)
    layer.bin_boundaries = quantiles.astype(np.float32).tolist()


def _set_vocabulary(layer: Any, x: Any) -> None:
    import numpy as np
    import tensorflow as tf

    tokens, _, counts = (part.numpy() for part in tf.unique_with_counts(tf.reshape(x, [-1])))
    ranked = tokens[np.lexsort((tokens, counts))[::-1]].tolist()
    layer.set_vocabulary([token.decode() if isinstance(token, bytes) else token for token in ranked])


def _size(feature: Any) -> int | None:
    """How many ids the layer that makes a feature gives."""
    layer = feature._keras_history.operation
    if hasattr(layer, "vocabulary_size"):
        return int(layer.vocabulary_size())
    return int(layer.num_bins) if "crossing" in type(layer).__name__.lower() else None


# --- fit, evaluate, export --------------------------------------------------------------------------------------------


def fit(model: Any, features: Columns, label: Any, seed: int) -> None:
    """One epoch over the shuffled rows, in whole batches and a last short one."""
    import numpy as np
    import tensorflow as tf

    order = np.random.default_rng(seed).permutation(len(label))
    shuffled = ({name: features[name][order] for name in model.input}, label[order])
    whole = len(order) // BATCH * BATCH

    def batches(x: Any) -> Any:
        return x[:whole].reshape(-1, BATCH, 1)

    data = tf.data.Dataset.from_tensor_slices(tf.nest.map_structure(batches, shuffled))
    if whole < len(order):
        last = tf.data.Dataset.from_tensors(tf.nest.map_structure(lambda x: x[whole:], shuffled))
        data = data.concatenate(last)
    # Else the first step makes the optimizer's variables, and a function that makes variables is traced twice.
    model.optimizer.build(model.trainable_variables)
    # The thread that tunes buffers sometimes misses that its iterator ends, and `fit` then ends seconds later.
    options = tf.data.Options()
    options.autotune.enabled = False
    model.fit(data.prefetch(8).with_options(options), epochs=1, verbose=0)


def metrics(label: Any, probability: Any) -> dict[str, Any]:
    """AUC (interval by DeLong), log loss, its ratio to the best constant's, and calibration, with 95 % intervals."""
    import numpy as np

    rows, positives = len(label), int(label.sum())
    result: dict[str, Any] = {"count": rows, "positives": positives}
    losses = -np.log(np.where(label == 1, probability, 1.0 - probability))
    half = 1.96 * losses.std() / np.sqrt(rows)
    result["log_loss"] = [losses.mean(), losses.mean() - half, losses.mean() + half]
    rate = positives / rows
    result["calibration"] = probability.mean() / rate if positives else None
    if not 0 < positives < rows:
        return result
    entropy = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
    result["normalized_entropy"] = losses.mean() / entropy
    late, early = np.sort(probability[label == 1]), np.sort(probability[label == 0])
    above = (np.searchsorted(early, late) + np.searchsorted(early, late, "right")) / (2 * len(early))
    below = 1 - (np.searchsorted(late, early) + np.searchsorted(late, early, "right")) / (2 * len(late))
    half = 1.96 * np.sqrt(above.var() / len(late) + below.var() / len(early))
    result["auc"] = [above.mean(), above.mean() - half, above.mean() + half]
    return result


def evaluate(model: Any, features: Columns, label: Any, groups: Any) -> dict[str, Any]:
    """Metrics over all rows and by carrier."""
    import numpy as np

    inputs = {name: features[name] for name in model.input}
    # Called once, eagerly, on all rows: `predict` would trace a graph first, for longer than this takes.
    probability = model(inputs, training=False).numpy().ravel().astype(np.float64)
    probability = np.clip(probability, 1e-7, 1 - 1e-7)
    codes, label = groups.indices.to_numpy(), label.ravel()
    slices = {
        group: metrics(label[codes == code], probability[codes == code])
        for code, group in enumerate(groups.dictionary.to_pylist())
    }
    return {"overall": metrics(label, probability), SLICE_COLUMN: slices}


def export(model: Any, raw: Columns, features: Columns, folder: Path) -> None:
    """Writes a SavedModel whose `serving_default` takes raw columns by name, rank 1, and returns probabilities."""
    import keras
    import tensorflow as tf

    served = keras.Model(raw, model({name: features[name] for name in model.input}))
    signature = {name: tf.TensorSpec([None], x.dtype, name=name) for name, x in raw.items()}

    def serve(inputs: Columns) -> Columns:
        return {model.output_names[0]: served({name: x[:, None] for name, x in inputs.items()})[:, 0]}

    # A module with nothing but the state: walking the Keras objects takes longer than all the rest of saving.
    module = tf.Module()
    module.state = [variable.value for variable in served.variables]
    module.tables = [layer.lookup_table for layer in served.layers if hasattr(layer, "lookup_table")]
    module.serve = tf.function(serve, input_signature=[signature], autograph=False)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


# --- all of it --------------------------------------------------------------------------------------------------------


def run(out: Path, seed: int) -> dict[str, Any]:
    clock = Clock()
    import duckdb  # noqa: F401
    import keras
    import tensorflow  # noqa: F401
    from pyarrow import csv  # noqa: F401

    from examples.flights.model import build_model
    from examples.flights.preprocessing import preprocessing_fn

    clock.lap("import")
    rows = read()
    clock.lap("read and join")
    summary = {split: statistics(table) for split, table in rows.items()}
    clock.lap("statistics")
    keras.utils.set_random_seed(seed)
    transform, inputs = Fitted(preprocessing_fn), tensors(rows["train"])
    train = {name: x.numpy() for name, x in transform.fit(inputs).items()}
    evaluation = {name: x.numpy() for name, x in transform.replay(tensors(rows["eval"])).items()}
    raw = {name: keras.Input((1,), dtype=x.dtype.name, name=name) for name, x in inputs.items()}
    symbolic = transform.replay(raw)
    clock.lap("transform")
    labels = {"train": train.pop(LABEL), "eval": evaluation.pop(LABEL)}
    features = Features({name: keras.Input((1,), dtype=train[name].dtype.name, name=name) for name in train})
    features.spec = {name: Spec(_size(symbolic[name])) for name in train}
    model = build_model(features)
    fit(model, train, labels["train"], seed)
    clock.lap("fit")
    report = evaluate(
        model, evaluation, labels["eval"], rows["eval"][SLICE_COLUMN].combine_chunks().dictionary_encode()
    )
    clock.lap("evaluate")
    out.mkdir(parents=True, exist_ok=True)
    (out / "statistics.json").write_text(json.dumps(summary))
    (out / "metrics.json").write_text(json.dumps(report, indent=1))
    del raw[LABEL]
    export(model, raw, symbolic, out / "model")
    clock.lap("export")
    clock.total()
    return {"phases": clock.phases, "overall": report["overall"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for statistics, metrics and the SavedModel")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    print(json.dumps(run(arguments.out, arguments.seed), indent=1), flush=True)
    os._exit(0)  # everything is on disk; taking TensorFlow apart would cost another second


if __name__ == "__main__":
    main()
