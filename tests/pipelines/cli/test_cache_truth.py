"""The cache's truth under a list of edits: what must run again does, what need not does not, and it is said why."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

FLOW = '''
from headrace.pipelines import Function, HyperParameters, Input, InputFiles, Output, component, pipeline

from shapes import area
import train


@component
def Read(rows: Output[HyperParameters], *, files: InputFiles) -> None:
    rows.write({"rows": sum(len(open(entry.path).readlines()) for entry in files.files)})


@component
def Transform(rows: Input[HyperParameters], transformed: Output[HyperParameters], *,
              preprocessing_fn: Function) -> None:
    """Transforms."""
    transformed.write({"rows": preprocessing_fn(rows.read()["rows"])})


@component
def Trainer(transformed: Input[HyperParameters], model: Output[HyperParameters], *, build_model: Function,
            epochs: int = 1) -> None:
    model.write({"model": build_model(transformed.read()["rows"]), "epochs": epochs, "area": area(2)})


@pipeline
def flow(data: str, epochs: int = 1):
    rows = Read(files=data).outputs["rows"]
    transformed = Transform(rows=rows, preprocessing_fn=train.preprocessing_fn).outputs["transformed"]
    Trainer(transformed=transformed, build_model="train:build_model", epochs=epochs)
'''
SHAPES = '''
from units import FACTOR, Unit, scale


def area(side):
    """An area."""
    return scale(side * side) * Unit().size


def unused():
    return 1
'''
UNITS = """
import installed

FACTOR = 2
OTHER = 3


class Unit:
    size = 1


def scale(x):
    return x * FACTOR * installed.ONE
"""
TRAIN = """
WIDTH = 4


def preprocessing_fn(rows):
    # Doubles.
    return rows * 2


def build_model(rows):
    return [rows, WIDTH]
"""
ALL = ("Read", "Transform", "Trainer")


class Author:
    """A project with a distribution that is installed beside it."""

    def __init__(self, project, site: Path) -> None:
        self.project, self.site = project, site
        self.data = project.folder / "data"
        self.data.mkdir()
        (self.data / "a.csv").write_text("x\n1\n")
        project.write(flow=FLOW, shapes=SHAPES, units=UNITS, train=TRAIN)
        self.install("1.0", "ONE = 1\n")

    def install(self, version: str, text: str) -> None:
        (self.site / "installed").mkdir(exist_ok=True)
        (self.site / "installed" / "__init__.py").write_text(text)
        for old in self.site.glob("*.dist-info"):
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        info = self.site / f"installed-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: installed\nVersion: {version}\n")
        (info / "RECORD").write_text("installed/__init__.py,,\n")
        (info / "top_level.txt").write_text("installed\n")

    def run(self, *more: str):
        env = {"PYTHONPATH": str(self.site)}
        done = self.project.headrace(
            "run", "flow.py", "-p", f"data={self.data}", "--json", "--no-report", *more, env=env
        )
        assert done.code == 0, done.out + done.err
        return done


@pytest.fixture(scope="module")
def author(tmp_path_factory, make_project):
    site = tmp_path_factory.mktemp("lib") / "site-packages"
    site.mkdir()
    made = Author(make_project(tmp_path_factory.mktemp("truth")), site)
    made.run()
    return made


def edit(module: str, old: str, new: str) -> Callable[[Author], None]:
    return lambda author: author.project.edit(module, old, new)


def replaced_file(author: Author) -> None:
    """Another file behind the same path, of the same size and with the old file's time."""
    path = author.data / "a.csv"
    stamp = path.stat()
    other = author.data.parent / "other.csv"
    other.write_text("x\n2\n")
    os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert other.stat().st_size == stamp.st_size
    other.rename(path)


