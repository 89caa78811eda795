"""A pass with Beam and one without give the same, bit for bit: statistics, vocabularies, boundaries and features."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headrace.transforms import passes
from headrace.transforms.keras_graph import analyze_and_trace
from headrace.transforms.keras_graph.analyzers import BoundariesAnalyzer, MomentsAnalyzer, VocabularyAnalyzer
from headrace.transforms.passes import run_pass
from headrace.transforms.row_groups import row_groups
from headrace.transforms.schema import infer_schema
from headrace.transforms.statistics import StatisticsSummarizer, to_proto
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

RAW = pa.schema([("x", pa.float64()), ("y", pa.float32()), ("i", pa.int64()), ("s", pa.string())])
CELLS = {
    "x": st.one_of(st.none(), st.floats(-1e6, 1e6)),
    # 0.1 and its like: sums whose last bits depend on the order of adding.
    "y": st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.7, -3.3, float("nan")])),
    "i": st.integers(-(2**40), 2**40) | st.integers(0, 3),
    "s": st.one_of(st.none(), st.text("abé ", max_size=2)),
}


@st.composite
def datasets(draw):
    """Splits of rows, and how many rows are in a row group."""
    splits = {}
    for split in ("train", "eval"):
        rows = draw(st.integers(1 if split == "train" else 0, 40))
        columns = {name: draw(st.lists(cell, min_size=rows, max_size=rows)) for name, cell in CELLS.items()}
        splits[split] = pa.table(columns, schema=RAW)
    return splits, draw(st.integers(1, 9))


@pytest.fixture(autouse=True)
def row_groups_of_several_parts(monkeypatch):
    monkeypatch.setattr(passes, "GROUPS_TOGETHER", 2)


_numbers = itertools.count()


def written(folder, dataset):
    splits, size = dataset
    groups = {}
    for split, table in splits.items():
        path = folder / f"{next(_numbers)}.parquet"
        pq.write_table(table, path, row_group_size=size)
        groups[split] = row_groups([path])
    return groups


def statistics(groups, engine):
    return to_proto(run_pass(groups, StatisticsSummarizer(RAW), engine=engine))


# The fixtures do for all examples: a number that never changes, and a folder of files with numbers of their own.
shared = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(shared, max_examples=15)
@given(datasets())
def test_statistics(tmp_path, dataset):
    groups = written(tmp_path, dataset)
    direct, beam = (statistics(groups, engine) for engine in ("direct", "beam"))
    assert direct.SerializeToString(deterministic=True) == beam.SerializeToString(deterministic=True)
    assert [one.num_examples for one in direct.datasets] == [len(table) for table in dataset[0].values()]


@dataclass(frozen=True)
class OfColumn:
    """A layer's analyzer on a raw column, as a summarizer."""

    column: str
    analyzer: Any

    def create(self):
        return self.analyzer.create()

    def summarize(self, batch):
        return self.analyzer.summarize(batch.column(self.column))

    def merge(self, left, right):
        return self.analyzer.merge(left, right)

    def finish(self, summary):
        return self.analyzer.finish(summary)


STATES = {
    "moments of x": OfColumn("x", MomentsAnalyzer((None, 1), (0,), "x")),
    "moments of y": OfColumn("y", MomentsAnalyzer((None, 1), (0,), "y")),
    "boundaries of x": OfColumn("x", BoundariesAnalyzer(4)),
    "vocabulary of i": OfColumn("i", VocabularyAnalyzer("i", 1, True, (), None)),
    "vocabulary of s": OfColumn("s", VocabularyAnalyzer("s", 1, False, ("",), 3)),
}


@settings(shared, max_examples=15)
@given(datasets())
def test_the_state_of_layers_to_the_last_bit(tmp_path, dataset):
    groups = written(tmp_path, dataset)
    direct, beam = (run_pass(groups, STATES, engine=engine) for engine in ("direct", "beam"))
    # As text, which has every digit, because NaN is not equal to itself.
    for split in groups:
        for name in STATES:
            assert _text(direct[split][name]) == _text(beam[split][name]), (split, name)


def _text(state):
    return repr([one.tolist() if isinstance(one, np.ndarray) else one for one in state])


def preprocessing_fn(inputs):
    hot = keras.layers.StringLookup(output_mode="one_hot")(inputs["s"])
    return {
        "scaled": keras.layers.Normalization()(inputs["x"]),
        "bin": keras.layers.Discretization(num_bins=4)(inputs["x"]),
        "small": keras.layers.Normalization()(inputs["y"]),
        "index": keras.layers.StringLookup()(inputs["s"]),
        "hot": keras.layers.Normalization()(hot),
        "integer": keras.layers.IntegerLookup()(inputs["i"]),
    }


# Without making a failing dataset smaller: each trial takes a second.
@settings(shared, max_examples=6, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(datasets())
def test_vocabularies_boundaries_and_features(tmp_path, dataset):
    groups = written(tmp_path, dataset)
    schema = infer_schema(statistics(groups, "direct"))
    direct, beam = (
        analyze_and_trace(preprocessing_fn, schema, groups["train"], engine=engine) for engine in ("direct", "beam")
    )
    assert direct.feature_specs == beam.feature_specs
    assert set(direct.feature_specs["index"].vocabulary[1:]) == {*dataset[0]["train"]["s"].to_pylist()} - {None}
    for table in dataset[0].values():
        for batch in table.combine_chunks().to_batches():
            mine, other = direct.apply(batch), beam.apply(batch)
            # As text, because NaN is not equal to itself.
            assert mine.schema == other.schema
            assert repr(mine.to_pydict()) == repr(other.to_pydict())
