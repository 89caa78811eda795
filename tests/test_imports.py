"""Who may import whom, and what a command may load."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "pipelines": {"pipelines"},
    "transforms": {"transforms"},
    "components": {"components", "pipelines", "transforms"},
    "kubeflow": {"kubeflow", "pipelines"},
    "dashboard": {"dashboard", "pipelines"},
}
# What only a step, or a command that opens the store, has a use for.
HEAVY = {"tensorflow", "keras", "apache_beam", "sqlalchemy", "alembic", "pyarrow", "duckdb", "numpy", "pandas"}


def imports_of(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yields (line, module, whether it happens when the file is imported) of each import, TYPE_CHECKING's aside."""

    def walk(node: ast.AST, at_top: bool) -> Iterator[tuple[int, str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from ((child.lineno, alias.name, at_top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert not child.level, f"{path}:{child.lineno}: a relative import"
                yield from ((child.lineno, f"{child.module}.{alias.name}", at_top) for alias in child.names)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, at_top and not inside)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), True)


@pytest.mark.parametrize("folder", [name for name in MAY_IMPORT if any((ROOT / name).rglob("*.py"))])
def test_each_folder_imports_only_those_it_may(folder):
    wrong = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for line, module, _ in imports_of(path):
            parts = module.split(".")
            if parts[0] in MAY_IMPORT:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {module} is not written headrace.{module}")
            if parts[0] == "headrace" and len(parts) > 1 and parts[1] not in MAY_IMPORT[folder]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {folder} may not import {module}")
    assert not wrong, "\n".join(wrong)


def test_tests_and_examples_use_the_installed_name():
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for folder in ("tests", "examples", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for line, module, _ in imports_of(path)
        if module.split(".")[0] in MAY_IMPORT
    ]
    assert not wrong, "\n".join(wrong)


def test_the_layout_that_python_needs():
    """A package of PyPI is called kubeflow too; tests are imported by their path."""
    assert not (ROOT / "kubeflow" / "__init__.py").exists()
    assert not list((ROOT / "tests").rglob("__init__.py"))
    for folder in ("pipelines", "components", "transforms"):
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), f"{path.parent.relative_to(ROOT)} is no package"


def loaded_by(code: str, cwd: Path = ROOT) -> set[str]:
    """The modules that a fresh Python has loaded after some code."""
    probe = f"{code}\nimport sys, json\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_headrace_is_cheap_and_leaves_no_bare_names():
    loaded = loaded_by("import headrace.pipelines, headrace.components, headrace.transforms")
    assert not loaded & HEAVY
    assert not loaded & {"components", "pipelines", "transforms", "kubeflow"}
    assert "headrace.pipelines" in loaded


FLOW = """
from headrace.components import Evaluator, Importer, Pusher, SchemaGen, SqlExampleGen, StatisticsGen, Trainer, Transform
from headrace.pipelines import pipeline

@pipeline
def flow():
    examples = SqlExampleGen(query="SELECT 1").outputs["examples"]
    statistics = StatisticsGen(examples=examples).outputs["statistics"]
    schema = SchemaGen(statistics=statistics).outputs["schema"]
    Transform(examples=examples, schema=schema, preprocessing_fn="fns:preprocessing_fn")
"""


def test_check_loads_nothing_heavy(tmp_path):
    """`headrace check` of a pipeline of standard components: no SQLAlchemy, pyarrow, TensorFlow, Beam."""
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "fns.py").write_text("import tensorflow as tf\n\ndef preprocessing_fn(inputs):\n    return inputs\n")
    run = "from headrace.pipelines.cli import main\nassert main(['check', 'flow.py']) == 0"
    loaded = loaded_by(run, tmp_path)
    assert "headrace.components.statistics_gen" in loaded
    assert not loaded & HEAVY, sorted(loaded & HEAVY)
    assert not loaded & {"components", "pipelines", "transforms"}
    assert not any(name.startswith(("sqlalchemy", "pyarrow", "tensorflow", "apache_beam")) for name in loaded)


def test_plan_loads_neither_tensorflow_nor_beam(tmp_path):
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "flow.py").write_text(FLOW)
    (tmp_path / "fns.py").write_text("def preprocessing_fn(inputs):\n    return inputs\n")
    run = "from headrace.pipelines.cli import main\nassert main(['plan', 'flow.py']) == 0"
    loaded = loaded_by(run, tmp_path)
    assert not loaded & {"tensorflow", "keras", "apache_beam", "pyarrow"}
