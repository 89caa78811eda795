"""An artifact exists exactly when its manifest does, which is written last; damage is seen; links follow a move."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from headrace.pipelines import Artifact, Blessing, HyperParameters, Property, PushedModel, storage
from headrace.pipelines.artifact import MANIFEST, Manifest, read_manifest
from headrace.pipelines.errors import ArtifactError


class Notes(Artifact):
    pages = Property(int, "How many.")
    ratio = Property(float, "How full.")

    def write(self, text: str) -> None:
        (self.path / "notes.txt").write_text(text)

    def read(self) -> str:
        return (self.path / "notes.txt").read_text()


def make(uri: str, text: str = "hello") -> Notes:
    notes = Notes(uri)
    notes.pages = 3
    notes.write(text)
    notes.commit({"step": "Write"})
    return notes


def test_it_exists_when_the_manifest_is_there_and_not_before(tmp_path):
    uri = str(tmp_path / "notes")
    notes = Notes(uri)
    notes.write("hello")
    with pytest.raises(ArtifactError, match=r"no artifact.json here, so no artifact"):
        Notes.open(uri)
    assert not notes.is_live()
    notes.commit({"step": "Write"})
    again = Notes.open(uri)
    assert again.read() == "hello" and again.is_live() and again.digest == notes.digest
    entry = again.manifest.files["notes.txt"]
    assert (entry.size, entry.sha256) == (5, hashlib.sha256(b"hello").hexdigest())
    assert again.manifest.producer == {"step": "Write"}


def test_the_manifest_is_the_last_thing_that_is_written(tmp_path, monkeypatch):
    """Whatever is written after the payload, the manifest comes last, and whole: a draft is renamed."""
    written: list[str] = []
    whole = storage.write_bytes

    def spy(uri: str, data: bytes) -> None:
        assert sorted(name for name, _ in storage.walk(str(tmp_path / "n"))) == ["a/b.txt", "notes.txt"]
        written.append(Path(uri).name)
        whole(uri, data)

    notes = Notes(str(tmp_path / "n"))
    notes.write("x")
    (notes.path / "a").mkdir()
    (notes.path / "a" / "b.txt").write_text("y")
    monkeypatch.setattr(storage, "write_bytes", spy)
    notes.commit({})
    assert written == [MANIFEST]
    assert set(notes.manifest.files) == {"a/b.txt", "notes.txt"}


@pytest.mark.parametrize("root", ["{tmp}", "memory://artifacts"])
def test_properties_links_and_digest_travel_with_it(tmp_path, root):
    root = root.format(tmp=tmp_path)
    source = make(storage.join(root, "run", "A", "notes"))
    other = Notes(storage.join(root, "run", "B", "notes"))
    other.link(source=source, label="late", nothing=None)
    other.pages = 1
    other.write("x")
    other.commit({}, root)
    text = json.loads(storage.read_bytes(storage.join(other.uri, MANIFEST)))
    assert text["links"]["source"]["uri"] == "../../A/notes"
    again = Notes.open(other.uri)
    assert again.links == {
        "source": {"type": "Notes", "uri": source.uri, "digest": source.digest},
        "label": "late",
    }
    assert again.pages == 1 and not hasattr(again, "ratio")


def test_a_link_out_of_the_root_stays_absolute(tmp_path):
    source = make(str(tmp_path / "elsewhere" / "notes"))
    other = Notes(str(tmp_path / "root" / "B"))
    other.link(source=source)
    other.write("x")
    other.commit({}, str(tmp_path / "root"))
    assert Notes.open(other.uri).links["source"]["uri"] == source.uri
    assert source.uri in (tmp_path / "root" / "B" / MANIFEST).read_text()


def test_the_digest_is_of_meaning(tmp_path):
    """The type, the payload, the properties; not where, when, by whom or linked to what."""
    first, same = make(str(tmp_path / "1")), make(str(tmp_path / "2"))
    assert first.digest == same.digest
    linked = Notes(str(tmp_path / "3"))
    linked.pages = 3
    linked.write("hello")
    linked.link(other=first)
    linked.commit({"step": "Other"})
    assert linked.digest == first.digest
    assert make(str(tmp_path / "4"), "hallo").digest != first.digest
    fewer = Notes(str(tmp_path / "5"))
    fewer.pages = 2
    fewer.write("hello")
    fewer.commit({})
    assert fewer.digest != first.digest


def test_json_is_its_values_not_its_bytes(tmp_path):
    one, other = HyperParameters(str(tmp_path / "1")), HyperParameters(str(tmp_path / "2"))
    one.write({"a": 1, "b": [1.5, None]})
    storage.write_bytes(storage.join(other.uri, HyperParameters.file), b'{"b":[1.5,null],   "a":1}')
    assert one.commit({}).digest == other.commit({}).digest


@pytest.mark.parametrize("damage", ["gone", "shorter", "manifest gone", "manifest half", "folder gone"])
def test_a_damaged_artifact_is_not_live(tmp_path, damage):
    notes = make(str(tmp_path / "n"))
    manifest = tmp_path / "n" / MANIFEST
    match damage:
        case "gone":
            (tmp_path / "n" / "notes.txt").unlink()
        case "shorter":
            (tmp_path / "n" / "notes.txt").write_text("hell")
        case "manifest gone":
            manifest.unlink()
        case "manifest half":
            manifest.write_bytes(manifest.read_bytes()[:40])
        case "folder gone":
            storage.remove_tree(notes.uri)
    assert not Notes(notes.uri, notes.manifest).is_live()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"headrace_artifact": 2}, "manifest format 2; this Headrace reads 1"),
        ({"files": 3}, "not a manifest of Headrace"),
        ({"unknown": 3}, "not a manifest of Headrace"),
    ],
)
def test_a_manifest_that_cannot_be_read_says_so(tmp_path, change, says):
    notes = make(str(tmp_path / "n"))
    path = tmp_path / "n" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=says):
        read_manifest(notes.uri)


def test_an_artifact_of_another_type_is_refused(tmp_path):
    make(str(tmp_path / "n"))
    with pytest.raises(ArtifactError, match="expected Blessing, received Notes"):
        Blessing.open(str(tmp_path / "n"))
    assert Artifact.open(str(tmp_path / "n")).properties == {"pages": 3}, "as any artifact it opens"


@pytest.mark.parametrize(("name", "value"), [("pages", "3"), ("pages", True), ("pages", 1.5), ("ratio", "x")])
def test_a_property_takes_its_type(tmp_path, name: str, value: Any):
    with pytest.raises(ArtifactError, match=f"Notes.{name} takes"):
        setattr(Notes(str(tmp_path)), name, value)


def test_a_pushed_model_lives_as_long_as_what_was_pushed(tmp_path):
    pushed = PushedModel(str(tmp_path / "pushed"))
    pushed.destination, pushed.version = str(tmp_path / "serving" / "1"), 1
    pushed.write({})
    pushed.commit({})
    assert not pushed.is_live()
    storage.write_bytes(str(tmp_path / "serving" / "1" / "saved_model.pb"), b"x")
    assert pushed.is_live()


def test_a_remote_artifact_is_staged_when_its_path_is_asked_for():
    notes = make("memory://stage/notes", "remote")
    again = Notes.open(notes.uri)
    assert again.path.is_dir() and not str(again.path).startswith("memory")
    assert again.read() == "remote" and again.digest == notes.digest
    assert again.is_live()
    storage.remove_tree(notes.uri)
    assert not again.is_live()


def test_manifest_text_round_trips(tmp_path):
    notes = make(str(tmp_path / "n"))
    text = (tmp_path / "n" / MANIFEST).read_text()
    assert Manifest.from_json(text, str(tmp_path / "n" / MANIFEST)) == notes.manifest
