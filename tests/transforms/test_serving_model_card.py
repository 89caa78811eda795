"""`headrace model show`: what it tells of a model, and that each request it prints works as it is printed."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from headrace.pipelines.cli import main

from tests.s3_server import s3_bucket
from tests.served_models import Server, served, set_defaults, write_echo

tf = pytest.importorskip("tensorflow")
pytest.importorskip("starlette")

SCHEMA = """
feature { name: "x" type: FLOAT float_domain { min: 2 max: 9.5 } }
feature { name: "word" type: BYTES string_domain { name: "words" value: "it's" value: "b" value: "c" } }
feature { name: "day" type: INT time_domain { integer_format: UNIX_DAYS } }
feature { name: "late" type: INT bool_domain {} }
feature { name: "name" type: BYTES domain: "names" annotation { tag: "sensitive" } }
feature { name: "place" type: BYTES domain: "places" }
string_domain { name: "names" value: "a secret" }
string_domain { name: "places" value: "1" value: "2" value: "3" value: "4" value: "5" value: "6" value: "7" }
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder with one version: raw columns, tf.Example, a keyed signature, and a schema beside it."""
    folder = tmp_path_factory.mktemp("models") / "flights" / "3"
    kinds = {
        "x": tf.float32,
        "word": tf.string,
        "day": tf.int64,
        "late": tf.bool,
        "name": tf.string,
        "place": tf.string,
    }
    raw = {name: tf.TensorSpec((None,), kind, name) for name, kind in kinds.items()}
    raw["list"] = tf.TensorSpec((None, 2), tf.float32, "list")

    def serving_default(given: dict[str, Any]) -> dict[str, Any]:
        chance = tf.sigmoid(given["x"] + tf.reduce_sum(given["list"], axis=1))
        return {"chance": chance, "word": tf.strings.upper(given["word"])}

    def serving_examples(given: dict[str, Any]) -> dict[str, Any]:
        spec = {"x": tf.io.FixedLenFeature([], tf.float32), "word": tf.io.FixedLenFeature([], tf.string)}
        parsed = tf.io.parse_example(given["examples"], spec)
        return {"twice": parsed["x"] * 2, "word": parsed["word"]}

    def serving_bytes(given: dict[str, Any]) -> dict[str, Any]:
        pixels = tf.map_fn(lambda one: tf.io.decode_image(one)[0, 0, 0], given["image"], fn_output_signature=tf.uint8)
        return {"pixel": pixels}

    root = tf.Module()
    examples = {"examples": tf.TensorSpec((None,), tf.string, "examples")}
    image = {"image": tf.TensorSpec((None,), tf.string, "image")}
    functions = ((serving_default, raw), (serving_examples, examples), (serving_bytes, image))
    signatures = {
        work.__name__: tf.function(work, input_signature=[specs], autograph=False) for work, specs in functions
    }
    tf.saved_model.save(root, str(folder), signatures)
    set_defaults(folder, "serving_default", {"x": [math.nan], "place": [b"none"]})
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "schema.pbtxt").write_text(SCHEMA)
    (folder / "assets.extra" / "headrace.json").write_text('{"pipeline": "flights", "run": "r1", "model": "f00"}')
    return folder.parent


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[Server]:
    with served(model) as running:
        yield running


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["model", "show", *arguments]) == 0
    return capsys.readouterr().out


def test_the_text(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, str(model))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == f"flights, version 3 {model}/3"
    assert lines[1] == "pushed by pipeline flights, run r1"
    for line in (
        "input type shape domain example if left out",
        'x float32 [rows] 2.0 to 9.5 2.0 "nan" *',
        "word string [rows] it's, b, c \"it's\" refused",
        "day int64 [rows] days since 1970-01-01 20000 refused",
        "late bool [rows] true, false true refused",
        'name string [rows] sensitive "text" refused',
        'place string [rows] 1, 2, 3, 4, 5, ... (7 values) "1" "none" *',
        "list float32 [rows, 2] [1.5, 1.5] refused",
        "chance float32 [rows]",
    ):
        assert line in lines, text
    assert "secret" not in text
    assert "* may be left out over `headrace serve` and over TensorFlow Serving's gRPC" in text
    assert "a direct Python call must pass it" in text


def test_one_signature_as_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = json.loads(shown(capsys, str(model / "3"), "--json", "--signature", "serving_examples", "--name", "other"))
    assert (card["name"], card["version"]) == ("other", 3)
    (signature,) = card["signatures"]
    assert signature["name"] == "serving_examples" and signature["inputs"][0]["shape"] == [None]
    assert "/v1/models/other:predict" in signature["requests"]["rest"]
    assert card["optional"] is None


@pytest.mark.skipif(shutil.which("curl") is None, reason="the requests are printed for curl")
@pytest.mark.parametrize("signature", ["serving_default", "serving_examples", "serving_bytes"])
def test_the_printed_requests_work_as_printed(
    model: Path, server: Server, signature: str, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{server.port}"
    text = shown(capsys, str(model), "--signature", signature, "--url", url)
    rest, kserve = (line for line in text.splitlines() if line.startswith("curl "))
    python = text[text.index("# Python\n") :].partition("\n\n*")[0]
    answers = [
        json.loads(subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout)
        for command in (rest, kserve)
    ]
    (row,) = answers[0]["predictions"]
    tensors = {one["name"]: one["data"][0] for one in answers[1]["outputs"]}
    assert (row if isinstance(row, dict) else {"pixel": row}) == tensors
    wanted = {"serving_default": {"word": "IT'S"}, "serving_examples": {"twice": 4.0, "word": "it's"}}
    assert wanted.get(signature, {"pixel": 128}).items() <= tensors.items()
    called = subprocess.run([sys.executable, "-I", "-c", python], capture_output=True, text=True)
    assert called.returncode == 0, called.stderr
    assert all(f"'{name}': <tf.Tensor" in called.stdout for name in tensors)


def test_a_model_in_an_object_store(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An S3 server on the loopback. All but the weights is copied, for as long as it is read."""
    local = json.loads(shown(capsys, str(model), "--json"))
    with s3_bucket() as (bucket, _):
        files = fsspec.filesystem("s3")
        for version in ("3", "12"):
            files.put(f"{model}/3/", f"{bucket}/models/flights/{version}/", recursive=True)
        # What a console's "new folder" makes.
        files.touch(f"{bucket}/models/flights/12/")
        copied: list[str] = []
        get_file = type(files).get_file
        monkeypatch.setattr(
            type(files), "get_file", lambda self, name, to: copied.append(name) or get_file(self, name, to)
        )
        before = set(Path(tempfile.gettempdir()).glob("headrace-serve-*"))
        for given in (f"{bucket}/models/flights", f"{bucket}/models/flights/12/"):
            card = json.loads(shown(capsys, given, "--json"))
            assert (card["name"], card["version"]) == ("flights", 12)
            assert card["folder"] == f"{bucket}/models/flights/12"
            assert card["schema"] == f"{bucket}/models/flights/12/assets.extra/schema.pbtxt"
            assert card["made"] == local["made"]
            for here, there in zip(local["signatures"], card["signatures"], strict=True):
                here.get("requests", {}).pop("python", None), there.get("requests", {}).pop("python", None)
                assert here == there
        assert copied and not any("/variables/" in name for name in copied)
        assert set(Path(tempfile.gettempdir()).glob("headrace-serve-*")) == before
        text = shown(capsys, f"{bucket}/models/flights", "--signature", "serving_default")
        assert text.splitlines()[0] == f"flights, version 12   {bucket}/models/flights/12"
        python = text[text.index("# Python\n") :].partition("\n\n*")[0]
        for _ in range(2):
            called = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True, cwd=tmp_path)
            assert "IT'S" in called.stdout, called.stderr
        assert [one.name for one in tmp_path.iterdir()] == ["flights-copy"]
        files.touch(f"{bucket}/other/readme")
        for nothing, message in (
            ("other", f"found no saved_model.pb in {bucket}/other"),
            ("nothing", f"found no folder {bucket}/nothing"),
        ):
            assert main(["model", "show", f"{bucket}/{nothing}"]) == 2
            assert message in capsys.readouterr().err
    assert main(["model", "show", "nosuchstore://models/flights"]) == 2
    assert "error: nosuchstore://models/flights: ValueError: Protocol not known" in capsys.readouterr().err


