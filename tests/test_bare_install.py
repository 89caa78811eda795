"""Without any extra, what can work works, and what cannot names the extra: never a traceback of a missing module."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

# What `pip install headrace` brings.
BASE = ("google", "grandalf", "kfp", "pyflakes", "pyparsing", "yaml", "_yaml")

# Runs the command where every other installed distribution is hidden, as in a new environment.
HIDDEN = f"""
import sys
from importlib.machinery import PathFinder

class Hidden:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {(*BASE, "headrace")!r} or top in sys.stdlib_module_names:
            return None
        spec = PathFinder.find_spec(name, path)
        places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
        if any("site-packages" in place for place in places):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None

sys.meta_path.insert(0, Hidden())
"""

COMMAND = "from headrace.pipelines.cli import main\nsys.exit(main(sys.argv[1:]))"

PIPELINE = """
from typing import NamedTuple

from headrace.components import CsvExampleGen, SchemaGen, StatisticsGen
from headrace.pipelines import component, pipeline


class Sum(NamedTuple):
    total: int


@component
def add(a: int, b: int) -> Sum:
    return Sum(a + b)


@pipeline
def sums(a: int = 1) -> None:
    first = add(a=a, b=2)
    add(a=first.outputs["total"], b=3).with_id("add_more")
    statistics = StatisticsGen(examples=CsvExampleGen(input_base="data").outputs["examples"]).outputs["statistics"]
    SchemaGen(statistics=statistics)
"""


def python(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True)


def headrace(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(HIDDEN + COMMAND, *arguments, folder=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    (folder / "pyproject.toml").touch()
    (folder / "sums.py").write_text(PIPELINE)
    (folder / "data").mkdir()
    (folder / "data" / "rows.csv").write_text("x,y\n1,2\n")
    (folder / "heavy.py").write_text(f"import tensorflow.keras\n{PIPELINE}")
    (folder / "own.py").write_text(f"import a_module_of_nobody\n{PIPELINE}")
    return folder


@pytest.mark.parametrize("module", ["numpy", "pyarrow", "sqlalchemy", "fsspec", "jinja2", "rich", "xxhash"])
def test_the_extras_are_hidden_here(folder: Path, module: str) -> None:
    assert f"No module named {module!r}" in python(f"{HIDDEN}\nimport {module}", folder=folder).stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--version",), r"headrace \d"),
        (("check", "sums.py"), "sums: 5 steps, no problems"),
        (("graph", "sums.py"), "StatisticsGen"),
        (("graph", "sums.py", "--format", "svg"), "<svg"),
        (("graph", "sums.py", "--format", "mermaid"), "StatisticsGen"),
        (("plan", "sums.py", "--yaml"), "add_more"),
    ],
)
def test_a_bare_install_checks_and_draws(folder: Path, arguments: tuple[str, ...], expected: str) -> None:
    done = headrace(folder, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(expected, done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        *(("run", "sums.py"), ("run", "sums.py", "--json"), ("run", "sums.py", "--debug"), ("plan", "sums.py")),
        *(("why", "add"), ("why", "add", "sums.py"), ("logs",), ("runs",), ("show",), ("rerun", "add")),
        *(("run", "sums.py", "--root", "memory://root"), ("runs", "--store", "postgresql://host/name")),
    ],
    ids=" ".join,
)
def test_a_command_that_lacks_an_extra_names_it(folder: Path, arguments: tuple[str, ...]) -> None:
    done = headrace(folder, *arguments)
    assert done.stderr == "error: sqlalchemy is not installed: pip install 'headrace[run]'\n"
    assert (done.returncode, done.stdout) == (2, "")


def test_an_authors_import_of_what_an_extra_brings_names_it(folder: Path) -> None:
    done = headrace(folder, "check", "heavy.py")
    assert (done.returncode, done.stderr) == (2, "error: tensorflow is not installed: pip install 'headrace[run]'\n")


def test_an_authors_import_of_another_module_is_shown_at_its_line(folder: Path) -> None:
    done = headrace(folder, "check", "own.py")
    assert done.returncode == 2
    assert 'own.py", line 1' in done.stderr
    assert "a_module_of_nobody" in done.stderr and "pip install" not in done.stderr


def test_the_python_api_names_the_extra_too(folder: Path) -> None:
    code = """
from headrace.pipelines import Pipeline
from headrace.pipelines.errors import MissingExtra
import sums
assert "<svg" in sums.sums.plan._repr_html_()
try:
    sums.sums.run()
except MissingExtra as error:
    print(error)
"""
    done = python(HIDDEN + code, folder=folder)
    assert done.stdout == "sqlalchemy is not installed: pip install 'headrace[run]'\n", done.stderr


def test_every_component_is_imported_without_an_extra(folder: Path) -> None:
    code = """
import headrace.components, headrace.kubeflow, headrace.transforms
print(*(getattr(headrace.components, name).__name__ for name in headrace.components.__all__))
"""
    done = python(HIDDEN + code, folder=folder)
    assert "Trainer" in done.stdout.split(), done.stderr


def test_a_postgres_store_without_its_driver_names_its_extra(folder: Path) -> None:
    hide = "import sys\nsys.modules['psycopg'] = None\n"
    done = python(hide + COMMAND, "runs", "--store", "postgresql://host/name", folder=folder)
    assert (done.returncode, done.stderr) == (
        2,
        "error: psycopg is not installed: pip install 'headrace[postgres]'\n",
    )
