"""Cross: tokens tell rows apart exactly as Python's tuples of their values do."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from headrace.transforms.layers import Cross
from hypothesis import example, given, settings
from hypothesis import strategies as st

STRINGS = st.text("ab|\\ é", max_size=4)
ROWS = st.lists(
    st.tuples(
        STRINGS,
        st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**53, 2**53 + 1]),
        st.booleans(),
        st.floats(width=32),
        STRINGS,
    ),
    min_size=1,
    max_size=12,
)


def columns(rows: list[Any]) -> list[Any]:
    strings, integers, booleans, floats, others = zip(*rows)
    return [
        tf.constant([[one] for one in strings]),
        np.array(integers, np.int64)[:, None],
        np.array(booleans)[:, None],
        np.array(floats, np.float32)[:, None],
        tf.constant([[one] for one in others]),
    ]


@settings(max_examples=60, deadline=None)
@given(ROWS, st.booleans())
@example([("a|b", 1, True, 0.0, "c"), ("a", 1, True, -0.0, "b|c"), ("a\\", 1, True, 0.0, "|c")], True)
def test_two_rows_share_a_token_exactly_if_they_share_all_values(rows: list[Any], partial: bool) -> None:
    tokens = Cross(partial=partial)(columns(rows)).numpy().ravel().tolist()
    # NaN is missing, as "" is; nothing else is equal to it.
    values = [tuple("" if value != value else value for value in row) for row in rows]
    for token, row in zip(tokens, values):
        assert (token == b"") == (not partial and "" in row)
    for token, row in zip(tokens, values):
        for other, other_row in zip(tokens, values):
            if token and other:
                assert (token == other) == (row == other_row)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text("a|\\", max_size=3), st.text("a|\\", max_size=3)), min_size=2, max_size=30))
@example([("a|", "a"), ("a", "|a"), ("a\\", "a"), ("a", "\\a"), ("a\\|", "a"), ("a\\", "|a")])
def test_separators_within_strings_are_told_from_those_between(pairs: list[tuple[str, str]]) -> None:
    columns = [tf.constant([[one] for one in strings]) for strings in zip(*pairs)]
    tokens = Cross(partial=True)(columns).numpy().ravel().tolist()
    assert len(set(tokens)) == len(set(zip(tokens, pairs))) == len(set(pairs))


def test_tokens_are_as_a_person_would_write_them() -> None:
    rows = [("JFK", 7, True, 3.0, "x"), ("a|b\\", -1, False, 0.5, "y")]
    found = [token.decode() for token in Cross()(columns(rows)).numpy().ravel()]
    assert found == ["JFK|7|1|3|x", r"a\|b\\|-1|0|0.5|y"]


def test_an_integer_column_has_the_same_tokens_with_missing_values_and_without() -> None:
    name = tf.constant([["a"], ["a"], ["a"]])
    plain = Cross()([name, np.array([[3], [2**24], [-7]])]).numpy()
    nullable = Cross()([name, np.array([[3], [2**24], [-7]], np.float32)]).numpy()
    np.testing.assert_array_equal(plain, nullable)


def test_float64_and_half_precision_are_exact() -> None:
    for dtype, one, other in ((np.float64, 0.1, np.nextafter(0.1, 1)), (np.float16, 1.0, 1 + 2**-10)):
        tokens = Cross()([np.array([[one], [other]], dtype), np.array([[1], [1]])]).numpy().ravel()
        assert tokens[0] != tokens[1]


def test_a_row_that_lacks_all_has_no_token_even_where_some_may_lack() -> None:
    name, number = tf.constant([["a"], [""], [""]]), np.array([[np.nan], [1], [np.nan]], np.float32)
    assert Cross(partial=True)([name, number]).numpy().ravel().tolist() == [b"a|", b"|1", b""]
    assert Cross()([name, number]).numpy().ravel().tolist() == [b"", b"", b""]


def test_bytes_that_are_no_text() -> None:
    odd = tf.constant([[b"\xff|\x00"], [b"\xff\\"]])
    assert Cross()([odd, odd]).numpy().ravel().tolist() == [b"\xff\\|\x00|\xff\\|\x00", b"\xff\\\\|\xff\\\\"]


def test_lists_and_batches_of_no_rows() -> None:
    inputs = [keras.Input((2,), dtype="string"), keras.Input((1,), dtype="int64")]
    crossed = Cross()(inputs)
    assert crossed.shape == (None, 2) and crossed.dtype == "string"
    graph = keras.Function(inputs, crossed)
    assert graph([tf.constant([["a", "b"]]), tf.constant([[7]], tf.int64)]).numpy().tolist() == [[b"a|7", b"b|7"]]
    assert graph([tf.zeros((0, 2), tf.string), tf.zeros((0, 1), tf.int64)]).shape == (0, 2)


def test_it_travels_in_its_configuration() -> None:
    layer = Cross(partial=True, name="route")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config() and again.partial


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (keras.Input((1,)), "two or more columns, received 1"),
        ([keras.Input((2,)), keras.Input((3,))], "of one n"),
        ([keras.Input((1,)), keras.Input((None,))], "of one n"),
    ],
)
def test_what_cannot_be_meant_is_refused(inputs: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Cross()(inputs)
