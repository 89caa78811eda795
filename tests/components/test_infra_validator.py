"""InfraValidator: a model that loads and answers is blessed; each way in which a server fails its clients is named."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from headrace.components import CsvExampleGen, Importer, InfraValidator
from headrace.components.infra.check import Budgets, Refused, Sent, check_budgets, check_signature
from headrace.components.infra.server_process import ServerProcess
from headrace.pipelines import Examples, Model, Pipeline, PipelineError
from headrace.pipelines.errors import DataError
from headrace.transforms.serving.signatures import Signature, read_saved_model

tf = pytest.importorskip("tensorflow")
pytest.importorskip("starlette")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    folder = tmp_path_factory.mktemp("rows")
    rows = "\n".join(f"{n},{'NA' if n % 5 == 0 else n / 2},{'ab'[n % 2]}" for n in range(120))
    (folder / "rows.csv").write_text(f"id,x,word\n{rows}\n")
    return CsvExampleGen.call(input_base=str(folder), out_dir=folder / "out").examples


def model(folder: Path, work: Any, **specs: Any) -> Model:
    """A Model artifact whose `serving_default` is a function of tensors."""
    root = tf.Module()
    signature = [{name: tf.TensorSpec((None,), dtype, name) for name, dtype in specs.items()}]
    serving = tf.function(work, input_signature=signature, autograph=False)
    artifact = Model(str(folder / "model"))
    tf.saved_model.save(root, str(artifact.path / "serving"), {"serving_default": serving})
    artifact.commit({})
    return Model.open(artifact.uri)


def scored(given: dict[str, Any]) -> dict[str, Any]:
    filled = tf.where(tf.math.is_nan(given["x"]), 0.0, given["x"])
    return {"score": tf.sigmoid(filled)[:, tf.newaxis], "word": tf.strings.upper(given["word"])}


def verdict(tmp_path: Path, given: Model, **arguments: Any) -> Any:
    return InfraValidator.call(model=given, rows=20, **arguments, out_dir=tmp_path / "out")


def test_a_model_that_answers_is_blessed(tmp_path: Path, examples: Examples) -> None:
    found = verdict(
        tmp_path,
        model(tmp_path, scored, x="float32", word="string"),
        examples=examples,
        latency_p99_ms=5000,
        memory_mb=8000,
    )
    blessing = found.blessing
    assert blessing.blessed and found.refusal is None
    assert blessing.reason == (
        "loads in a fresh server and answers 20 rows over REST and KServe v2 in serving_default; p99 within 5000 ms; "
        "memory within 8000 MiB"
    )
    assert blessing.read() == {"blessed": True, "reason": blessing.reason}
    measured = json.loads((blessing.path / "measured.json").read_text())
    assert 0 < measured["p50_ms"] <= measured["p99_ms"] < 5000
    assert 50 < measured["memory_mb"] < 8000, "TensorFlow alone takes more than 50 MiB"
    assert blessing.links["model"]["type"] == "Model" and blessing.links["examples"]["type"] == "Examples"


def test_a_budget_refuses_with_both_figures(tmp_path: Path) -> None:
    found = verdict(tmp_path, model(tmp_path, scored, x="float32", word="string"), latency_p99_ms=0.001)
    assert not found.blessing.blessed and found.refusal == found.blessing.reason
    assert "ms at the 99th percentile; allowed are 0.001" in found.refusal
    with pytest.raises(Refused, match="the server holds up to 1,234 MiB; allowed are 1,000"):
        check_budgets({"p99_ms": 1.0, "memory_mb": 1234.0}, Budgets(memory_mb=1000))


def infinite(given: dict[str, Any]) -> dict[str, Any]:
    return {"score": given["x"] / 0.0}


def halved(given: dict[str, Any]) -> dict[str, Any]:
    return {"score": given["x"][: tf.maximum(1, tf.shape(given["x"])[0] // 2)]}


def of_the_batch(given: dict[str, Any]) -> dict[str, Any]:
    return {"score": given["x"] - tf.reduce_mean(given["x"])}


def own_operation(given: dict[str, Any]) -> dict[str, Any]:
    return {"score": tf.numpy_function(lambda x: x, [given["x"]], tf.float32)}


def picky(given: dict[str, Any]) -> dict[str, Any]:
    with tf.control_dependencies([tf.debugging.assert_less(given["x"], 3.0, "too large")]):
        return {"score": tf.identity(given["x"])}


FAULTY = (infinite, halved, of_the_batch, own_operation, picky)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServerProcess, Mapping[str, Signature]]]:
    """A server of one model, each of whose signatures fails its clients in another way."""
    folder = tmp_path_factory.mktemp("faulty") / "model"
    spec = [{"x": tf.TensorSpec((None,), tf.float32, "x")}]
    made = {work.__name__: tf.function(work, input_signature=spec, autograph=False) for work in FAULTY}
    tf.saved_model.save(tf.Module(), str(folder), made)
    with ServerProcess(folder, 300) as server:
        yield server, read_saved_model(folder).signatures


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("infinite", "infinite gives inf of row 0: not a finite number"),
        ("halved", "halved gives 1 answers for rows 0 to 1, expected 2"),
        ("of_the_batch", "of_the_batch gives for row 0 0.0 alone, -0.5 in a batch of 2"),
        ("own_operation", "own_operation gives 400 for row 0: the model refuses the values: it calls back into Python"),
        ("picky", "picky gives 400 for row 2: the model refuses the values: assertion failed: [too large"),
    ],
)
def test_what_a_client_would_suffer_is_refused(faulty: Any, name: str, words: str) -> None:
    server, signatures = faulty
    rows = [{"x": float(n)} for n in range(1, 5)]
    with pytest.raises(Refused) as refused:
        check_signature(server, Sent(signatures[name], rows))
    assert words in str(refused.value)


def test_a_model_that_does_not_load_is_refused(tmp_path: Path) -> None:
    given = model(tmp_path, scored, x="float32", word="string")
    (given.saved_model_path / "variables" / "variables.index").unlink(missing_ok=True)
    file = given.saved_model_path / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-200])
    found = verdict(tmp_path, given)
    assert "expected a SavedModel, received a file that cannot be parsed" in found.refusal


def test_a_column_that_the_examples_lack(tmp_path: Path, examples: Examples) -> None:
    found = verdict(tmp_path, model(tmp_path, lambda raw: {"y": raw["other"]}, other="float32"), examples=examples)
    assert found.refusal == "infrastructure: serving_default takes the column 'other', which the examples lack"


def test_wrong_arguments(tmp_path: Path, examples: Examples) -> None:
    given = model(tmp_path, scored, x="float32", word="string")
    with pytest.raises(DataError, match="no split 'test'"):
        verdict(tmp_path / "a", given, examples=examples, split="test")
    with pytest.raises(DataError, match="signatures= names 'other'; the model has serving_default"):
        verdict(tmp_path / "b", given, signatures=["other"])
    taken = Importer(source_uri=given.uri, artifact_type=Model)
    with pytest.raises(PipelineError, match="expected a number above 0"):
        Pipeline("p", [taken, InfraValidator(model=taken.outputs["result"], memory_mb=-1)])


DOCKER = """#!{python} -I
import os, re, signal, subprocess, sys
here, (command, *rest) = {here!r}, sys.argv[1:]
open(here + "/asked", "a").write(" ".join(sys.argv[1:]) + "\\n")
if command == "run":
    source = re.search("source=([^,]*),target=/models/model/1,readonly", " ".join(rest))[1]
    serve = [sys.executable, "-I", "-m", "headrace.transforms.serving", source, "--name", "model", "--port", "0"]
    with open(here + "/out", "w") as out, open(here + "/err", "w") as err:
        print(subprocess.Popen(serve, stdout=out, stderr=err, start_new_session=True).pid)
