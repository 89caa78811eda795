"""Notebooks that are executed: the example, and one whose functions are edited between two runs."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

QUICKSTART = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"


def execute(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    (folder / "pyproject.toml").write_text("")
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return notebook


def notebook_of(*cells: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell).strip()) for cell in cells])


def shown(cell: nbformat.NotebookNode, kind: str) -> str:
    [text] = [out["data"][kind] for out in cell.outputs if out.output_type in ("execute_result", "display_data")]
    return text


def printed(cell: nbformat.NotebookNode) -> list:
    return [json.loads(line) for out in cell.outputs if out.get("name") == "stdout" for line in out.text.splitlines()]


def test_the_example_notebook_runs_and_shows_plan_run_and_artifact(tmp_path):
    notebook = nbformat.read(QUICKSTART, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells), "strip its outputs"
    execute(notebook, tmp_path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    plan, run, shares, statistics, edited, fewer, same = code[3:]
    assert "LateByCarrier" in shown(plan, "text/html") and "<svg" in shown(plan, "text/html")
    assert "succeeded" in shown(run, "text/html") and "SchemaGen" in shown(run, "text/html")
    assert "Statistics" in shown(statistics, "text/html")
    assert "LIMIT" in shown(edited, "text/html"), "it says why it ran"
    before, after = (eval(shown(cell, "text/plain")) for cell in (shares, fewer))
    assert list(before) == ["AA", "DL", "UA"] and all(after[name] < before[name] for name in before)
    assert "cached" in shown(same, "text/html") and "succeeded</" not in shown(same, "text/html").split("<table")[-1]


SETUP = """
    import json
    from headrace.pipelines import HyperParameters, Function, Input, Output, component, pipeline, step_context
    FACTOR = 2
    def double(value):
        return value * FACTOR
    def states(run):
        print(json.dumps({id_: step.state.value for id_, step in run.steps.items()}))
        print(json.dumps(run["Apply"].outputs["values"].read()))
"""
COMPONENTS = """
    @component
    def Make(values: Output[HyperParameters], *, n: int = 3) -> None:
        values.write({"n": n})

    @component
    def Apply(given: Input[HyperParameters], values: Output[HyperParameters], *, function: Function) -> None:
        values.write({"n": function(given.read()["n"])})

    @pipeline
    def p(n: int = 3):
        made = Make(n=n)
        Apply(given=made.outputs["values"], function=double)
"""
RUN = "states(p.run(report=False))"


def test_functions_of_cells_are_edited_and_rerun(tmp_path):
    notebook = notebook_of(
        SETUP,
        COMPONENTS,
        RUN,
        RUN,
        "FACTOR = 5\n" + RUN,
        "def double(value):\n    return value * FACTOR + 1\n" + RUN,
        '# a comment\ndef double(value):\n    """A docstring."""\n    return value * FACTOR + 1\n' + RUN,
        "states(p.run(report=False, parameters={'n': 4}))",
        # A component is edited too; and asking for a context in a cell is no step.
        "step_context()\n" + textwrap.dedent(COMPONENTS).replace('{"n": n}', '{"n": n + 10}') + RUN,
    )
    execute(notebook, tmp_path)
    found = [printed(cell) for cell in notebook.cells[2:]]
    both = {"Make": "succeeded", "Apply": "succeeded"}
    none = {"Make": "cached", "Apply": "cached"}
    one = {"Make": "cached", "Apply": "succeeded"}
    assert found == [
        [both, {"n": 6}],
        [none, {"n": 6}],
        [one, {"n": 15}],
        [one, {"n": 16}],
        [none, {"n": 16}],
        [both, {"n": 21}],
        [both, {"n": 66}],
    ]


def test_what_cannot_be_written_down_is_refused_by_name(tmp_path):
    notebook = notebook_of(
        SETUP, "log = open('log.txt', 'w')\ndef double(value):\n    log.write('x')\n    return value", COMPONENTS, RUN
    )
    with pytest.raises(CellExecutionError, match=r"(?s)log"):
        execute(notebook, tmp_path)


def test_a_step_that_fails_shows_the_line_of_the_cell(tmp_path):
    notebook = notebook_of(
        SETUP,
        "def double(value):\n    raise KeyError('no such thing')",
        COMPONENTS,
        "run = p.run(report=False)\nprint(json.dumps([run.exit_code, run['Apply'].error['traceback']]))\nrun",
    )
    execute(notebook, tmp_path)
    cell = notebook.cells[-1]
    [(code, traceback)] = printed(cell)
    assert code == 1 and "raise KeyError('no such thing')" in traceback
    assert "failed" in shown(cell, "text/html") and "no such thing" in shown(cell, "text/html")
