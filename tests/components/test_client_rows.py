"""Rows as a client sends them: what is missing left out, each type in its JSON, lists padded where they must be."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from headrace.components.client_rows import ClientRows, bytes_as_json, instances
from headrace.components.skew.edges import edge_rows
from headrace.transforms.feature_model import ModelInput
from headrace.transforms.serving.dtypes import BY_NAME
from headrace.transforms.serving.signatures import Signature, TensorInfo
from hypothesis import given
from hypothesis import strategies as st

NAN = math.nan
BATCH = pa.record_batch(
    {
        "price": pa.array([1.5, None, NAN], pa.float32()),
        "count": pa.array([2**40, 7, None]),
        "flag": pa.array([True, None, False]),
        "city": pa.array(["a", None, "ü"]),
        "raw": pa.array([b"\xff", b"b", None]),
        "words": pa.array([["x", "y"], [], None]),
    }
)
INPUTS = {
    "price": ModelInput("price", "float32", (), True, NAN),
    "count": ModelInput("count", "int64", (), True, -1),
    "flag": ModelInput("flag", "float32", (), True, NAN),
    "city": ModelInput("city", "string", (), True, ""),
    "raw": ModelInput("raw", "string", (), True, ""),
    "words": ModelInput("words", "string", (None,), True, ""),
}


def test_what_is_missing_is_left_out_and_the_rest_is_json() -> None:
    assert instances(BATCH, INPUTS) == [
        {"price": 1.5, "count": 2**40, "flag": 1.0, "city": "a", "raw": {"b64": "/w=="}, "words": ["x", "y"]},
        {"count": 7, "raw": "b", "words": []},
        {"flag": 0.0, "city": "ü"},
    ]
    json.dumps(instances(BATCH, INPUTS), allow_nan=False)


def test_complete_rows_have_what_stands_for_it_and_padded_lists_one_length() -> None:
    rows = instances(BATCH, INPUTS, complete=True, padded=True)
    assert [row["count"] for row in rows] == [2**40, 7, -1]
    assert [row["city"] for row in rows] == ["a", "", "ü"]
    assert [row["words"] for row in rows] == [["x", "y"], ["", ""], ["", ""]]
    assert math.isnan(rows[1]["price"]) and math.isnan(rows[2]["price"])


def test_a_column_that_must_be_there_is_refused_where_it_is_not() -> None:
    with pytest.raises(ValueError, match="column 'count' has 1 missing values and no value stands for them"):
        instances(BATCH, {"count": ModelInput("count", "int64")})


def test_a_signature_gets_its_own_types_and_an_example_those_of_the_model() -> None:
    """A whole number with missing ones is a float to the model and its tf.Examples; to a stranger's a whole number."""
    whole = pa.record_batch({"wind": pa.array([3, None])})
    stated = {"wind": ModelInput("wind", "float32", (), True, NAN)}
    tensor = TensorInfo("wind", BY_NAME["float32"], (None,), "w:0", np.array([NAN], np.float32))
    signature = Signature("serving_default", "predict", {"wind": tensor}, {})
    for rows in (ClientRows(whole, stated, stated), ClientRows(whole, stated)):
        assert rows.of(signature) == [{"wind": 3.0}, {}]
        assert math.isnan(rows.of(signature, complete=True)[1]["wind"])
    [own, nothing] = ClientRows(whole, stated, stated).raw()
    assert isinstance(own["wind"], float) and nothing == {}
    assert isinstance(ClientRows(whole, stated).raw()[0]["wind"], int)


@given(st.binary())
def test_bytes_survive_json(value: bytes) -> None:
    from headrace.components.skew.calls import plain_value

    assert plain_value(json.loads(json.dumps(bytes_as_json(value)))) == value


def edges_of(name: str, typical: dict[str, Any]) -> dict[str, Any]:
    """The edges of a column: what is at the edge, and the column's value, None where the row lacks it."""
    found = edge_rows(typical, {name: INPUTS[name]} if name in INPUTS else {name: IMAGE})
    for _, row in found:
        assert {key: value for key, value in row.items() if key != name} == {"other": 1}
    return {what.removeprefix(f"{name} "): row.get(name) for what, row in found}


IMAGE = ModelInput("photo", "string", (), True, "", image=True)


def test_edges_are_missing_empty_never_seen_and_extreme() -> None:
    def row(**value: Any) -> dict[str, Any]:
        return {"other": 1, **value}

    texts = edges_of("city", row(city="a"))
    assert texts.keys() == {"missing", "empty", "never seen"} and texts["empty"] == "" and texts["missing"] is None
    assert texts["never seen"] not in BATCH["city"].to_pylist()
    numbers = edges_of("count", row(count=5))
    assert numbers == {"missing": None, "huge": 2**62, "hugely negative": -(2**62), "zero": 0}
    floats = edges_of("price", row(price=5.0))
    assert floats["huge"] == 3e38 < float(np.finfo(np.float32).max) and isinstance(floats["zero"], float)
    assert edges_of("words", row(words=["x"])) == {"missing": None, "empty": []}
    assert edges_of("photo", row(photo="...")) == {"missing": None, "empty": ""}, "other bytes are no image"
    assert not edge_rows({"flag": True}, {"flag": ModelInput("flag", "bool")}), "a bool has no edge but to be missing"
