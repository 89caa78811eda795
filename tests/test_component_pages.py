"""The pages in docs/components are those that the docstrings give, and say all that the signatures have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import headrace.components
import pytest
from headrace.pipelines.component import Component
from headrace.pipelines.component_doc import parse_doc

ROOT = Path(__file__).parents[1]
COMPONENTS = [
    component
    for name in headrace.components.__all__
    if isinstance(component := getattr(headrace.components, name), Component)
]


def test_the_committed_pages_are_current():
    command = [sys.executable, "docs/build_component_pages.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.spec.name)
def test_a_page_names_every_input_output_and_parameter(component):
    spec = component.spec
    text = (ROOT / "docs" / "components" / f"{spec.name}.md").read_text()
    for name in (*spec.inputs, *spec.outputs, *spec.parameters, *spec.results):
        assert f"| `{name}` |" in text, name
    assert f"```python\n{parse_doc(spec.doc).example}\n```" in text
    index = (ROOT / "docs" / "components" / "README.md").read_text()
    assert f"[{spec.name}]({spec.name}.md)" in index


DOC = """Counts rows.

    More on it: what `x` is.

        an indented line

    Args:
        one, two: Both.
        split: The split,
            or none. Not a section: this.

    Returns:
        The counts.

    Raises:
        DataError: There is
            none.

    >>> Count(                                        # doctest: +SKIP
    ...     split="train",
    ... )
    """


def test_a_docstring_is_taken_apart():
    doc = parse_doc(DOC)
    assert doc.summary == "Counts rows." and doc.description == "More on it: what `x` is.\n\n    an indented line"
    assert doc.args == {"one, two": "Both.", "split": "The split, or none. Not a section: this."}
    assert doc.returns == "The counts." and doc.raises == {"DataError": "There is none."}
    assert doc.example == 'Count(\n    split="train",\n)'
    assert parse_doc("Only this.").args == {} and parse_doc("").summary == ""
