"""A sample run's way, without Beam, writes the artifacts that a full run writes; very wide features keep their rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pytest
from headrace.components import SchemaGen, StatisticsGen, Transform
from headrace.pipelines import Artifact, Examples, Schema, Statistics, TransformGraph
from headrace.pipelines.step_context import StepContext, enter, leave
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

RAW = pa.schema([("x", pa.float64()), ("code", pa.int64()), ("city", pa.string())])
CELLS = {
    "x": st.one_of(st.none(), st.floats(-1e6, 1e6)),
    "code": st.integers(-(2**40), 2**40) | st.integers(0, 3),
    "city": st.one_of(st.none(), st.text("abé ", max_size=2)),
}


@st.composite
def tables(draw: Any, least: int) -> pa.Table:
    rows = draw(st.integers(least, 40))
    columns = {name: draw(st.lists(cell, min_size=rows, max_size=rows)) for name, cell in CELLS.items()}
    return pa.table(columns, schema=RAW)


def examples_of(folder: Path, **splits: pa.Table) -> Examples:
    examples = Examples(str(folder))
    with examples.writer(RAW) as writer:
        writer.declare(*splits)
        for split, rows in splits.items():
            for batch in rows.to_batches():
                writer.write(split, batch)
    examples.commit({})
    return examples


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    hot = keras.layers.StringLookup(output_mode="one_hot")(inputs["city"])
    return {
        "x": keras.layers.Normalization()(inputs["x"]),
        "bin": keras.layers.Discretization(num_bins=4)(inputs["x"]),
        "hot": keras.layers.Normalization()(hot),
        "code": keras.layers.IntegerLookup()(inputs["code"]),
    }


def chain(folder: Path, examples: Examples, sample: int | None) -> tuple[list[str], Examples]:
    """Statistics, schema and Transform as steps of a run; the digests of what they wrote, and the features."""
    written = {
        "statistics": Statistics(str(folder / "statistics")),
        "schema": Schema(str(folder / "schema")),
        "transform_graph": TransformGraph(str(folder / "transform_graph")),
        "transformed_examples": Examples(str(folder / "transformed_examples")),
    }

    def step(component: Any, *outputs: str, **arguments: Any) -> None:
        context = StepContext(sample=sample)
        assert context.engine == ("beam" if sample is None else "direct")
        token = enter(context)
        try:
            component.function(**arguments, **{name: written[name] for name in outputs})
        finally:
            leave(token)
            context.close()
        for name in outputs:
            written[name].commit({})

    keras.utils.clear_session()
    step(StatisticsGen, "statistics", examples=examples)
    step(SchemaGen, "schema", statistics=written["statistics"])
    step(
        Transform,
        *("transform_graph", "transformed_examples"),
        examples=examples,
        schema=written["schema"],
        preprocessing_fn=preprocessing_fn,
    )
    artifacts: list[Artifact] = list(written.values())
    return [str(one.digest) for one in artifacts], written["transformed_examples"]


# Without making a failing dataset smaller: each trial takes seconds.
@settings(deadline=None, max_examples=3, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(tables(1), tables(0))
def test_both_ways_write_the_same_statistics_schema_graph_and_features(
    tmp_path_factory: pytest.TempPathFactory, train: pa.Table, evaluation: pa.Table
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        # Several row groups, and several parts of them.
        patched.setattr("headrace.pipelines.examples.ROW_GROUP_ROWS", 7)
        patched.setattr("headrace.transforms.passes.GROUPS_TOGETHER", 2)
        folder = tmp_path_factory.mktemp("chain")
        examples = examples_of(folder / "examples", train=train, eval=evaluation)
        full, features = chain(folder / "full", examples, None)
        sampled, sample_features = chain(folder / "sample", examples, 200)
    assert full == sampled
    for split in ("train", "eval"):
        # As text, because NaN is not equal to itself.
        assert repr(features.read(split).to_pydict()) == repr(sample_features.read(split).to_pydict())
        assert features.read(split).num_rows == {"train": train, "eval": evaluation}[split].num_rows


def test_features_made_in_pieces_stay_beside_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 1_000
    table = pa.table({"x": np.arange(rows) / 7, "code": np.arange(rows), "city": ["a"] * rows}, schema=RAW)
    examples = examples_of(tmp_path / "examples", train=table, eval=table.slice(300, 333))
    schema = SchemaGen.call(
        statistics=StatisticsGen.call(examples=examples, out_dir=tmp_path / "statistics").statistics,
        out_dir=tmp_path / "schema",
    ).schema
    # A piece of as few rows as there can be: 64.
    monkeypatch.setattr("headrace.transforms.keras_graph.traced_transform._CHUNK_BYTES", 1)
    features = Transform.call(
        examples=examples,
        schema=schema,
        preprocessing_fn=lambda inputs: {"twice": keras.layers.Rescaling(2.0)(inputs["x"])},
        passthrough=["code", "x"],
        out_dir=tmp_path / "transform",
    ).transformed_examples
    for split in ("train", "eval"):
        found, raw = features.read(split), examples.read(split)
        assert found["code"].equals(raw["code"]) and found["x"].equals(raw["x"])
        np.testing.assert_allclose(found["twice"].to_numpy(), raw["x"].to_numpy() * 2, rtol=1e-6)
