"""The analysis of a `preprocessing_fn`: TensorFlow Transform's own, on Beam, over Arrow, of the train split alone.

Beam's elements are references to row groups, which are read where they are needed. Each of TensorFlow Transform's
phases reads the train split again (`use_deep_copy_optimization`): Beam's in-memory runner would otherwise hold all rows
between two phases. Batches are large: what TensorFlow costs for each call is then little for each row.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import tensorflow_transform.beam as tft_beam
from apache_beam.options.pipeline_options import PipelineOptions
from headrace.transforms.beam_pass import runner_of
from headrace.transforms.row_groups import RowGroup
from headrace.transforms.tft.raw_examples import RawExamples, read_batches, together
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io

BATCH_ROWS = 20_000

PreprocessingFn = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""From tensors (dense or sparse, as the schema says) to tensors."""


def analyze(
    preprocessing_fn: PreprocessingFn,
    schema: schema_pb2.Schema,
    train_groups: Sequence[RowGroup],
    directory: str | Path,
    *,
    scratch: str | Path,
    beam_args: Sequence[str] | None = None,
    batch_rows: int = BATCH_ROWS,
) -> RawExamples:
    """Runs TensorFlow Transform's analysis and writes its output as TFX's Transform does.

    Args:
        preprocessing_fn: The author's.
        schema: The raw columns.
        train_groups: Row groups of the train split.
        directory: A folder; `transform_fn/`, `transformed_metadata/` and `metadata/` are written into it, which
            `tft.TFTransformOutput` reads.
        scratch: A folder for what passes between phases; with another runner than the in-memory one, one that its
            workers reach.
        beam_args: Options of Beam's `PipelineOptions`.
        batch_rows: Rows of a batch at most.

    Returns:
        The raw columns as `preprocessing_fn` got them.

    Raises:
        ValueError: What the schema or the rows have that TensorFlow Transform cannot take.
        Exception: What `preprocessing_fn` raises.
    """
    raw = RawExamples.of(schema)
    references = [[tuple(group) for group in some] for some in together(train_groups, batch_rows)]
    options = PipelineOptions(list(beam_args or ()))
    with (
        _imports_not_collected(),
        beam.Pipeline(runner=runner_of(options), options=options) as pipeline,
        tft_beam.Context(temp_dir=str(scratch), use_deep_copy_optimization=True),
    ):
        rows = (
            pipeline
            | "RowGroups" >> beam.Create(references, reshuffle=False)
            | "Read" >> beam.ParDo(_Read(raw, batch_rows)).with_output_types(pa.RecordBatch)
        )
        transform_fn = (rows, raw.adapter_config()) | tft_beam.AnalyzeDataset(preprocessing_fn)
        _ = transform_fn | "Write" >> tft_beam.WriteTransformFn(str(directory))
    metadata_io.write_metadata(dataset_metadata.DatasetMetadata(schema), str(Path(directory) / "metadata"))
    return raw


@contextmanager
def _imports_not_collected() -> Iterator[None]:
    """Keeps garbage collection from walking the million objects of imported libraries again and again.

    Building hundreds of Beam steps makes many objects that stay: a sixth of the analysis' time was spent on looking.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class _Read(beam.DoFn):
    """Reads some row groups as batches."""

    def __init__(self, raw: RawExamples, batch_rows: int) -> None:
        self._raw, self._batch_rows = raw, batch_rows

    def process(self, element: Iterable[tuple[str, int, int]]) -> Iterator[pa.RecordBatch]:
        yield from read_batches([RowGroup(*group) for group in element], self._raw, self._batch_rows)
