"""The wheel and the sdist: every file of the four folders under `headrace/`, nothing else, and it works from there."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("pipelines", "components", "transforms", "kubeflow")
SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE", "tests", *FOLDERS)
# Documents of a folder are for who reads the repository.
LEFT_OUT = {".md", ".pyc"}

BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""


def build(kind: str, source: Path, into: Path) -> Path:
    """Builds as pip does without isolation, and so without a network."""
    done = subprocess.run([sys.executable, "-c", BUILD, kind, str(into)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return into / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sdist was built from a copy of the sources, and the wheel from the sdist."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools, which builds the wheel, is not installed")
    version = importlib.metadata.version("setuptools")
    if int(version.partition(".")[0]) < 71 and importlib.util.find_spec("wheel") is None:
        pytest.skip("this setuptools builds wheels with the package wheel, which is not installed")
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    source.mkdir()
    junk = shutil.ignore_patterns("__pycache__", ".*")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=junk)
        else:
            shutil.copy(path, source / name)
    sdist = build("build_sdist", source, folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    build("build_wheel", unpacked, folder)
    return folder


@pytest.fixture(scope="module")
def in_wheel(dist: Path) -> set[str]:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(dist / "installed")
    return dist / "installed"


def sources() -> set[str]:
    """Files of the four folders that a user needs."""
    found = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            inside = path.relative_to(ROOT)
            if (
                path.is_file()
                and inside.parts[:2] != ("kubeflow", "triggers")  # of this repository's own builds
                and path.suffix not in LEFT_OUT
                and not any(part.startswith(".") for part in inside.parts)
            ):
                found.add(inside.as_posix())
    return found


def test_the_wheel_has_every_file_of_the_folders_and_nothing_else(in_wheel: set[str]) -> None:
    files = {name for name in in_wheel if ".dist-info/" not in name}
    assert files == {f"headrace/{name}" for name in sources()}
    assert {"headrace/pipelines/store/migrations/versions/0001_first.py", "headrace/kubeflow/py.typed"} <= files
    assert "headrace/__init__.py" not in files


def test_the_wheel_has_the_license_and_the_command(in_wheel: set[str], installed: Path) -> None:
    (info,) = installed.glob("*.dist-info")
    assert any(name.endswith("/LICENSE") for name in in_wheel)
    assert (info / "top_level.txt").read_text().split() == ["headrace"]
    assert "headrace = headrace.pipelines.cli:main" in (info / "entry_points.txt").read_text()


def test_the_sdist_has_what_the_wheel_is_built_from_and_no_tests(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    assert sources() <= files
    assert {"setup.py", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"} <= files
    assert not [name for name in files if name.startswith(("tests", "typings", "headrace/"))]


def python(installed: Path, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )


def test_the_wheel_runs_a_pipeline_with_its_migrations_and_templates(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "greeting.py").write_text(
        "from headrace.pipelines import component, pipeline\n"
        "@component\ndef greet(name: str) -> None:\n    print('hello', name)\n"
        "@pipeline\ndef greeting(name: str = 'you') -> None:\n    greet(name=name)\n"
    )
    code = """
import headrace.pipelines
from headrace.pipelines.cli import main
print(headrace.pipelines.__file__)
raise SystemExit(main(["run", "greeting.py"]))
"""
    done = python(installed, code, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(str(installed))
    assert next((tmp_path / ".headrace").rglob("report.html")).stat().st_size > 1000


@pytest.mark.parametrize("folder", ["repository", "elsewhere"])
def test_kubeflows_own_package_is_not_shadowed(installed: Path, tmp_path: Path, folder: str) -> None:
    """`kubeflow/` lies in the repository's root, which `python -c` puts first on the path."""
    trainer = tmp_path / "site" / "kubeflow" / "trainer"
    trainer.mkdir(parents=True)
    (trainer / "__init__.py").write_text("THEIRS = True\n")
    (trainer.parent / "__init__.py").touch()
    code = f"""
import sys
sys.path.append({str(tmp_path / "site")!r})
import kubeflow.trainer
import headrace.kubeflow
print(kubeflow.trainer.THEIRS, list(headrace.kubeflow.__path__))
"""
    done = python(installed, code, ROOT if folder == "repository" else tmp_path)
    assert done.stdout.startswith(f"True ['{installed}"), done.stderr
