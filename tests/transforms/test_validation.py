"""Validation: clean data gives nothing, a planted fault exactly that fault, and the rows behind it."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from headrace.transforms.schema import infer_schema, mark_sensitive
from headrace.transforms.statistics import StatisticsSummarizer, to_proto
from headrace.transforms.validation import find_rows, validate
from headrace.transforms.validation.distances import jensen_shannon, number_divergence
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

ROWS = 120


def batch_of(table):
    return table.combine_chunks().to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], table.schema)


def statistics(table=None, /, **splits):
    found = {
        name: StatisticsSummarizer(one.schema).summarize(batch_of(one))
        for name, one in (splits or {"train": table}).items()
    }
    return to_proto(found)


def reasons(anomalies):
    return {
        column: [anomalies_pb2.AnomalyInfo.Type.Name(reason.type) for reason in info.reason]
        for column, info in anomalies.anomaly_info.items()
    }


def clean(seed=0, rows=ROWS):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "flag": pa.array(rng.integers(0, 2, rows).astype(bool)),
            "weekday": pa.array(np.arange(rows) % 7),
            "count": pa.array(rng.integers(-1000, 1000, rows), mask=np.arange(rows) % 10 == 3),
            "fare": pa.array(rng.normal(size=rows)),
            "carrier": pa.array([["AA", "UA", "DL"][i % 3] for i in range(rows)]),
            "note": pa.array([None if i % 4 == 1 else f"note {rng.integers(10**6)}" for i in range(rows)]),
            "day": pa.array([datetime.date(2013, 1, 1 + i % 28) for i in range(rows)]),
            "pair": pa.array(rng.normal(size=(rows, 2)).tolist()),
            "tags": pa.array([["x", "y"][: i % 3] for i in range(rows)]),
        }
    )


SCHEMA = infer_schema(statistics(clean()))


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, ROWS), st.integers(1, ROWS))
def test_clean_data_gives_nothing_nor_does_any_part_of_it(seed, start, rows):
    table = clean(seed)
    schema = infer_schema(statistics(table))
    for feature in schema.feature:
        feature.presence.ClearField("min_count")
        for comparator in (feature.drift_comparator, feature.skew_comparator):
            comparator.jensen_shannon_divergence.threshold = 0.0
    part = table.slice(start % ROWS, rows)
    for one in (table, part, table.slice(0, 0)):
        found = validate(statistics(one), schema)
        assert not found.anomaly_info and not found.HasField("dataset_anomaly_info"), reasons(found)
        assert found.data_missing == (one.num_rows == 0)
    shuffled = table.take(np.random.default_rng(seed).permutation(ROWS))
    same = validate(statistics(shuffled), schema, previous=statistics(table), serving=statistics(table))
    assert not same.anomaly_info
    assert len(same.drift_skew_info) == len(schema.feature)
    assert not find_rows(batch_of(table), same)


def changed(column, values):
    table = clean()
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return table.set_column(table.schema.names.index(column), column, array)


def with_value(column, value, rows=(17,)):
    values = clean()[column].to_pylist()
    for row in rows:
        values[row] = value
    return changed(column, pa.array(values))


# name: (data, column, the one reason, part of the description, rows that find_rows gives)
FAULTS = {
    "missing column": (clean().drop_columns(["fare"]), "fare", "SCHEMA_MISSING_COLUMN", "lacks it", []),
    "new column": (
        clean().append_column("extra", pa.array(range(ROWS))),
        *("extra", "SCHEMA_NEW_COLUMN", "the schema does not", []),
    ),
    "unseen category": (
        with_value("carrier", "ZZ", (5, 60)),
        *("carrier", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "'ZZ' (1.7%)", [5, 60]),
    ),
    "unseen category in a list": (
        with_value("tags", ["x", "??", "??"], (4,)),
        *("tags", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "'??'", [4]),
    ),
    "string for an int": (
        changed("count", [str(v) if v is not None else None for v in clean()["count"].to_pylist()[:-1]] + ["n/a"]),
        *("count", "UNEXPECTED_DATA_TYPE", "expected INT, the data has BYTES (string), such as", [ROWS - 1]),
    ),
    "float for an int": (
        changed("weekday", clean()["weekday"].cast(pa.float64()).combine_chunks()),
        *("weekday", "UNEXPECTED_DATA_TYPE", "expected INT, the data has FLOAT (double), from 0 to 6", None),
    ),
    "int for a date": (
        changed("day", pa.array(range(ROWS))),
        *("day", "UNEXPECTED_DATA_TYPE", "expected a date, the data has int64", None),
    ),
    "above the range": (with_value("weekday", 9), "weekday", "INT_TYPE_BIG_INT", "values up to 9", [17]),
    "below the range": (
        with_value("weekday", -2, (0, 119)),
        *("weekday", "INT_TYPE_SMALL_INT", "nothing below 0, the data has values down to -2", [0, 119]),
    ),
    "int for a bool": (
        changed("flag", pa.array([2 if i == 8 else i % 2 for i in range(ROWS)])),
        *("flag", "BOOL_TYPE_BIG_INT", "nothing above 1", [8]),
    ),
    "missing values": (
        with_value("fare", None, (3, 4)),
        *("fare", "FEATURE_TYPE_LOW_FRACTION_PRESENT", "2 of 120 rows lack it", [3, 4]),
    ),
    "nothing present": (
        changed("note", pa.nulls(ROWS, pa.string())),
        *("note", "FEATURE_TYPE_LOW_NUMBER_PRESENT", "expected in at least 1 rows, is in 0", None),
    ),
    "nan": (with_value("fare", math.nan), "fare", "FLOAT_TYPE_HAS_NAN", "1 values", [17]),
    "infinity": (with_value("fare", -math.inf), "fare", "FLOAT_TYPE_HAS_INF", "1 values", [17]),
    "another shape": (with_value("pair", [1.0]), "pair", "INVALID_FEATURE_SHAPE", "rows have 1 to 2", [17]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_gives_exactly_that_and_its_rows(fault):
    table, column, reason, text, rows = FAULTS[fault]
    anomalies = validate(statistics(table), SCHEMA)
    assert reasons(anomalies) == {column: [reason]}
    info = anomalies.anomaly_info[column]
    assert text in info.description and list(info.path.step) == [column] and info.short_description
    warned = reason in ("SCHEMA_NEW_COLUMN", "COMPARATOR_CONTROL_DATA_MISSING")
    assert info.severity == (anomalies_pb2.AnomalyInfo.WARNING if warned else anomalies_pb2.AnomalyInfo.ERROR)
    found = find_rows(batch_of(table), anomalies)
    if rows is None:
        assert len(found) == 20
    else:
        assert [(value.column, value.row, value.reason) for value in found] == [(column, row, reason) for row in rows]
        assert [value.value for value in found] == [
            "" if (v := table[column][row].as_py()) is None else str(v) for row in rows
        ]


@given(st.lists(st.integers(0, ROWS - 1), min_size=1, unique=True), st.integers(1, 30))
def test_find_rows_gives_the_first_offending_rows_up_to_the_limit(rows, limit):
    table = with_value("carrier", "ZZ", rows)
    found = find_rows(batch_of(table), validate(statistics(table), SCHEMA), limit=limit)
    assert [value.row for value in found] == sorted(rows)[:limit]


def test_several_splits_name_theirs_and_several_faults_are_all_told():
    bad = with_value("carrier", "ZZ").drop_columns(["fare"])
    anomalies = validate(statistics(train=clean(), eval=bad), SCHEMA)
    assert reasons(anomalies) == {"carrier": ["ENUM_TYPE_UNEXPECTED_STRING_VALUES"], "fare": ["SCHEMA_MISSING_COLUMN"]}
    assert anomalies.anomaly_info["carrier"].description.startswith("split 'eval': ")
    both = changed("weekday", [-1, 9, *[3] * (ROWS - 2)])
    info = validate(statistics(both), SCHEMA).anomaly_info["weekday"]
    assert info.short_description == "Out of range" and len(info.reason) == 2
    assert [(v.row, v.reason) for v in find_rows(batch_of(both), validate(statistics(both), SCHEMA))] == [
        (0, "INT_TYPE_SMALL_INT"),
        (1, "INT_TYPE_BIG_INT"),
    ]


def test_no_value_of_a_sensitive_column_is_shown():
    schema = schema_pb2.Schema()
    schema.CopyFrom(SCHEMA)
    mark_sensitive(schema, ["carrier", "weekday", "count"])
    for feature in schema.feature:
        feature.drift_comparator.jensen_shannon_divergence.threshold = 0.001
        if feature.name == "carrier":
            feature.drift_comparator.infinity_norm.threshold = 0.001
    table = with_value("carrier", "SECRET", range(40))
    table = table.set_column(1, "weekday", pa.array([987654] * ROWS))
    table = table.set_column(2, "count", pa.array(["SECRET"] * ROWS))
    anomalies = validate(statistics(table), schema, previous=statistics(clean()))
    assert set(reasons(anomalies)) == {"carrier", "weekday", "count"}
    anomalies.ClearField("baseline")
    rows = find_rows(batch_of(table), anomalies, schema=schema)
    shown = text_format.MessageToString(anomalies) + str(rows)
    assert rows and "SECRET" not in shown and "987654" not in shown and "ZZ" not in shown


def drift_schema(column, **thresholds):
    schema = schema_pb2.Schema()
    schema.CopyFrom(SCHEMA)
    [feature] = [feature for feature in schema.feature if feature.name == column]
    for comparator in (feature.drift_comparator, feature.skew_comparator):
        for name, threshold in thresholds.items():
            getattr(comparator, name).threshold = threshold
    return schema


def test_drift_of_categories_is_the_l_infinity_distance():
    now = changed("carrier", ["AA"] * 60 + ["UA"] * 30 + ["DL"] * 30)
    for threshold, expected in ((0.16, ["COMPARATOR_L_INFTY_HIGH"]), (0.17, [])):
        schema = drift_schema("carrier", infinity_norm=threshold)
        drift = validate(statistics(now), schema, previous=statistics(clean()))
        assert reasons(drift).get("carrier", []) == expected
        [measured] = drift.drift_skew_info[0].drift_measurements
        assert measured.value == pytest.approx(1 / 6) and measured.threshold == threshold
    assert not validate(statistics(now), drift_schema("carrier", infinity_norm=0.1)).anomaly_info
    skew = validate(statistics(now), drift_schema("carrier", infinity_norm=0.1), serving=statistics(clean()))
    assert reasons(skew) == {"carrier": ["COMPARATOR_L_INFTY_HIGH"]}
    text = skew.anomaly_info["carrier"].description
    assert "the share of 'AA' is 50.0%, there it is 33.3%" in text and "serving" in text
    assert skew.drift_skew_info[0].skew_measurements and not skew.drift_skew_info[0].drift_measurements


def test_drift_of_numbers_is_the_jensen_shannon_divergence():
    rng = np.random.default_rng(3)
    schema = drift_schema("fare", jensen_shannon_divergence=0.05)
    before = statistics(clean(rows=5000))
    same = validate(statistics(clean(seed=1, rows=5000)), schema, previous=before)
    assert not same.anomaly_info and same.drift_skew_info[0].drift_measurements[0].value < 0.01
    shifted = clean(rows=5000).set_column(3, "fare", pa.array(rng.normal(1, 1, 5000)))
    drift = validate(statistics(shifted), schema, previous=before)
    assert reasons(drift) == {"fare": ["COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH"]}
    assert "the median is" in drift.anomaly_info["fare"].description


def test_what_cannot_be_compared_is_said():
    schema = drift_schema("fare", infinity_norm=0.1)
    assert reasons(validate(statistics(clean()), schema, previous=statistics(clean()))) == {
        "fare": ["INVALID_SCHEMA_SPECIFICATION"]
    }
    schema = drift_schema("fare", jensen_shannon_divergence=0.1)
    without = statistics(clean().drop_columns(["fare"]))
    assert reasons(validate(statistics(clean()), schema, previous=without)) == {
        "fare": ["COMPARATOR_CONTROL_DATA_MISSING"]
    }
    schema = drift_schema("fare", normalized_abs_difference=0.1)
    found = validate(statistics(clean()), schema, serving=statistics(clean()))
    assert reasons(found) == {"fare": ["INVALID_SCHEMA_SPECIFICATION"]}
    assert not validate(statistics(clean()), schema, previous=statistics(clean().slice(0, 0))).anomaly_info


def test_a_split_is_compared_with_its_own_or_the_only_one():
    schema = drift_schema("carrier", infinity_norm=0.1)
    other = changed("carrier", ["AA"] * ROWS)
    now = statistics(train=clean(), eval=other)
    assert not validate(now, schema, previous=now).anomaly_info
    assert not validate(now, schema, serving=statistics(serving=clean())).anomaly_info
    assert "split 'eval'" in validate(now, schema, previous=statistics(old=clean())).anomaly_info["carrier"].description


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8))
def test_jensen_shannon_is_scipys(pairs):
    left, right = np.array(pairs, float).T
    if left.sum() and right.sum():
        assert jensen_shannon(left, right) == pytest.approx(distance.jensenshannon(left, right, base=2) ** 2, abs=1e-12)


NUMBERS = st.lists(st.one_of(st.integers(-5, 5).map(float), st.floats(-100, 100), st.just(math.nan)), min_size=1)


@given(NUMBERS, NUMBERS)
def test_divergence_of_numbers_is_symmetric_within_0_and_1_and_0_of_equals(left, right):
    one, two = (statistics(pa.table({"x": values})).datasets[0].features[0] for values in (left, right))
    forth, back = number_divergence(one, two), number_divergence(two, one)
    assert forth == pytest.approx(back, abs=1e-9) and 0 <= forth <= 1
    assert number_divergence(one, one) == pytest.approx(0, abs=1e-12)
    if not any(map(math.isnan, left + right)) and max(left) < min(right):
        assert forth == pytest.approx(1, abs=1e-9)


def test_divergence_of_numbers_is_close_to_that_of_the_densities():
    rng = np.random.default_rng(5)
    draws = [rng.normal(0, 1, 200_000), rng.normal(0.5, 1.2, 200_000)]
    one, two = (statistics(pa.table({"x": values})).datasets[0].features[0] for values in draws)
    edges = np.linspace(-8, 8, 400)
    fine = jensen_shannon(*(np.histogram(values, edges)[0].astype(float) for values in draws))
    assert number_divergence(one, two) == pytest.approx(fine, rel=0.1)


def parse(text):
    return text_format.Parse(text, schema_pb2.Schema())


def test_hand_written_constraints():
    table = pa.table({"x": [1, 2, 2], "c": ["a", "a", "b"], "l": [[1], [1, 2, 3], [2]], "f": [0.5, 1.5, -1.0]})
    rules = {
        'feature { name: "x" type: INT unique_constraints { min: 3 } }': {"x": ["FEATURE_TYPE_LOW_UNIQUE"]},
        'feature { name: "c" type: BYTES unique_constraints { max: 1 } }': {"c": ["FEATURE_TYPE_HIGH_UNIQUE"]},
        'feature { name: "l" type: INT value_count { min: 2 max: 2 } }': {
            "l": ["FEATURE_TYPE_LOW_NUMBER_VALUES", "FEATURE_TYPE_HIGH_NUMBER_VALUES"]
        },
        'feature { name: "f" type: FLOAT float_domain { min: 0 max: 1 } }': {
            "f": ["FLOAT_TYPE_SMALL_FLOAT", "FLOAT_TYPE_BIG_FLOAT"]
        },
        'feature { name: "c" type: BYTES domain: "d" } string_domain { name: "d" value: "a" }': {
            "c": ["ENUM_TYPE_UNEXPECTED_STRING_VALUES"]
        },
        'feature { name: "c" type: BYTES string_domain { value: "a" } '
        "distribution_constraints { min_domain_mass: 0.6 } }": {},
        'feature { name: "gone" type: INT }': {},
        'feature { name: "gone" type: INT deprecated: true presence { min_fraction: 1 } }': {},
        'feature { name: "gone" type: INT not_in_environment: "SERVING" presence { min_count: 1 } }': {},
        'feature { name: "gone" type: INT presence { min_count: 1 } }': {"gone": ["SCHEMA_MISSING_COLUMN"]},
    }
    every = 'feature { name: "%s" }'
    for rule, expected in rules.items():
        named = [feature.name for feature in parse(rule).feature]
        schema = parse(rule + " ".join(every % name for name in table.schema.names if name not in named))
        assert reasons(validate(statistics(table), schema, environment="SERVING")) == expected, rule
    lists = validate(statistics(table), parse(next(rule for rule in rules if '"l"' in rule)))
    assert [(v.row, v.reason[13:]) for v in find_rows(batch_of(table), lists)] == [
        *((0, "LOW_NUMBER_VALUES"), (2, "LOW_NUMBER_VALUES"), (1, "HIGH_NUMBER_VALUES")),
    ]
    floats = validate(statistics(table), parse(next(rule for rule in rules if "float_domain" in rule)))
    assert [v.row for v in find_rows(batch_of(table), floats)] == [2, 1]
    few = validate(statistics(table), parse("dataset_constraints { min_examples_count: 4 }"))
    assert few.dataset_anomaly_info.reason[0].type == anomalies_pb2.AnomalyInfo.DATASET_LOW_NUM_EXAMPLES
    many = validate(statistics(table), parse("dataset_constraints { max_examples_count: 2 }"))
    assert "at most 2 rows, there are 3" in many.dataset_anomaly_info.description


def test_more_distinct_values_than_are_listed_are_unseen_all_the_same():
    values = [f"v{i}" for i in range(1500)]
    schema = schema_pb2.Schema()
    feature = schema.feature.add(name="c", type=schema_pb2.BYTES)
    feature.string_domain.value.extend(values)
    assert not validate(statistics(pa.table({"c": values * 2})), schema).anomaly_info
    table = pa.table({"c": [*values * 2, "zz-unseen"]})
    anomalies = validate(statistics(table), schema)
    assert reasons(anomalies) == {"c": ["ENUM_TYPE_UNEXPECTED_STRING_VALUES"]}
    assert [value.value for value in find_rows(batch_of(table), anomalies)] == ["zz-unseen"]
