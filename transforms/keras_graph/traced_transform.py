"""A transform with its state, in the process that traced it: applied to row groups, and saved."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.keras_graph import feature_specs, stored_features
from headrace.transforms.keras_graph.feature_specs import FeatureSpec
from headrace.transforms.keras_graph.graph_function import storage_function
from headrace.transforms.keras_graph.levels import PreprocessingFn, Settled, settle
from headrace.transforms.keras_graph.raw_columns import as_array, check_types, raw_tensors
from headrace.transforms.keras_graph.saved_model import check_survives, write
from headrace.transforms.row_groups import RowGroup
from headrace.transforms.schema.inputs import model_inputs
from tensorflow_metadata.proto.v0 import schema_pb2

# What the features of one evaluation take together; a row group of narrow ones is one evaluation.
_CHUNK_BYTES = 64 << 20


def analyze_and_trace(
    preprocessing_fn: PreprocessingFn,
    schema: schema_pb2.Schema,
    train_groups: Iterable[RowGroup],
    *,
    arrow_schema: pa.Schema | None = None,
    labels: Sequence[str] = (),
    beam_args: Sequence[str] | None = None,
    engine: Literal["beam", "direct"] = "beam",
    on_rows: Callable[[int], None] | None = None,
) -> TracedTransform:
    """Computes the state of a `preprocessing_fn`'s layers over the train split and gives the finished transform.

    Args:
        preprocessing_fn: From a dict of KerasTensors, scalars `(None, 1)`, to a dict of them; nobody calls adapt.
        schema: The raw columns.
        train_groups: Row groups of the train split.
        arrow_schema: The Arrow types of the Examples: refused before any pass where the schema says otherwise.
        labels: Outputs that are labels or weights: a signature of their own, and no feature needs their columns.
        beam_args: Options of Beam's `PipelineOptions`.
        engine: "beam", or "direct" for the same passes in this process without Beam.
        on_rows: Called with the number of rows done in the pass that runs.

    Raises:
        ValueError, TypeError: What cannot be computed, stored or exported, with the repair.
        Exception: What `preprocessing_fn` raises.

    Example:
        >>> import tempfile, keras, pyarrow.parquet as pq
        >>> from google.protobuf import text_format
        >>> from headrace.transforms.row_groups import row_groups
        >>> schema = text_format.Parse('feature { name: "s" type: BYTES }', schema_pb2.Schema())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pq.write_table(pa.table({"s": ["b", "a", "a", None]}), f"{folder}/part.parquet")
        ...     groups = row_groups([f"{folder}/part.parquet"])
        ...     index = lambda inputs: {"index": keras.layers.StringLookup()(inputs["s"])}
        ...     transform = analyze_and_trace(index, schema, groups, engine="direct")
        >>> transform.feature_specs["index"].vocabulary
        ('[UNK]', 'a', 'b')
        >>> transform.apply(pa.record_batch({"s": ["b", None]}))["index"].to_pylist()
        [2, 0]
    """
    inputs = model_inputs(schema)
    if arrow_schema is not None:
        check_types(schema, arrow_schema)
    groups = list(train_groups)
    settled = settle(preprocessing_fn, inputs, groups, beam_args=beam_args, engine=engine, on_rows=on_rows)
    return TracedTransform(settled, inputs, labels)


class TracedTransform:
    """A finished transform.

    Attributes:
        feature_specs: What is known of each output of `preprocessing_fn`, labels included.
        labels: The outputs that are labels or weights.
        inputs: The raw columns that it takes, by name.
        traces: How often `preprocessing_fn` was traced.
        passes: How many passes over the train split that took.
    """

    def __init__(self, settled: Settled, inputs: Mapping[str, ModelInput], labels: Sequence[str] = ()) -> None:
        self.feature_specs: dict[str, FeatureSpec] = feature_specs.describe(settled.outputs)
        self.labels = _checked_labels(labels, self.feature_specs)
        needed = {column for spec in self.feature_specs.values() for column in spec.columns}
        self.inputs = {name: one for name, one in inputs.items() if name in needed}
        self.traces, self.passes = settled.traces, settled.passes
        self._settled = settled
        self._schema = stored_features.arrow_schema(self.feature_specs)
        self._compute, self._row_bytes = storage_function(
            settled.symbolic, self.inputs, settled.outputs, self.feature_specs
        )
        check_survives(self._compute)

    @property
    def columns(self) -> list[str]:
        """The raw columns that `apply` needs."""
        return list(self.inputs)

    @property
    def output_arrow_schema(self) -> pa.Schema:
        """The schema of what `apply` gives."""
        return self._schema

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Raw rows to stored features, in the same order; safe to call from several threads.

        Raises:
            KeyError: A raw column is not in the batch.
            ValueError: A missing value that nothing stands for.
        """
        return one_batch(self.apply_in_pieces(batch))

    def apply_in_pieces(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Like `apply`, in pieces of bounded memory: for dense features of thousands of values."""
        return apply_in_pieces(batch, self.inputs, self.feature_specs, self._schema, self._compute, self._row_bytes)

    def save(self, directory: str | Path) -> None:
        """Writes `saved_model/` and `features.json` into a local folder."""
        write(
            self._settled,
            self._compute,
            self.inputs,
            self.feature_specs,
            self.labels,
            self._row_bytes,
            Path(directory),
        )


def _checked_labels(labels: Sequence[str], specs: Mapping[str, FeatureSpec]) -> tuple[str, ...]:
    for label in labels:
        if label not in specs:
            near = difflib.get_close_matches(label, specs, 1)
            raise ValueError(
                f"labels has {label!r}, which preprocessing_fn does not return; it returns {list(specs)}"
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
    if set(labels) == set(specs):
        raise ValueError(f"every output of preprocessing_fn is a label ({list(labels)}): return features too")
    return tuple(labels)


def apply_in_pieces(
    batch: pa.RecordBatch,
    inputs: Mapping[str, ModelInput],
    specs: Mapping[str, FeatureSpec],
    schema: pa.Schema,
    compute: Callable[[dict[str, Any]], Mapping[str, Any]],
    row_bytes: int,
) -> Iterator[pa.RecordBatch]:
    """Computes stored features of a batch, as few rows at a time as their width asks for; at least one piece."""
    rows = max(64, _CHUNK_BYTES // row_bytes)
    for start in range(0, max(batch.num_rows, 1), rows):
        tensors = compute(raw_tensors(batch.slice(start, rows), inputs))
        arrays = {
            name: {part: as_array(value) for part, value in one.items()} if isinstance(one, dict) else as_array(one)
            for name, one in tensors.items()
        }
        yield stored_features.to_batch(arrays, specs, schema)


def one_batch(pieces: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    """The pieces as one batch; not copied if there is one."""
    listed = list(pieces)
    return listed[0] if len(listed) == 1 else pa.Table.from_batches(listed).combine_chunks().to_batches()[0]