# Each: what is done, which steps must run again, and the reason that is given for the first of them. In this order,
# each on what the one before left.
EDITS: dict[str, tuple[Callable[[Author], None], tuple[str, ...], str]] = {
    "nothing": (lambda author: None, (), ""),
    "a comment": (edit("train", "# Doubles.", "# Doubles it, as anyone can see."), (), ""),
    "a docstring": (edit("flow", '"""Transforms."""', '"""Makes features."""'), (), ""),
    "formatting": (edit("train", "return [rows, WIDTH]", "return [\n        rows,\n        WIDTH,\n    ]"), (), ""),
    "a docstring two imports away": (edit("shapes", '"""An area."""', '"""The area of a square."""'), (), ""),
    "a definition that nobody uses": (edit("shapes", "return 1", "return 2"), (), ""),
    "a constant that nobody uses": (edit("units", "OTHER = 3", "OTHER = 4"), (), ""),
    "a new line at the top": (edit("train", "WIDTH = 4", "import math\n\nWIDTH = 4"), (), ""),
    "a helper two imports away": (edit("units", "x * FACTOR", "FACTOR * x"), ("Trainer",), "units:scale changed"),
    "a constant two imports away": (edit("units", "FACTOR = 2", "FACTOR = 5"), ("Trainer",), "units:FACTOR changed"),
    "a class two imports away": (edit("units", "size = 1", "size = 2"), ("Trainer",), "units:Unit changed"),
    "build_model beside preprocessing_fn": (
        edit("train", "rows,\n", "rows + 1,\n"),
        ("Trainer",),
        "build_model: train:build_model changed",
    ),
    "a constant of build_model alone": (edit("train", "WIDTH = 4", "WIDTH = 8"), ("Trainer",), "train:WIDTH changed"),
    "preprocessing_fn, which changes its output": (
        edit("train", "rows * 2", "rows * 3"),
        ("Transform", "Trainer"),
        "preprocessing_fn: train:preprocessing_fn changed",
    ),
    "preprocessing_fn, which gives the same": (
        edit("train", "rows * 3", "3 * rows"),
        ("Transform",),
        "preprocessing_fn: train:preprocessing_fn changed",
    ),
    "a component": (edit("flow", '"rows": sum', '"rows": 0 + sum'), ("Read",), "flow:Read changed"),
    "a component's default": (
        edit("flow", "epochs: int = 1) -> None", "epochs: int = 2) -> None"),
        ("Trainer",),
        "changed",
    ),
    "another file behind the same path": (replaced_file, ("Read",), "files of files changed"),
    "more rows": (
        lambda author: (author.data / "a.csv").write_text("x\n1\n2\n") and None,
        ALL,
        "files of files changed",
    ),
    "a new file": (lambda author: (author.data / "b.csv").write_text("x\n9\n") and None, ALL, "files of files changed"),
    "a file that is touched": (lambda author: os.utime(author.data / "a.csv"), (), ""),
    "a package's version": (lambda author: author.install("1.1", "ONE = 1\n"), ("Trainer",), "installed==1.1"),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_runs_what_it_must_and_no_more(author, name):
    change, expected, reason = EDITS[name]
    change(author)
    done = author.run()
    ran = tuple(step for step in ALL if done.states[step] != "cached")
    reasons = {event["step"]: event["reason"] for event in done.events if event["event"] == "step_started"}
    if any("headrace==" in text for text in reasons.values()):
        pytest.skip("Headrace itself was edited while this ran")
    assert ran == expected, reasons
    if reason:
        assert reason in reasons[expected[0]], reasons


def test_parameters_count_and_coming_back_is_a_hit(author):
    author.run()
    assert author.run("-p", "epochs=5").states == {"Read": "cached", "Transform": "cached", "Trainer": "succeeded"}
    assert set(author.run().states.values()) == {"cached"}, "the earlier result is still there"


def test_an_edit_that_is_undone_is_a_hit(author):
    author.run()
    author.project.edit("train", "rows + 1", "rows + 2")
    assert author.run().states["Trainer"] == "succeeded"
    author.project.edit("train", "rows + 2", "rows + 1")
    assert set(author.run().states.values()) == {"cached"}


def test_a_sample_is_apart(author):
    author.run()
    sample = author.run("--sample", "5")
    assert set(sample.states.values()) == {"succeeded"}
    assert set(author.run("--sample", "5").states.values()) == {"cached"}
    assert set(author.run().states.values()) == {"cached"}


def test_a_git_racy_edit_is_seen(author):
    """A file that changes twice within a moment, to the same size."""
    path = author.data / "a.csv"
    for number in range(3):
        path.write_text(f"x\n{number} and never before\n")
        assert author.run().states["Read"] != "cached", number
        assert time.time() - path.stat().st_mtime < 60
