"""Labels and weights: none is missing, none leaks into the features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from headrace.components import Transform
from headrace.pipelines.errors import DataError, PipelineError
from keras import layers, ops

from tests.small_training import (
    ARROW,
    SCHEMA,
    Made,
    linear,
    make,
    rows,
    train,
    write_examples,
    write_schema,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("made"))


def test_a_label_left_among_the_features_is_refused(made: Made, tmp_path: Path) -> None:
    """Both outputs of `leaky` need both of the label's columns."""

    def leaky(inputs: dict[str, Any]) -> dict[str, Any]:
        return {
            "due": inputs["due"],
            "hint": layers.Rescaling(0.1)(inputs["arrival"]),
            "late": layers.Lambda(lambda x: x[0] > x[1])([inputs["arrival"], inputs["due"]]),
            "also_arrival": inputs["arrival"],
        }

    made_leaky = Transform.call(
        out_dir=tmp_path / "leaky", examples=made.raw, schema=made.schema, preprocessing_fn=leaky, materialize=False
    )
    arguments = {"examples": made.raw, "transform_graph": made_leaky.transform_graph, "build_model": linear}
    # The label of several columns: all of them reach the model.
    with pytest.raises(PipelineError) as refused:
        train(made, tmp_path / "several", **arguments, label="late")
    said = str(refused.value)
    assert "the label 'late' is left among the features" in said
    assert "'hint' from column 'arrival'" in said
    assert "'due' from column 'due'" in said
    # The label of one column, under another name and derived from it.
    with pytest.raises(PipelineError, match="'arrival' is left among the features") as refused:
        train(made, tmp_path / "one", **arguments, label="arrival")
    assert "'hint' from column 'arrival'" in str(refused.value)
    assert "'also_arrival' from column 'arrival'" in str(refused.value)


def test_a_feature_that_shares_a_column_with_the_label_is_warned_of(made: Made, tmp_path: Path) -> None:
    """late = arrival > due: due is known before, and is a fine feature; only the author knows that of arrival."""

    def scheduled(inputs: dict[str, Any]) -> dict[str, Any]:
        late = layers.Lambda(lambda x: ops.cast(x[0] > x[1], "float32"))([inputs["arrival"], inputs["due"]])
        return {"age": inputs["due"], "late": late}

    graph = Transform.call(
        out_dir=tmp_path / "scheduled",
        examples=made.raw,
        schema=made.schema,
        preprocessing_fn=scheduled,
        labels=["late"],
        materialize=False,
    ).transform_graph
    result = train(made, tmp_path, examples=made.raw, transform_graph=graph, build_model=linear)
    [warning] = result.warnings
    assert "'age' from column 'due'" in warning
    assert "only 'arrival' is kept from the model" in warning


@pytest.mark.parametrize("split", ["train", "eval"])
@pytest.mark.parametrize("way", ["passthrough", "output", "raw rows"])
def test_a_missing_label_is_an_error_before_training(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, way: str
) -> None:
    monkeypatch.setattr("headrace.pipelines.examples.ROW_GROUP_ROWS", 300)
    table = rows(1000, 1)
    arrival = table["arrival"].to_pylist()
    arrival[700] = arrival[900] = None
    table = table.set_column(2, ARROW.field("arrival"), pa.array(arrival, pa.float32()))
    splits = {"train": rows(1000, 1), "eval": rows(1000, 2)} | {split: table}
    raw = write_examples(tmp_path / "raw", **splits)
    schema = write_schema(
        tmp_path / "schema",
        SCHEMA.replace('"arrival" type: FLOAT presence { min_fraction: 1 }', '"arrival" type: FLOAT'),
    )
    made_here = Transform.call(
        out_dir=tmp_path / "transform",
        examples=raw,
        schema=schema,
        preprocessing_fn=lambda inputs: {"age": inputs["due"], "label": layers.Rescaling(2.0)(inputs["arrival"])},
        labels=["label"],
        passthrough=["arrival"],
    )
    with pytest.raises(DataError) as refused:
        train(
            made,
            tmp_path,
            examples=raw if way == "raw rows" else made_here.transformed_examples,
            transform_graph=made_here.transform_graph,
            build_model=pytest.fail,
            label="arrival" if way == "passthrough" else "label",
        )
    error = refused.value
    assert error.row == 701
    assert error.column == ("arrival" if way == "passthrough" else "label")
    assert error.file is not None
    assert f"/{split}/" in error.file
    assert "2 of 1,000 rows have none" in str(error)


def test_a_label_that_is_text_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="label='city' is text"):
        train(made, tmp_path, examples=made.raw, transform_graph=None, schema=made.schema, label="city")
