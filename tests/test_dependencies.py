"""What setup.py declares is what the folders import: nothing is missing from an extra, nothing in it is left over."""

from __future__ import annotations

import ast
import functools
import re
import runpy
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("pipelines", "components", "transforms", "kubeflow")
OWN = {"headrace", "benchmarks", "examples", "tests"}
# Modules that are not called as their distribution is; boto3 comes with moto,
# for with a bound of its own pip does not find the one that s3fs wants; uvicorn has httptools in a module of its own.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "boto3": "moto",
    "google.cloud.devtools": "google-cloud-build",
    "google.protobuf": "protobuf",
    "kfp.pipeline_spec": "kfp-pipeline-spec",
    "sklearn": "scikit-learn",
    "uvicorn.protocols.http.httptools_impl": "httptools",
    "yaml": "pyyaml",
}
# What the tests and the Makefile use without importing it.
TOOLS = {
    *("mypy", "pytest-timeout", "pytest-xdist", "ruff", "types-pyyaml"),
    *("ipykernel", "nbclient", "nbformat"),
    *("flask", "flask-cors", "moto", "s3fs"),
}
# Programs of the cluster's, which have an environment of their own.
ELSEWHERE = {"tests/cluster/metadata_server.py"}
# Modules of TFX's users import it; where it is not installed, `components/tfx/names.py` stands in.
STOOD_IN = {"tfx"}
# Calendar versions: the next year's number says nothing about what will break.
UNBOUNDED = {"fsspec"}


@pytest.fixture(scope="module")
def declared() -> dict[str, list[str]]:
    """Requirements by extra; those of the bare install under ''."""
    seen: dict[str, Any] = {}
    stub = ModuleType("setuptools")
    stub.setup = seen.update  # type: ignore[attr-defined]
    stub.find_packages = lambda folder: []  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "setuptools", stub)
        runpy.run_path(str(ROOT / "setup.py"))
    return {"": seen["install_requires"], **seen["extras_require"]}


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements}  # type: ignore[index]


@functools.cache
def imported(*folders: str) -> dict[str, set[str]]:
    """Third-party distributions that the folders' files import anywhere, with the files."""
    found: dict[str, set[str]] = defaultdict(set)
    for folder in folders:
        files = [path for path in (ROOT / folder).rglob("*.py") if not path.relative_to(ROOT).parts[1].startswith(".")]
        # A file's neighbours, and a module that a test writes, are no distribution.
        local = {path.stem for path in files} | OWN | sys.stdlib_module_names
        for path in files:
            if str(path.relative_to(ROOT)) in ELSEWHERE:
                continue
            text = path.read_text(encoding="utf-8")
            for module in (module for node in ast.walk(ast.parse(text)) for module in modules_of(node)):
                top = module.partition(".")[0]
                if top not in local and f"{top}.py" not in text and f"{top}_dot_py" not in text:
                    found[distribution_of(module)].add(str(path.relative_to(ROOT)))
    return found


def modules_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [node.module or ""]
    called = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "importorskip"))
    if called and node.args and isinstance(node.args[0], ast.Constant):
        return [str(node.args[0].value)]
    return []


def distribution_of(module: str) -> str:
    for prefix, distribution in DISTRIBUTIONS.items():
        if module == prefix or module.startswith(f"{prefix}."):
            return distribution
    return module.partition(".")[0].replace("_", "-").lower()


def test_every_import_of_the_package_is_declared_for_its_users(declared: dict[str, list[str]]) -> None:
    for_users = set().union(*(names(found) for extra, found in declared.items() if extra != "dev"))
    undeclared = {name: files for name, files in imported(*FOLDERS).items() if name not in for_users}
    assert not undeclared


def test_every_dependency_of_the_package_is_imported_by_it(declared: dict[str, list[str]]) -> None:
    wanted = names(declared[""]) | names(declared["run"]) | names(declared["postgres"])
    assert wanted - set(imported(*FOLDERS)) == set()


def test_pipelines_runs_no_dependency_but_those_of_run(declared: dict[str, list[str]]) -> None:
    known = names(declared[""]) | names(declared["run"]) | names(declared["postgres"])
    found = imported("pipelines", "components", "transforms")
    more = set(found) - known
    # A TFX user's own parts, which say which extra they need.
    assert more <= names(declared["tft"])
    files = {file for name in more for file in found[name]}
    assert {file for file in files if not file.startswith(("components/tfx/", "transforms/tft/"))} == {
        "components/ingest/tf_example_ingest.py",
        "components/ingest/tf_records.py",
        "transforms/tf_example_rows.py",
    }


def test_what_tests_examples_and_benchmarks_import_is_declared(declared: dict[str, list[str]]) -> None:
    known = STOOD_IN.union(*(names(found) for found in declared.values()))
    found = imported("tests", "examples", "benchmarks")
    assert {name: files for name, files in found.items() if name not in known} == {}


def test_dev_has_what_is_used_and_no_more(declared: dict[str, list[str]]) -> None:
    used = set(imported("tests", "examples", "benchmarks")) | TOOLS
    assert names(declared["dev"]) - used == set()


def test_every_dependency_of_users_has_a_lower_and_an_upper_bound(declared: dict[str, list[str]]) -> None:
    requirements = [r for extra, found in declared.items() if extra != "dev" for r in found]
    unbounded = [
        r for r in requirements if not ("==" in r or (">=" in r and ",<" in r)) and not names([r]) <= UNBOUNDED
    ]
    assert unbounded == []