def test_where_there_is_no_schema_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, str(write_echo(tmp_path / "echo")), "--signature", "total")
    assert "no schema beside it: the domains are not known" in text
    assert text.startswith(f"echo   {tmp_path}/echo")


def test_the_schema_that_an_artifact_links_to(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(model / "3", tmp_path / "Trainer" / "model" / "serving")
    shutil.rmtree(tmp_path / "Trainer" / "model" / "serving" / "assets.extra")
    (tmp_path / "SchemaGen" / "schema").mkdir(parents=True)
    (tmp_path / "SchemaGen" / "schema" / "schema.pbtxt").write_text(SCHEMA)
    links = {"schema": {"type": "Schema", "uri": "../../SchemaGen/schema", "digest": "0"}}
    (tmp_path / "Trainer" / "model" / "artifact.json").write_text(json.dumps({"links": links}))
    assert "it's, b, c" in shown(capsys, str(tmp_path / "Trainer" / "model"))


def test_what_is_no_model(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "show", str(tmp_path)]) == 2
    assert "expected a SavedModel, a folder of versions or a Model artifact" in capsys.readouterr().err
    assert main(["model", "show", str(model), "--signature", "nope"]) == 2
    assert "has no signature 'nope'; it has serving_default, serving_bytes, serving_examples" in capsys.readouterr().err
    broken = tmp_path / "broken"
    shutil.copytree(model / "3", broken)
    (broken / "assets.extra" / "schema.pbtxt").write_text("feature {")
    assert main(["model", "show", str(broken)]) == 2
    assert "schema.pbtxt: expected a schema" in capsys.readouterr().err
