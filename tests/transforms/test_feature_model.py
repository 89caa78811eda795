"""The feature model: one table, the same in the code, in the docs and in what TensorFlow exports."""

from __future__ import annotations

import datetime
import decimal
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from headrace.transforms import feature_model as fm
from hypothesis import given
from hypothesis import strategies as st

TYPES = {
    "bool": [pa.bool_()],
    "integer": [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()],
    "float": [pa.float16(), pa.float32(), pa.float64()],
    "decimal": [pa.decimal128(10, 2), pa.decimal256(40, 2)],
    "string": [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())],
    "bytes": [pa.binary(), pa.large_binary(), pa.binary(4)],
    "date": [pa.date32(), pa.date64()],
    "timestamp": [pa.timestamp("s"), pa.timestamp("us", "Europe/Berlin"), pa.timestamp("ns", "UTC")],
    "time": [pa.time32("s"), pa.time64("us"), pa.duration("s")],
    "null": [pa.null()],
}


def test_every_arrow_type_has_exactly_one_row_and_lists_follow_their_elements():
    assert set(TYPES) == {kind.name for kind in fm.KINDS}
    for name, types in TYPES.items():
        for arrow_type in types:
            assert [kind.name for kind in fm.KINDS if kind.matches(fm.element_type(arrow_type))] == [name], arrow_type
            for lists in (pa.list_(arrow_type), pa.large_list(arrow_type), pa.list_(arrow_type, 3)):
                assert fm.kind_of(lists).name == name


def test_the_table_is_consistent():
    for kind in fm.KINDS:
        assert fm.signature_dtype(kind.keras_dtype) == kind.signature_dtype
        missing = fm.missing_value(kind.nullable_dtype)
        assert missing == kind.missing or (math.isnan(missing) and math.isnan(kind.missing))
    with pytest.raises(ValueError, match="must state a default"):
        fm.missing_value("int64")


@pytest.mark.parametrize(
    "arrow_type", [pa.struct([("a", pa.int8())]), pa.map_(pa.string(), pa.int8()), pa.list_(pa.list_(pa.int8()))]
)
def test_what_the_model_has_not_is_refused_with_the_repair(arrow_type):
    with pytest.raises(TypeError, match=r"column 'c'.*columns of their own"):
        fm.kind_of(arrow_type, "c")


def test_the_documentation_is_the_table():
    path = Path(__file__).parents[2] / "docs" / "feature-model.md"
    assert path.read_text(encoding="utf-8").rstrip() == fm.markdown().rstrip()


@given(st.integers(-(2**62), 2**62))
def test_exact_in_float32_agrees_with_numpy_for_the_whole_range(value):
    low, high = min(value, 0), max(value, 0)
    exact = all(int(np.float32(x)) == x for x in {low, high, low + (low < 0), high - (high > 0)})
    if fm.is_exact_in_float32(low, high):
        assert exact
    else:
        near = {high - 1, high, low, low + 1, 2**24 + 1, -(2**24) - 1}
        assert any(int(np.float32(x)) != x for x in near if low <= x <= high)


def test_values_become_what_the_model_sees():
    utc = datetime.UTC
    cases = [
        (pa.array([True, None]), "float32", [1.0, math.nan]),
        (pa.array([7, None], pa.int16()), "float32", [7.0, math.nan]),
        (pa.array([decimal.Decimal("1.50"), None]), "float32", [1.5, math.nan]),
        (pa.array([datetime.date(1970, 1, 3), None]), "float32", [2.0, math.nan]),
        (pa.array(["a", None]), "string", ["a", ""]),
        (pa.array(["a", None]).dictionary_encode(), "string", ["a", ""]),
        (pa.array([b"a", None]), "string", [b"a", b""]),
        (pa.nulls(2), "float32", [math.nan, math.nan]),
    ]
    for array, dtype, expected in cases:
        got = fm.to_numpy(array, fm.ModelInput("c", dtype, missing=fm.missing_value(dtype)))
        assert [repr(v) for v in got.tolist()] == [repr(v) for v in expected]
        assert got.dtype == (object if dtype == "string" else dtype)
    instant = pa.array([datetime.datetime(1970, 1, 1, 1, tzinfo=utc)], pa.timestamp("ns", "Europe/Berlin"))
    assert fm.to_numpy(instant, fm.ModelInput("c", "int64")).tolist() == [3_600_000_000]
    assert fm.to_numpy(pa.array([2**60, None]), fm.ModelInput("c", "int64", missing=-1)).tolist() == [2**60, -1]
    assert fm.to_numpy(pa.array([True]), fm.ModelInput("c", "bool")).tolist() == [True]


def test_a_missing_value_nothing_stands_for_is_an_error_with_the_line_to_paste():
    with pytest.raises(ValueError, match=r'feature \{ name: "year" annotation \{ tag: "default=0" \} \}'):
        fm.to_numpy(pa.array([1, None]), fm.ModelInput("year", "int64"))


def test_lists_are_padded():
    array = pa.array([[1, 2, 3], [], None, [4]], pa.list_(pa.int64()))
    for case in (array, array.slice(0), pa.concat_arrays([array, array]).slice(4)):
        got = fm.to_numpy(case, fm.ModelInput("c", "int64", (None,), missing=0))
        assert got.tolist() == [[1, 2, 3], [0, 0, 0], [0, 0, 0], [4, 0, 0]]
    fixed = pa.array([["a", "b"], ["c", None]], pa.list_(pa.string(), 2))
    assert fm.to_numpy(fixed, fm.ModelInput("c", "string", (2,), missing="")).tolist() == [["a", "b"], ["c", ""]]
    with pytest.raises(ValueError, match="expected 2 values a row, row 0 has 3"):
        fm.to_numpy(array, fm.ModelInput("c", "int64", (2,), missing=0))


def test_names_that_cannot_be_a_signature_input_are_told_with_a_usable_repair():
    assert fm.name_problems(["ok", "a_1", "name", "training"]) == {}
    bad = ["a b", "1a", "_a", "ä", "class", "self", "", "a.b", "-", "x", "X"]
    problems = fm.name_problems(bad)
    assert set(problems) == set(bad) - {"x"}
    suggested = [text.rsplit(" ", 1)[1] for text in problems.values()]
    assert fm.name_problems([*suggested, "x"]) == {}
