from __future__ import annotations

import pytest
import yaml
from headrace.kubeflow.argo.yaml_text import scalar, to_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kubeflow.argo.plans import HOSTILE

_texts = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(HOSTILE)
_values = st.recursive(
    _texts | st.booleans() | st.integers(),
    lambda inner: (
        st.lists(st.dictionaries(_texts, inner, max_size=2) | _texts, max_size=3)
        | st.dictionaries(_texts, inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(_texts, _values, min_size=1))
def test_yaml_reads_what_was_written(document: dict[str, object]):
    assert yaml.safe_load(to_yaml(document)) == document


@pytest.mark.parametrize("text", [*HOSTILE, "N", "YES", "Off", "NULL", "True"])
def test_a_text_that_could_be_something_else_is_quoted(text: str):
    assert scalar(text).startswith('"')
    assert yaml.safe_load(f"{scalar(text)}: {scalar(text)}") == {text: text}


def test_a_word_stays_as_it_is():
    for text in ("flights", "s3/a.b_c-d", "/headrace/inputs/x.json", "headrace/pipeline", "flights-"):
        assert scalar(text) == text


def test_what_yaml_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="surrogate"):
        to_yaml({"a": "\udc00"})
    with pytest.raises(TypeError, match=r"received 1\.5"):
        to_yaml({"a": 1.5})
    with pytest.raises(TypeError, match="list within a list"):
        to_yaml({"a": [["b"]]})
