"""Importer: an artifact where it lies, files copied once for each content, edits that are seen."""

from __future__ import annotations

import os
import time

import fsspec
import pytest
from headrace.components import Importer, importer
from headrace.pipelines import Blessing, HyperParameters, Model, Schema
from headrace.pipelines.author_file import load_plan
from headrace.pipelines.runner import run as run_plan
from headrace.pipelines.runs import Run

from tests.s3_server import s3_bucket

SCHEMA = 'feature { name: "x" type: INT }\n'


def imported(run: Run):
    return run["Importer"].outputs["result"]


def test_files_become_an_artifact_once_for_each_content(tmp_path, run):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "edited.pbtxt").write_text(SCHEMA)
    step = Importer(source_uri=str(tmp_path / "mine"), artifact_type=Schema)
    first, second = imported(run(step)), imported(run(step))
    assert first.uri == second.uri and first.uri.startswith(str(tmp_path / "root" / "imported"))
    assert first.read().feature[0].name == "x" and first.type_name() == "Schema"
    (tmp_path / "mine" / "edited.pbtxt").write_text(SCHEMA.replace("x", "y"))
    third = imported(run(step))
    assert third.uri != first.uri and third.read().feature[0].name == "y" and first.read().feature[0].name == "x"


def test_an_edited_file_reruns_what_depends_on_it(tmp_path, run):
    (tmp_path / "h").mkdir()
    file = tmp_path / "h" / "hyperparameters.json"
    file.write_text('{"units": 8}')
    step = Importer(source_uri=str(tmp_path / "h"), artifact_type=HyperParameters)
    (tmp_path / "author.py").write_text(AUTHOR.format(source=str(tmp_path / "h")))

    def states() -> str:
        plan = load_plan(str(tmp_path / "author.py"), root=str(tmp_path))
        return run_plan(plan, root=tmp_path / "root", debug=True, report=False)["Read"].state.value

    assert [states(), states()] == ["succeeded", "cached"]
    file.write_text('{"units": 16}')
    assert [states(), states()] == ["succeeded", "cached"]
    file.write_text('{ "units":   16 }')
    assert states() == "cached", "other bytes of the same JSON document"
    assert imported(run(step)).read() == {"units": 16}


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The names of the source files whose content the Importer read."""
    names: list[str] = []
    whole = importer._sha256
    monkeypatch.setattr(importer, "_sha256", lambda uri: (names.append(uri.rpartition("/")[2]), whole(uri))[1])
    return names


def test_a_file_that_has_not_changed_is_read_once(tmp_path, run, opened):
    source = tmp_path / "h"
    source.mkdir()
    for name in ("hyperparameters.json", "notes.txt"):
        (source / name).write_text('{"units": 8}')
        # Old enough that a change must have given it another time.
        os.utime(source / name, (1_000_000_000, 1_000_000_000))
    step = Importer(source_uri=str(source), artifact_type=HyperParameters)
    first, second = imported(run(step)), imported(run(step))
    assert opened == ["hyperparameters.json", "notes.txt"] and first.uri == second.uri
    (source / "hyperparameters.json").write_text('{"units": 9}')
    # However slow this machine is, it has just been changed.
    os.utime(source / "hyperparameters.json", (time.time() + 600, time.time() + 600))
    assert imported(run(step)).read() == {"units": 9}
    assert opened[2:] == ["hyperparameters.json"], "of the same size, but of another time"
    imported(run(step))
    assert opened[3:] == ["hyperparameters.json"], "changed so shortly before that its time says nothing"


def test_the_files_of_an_artifact_are_compared_once(tmp_path, run, verdict, opened):
    verdict(tmp_path / "b", True, "good")
    os.utime(tmp_path / "b" / "blessing.json", (1_000_000_000, 1_000_000_000))
    step = Importer(source_uri=str(tmp_path / "b"), artifact_type=Blessing)
    for _ in range(2):
        assert imported(run(step)).blessed
    assert opened == ["blessing.json"]


def test_a_remote_file_counts_by_its_etag(tmp_path, run, opened):
    with s3_bucket() as (bucket, _):
        file = fsspec.filesystem("s3")
        file.pipe(f"{bucket}/s/edited.pbtxt", SCHEMA.encode())
        step = Importer(source_uri=f"{bucket}/s", artifact_type=Schema)
        for _ in range(2):
            assert imported(run(step)).read().feature[0].name == "x"
        assert opened == ["edited.pbtxt"]
        file.pipe(f"{bucket}/s/edited.pbtxt", SCHEMA.replace("x", "y").encode())
        assert imported(run(step)).read().feature[0].name == "y"
        assert len(opened) == 2


AUTHOR = """
from headrace.components import Importer
from headrace.pipelines import HyperParameters, Input, Output, Pipeline, component

