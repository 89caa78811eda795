"""The evaluation of random rows by slices: equal under sharding, to DuckDB-free oracles, and what it refuses."""

from __future__ import annotations

import itertools
import json
import pickle

import numpy as np
import pyarrow as pa
import pytest
from headrace.transforms.metrics import slicing
from headrace.transforms.metrics.document import document
from headrace.transforms.metrics.evaluation import Evaluation, Output, Predicted
from headrace.transforms.metrics.registry import select
from headrace.transforms.metrics.slicing import SliceKeys, Slicing
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk


def predict(batch: pa.RecordBatch) -> Predicted:
    def column(name):
        return batch.column(name).to_numpy(zero_copy_only=False).astype(float)

    predictions = {"metrics": {"late": column("p"), "delay": column("p") * 60}}
    predictions["baseline"] = {"late": np.full(batch.num_rows, 0.3), "delay": np.full(batch.num_rows, 9.0)}
    return Predicted({"late": column("late"), "delay": column("delay")}, predictions, column("w"))


def evaluation(slicings=("carrier", ["carrier", "origin"])):
    outputs = [
        Output("late", "binary", "late", select(None, "binary")),
        Output("delay", "regression", "delay", select(None, "regression")),
    ]
    return Evaluation(outputs, [Slicing.of(one) for one in slicings], predict)


def rows(count=3000, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.random(count).astype(np.float32)
    late = [None if missing else float(x) for missing, x in zip(rng.random(count) < 0.02, rng.random(count) < p)]
    return pa.record_batch(
        {
            "carrier": pa.array(rng.choice(["AA", "UA", "DL", None], count)).dictionary_encode(),
            "origin": rng.integers(1, 4, count),
            "p": p,
            "late": pa.array(late, pa.float64()),
            "delay": rng.normal(size=count) * 10,
            "w": rng.exponential(size=count),
        }
    )


def evaluated(batches, one=None):
    one = one or evaluation()
    state = one.create()
    for batch in batches:
        state = one.merge(state, pickle.loads(pickle.dumps(one.summarize(batch))))
    return document(one, one.finish(state))


def assert_same(left, right, path=""):
    if isinstance(left, dict):
        assert left.keys() == right.keys(), path
        for key in left:
            assert_same(left[key], right[key], f"{path}.{key}")
    elif isinstance(left, list):
        assert len(left) == len(right), path
        for number, pair in enumerate(zip(left, right)):
            assert_same(*pair, f"{path}[{number}]")
    elif isinstance(left, float) and not isinstance(left, bool):
        assert left == pytest.approx(right, rel=1e-7, abs=1e-10), path
    else:
        assert left == right, path


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 600), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_values_do_not_depend_on_sharding_or_order(cuts, random):
    batch = rows(600)
    bounds = [0, *sorted(cuts), 600]
    pieces = [batch.slice(start, end - start) for start, end in itertools.pairwise(bounds)]
    random.shuffle(pieces)
    whole, sharded = evaluated([batch]), evaluated(pieces)
    for one in (whole, sharded):
        for output in one["outputs"].values():
            for entry in [output["overall"], *output["slices"]]:
                entry["metrics"] = {name: metric["value"] for name, metric in entry["metrics"].items()}
                entry["baseline"] = {name: metric["value"] for name, metric in entry["baseline"].items()}
    assert_same(whole, sharded)


def test_merging_is_associative():
    one = evaluation()
    batches = [rows(200, seed) for seed in range(3)]
    a, b, c = ([one.summarize(batch) for batch in batches] for _ in range(3))
    left = one.merge(one.merge(a[0], a[1]), a[2])
    right = one.merge(b[0], one.merge(b[1], b[2]))
    assert_same(document(one, left), document(one, right))
    neutral = one.merge(one.create(), one.merge(one.merge(c[0], one.create()), one.merge(c[1], c[2])))
    assert_same(document(one, left), document(one, neutral))


