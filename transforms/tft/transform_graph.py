"""What TensorFlow Transform's analysis gave, as the transform that the rest of Headrace knows.

It is applied to row groups, and saved as one SavedModel of functions from raw columns, with `features.json`.

Dense outputs are features. Sparse and ragged ones have no static shape: they are stored as lists beside the features,
for a `run_fn`, and `build_model` does not get them.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.keras_graph import feature_specs, saved_model, stored_features
from headrace.transforms.keras_graph.feature_specs import FeatureSpec
from headrace.transforms.keras_graph.raw_columns import as_array, tensor_specs
from headrace.transforms.tft.dense_columns import as_transform_takes
from headrace.transforms.tft.raw_examples import RawExamples
from headrace.transforms.tft.restored_graph import RestoredGraph
from tensorflow_metadata.proto.v0 import schema_pb2

BATCH_ROWS = 20_000
_CHUNK_BYTES = 64 << 20
_FLAT = {tf.int64: pa.int64(), tf.float32: pa.float32(), tf.string: pa.string()}


class TftTransform:
    """A finished transform of TensorFlow Transform.

    Args:
        directory: The folder that `analyze` wrote into.
        raw: The raw columns.
        labels: Outputs that are labels or weights.

    Attributes:
        feature_specs: What is known of each dense output, labels included.
        labels: The outputs that are labels or weights.
        inputs: The raw columns that the dense outputs depend on.
        lists: The sparse and ragged outputs.

    Raises:
        ValueError: A label is no dense output, every dense output is one, or an output depends on no column.
    """

    def __init__(self, directory: str | Path, raw: RawExamples, labels: Sequence[str] = ()) -> None:
        import tensorflow_transform as tft
        from tfx_bsl.tfxio.tensor_adapter import TensorAdapter

        self._raw = raw
        self._graph = RestoredGraph(Path(directory))
        self.schema: schema_pb2.Schema = tft.TFTransformOutput(str(directory)).transformed_metadata.schema
        described = {feature.name: feature for feature in self.schema.feature}
        self.lists = [name for name, one in self._graph.outputs.items() if not isinstance(one, tf.Tensor)]
        self.feature_specs = {
            name: _spec(name, tensor, self._columns(name), described.get(name), self._graph.passes_through(name))
            for name, tensor in self._graph.outputs.items()
            if name not in self.lists
        }
        self.labels = _checked_labels(labels, self.feature_specs, self.lists)
        needed = {column for spec in self.feature_specs.values() for column in spec.columns}
        self.inputs: dict[str, ModelInput] = {name: one for name, one in raw.inputs.items() if name in needed}
        self._adapter = TensorAdapter(raw.adapter_config())
        self._all = self._graph.function(raw.columns, list(self._graph.outputs))
        self._schema = pa.schema(
            [
                *stored_features.arrow_schema(self.feature_specs),
                *(pa.field(name, pa.list_(_FLAT[self._graph.outputs[name].dtype])) for name in self.lists),
            ]
        )

    @property
    def columns(self) -> list[str]:
        """The raw columns that `apply_in_pieces` needs."""
        return self._raw.columns

    @property
    def output_arrow_schema(self) -> pa.Schema:
        """The schema of what `apply_in_pieces` gives."""
        return self._schema

    def apply_in_pieces(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Raw rows to stored features, in the same order, in pieces of bounded memory; at least one.

        Raises:
            ValueError: A value is missing that may not be, a string is no UTF-8, or a sparse output has holes.
        """
        row_bytes = 8 * (sum(spec.values for spec in self.feature_specs.values()) + len(self._raw.columns))
        rows = max(64, min(BATCH_ROWS, _CHUNK_BYTES // row_bytes))
        for start in range(0, max(batch.num_rows, 1), rows):
            lists = self._raw.lists(batch.slice(start, rows))
            yield self._stored(self._all(self._adapter.ToBatchTensors(lists)), lists.num_rows)

    def _stored(self, values: Mapping[str, Any], rows: int) -> pa.RecordBatch:
        dense = {name: as_array(values[name]) for name in self.feature_specs}
        names = list(self.feature_specs)
        schema = pa.schema([self._schema.field(name) for name in names])
        arrays = stored_features.to_batch(dense, self.feature_specs, schema).columns if names else []
        lists = [_list_column(name, values[name], rows, self._schema.field(name).type) for name in self.lists]
        return pa.RecordBatch.from_arrays([*arrays, *lists], schema=self._schema)

    def save(self, directory: str | Path) -> None:
        """Writes `saved_model/` and `features.json` into a local folder, for `load_transform`."""
        folder = Path(directory)
        root = tf.Module()
        together: dict[tuple[str, ...], list[str]] = {}
        for name, spec in self.feature_specs.items():
            together.setdefault(spec.columns, []).append(name)
        root.features = self._features(together).get_concrete_function()
        tracked = {columns: self._graph.resources(columns, names) for columns, names in together.items()}
        root.resources = [tracked[spec.columns] for spec in self.feature_specs.values()]
        signatures = saved_model.signatures_of(root.features, self.feature_specs, self.inputs, self.labels)
        tf.saved_model.save(root, str(folder / saved_model.SAVED_MODEL), signatures=signatures)
        document = {
            "version": saved_model.VERSION,
            "engine": "tensorflow_transform",
            "inputs": [saved_model.input_to_json(one) for one in self.inputs.values()],
            "labels": list(self.labels),
            "row_bytes": 8 * sum(spec.values for spec in self.feature_specs.values()) or 8,
            "features": feature_specs.to_json(self.feature_specs),
        }
        (folder / saved_model.FEATURES).write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")

    def _features(self, together: Mapping[tuple[str, ...], list[str]]) -> Any:
        """A function from raw columns, as a client sends them, to the dense outputs; those of the same columns are one
        call in it, so that a part of it needs its own columns only."""
        calls = {columns: self._graph.function(columns, names) for columns, names in together.items()}
        specs = self.feature_specs

        def function(raw: Mapping[str, Any]) -> dict[str, Any]:
            values: dict[str, Any] = {}
            for columns, call in calls.items():
                inputs = {column: self.inputs[column] for column in columns}
                values |= call(as_transform_takes(raw, inputs, self._raw))
            return {name: tf.ensure_shape(values[name], (None, *specs[name].shape)) for name in specs}

        return tf.function(function, input_signature=[tensor_specs(self.inputs.values())], autograph=False)

    def _columns(self, name: str) -> tuple[str, ...]:
        return tuple(sorted(self._graph.columns(name)))


def _spec(
    name: str, tensor: Any, columns: tuple[str, ...], described: schema_pb2.Feature | None, passes_through: bool
) -> FeatureSpec:
    if not columns:
        raise ValueError(f"feature {name!r} depends on no raw column: leave it out")
    shape = tuple(tensor.shape)
    if not shape or None in shape[1:]:
        raise ValueError(
            f"feature {name!r} has the shape {shape}: expected (None, ...), the rows first and every other size known: "
            "reshape it, or return it as a SparseTensor"
        )
    size = None
    if described is not None and described.int_domain.is_categorical:
        # -1 stands for what is out of vocabulary, and is no category.
        size = int(described.int_domain.max) + 1
    return FeatureSpec(name, tensor.dtype.name, shape[1:], columns, size=size, is_column=passes_through)


def _checked_labels(labels: Sequence[str], specs: Mapping[str, FeatureSpec], lists: Sequence[str]) -> tuple[str, ...]:
    for label in labels:
        if label not in specs:
            near = difflib.get_close_matches(label, specs, 1)
            why = (
                "is sparse or ragged" if label in lists else f"preprocessing_fn does not return; it returns {[*specs]}"
            )
            raise ValueError(f"labels has {label!r}, which {why}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if specs and set(labels) == set(specs) and not lists:
        raise ValueError(f"every output of preprocessing_fn is a label ({list(labels)}): return features too")
    return tuple(labels)


def _list_column(name: str, value: Any, rows: int, kind: pa.DataType) -> pa.Array:
    """A sparse or ragged output as a list for each row."""
    if isinstance(value, tf.RaggedTensor):
        if value.ragged_rank != 1 or value.flat_values.shape.rank != 1:
            raise ValueError(f"feature {name!r} is ragged in more than one dimension: expected one list a row")
        flat, lengths = value.flat_values.numpy(), value.row_lengths().numpy()
    else:
        indices = value.indices.numpy()
        if indices.shape[1] != 2:
            raise ValueError(f"feature {name!r} is sparse of rank {indices.shape[1]}: expected one list a row (rank 2)")
        flat, lengths = value.values.numpy(), np.bincount(indices[:, 0], minlength=rows)
        starts = np.cumsum(lengths) - lengths
        if not np.array_equal(indices[:, 1], np.arange(len(flat)) - np.repeat(starts, lengths)):
            raise ValueError(
                f"feature {name!r} is sparse with holes between its values, or not in the order of the rows, which no "
                "list of values can tell: make it dense, or return a SparseTensor whose values begin at column 0"
            )
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    values = pa.array(flat, pa.binary()).cast(pa.string()) if flat.dtype == object else pa.array(flat)
    return pa.ListArray.from_arrays(offsets, values.cast(kind.value_type))