elif command == "port":
    while not (found := re.search(r":(\\d+)$", open(here + "/out").read().strip())):
        pass
    print("0.0.0.0:" + found[1])
elif command == "inspect":
    print("true")
elif command == "stats":
    print("96.5MiB / 1.9GiB")
elif command == "rm":
    os.kill(int(rest[-1]), signal.SIGTERM)
"""


def test_with_an_image_the_server_is_tensorflow_servings(
    tmp_path: Path, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's commands, by a stand-in that runs our server where Docker would run the image."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(DOCKER.format(python=sys.executable, here=str(folder)))
    (folder / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    given = model(tmp_path, scored, x="float32", word="string")
    found = verdict(tmp_path, given, examples=examples, serving_image="tensorflow/serving:2.19.1", load_seconds=300)
    assert found.blessing.reason == "loads in a fresh server and answers 20 rows over REST in serving_default"
    assert json.loads((found.blessing.path / "measured.json").read_text())["memory_mb"] == 96.5
    commands = [line.split()[0] for line in (folder / "asked").read_text().splitlines()]
    assert commands[:2] == ["run", "port"] and commands[-1] == "rm"
    assert " --env MODEL_NAME=model tensorflow/serving:2.19.1" in (folder / "asked").read_text()


def test_an_image_without_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="serving_image= needs Docker"):
        verdict(tmp_path, model(tmp_path, scored, x="float32", word="string"), serving_image="tensorflow/serving")