def test_each_slice_has_the_numbers_of_its_rows():
    batch = rows()
    found = evaluated([batch.slice(0, 1700), batch.slice(1700)])
    frame = {name: batch.column(name).to_pylist() for name in batch.schema.names}
    late = np.array(frame["late"], float)
    entries = {entry["name"]: entry for entry in found["outputs"]["late"]["slices"]}
    assert len(entries) == 4 + 4 * 3 and "carrier=(missing), origin=2" in entries
    for name, entry in entries.items():
        chosen = np.all([np.array([x == v for x in frame[c]]) for c, v in entry["slice"].items()], axis=0)
        labelled = chosen & ~np.isnan(late)
        w, p = np.array(frame["w"])[labelled], np.array(frame["p"])[labelled]
        assert entry["count"] == labelled.sum() and entry["unlabelled"] == (chosen & np.isnan(late)).sum(), name
        assert entry["weight"] == pytest.approx(w.sum())
        assert entry["metrics"]["auc"]["value"] == pytest.approx(sk.roc_auc_score(late[labelled], p, sample_weight=w))
        assert entry["metrics"]["log_loss"]["value"] == pytest.approx(
            sk.log_loss(late[labelled], np.clip(p.astype(float), 1e-7, 1 - 1e-7), sample_weight=w)
        )
        assert entry["metrics"]["auc"]["lower"] < entry["metrics"]["auc"]["value"] < entry["metrics"]["auc"]["upper"]
        assert entry["baseline"]["auc"]["value"] == pytest.approx(0.5)
    delays = {entry["name"]: entry for entry in found["outputs"]["delay"]["slices"]}
    assert sum(delays[f"carrier={c}"]["count"] for c in ("AA", "UA", "DL", "(missing)")) == 3000
    assert found["rows"] == 3000 and found["baseline"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_slices_with_few_rows_are_marked_and_undefined_numbers_are_null():
    batch = rows(300)
    found = evaluated([batch])
    entries = found["outputs"]["late"]["slices"]
    assert any(entry["few_rows"] for entry in entries) and not found["outputs"]["late"]["overall"]["few_rows"]
    one_row = evaluated([rows(1, seed=5)])["outputs"]["late"]["overall"]["metrics"]
    assert one_row["auc"] == {"value": None, "lower": None, "upper": None}


def test_a_prediction_that_is_not_a_number_makes_its_slices_undefined():
    batch = rows(500)
    p = batch.column("p").to_numpy().copy()
    p[batch.column("carrier").to_pylist().index("AA")] = np.nan
    batch = batch.set_column(batch.schema.get_field_index("p"), "p", pa.array(p))
    found = evaluated([batch])
    late = found["outputs"]["late"]
    by_name = {entry["name"]: entry for entry in [late["overall"], *late["slices"]]}
    assert by_name["overall"]["metrics"]["auc"]["value"] is None and by_name["overall"]["not_finite"] == 1
    assert by_name["carrier=AA"]["metrics"]["log_loss"]["value"] is None
    assert by_name["carrier=UA"]["metrics"]["auc"]["value"] is not None
    assert any("1 predictions of late are not finite" in warning for warning in found["warnings"])


def test_no_label_at_all_is_an_error():
    batch = rows(10)
    batch = batch.set_column(batch.schema.get_field_index("late"), "late", pa.nulls(10, pa.float64()))
    with pytest.raises(ValueError, match="no row has a label in column 'late'"):
        evaluated([batch])


def test_rows_that_the_task_cannot_have_are_refused():
    outputs = [Output("late", "binary", "delay", select(None, "binary"))]
    one = Evaluation(
        outputs, [], lambda batch: Predicted({"late": np.array([0.0, 7])}, {"metrics": {"late": np.array([0.5, 0.5])}})
    )
    with pytest.raises(ValueError, match="expected labels of 0 and 1 in column 'delay', received 7"):
        one.summarize(rows(2))
    logits = Evaluation(
        outputs, [], lambda batch: Predicted({"late": np.array([0.0, 1])}, {"metrics": {"late": np.array([0.5, -2])}})
    )
    with pytest.raises(ValueError, match="probabilities between 0 and 1, received -2: end the model with a sigmoid"):
        logits.summarize(rows(2))


def test_too_many_slices_are_refused(monkeypatch):
    monkeypatch.setattr(slicing, "MAX_SLICES", 5)
    with pytest.raises(ValueError, match="slicing by origin makes over 5 slices"):
        SliceKeys(Slicing(("origin",))).encode(pa.record_batch({"origin": list(range(6))}))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 3), st.booleans()), max_size=40))
def test_codes_name_the_values_of_each_row(values):
    columns = list(zip(*values)) or [(), (), ()]
    types = (pa.string(), pa.int64(), pa.bool_())
    batch = pa.record_batch({name: pa.array(column, kind) for name, column, kind in zip("xyz", columns, types)})
    keys = SliceKeys(Slicing(("x", "y", "z")))
    codes = keys.encode(batch)
    assert [keys.keys[code] for code in codes] == values


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(KeyError, match="no column 'carier' to slice by; there are carrier"):
        SliceKeys(Slicing.of("carier")).encode(rows(3))