@component
def Read(values: Input[HyperParameters], copy: Output[HyperParameters]) -> None:
    copy.write(values.read())

given = Importer(source_uri={source!r}, artifact_type=HyperParameters)
p = Pipeline("p", [given, Read(values=given.outputs["result"])])
"""


def test_files_and_artifacts_behind_a_url(run):
    memory = fsspec.filesystem("memory")
    memory.pipe("/given/s/edited.pbtxt", SCHEMA.encode())
    copied = imported(run(Importer(source_uri="memory://given/s", artifact_type=Schema)))
    assert copied.read().feature[0].name == "x" and (copied.path / "schema.pbtxt").exists()
    for file in copied.path.iterdir():
        memory.pipe(f"/given/a/{file.name}", file.read_bytes())
    taken = imported(run(Importer(source_uri="memory://given/a", artifact_type=Schema)))
    assert taken.uri == "memory://given/a" and taken.digest == copied.digest
    memory.pipe("/given/a/schema.pbtxt", SCHEMA.replace("x", "y").encode())
    changed = run(Importer(source_uri="memory://given/a", artifact_type=Schema))
    assert "schema.pbtxt was changed" in changed["Importer"].error["message"]
    memory.rm("/given", recursive=True)


def test_an_artifact_is_taken_where_it_lies(tmp_path, run, verdict):
    verdict(tmp_path / "b", True, "good")
    found = imported(run(Importer(source_uri=str(tmp_path / "b"), artifact_type=Blessing)))
    assert found.uri == str(tmp_path / "b") and found.blessed and not (tmp_path / "root" / "imported").exists()


def test_properties_are_set_on_files_and_count_as_content(tmp_path, run):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "blessing.json").write_text("{}")
    given = {"source_uri": str(tmp_path / "b"), "artifact_type": Blessing}
    yes = imported(run(Importer(properties={"blessed": True, "reason": "by hand"}, **given)))
    no = imported(run(Importer(properties={"blessed": False, "reason": "by hand"}, **given)))
    assert (yes.blessed, no.blessed, yes.reason) == (True, False, "by hand") and yes.digest != no.digest


def test_a_bare_saved_model_goes_where_a_model_has_its_own():
    """Such as a version that was pushed; the names alone are looked at here."""
    names = ["saved_model.pb", "variables/variables.index"]
    assert Model.places_of(names) == {name: f"serving/{name}" for name in names}
    assert Model.places_of(["serving/saved_model.pb"]) == {"serving/saved_model.pb": "serving/saved_model.pb"}


@pytest.mark.parametrize("where", ["none", "empty"])
def test_nothing_there_is_an_error(tmp_path, run, where):
    (tmp_path / "empty").mkdir()
    found = run(Importer(source_uri=str(tmp_path / where), artifact_type=Schema))
    assert found.exit_code == 1
    assert f"{tmp_path}/{where}: expected a folder with files, found none" in found["Importer"].error["message"]


def test_files_of_another_kind_are_named_and_leave_no_artifact(tmp_path, run):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "schema.pbtxt").write_text("no schema at all {")
    found = run(Importer(source_uri=str(tmp_path / "s"), artifact_type=Schema))
    assert "the files there are no Schema: ParseError" in found["Importer"].error["message"]
    assert not list((tmp_path / "root").rglob("artifact.json"))
    (tmp_path / "s" / "schema.pbtxt").write_text(SCHEMA)
    assert run(Importer(source_uri=str(tmp_path / "s"), artifact_type=Schema)).exit_code == 0


def test_an_artifact_of_another_type_or_changed_is_refused(tmp_path, run, verdict):
    verdict(tmp_path / "b", True, "good")
    found = run(Importer(source_uri=str(tmp_path / "b"), artifact_type=Schema))
    assert "expected Schema, received Blessing" in found["Importer"].error["message"]
    found = run(Importer(source_uri=str(tmp_path / "b"), artifact_type=Blessing, properties={"blessed": True}))
    assert "leave out properties=" in found["Importer"].error["message"]
    file = tmp_path / "b" / "blessing.json"
    file.write_text(file.read_text().replace("good", "fine"))
    found = run(Importer(source_uri=str(tmp_path / "b"), artifact_type=Blessing))
    assert "blessing.json was changed since the artifact was made" in found["Importer"].error["message"]
    (tmp_path / "b" / "artifact.json").unlink()
    assert run(Importer(source_uri=str(tmp_path / "b"), artifact_type=Blessing)).exit_code == 0
