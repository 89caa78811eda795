"""Schema inference, merging of hand edits, the model's inputs, and what is refused with its repair."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pytest
from google.protobuf import text_format
from headrace.transforms.schema import (
    check_schema,
    default_of,
    infer_schema,
    mark_sensitive,
    merge_schemas,
    model_inputs,
    schema_problems,
    sensitive_columns,
    set_default,
)
from headrace.transforms.statistics import StatisticsSummarizer, to_proto
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def statistics(table=None, /, **splits):
    """Statistics of one table as "train", or of several named ones."""
    found = {}
    for name, one in (splits or {"train": table}).items():
        batch = one.combine_chunks().to_batches()[0] if one.num_rows else pa.RecordBatch.from_pylist([], one.schema)
        found[name] = StatisticsSummarizer(one.schema).summarize(batch)
    return to_proto(found)


def parse(text):
    return text_format.Parse(text, schema_pb2.Schema())


def features(schema):
    return {feature.name: feature for feature in schema.feature}


TABLE = pa.table(
    {
        "flag": pa.array([True, False] * 20),
        "hour": pa.array([i % 24 if i < 24 else 5 for i in range(40)]),
        "weekday": pa.array([i % 4 for i in range(40)]),
        "year": pa.array([2**24 + 1, None] * 20),
        "fare": pa.array([1.5, 2.5] * 20),
        "odd": pa.array([1.0, float("nan"), float("inf"), None] * 10),
        "carrier": pa.array(["AA", "UA", "DL", None] * 10),
        "id": pa.array([f"row {i}" for i in range(40)]),
        "day": pa.array([datetime.date(2013, 1, 1)] * 40),
        "instant": pa.array([datetime.datetime(2013, 1, 1)] * 40, pa.timestamp("us", "UTC")),
        "nothing": pa.nulls(40),
        "pair": pa.array([[1.0, 2.0]] * 40),
        "tags": pa.array([["a"], [], ["b", "a"], None] * 10),
        "flags": pa.array([[True], [False, True]] * 20),
        "raw": pa.array([b"x", b"y"] * 20),
    }
)


def test_what_is_inferred_of_every_kind_of_column():
    schema = infer_schema(statistics(TABLE), sensitive=["id"])
    expected = parse(
        """
        feature { name: "flag" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } }
                  bool_domain { name: "flag" } }
        feature { name: "hour" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
        feature { name: "weekday" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } }
                  int_domain { name: "weekday" min: 0 max: 3 } }
        feature { name: "year" type: INT presence { min_count: 1 } value_count { min: 1 max: 1 } }
        feature { name: "fare" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } }
                  float_domain { disallow_nan: true disallow_inf: true } }
        feature { name: "odd" type: FLOAT presence { min_count: 1 } value_count { min: 1 max: 1 } }
        feature { name: "carrier" type: BYTES presence { min_count: 1 } value_count { min: 1 max: 1 }
                  string_domain { name: "carrier" value: "AA" value: "DL" value: "UA" } }
        feature { name: "id" type: BYTES presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } }
                  annotation { tag: "sensitive" } }
        feature { name: "day" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } }
                  time_domain { integer_format: UNIX_DAYS } }
        feature { name: "instant" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } }
                  time_domain { integer_format: UNIX_MICROSECONDS } }
        feature { name: "nothing" type: FLOAT value_count { min: 1 max: 1 } }
        feature { name: "pair" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 2 } }
                  float_domain { disallow_nan: true disallow_inf: true } }
        feature { name: "tags" type: BYTES presence { min_count: 1 } value_count { min: 0 }
                  string_domain { name: "tags" value: "a" value: "b" } }
        feature { name: "flags" type: INT presence { min_fraction: 1 min_count: 1 } value_count { min: 1 }
                  bool_domain { name: "flags" } }
        feature { name: "raw" type: BYTES presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
        """
    )
    assert list(features(schema)) == TABLE.schema.names
    for name, feature in features(expected).items():
        assert features(schema)[name] == feature, name
    assert sensitive_columns(schema) == ["id"]


def test_without_shapes_there_are_value_counts():
    schema = infer_schema(statistics(TABLE), infer_feature_shape=False)
    assert not any(feature.HasField("shape") for feature in schema.feature)
    assert features(schema)["pair"].value_count == schema_pb2.ValueCount(min=2, max=2)
    assert features(schema)["fare"].value_count == schema_pb2.ValueCount(min=1, max=1)


def test_splits_are_put_together():
    train = pa.table({"c": ["a", "b"] * 5, "x": [1] * 10})
    test = pa.table({"c": ["a", "z"] * 5, "x": [1, None] * 5, "late": [1.0] * 10})
    both = infer_schema(statistics(train=train, test=test))
    assert list(features(both)["c"].string_domain.value) == ["a", "b", "z"]
    assert not features(both)["x"].presence.HasField("min_fraction")
    assert not features(both)["late"].presence.HasField("min_fraction")
    assert list(features(infer_schema(statistics(train=train, test=test), splits=["train"]))) == ["c", "x"]
    with pytest.raises(ValueError, match=r"no statistics of the splits \['eval'\]; there are \['train', 'test'\]"):
        infer_schema(statistics(train=train, test=test), splits=["eval"])
    with pytest.raises(ValueError, match="'c' has different types"):
        infer_schema(statistics(train=train, test=pa.table({"c": [1, 2]})))
    with pytest.raises(ValueError, match="at least one split"):
        infer_schema(statistics(train=train), splits=[])


def test_a_split_without_rows_or_values_says_nothing():
    empty = TABLE.slice(0, 0)
    assert infer_schema(statistics(train=TABLE, eval=empty)) == infer_schema(statistics(train=TABLE))
    nulls = pa.table({"carrier": pa.nulls(3)})
    schema = infer_schema(statistics(train=TABLE.select(["carrier"]), eval=nulls))
    assert schema.feature[0].type == schema_pb2.BYTES and len(schema.feature[0].string_domain.value) == 3


@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=60), st.integers(1, 8))
def test_a_domain_lists_exactly_the_values_when_they_are_few_and_repeat(values, most):
    schema = infer_schema(statistics(pa.table({"c": values})), max_categories=most)
    distinct = sorted(set(values))
    listed = len(distinct) <= most and len(distinct) * 2 <= len(values)
    assert list(schema.feature[0].string_domain.value) == (distinct if listed else [])


def test_an_unknown_sensitive_column_is_refused():
    with pytest.raises(ValueError, match=r"\['ssn'\] are to be marked sensitive; the schema has \['x'\]"):
        infer_schema(statistics(pa.table({"x": [1]})), sensitive=["ssn"])


INFERRED = """
feature { name: "a" type: INT presence { min_fraction: 1 } shape { dim { size: 1 } } int_domain { min: 0 max: 9 } }
feature { name: "b" type: BYTES string_domain { value: "x" } }
"""


def test_amendments_win_field_by_field_and_keep_the_rest():
    edits = parse(
        """
        feature { name: "a" annotation { tag: "default=7" } int_domain { min: -5 } }
        feature { name: "a" value_count { min: 1 max: 1 } annotation { tag: "sensitive" } }
        feature { name: "c" presence { min_fraction: 0.5 } }
        default_environment: "TRAINING"
        """
    )
    merged = merge_schemas(parse(INFERRED), edits)
    a = features(merged)["a"]
    assert a.type == schema_pb2.INT and a.presence.min_fraction == 1
    assert (a.int_domain.min, a.int_domain.HasField("max")) == (-5, False)
    assert a.WhichOneof("shape_type") == "value_count"
    assert list(a.annotation.tag) == ["default=7", "sensitive"] and default_of(a) == 7
    assert features(merged)["b"] == parse(INFERRED).feature[1]
    assert list(features(merged)) == ["a", "b", "c"] and list(merged.default_environment) == ["TRAINING"]


def test_a_complete_feature_is_taken_as_it_is_and_decides_which_columns_there_are():
    edited = parse('feature { name: "a" type: INT } feature { name: "a" annotation { tag: "default=0" } }')
    merged = merge_schemas(parse(INFERRED), edited)
    assert list(features(merged)) == ["a"]
    assert not merged.feature[0].HasField("int_domain") and not merged.feature[0].HasField("presence")
    assert default_of(merged.feature[0]) == 0


def test_edits_survive_the_next_run():
    edited = infer_schema(statistics(TABLE))
    set_default(features(edited)["year"], -1)
    features(edited)["carrier"].string_domain.value.append("ZZ")
    features(edited)["weekday"].ClearField("int_domain")
    features(edited)["fare"].drift_comparator.jensen_shannon_divergence.threshold = 0.1
    assert merge_schemas(infer_schema(statistics(TABLE.slice(0, 8))), edited) == edited
    assert merge_schemas(merge_schemas(parse(INFERRED), edited), edited) == edited
    assert merge_schemas(edited, schema_pb2.Schema()) == edited


def test_defaults_are_of_the_columns_type():
    cases = [("7", "INT", 7), ("-1.5", "FLOAT", -1.5), ("none", "BYTES", "none"), ("", "BYTES", "")]
    for text, kind, value in cases:
        stated = parse(f'feature {{ name: "x" type: {kind} annotation {{ tag: "default={text}" }} }}')
        assert default_of(stated.feature[0]) == value
    flag = parse('feature { name: "x" type: INT bool_domain {} }').feature[0]
    assert default_of(flag) is None
    set_default(flag, True)
    assert default_of(flag) is True
    set_default(flag, False)
    assert default_of(flag) is False and len(flag.annotation.tag) == 1
    with pytest.raises(ValueError, match=r"default 'seven' for column 'x', which is no INT"):
        default_of(parse('feature { name: "x" type: INT annotation { tag: "default=seven" } }').feature[0])


def test_the_models_inputs():
    schema = infer_schema(statistics(TABLE))
    set_default(features(schema)["year"], -1)
    inputs = model_inputs(schema, exclude=["fare"])
    assert "fare" not in inputs
    shown = {name: (one.dtype, one.shape, one.optional) for name, one in inputs.items()}
    assert shown == {
        "flag": ("bool", (), False),
        "hour": ("int64", (), False),
        "weekday": ("int64", (), False),
        "year": ("int64", (), True),
        "odd": ("float32", (), True),
        "carrier": ("string", (), True),
        "id": ("string", (), False),
        "day": ("int64", (), False),
        "instant": ("int64", (), False),
        "nothing": ("float32", (), True),
        "pair": ("float32", (2,), False),
        "tags": ("string", (None,), True),
        "flags": ("bool", (None,), False),
        "raw": ("string", (), False),
    }
    assert inputs["year"].missing == -1 and inputs["carrier"].missing == "" and inputs["hour"].missing is None
    nullable = parse('feature { name: "n" type: INT } feature { name: "f" type: INT bool_domain {} }')
    assert [one.dtype for one in model_inputs(nullable).values()] == ["float32", "float32"]


def test_environments_and_deprecation_take_columns_out_of_the_inputs():
    schema = parse(
        """
        default_environment: "TRAINING" default_environment: "SERVING"
        feature { name: "x" type: INT }
        feature { name: "label" type: INT not_in_environment: "SERVING" }
        feature { name: "extra" type: INT in_environment: "DEBUG" }
        feature { name: "old" type: INT deprecated: true }
        """
    )
    assert list(model_inputs(schema, environment="SERVING")) == ["x", "extra"]
    assert list(model_inputs(schema, environment="TRAINING")) == ["x", "label", "extra"]
    assert list(model_inputs(schema, environment="DEBUG")) == ["extra"]
    assert list(model_inputs(schema)) == ["x", "label", "extra"]


def test_a_schema_the_model_cannot_take_is_refused():
    with pytest.raises(ValueError, match=r"'m' the shape .*expected one dimension"):
        model_inputs(parse('feature { name: "m" type: INT shape { dim { size: 2 } dim { size: 3 } } }'))
    with pytest.raises(ValueError, match="'s' has the type STRUCT"):
        model_inputs(parse('feature { name: "s" type: STRUCT }'))


def test_nullable_ints_that_float32_cannot_hold_need_a_default_and_the_line_to_paste_repairs_it():
    table = pa.table(
        {
            "exact": [2**24, None, 1],
            "large": [2**24 + 1, None, 2**30],
            "negative": [-(2**40), 5, 6],
            "both": [-(2**63), None, 7],
            "stamp": pa.array([datetime.datetime(2013, 1, 1), None, None]),
        }
    )  # fmt: skip
    schema = infer_schema(statistics(table))
    [problem] = schema_problems(schema, statistics(table))
    assert "columns 'large', 'both', 'stamp' have missing values" in problem
    lines = [line for line in problem.splitlines() if line.strip().startswith("feature {")]
    assert len(lines) == 3
    with pytest.raises(ValueError, match="the schema cannot be used"):
        check_schema(schema, statistics(table))
    repaired = parse(text_format.MessageToString(schema) + "\n".join(lines))
    merged = merge_schemas(infer_schema(statistics(table)), repaired)
    check_schema(merged, statistics(table))
    assert default_of(features(merged)["large"]) == 0
    assert default_of(features(merged)["both"]) == 8
    assert model_inputs(merged)["large"].dtype == "int64"
    amended = merge_schemas(infer_schema(statistics(table)), parse("\n".join(lines)))
    # As text: a missing float is NaN, which equals nothing.
    assert str(model_inputs(amended)) == str(model_inputs(merged))


def test_all_problems_are_told_at_once():
    table = pa.table({"Dep Delay": [1], "class": [1], "big": [2**30]})
    table = pa.concat_tables([table, pa.table({"Dep Delay": [1], "class": [1], "big": pa.array([None], pa.int64())})])
    schema = infer_schema(statistics(table))
    with pytest.raises(ValueError) as caught:
        check_schema(schema, statistics(table))
    message = str(caught.value)
    for part in ("'Dep Delay'", "for example to dep_delay", "'class'", 'tag: "default=0"'):
        assert part in message
    check_schema(infer_schema(statistics(pa.table({"x": [1]}))), statistics(pa.table({"x": [1]})))
    mark_sensitive(schema, ["big", "big"])
    mark_sensitive(schema, ["big"])
    assert sensitive_columns(schema) == ["big"] and len(features(schema)["big"].annotation.tag) == 1
