"""Parameters: what fits an annotation, what text means, and that a component gets back what was passed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from headrace.pipelines import PipelineError
from headrace.pipelines.component_spec import kind_of
from headrace.pipelines.parameter_kinds import annotation_of, kinds_fit
from headrace.pipelines.parameter_values import NotAllowed, decode, encode, parse_text
from headrace.pipelines.plan import Plan, PlanParameter
from headrace.pipelines.runner.options import resolve_parameters
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(max_size=5)
# Each: an annotation and what fits it.
LEAVES = [
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, TEXT),
    (bool, st.booleans()),
    (Literal["a", "b?", 3], st.sampled_from(["a", "b?", 3])),
]
TYPED = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        inner.map(lambda one: (list[one[0]], st.lists(one[1], max_size=3))),
        inner.map(lambda one: (dict[str, one[0]], st.dictionaries(TEXT, one[1], max_size=3))),
        inner.map(lambda one: (one[0] | None, st.none() | one[1])),
    ),
    max_leaves=4,
)
VALUES = TYPED.flatmap(lambda typed: st.tuples(st.just(typed[0]), typed[1]))


@given(VALUES)
def test_what_fits_comes_back_as_it_was(typed):
    annotation, value = typed
    document = json.loads(json.dumps(encode(value, annotation)))
    again = decode(document, annotation)
    assert again == value and type(again) is type(value)
    assert encode(again, annotation) == document


@given(TYPED)
def test_a_kind_reads_back_as_its_annotation(typed):
    annotation = typed[0]
    kind = kind_of(annotation)
    assert kind_of(annotation_of(kind)) == kind
    assert kinds_fit(kind, kind) and kinds_fit(kind, "any")


@given(VALUES, TYPED)
def test_a_value_of_a_kind_that_fits_another_fits_there(typed, other):
    """The check when a pipeline is built is as strict as the one when it runs."""
    annotation, value = typed
    encode(value, annotation)
    if kinds_fit(kind_of(annotation), kind_of(other[0])):
        encode(value, other[0])


@given(VALUES)
def test_json_text_on_the_command_line_means_the_value(typed):
    annotation, value = typed
    text = value if isinstance(value, str) else json.dumps(value)
    try:
        read = parse_text(text, kind_of(annotation))
    except NotAllowed:
        # A string that a Literal or a list does not have is no value of it.
        raise AssertionError((annotation, value, text)) from None
    if annotation is str or not isinstance(value, str):
        assert read == encode(value, annotation) or isinstance(value, int | bool | float | None)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", "int", 3),
        ("3", "str", "3"),
        ("true", "str", "true"),
        ("", "str", ""),
        ("null", "str", "null"),
        ("null", "str?", None),
        ("none", "int?", None),
        ("1e-3", "float", 0.001),
        ("3", "float", 3.0),
        ("yes", "bool", True),
        ("0", "bool", False),
        ('["a"]', "list[str]", ["a"]),
        ('{"a": 1}', "dict[str, float]", {"a": 1.0}),
        ("a", "'a'|'b'", "a"),
        ("3", "int|str", 3),
        ("x", "int|str", "x"),
        ("x=y", "str", "x=y"),
    ],
)
def test_text(text, kind, value):
    read = parse_text(text, kind)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("x", "int"),
        ("1.5", "int"),
        ("maybe", "bool"),
        ("c", "'a'|'b'"),
        ("[1]", "list[str]"),
        ("nan", "float"),
        ("", "int"),
    ],
)
def test_text_that_does_not_read(text, kind):
    with pytest.raises(NotAllowed, match="expected") as refused:
        parse_text(text, kind)
    assert repr(text) in str(refused.value) and refused.value.fix


@dataclass(frozen=True)
class Place:
    folder: str
    depth: int = 1
    names: list[str] = field(default_factory=list)


def test_a_dataclass_is_its_fields_with_defaults():
    assert encode(Place("a"), Place) == {"folder": "a", "depth": 1, "names": []}
    assert encode({"folder": "a"}, Place) == encode(Place("a"), Place), "as YAML writes it"
    assert decode(encode(Place("a", 2, ["x"]), Place | None), Place | None) == Place("a", 2, ["x"])
    with pytest.raises(NotAllowed, match=r"expected int at .*depth, received str 'x'"):
        encode(Place("a", "x"), Place)
    with pytest.raises(NotAllowed, match="Place with the fields depth, folder, names"):
        encode({"foldr": "a"}, Place)


@pytest.mark.parametrize(
    ("value", "annotation", "says"),
    [
        (object(), Any, "expected a value that JSON can hold"),
        ({1: 2}, dict[str, int], "expected keys that are strings, received 1"),
        ([1, [2, {"a": {3}}]], Any, r"expected a value that JSON can hold at \[1\]\[1\]\['a'\]"),
        (float("inf"), float, "expected a finite number"),
        (b"x", bytes, "parameters of type bytes are not JSON-able"),
        (None, int, "expected int, received NoneType None"),
        ("x" * 100, int, r"received str 'x+\.\.\."),
    ],
)
def test_what_does_not_fit_says_where(value, annotation, says):
    with pytest.raises(NotAllowed, match=says):
        encode(value, annotation)


def plan_with(*parameters: PlanParameter) -> Plan:
    return Plan("p", (), parameters)


def test_run_time_parameters_are_checked_together():
    plan = plan_with(
        PlanParameter("epochs", "int", None, required=True),
        PlanParameter("mode", "'a'|'b'", "a"),
        PlanParameter("rate", "float", 0.5),
    )
    assert resolve_parameters(plan, {"epochs": "3", "rate": 1}) == {"epochs": 3, "mode": "a", "rate": 1.0}
    with pytest.raises(PipelineError) as refused:
        resolve_parameters(plan, {"mode": "c", "rate": "x", "epoch": 3})
    said = str(refused.value)
    assert "pipeline p has no parameter 'epoch'" in said
    assert "parameter 'epochs' (int) has no default and was not given" in said and "-p epochs=..." in said
    assert "parameter 'mode': expected 'a'|'b', received 'c'" in said
    assert "parameter 'rate': expected float, received 'x'" in said
    with pytest.raises(PipelineError, match="expected int, received bool True"):
        resolve_parameters(plan, {"epochs": True})
