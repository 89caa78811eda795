"""The layers that join modalities: what a missing one is, what training drops, and that they travel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from headrace.transforms.layers import JoinModalities, Present
from hypothesis import given, settings
from hypothesis import strategies as st

TEXTS = st.lists(st.sampled_from(["", "a", " ", "bird"]), min_size=1, max_size=6)


def _vectors(rows: int = 4) -> dict[str, Any]:
    random = np.random.default_rng(0)
    return {name: random.normal(size=(rows, n)).astype(np.float32) for name, n in (("table", 2), ("text", 3))}


@settings(max_examples=25, deadline=None)
@given(TEXTS, st.data())
def test_a_modality_is_there_where_any_of_its_columns_has_a_value(texts: list[str], data: st.DataObject) -> None:
    number = st.sampled_from([0.0, -1.5, float("nan"), float("inf")])
    numbers = np.array(data.draw(st.lists(number, min_size=len(texts), max_size=len(texts))), np.float32)
    pairs = np.stack([numbers, np.full(len(texts), np.nan, np.float32)], axis=1)
    text = tf.constant([[one] for one in texts])
    has_text, has_number = np.array([one != "" for one in texts]), ~np.isnan(numbers)
    for columns, expected in (
        (text, has_text),
        ([text, numbers[:, None]], has_text | has_number),
        (pairs, has_number),
        (np.zeros((len(texts), 1), np.int64), np.ones(len(texts), bool)),
    ):
        found = Present()(columns)
        assert found.dtype == tf.float32
        assert found.numpy().tolist() == expected.astype(float)[:, None].tolist()


def test_an_integer_beyond_float32_is_looked_at_as_it_is() -> None:
    column = keras.Input((1,), dtype="int64")
    graph = keras.Function([column], Present()([column]))
    assert graph([tf.constant([[2**62 + 1]])]).numpy().tolist() == [[1.0]]


def test_present_says_what_it_takes() -> None:
    with pytest.raises(ValueError, match=r"expected columns of shape \(rows, n\)"):
        Present()(keras.Input((2, 2)))


def test_complete_rows_are_concatenated_in_the_order_of_names() -> None:
    vectors = _vectors()
    joined = JoinModalities(indicators=False, dropout=0.5)({"text": vectors["text"], "table": vectors["table"]})
    expected = keras.layers.Concatenate()([vectors["table"], vectors["text"]])
    np.testing.assert_array_equal(joined, expected)


@pytest.mark.parametrize("left_out", ["table", "text"])
def test_zeros_and_an_indicator_stand_for_what_is_missing(left_out: str) -> None:
    vectors = _vectors()
    vectors[left_out][1] = np.nan  # whatever the branch makes of nothing
    there = {left_out: np.array([[1.0], [0.0], [1.0], [1.0]])}
    joined = JoinModalities()(vectors, present=there).numpy()
    wide, indicator = {"table": (slice(0, 2), 5), "text": (slice(2, 5), 6)}[left_out]
    assert joined[1, wide].tolist() == [0.0] * len(joined[1, wide])
    assert joined[:, indicator].tolist() == [1, 0, 1, 1]
    rest = [i for i in range(7) if i not in range(*wide.indices(7)) and i != indicator]
    other = "text" if left_out == "table" else "table"
    np.testing.assert_array_equal(joined[:, rest], np.column_stack([vectors[other], np.ones(4)]))


def test_a_learned_vector_stands_for_what_is_missing_and_only_such_rows_train_it() -> None:
    join = JoinModalities(missing="learned", indicators=False)
    vectors = _vectors()
    join(vectors, present={"text": np.ones(4)})
    assert [weight.name for weight in join.weights] == ["missing_text"], "a table that is always there needs none"
    join.weights[0].assign([[7.0, 8.0, 9.0]])
    for there, moved in ((np.array([1.0, 0.0, 1.0, 1.0]), [1, 1, 1]), (np.ones(4), [0, 0, 0])):
        with tf.GradientTape() as tape:
            joined = join(vectors, present={"text": there})
            loss = tf.reduce_sum(joined)
        assert tape.gradient(loss, join.weights[0].value).numpy().tolist() == [moved]
        expected = np.where(there[:, None] > 0, vectors["text"], [[7.0, 8.0, 9.0]])
        np.testing.assert_array_equal(joined[:, 2:], expected)


def _two_branches(dropout: Any = 0.0, seed: int | None = 0, missing: Any = "zero") -> keras.Model:
    inputs = {name: keras.Input(shape, name=name) for name, shape in (("table", (2,)), ("text", (3,)), ("has", (1,)))}
    branches = {name: keras.layers.Dense(4, name=f"branch_{name}")(inputs[name]) for name in ("table", "text")}
    joined = JoinModalities(dropout=dropout, seed=seed, missing=missing)(branches, present={"text": inputs["has"]})
    return keras.Model(inputs, keras.layers.Dense(1, name="head")(joined))


def test_every_branch_gets_gradients_and_a_missing_one_gets_none_from_its_row() -> None:
    model = _two_branches()
    for has, trained in ((np.ones((4, 1), np.float32), True), (np.zeros((4, 1), np.float32), False)):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model({**_vectors(), "has": has}) ** 2)
        gradients = dict(zip((w.path for w in model.trainable_weights), tape.gradient(loss, model.trainable_variables)))
        assert float(tf.norm(gradients["branch_table/kernel"])) > 0
        assert (float(tf.norm(gradients["branch_text/kernel"])) > 0) is trained


def test_training_drops_whole_modalities_at_their_rates_and_scales_nothing() -> None:
    rows, rates = 20_000, {"table": 0.1, "text": 0.4}
    vectors = {"table": np.full((rows, 2), 3.0, np.float32), "text": np.full((rows, 3), 5.0, np.float32)}
    joined = JoinModalities(dropout=rates, seed=1)(vectors, training=True).numpy()
    table, text, indicators = joined[:, :2], joined[:, 2:5], joined[:, 5:]
    for part, value, there, rate in ((table, 3.0, indicators[:, 0], 0.1), (text, 5.0, indicators[:, 1], 0.4)):
        np.testing.assert_array_equal(part, np.repeat(value * there[:, None], part.shape[1], axis=1))
        assert abs(1 - there.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / rows)
    both = ((indicators == 0).all(axis=1)).mean()
    assert abs(both - 0.04) < 0.01, "each modality is drawn by itself"


def test_what_is_missing_is_not_brought_back_by_training() -> None:
    vectors = _vectors(1000)
    joined = JoinModalities(dropout=0.3, seed=1)(vectors, present={"text": np.zeros(1000)}, training=True).numpy()
    assert not joined[:, 2:5].any()
    assert not joined[:, 6].any()


def test_nothing_is_dropped_when_the_model_predicts_and_a_seed_drops_the_same_again() -> None:
    vectors = _vectors(500)
    plain = JoinModalities()(vectors)
    same, other = (JoinModalities(dropout=0.5, seed=seed) for seed in (3, 4))
    np.testing.assert_array_equal(same(vectors), plain)
    np.testing.assert_array_equal(same(vectors, training=False), plain)
    first, second = same(vectors, training=True), same(vectors, training=True)
    assert not np.array_equal(first, second), "each batch is drawn anew"
    again = JoinModalities(dropout=0.5, seed=3)
    np.testing.assert_array_equal(again(vectors, training=True), first)
    np.testing.assert_array_equal(again(vectors, training=True), second)
    assert not np.array_equal(other(vectors, training=True), first)


def test_the_global_seed_decides_where_the_layer_has_none() -> None:
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(11)
        model = _two_branches(dropout=0.5, seed=None)
        model.compile("sgd", "mse")
        model.fit({**_vectors(64), "has": np.ones((64, 1))}, np.ones((64, 1)), epochs=2, verbose=0, shuffle=False)
        weights.append(np.concatenate([weight.numpy().ravel() for weight in model.weights]))
    np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize(
    ("arguments", "call", "message"),
    [
        ({"missing": "mean"}, {}, "missing is"),
        ({"dropout": 1.0}, {}, "share of rows"),
        ({"dropout": {"text": -0.1}}, {}, "share of rows"),
        ({"dropout": {"txt": 0.1}}, {}, "did you mean 'text'"),
        ({}, {"present": {"image": np.ones(4)}}, "names 'image', which is no modality; there are table, text"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: Any, call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JoinModalities(**arguments)(_vectors(), **call)


@pytest.mark.parametrize("vectors", [[np.ones((2, 3))], {"image": np.ones((2, 8, 8))}, {}])
def test_what_is_no_dict_of_vectors_is_refused(vectors: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"expected a (dict|vector)"):
        JoinModalities()(vectors)


def test_half_precision_stays_half() -> None:
    joined = JoinModalities(dtype="mixed_bfloat16", dropout=0.2)(_vectors(), training=True)
    assert joined.dtype == tf.bfloat16


CLIENT = """
import sys
import numpy as np, tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
table, text = np.array([[1.0, 2.0]], "float32"), np.array([[1.0, 2.0, 3.0]], "float32")
for has in (1.0, 0.0):
    print(float(list(serve(table=table, text=text, has=np.array([[has]], "float32")).values())[0].numpy()[0, 0]))
print(any(name.startswith("headrace") for name in sys.modules))
"""


def test_a_model_travels_as_a_keras_file_and_as_a_saved_model_without_our_code(tmp_path: Path) -> None:
    model = _two_branches(dropout={"text": 0.25}, missing="learned")
    model.get_layer(index=-2).weights[0].assign([[1.0, -1.0, 2.0, 0.5]])
    rows = {**_vectors(), "has": np.array([[1.0], [0.0], [1.0], [0.0]], np.float32)}
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(rows), model(rows))
    assert again.get_layer(index=-2).get_config() == model.get_layer(index=-2).get_config()
    model.export(tmp_path / "saved", verbose=False)
    command = [sys.executable, "-I", "-c", CLIENT, str(tmp_path / "saved")]
    *told, ours = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    one = {"table": np.array([[1.0, 2.0]]), "text": np.array([[1.0, 2.0, 3.0]])}
    expected = [float(model({**one, "has": np.array([[has]])})[0, 0]) for has in (1.0, 0.0)]
    np.testing.assert_allclose([float(one) for one in told], expected, rtol=1e-6)
    assert expected[0] != expected[1]
    assert ours == "False"
