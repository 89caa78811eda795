"""A pipeline root that is moved, with the store inside it, keeps its cache, its logs and its links."""

from __future__ import annotations

import shutil

from headrace.pipelines import Artifact
from headrace.pipelines.artifact import read_manifest

AUTHOR = """
from headrace.pipelines import HyperParameters, Input, Output, component, pipeline


@component
def Make(made: Output[HyperParameters], *, number: int) -> None:
    print("made in the log")
    made.write({"number": number})


@component
def Use(made: Input[HyperParameters], used: Output[HyperParameters]) -> None:
    used.link(source=made)
    used.write(made.read())


@pipeline
def flow(number: int = 1):
    Use(made=Make(number=number).outputs["made"])
"""


def test_a_moved_root_gives_all_hits(project, tmp_path_factory):
    author = project.write(flow=AUTHOR)
    assert project.headrace("run", str(author)).code == 0
    moved = tmp_path_factory.mktemp("moved") / "home"
    shutil.move(project.folder / ".headrace", moved)
    done = project.headrace("run", str(author), "--root", str(moved), "--json")
    assert done.states == {"Make": "cached", "Use": "cached"}, done.out + done.err
    assert not (project.folder / ".headrace").exists()


def test_the_whole_project_moved_gives_all_hits_and_its_links_follow(project, tmp_path_factory):
    project.write(flow=AUTHOR)
    assert project.headrace("run", "flow.py").code == 0
    project.folder = shutil.move(project.folder, tmp_path_factory.mktemp("elsewhere") / "project")
    done = project.headrace("run", "flow.py", "--json")
    assert done.states == {"Make": "cached", "Use": "cached"}
    [used] = project.folder.glob(".headrace/flow/*/Use/used")
    link = read_manifest(str(used)).links["source"]
    assert Artifact.open(link["uri"]).digest == link["digest"]
    assert '"uri": "../../Make/made"' in (used / "artifact.json").read_text()


def test_logs_and_rerun_find_their_files_after_a_move(project, tmp_path_factory):
    project.write(flow=AUTHOR)
    assert project.headrace("run", "flow.py").code == 0
    project.folder = shutil.move(project.folder, tmp_path_factory.mktemp("elsewhere") / "project")
    assert "made in the log" in project.headrace("logs", "Make").out
    again = project.headrace("rerun", "Use")
    assert again.code == 0, again.err


def test_a_store_elsewhere_records_the_root_it_has(project):
    """Two roots in one store stay apart: what lies under one is no hit for the other."""
    author = project.write(flow=AUTHOR)
    store = ["--store", str(project.folder / "shared.db")]
    assert project.headrace("run", str(author), "--root", "a", *store).code == 0
    second = project.headrace("run", str(author), "--root", "b", *store, "--json")
    assert set(second.states.values()) == {"succeeded"}
    assert set(project.headrace("run", str(author), "--root", "a", *store, "--json").states.values()) == {"cached"}
