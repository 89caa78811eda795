"""The examples in the public docstrings of the data passes, statistics, schema, layers and bootstrap run as written."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = (
    *("row_groups", "passes", "feature_model", "moments", "quantiles", "distinct", "value_counts", "number_counts"),
    *("statistics.summarizer", "statistics.proto", "schema.tags", "schema.infer", "schema.merge", "schema.inputs"),
    *("validation.validate", "validation.rows", "validation.distances"),
    *("layers.analyzers", "layers.cross", "layers.date_parts", "layers.great_circle_distance", "layers.grid_cell"),
    *("layers.impute", "layers.tail_buckets"),
    *("tf_example_rows", "tft.raw_examples"),
    *("layers.present", "layers.join_modalities", "metrics.bootstrap"),
)


@pytest.mark.parametrize("module", MODULES)
def test_examples(module):
    result = doctest.testmod(importlib.import_module(f"headrace.transforms.{module}"))
    assert result.attempted and not result.failed
