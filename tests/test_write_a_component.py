"""The component of docs/write-a-component.md works as the page says, and keeps the contract."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from headrace.pipelines import Examples

from tests.contract import CHECKS, Case

PAGE = Path(__file__).parents[1] / "docs" / "write-a-component.md"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page's first piece of code as a module of a project."""
    folder = tmp_path_factory.mktemp("author")
    (folder / "pyproject.toml").write_text("")
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    (folder / "count_labels.py").write_text(code)
    spec = importlib.util.spec_from_file_location("count_labels", folder / "count_labels.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["count_labels"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["count_labels"]


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> Examples:
    examples = Examples(str(tmp_path_factory.mktemp("examples")))
    rows = pa.record_batch({"species": ["a", "b", "a"]})
    with examples.writer(rows.schema) as writer:
        writer.write("train", rows)
    examples.commit({})
    return examples


def test_it_counts(page, examples, tmp_path):
    result = page.CountLabels.call(examples=examples, label="species", out_dir=tmp_path)
    assert result.counts.read() == {"a": 2, "b": 1}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_contract(check, page, examples, tmp_path):
    project = Path(page.__file__).parent
    check(Case(page.CountLabels, {"examples": examples, "label": "species"}, project), tmp_path)
