"""The process that serves for the skew gate: TensorFlow's C library alone, which gives what its Python gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from headrace.components.skew import probe
from headrace.components.skew.comparison import differences, feature, prediction
from headrace.components.skew.probe import arrays_file
from headrace.components.skew.serving_process import Call, ServingFailed, ask
from headrace.transforms.serving.dtypes import BY_NAME
from headrace.transforms.serving.loaded_model import LoadedModel
from headrace.transforms.serving.signatures import Signature
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.served_models import SHAPES, write_echo

ROWS = 5


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_echo(tmp_path_factory.mktemp("echo") / "model")


def values(dtype: str, shape: tuple[int | None, ...]) -> np.ndarray:
    sizes = (ROWS, *(4 if size is None else size for size in shape[1:]))
    chance = np.random.default_rng(3)
    if dtype == "string":
        texts = np.empty(sizes, object)
        texts.reshape(-1)[:] = [bytes(chance.integers(0, 256, n % 40, np.uint8)) for n in range(texts.size)]
        return texts
    return chance.integers(0, 2 if dtype == "bool" else 100, sizes).astype(BY_NAME[dtype].numpy)


def call_of(signature: Signature) -> tuple[Call, dict[str, np.ndarray]]:
    given_ = {name: values(tensor.dtype.name, tensor.shape or (None,)) for name, tensor in signature.inputs.items()}
    feeds = {tensor.graph_name: given_[name] for name, tensor in signature.inputs.items()}
    return Call(signature.name, feeds, {name: tensor.graph_name for name, tensor in signature.outputs.items()}), given_


def test_it_gives_what_tensorflow_in_python_gives_for_every_type_and_shape(echo: Path, tmp_path: Path) -> None:
    model = LoadedModel(echo)
    calls, expected = [], {}
    for name in ("serving_default", "text"):
        call, given_ = call_of(model.signatures[name])
        calls.append(call)
        expected[name] = model.run(name, given_)
    assert sum(len(call.feeds) for call in calls) >= len(SHAPES) * 12
    answers = ask(echo, calls, [0, 3], tmp_path)
    for name, outputs in expected.items():
        assert answers[name]["batches"].keys() == outputs.keys() == answers[name]["single"].keys()
        for output, wanted in outputs.items():
            batches, single = (answers[name][how][output] for how in ("batches", "single"))
            for got, rows in ((batches, wanted), (single, wanted[[0, 3]])):
                assert got.dtype == rows.dtype and got.shape == rows.shape and (got == rows).all(), output


def test_batches_are_joined_in_order(echo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.components.skew.serving_process.BATCH", 2)
    signature = LoadedModel(echo).signatures["picky"]
    feeds = {signature.inputs["x"].graph_name: np.arange(ROWS, dtype=np.float32)}
    [fetch] = ({name: tensor.graph_name} for name, tensor in signature.outputs.items())
    answers = ask(echo, [Call("picky", feeds, fetch)], [], tmp_path)
    assert np.allclose(answers["picky"]["batches"]["root"], np.sqrt(np.arange(ROWS))) and not answers["picky"]["single"]


def failing(echo: Path, folder: Path, name: str, x: Any, fetch: str | None = None) -> str:
    signature = LoadedModel(echo).signatures[name]
    fetches = {key: fetch or tensor.graph_name for key, tensor in signature.outputs.items()}
    feeds = {signature.inputs["x"].graph_name: np.array(x, np.float32)}
    with pytest.raises(ServingFailed) as failed:
        ask(echo, [Call(name, feeds, fetches)], [0], folder)
    return str(failed.value)


def test_what_fails_is_said_with_the_signature(echo: Path, tmp_path: Path) -> None:
    assert failing(echo, tmp_path, "picky", [1, -1]).startswith("picky: assertion failed: [x is negative")
    assert failing(echo, tmp_path, "picky", [1], "nowhere:0") == "picky: the graph has no tensor nowhere:0"
    said = failing(echo, tmp_path, "total", [1, 2])
    assert said.startswith("total: expected 2 rows of total, received shape (), from row 0")
    with pytest.raises(ServingFailed, match="Could not find SavedModel"):
        ask(tmp_path / "no model", [Call("x", {"x:0": np.zeros(1, np.float32)}, {})], [], tmp_path)


def test_the_process_has_nothing_of_ours_nor_of_tensorflows_python(echo: Path, tmp_path: Path) -> None:
    """Its modules are listed as it ends."""
    [signature] = [LoadedModel(echo).signatures["picky"]]
    feeds = {signature.inputs["x"].graph_name: np.ones(1, np.float32)}
    ask(echo, [Call("picky", feeds, {"root": signature.outputs["root"].graph_name})], [0], tmp_path)
    program = Path(probe.__file__).parent
    listed = (
        "import atexit, runpy, sys; sys.argv = sys.argv[1:];"
        "atexit.register(lambda: print(*sorted({name.partition('.')[0] for name in sys.modules})));"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    files = [str(tmp_path / name) for name in ("request.json", "request.npz", "response.json", "response.npz")]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", listed, str(program), *files], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.split())
    assert {"saved_model_session", "arrays_file", "numpy"} <= modules
    assert not modules & {"tensorflow", "keras", "headrace", "pyarrow", "google", "apache_beam"}


@given(st.lists(st.one_of(st.binary(max_size=9), st.just(b"")), min_size=1, max_size=12), st.booleans())
def test_texts_go_through_a_file(tmp_path_factory: Any, texts: list[bytes], column: bool) -> None:
    file = str(tmp_path_factory.mktemp("arrays") / "x.npz")
    held = np.empty(len(texts), object)
    held[:] = texts
    held = held[:, np.newaxis] if column else held
    arrays_file.write(file, {"a/b:0": held, "none": np.empty((0, 3), object), "n": np.arange(3)})
    found = arrays_file.read(file)
    assert found["a/b:0"].shape == held.shape and found["a/b:0"].tolist() == held.tolist()
    assert found["none"].shape == (0, 3) and found["n"].tolist() == [0, 1, 2]


FLOATS = arrays.arrays(np.float32, 20, elements=st.floats(-1e6, 1e6, width=32))


@given(FLOATS, st.integers(0, 19))
def test_a_feature_may_be_off_by_its_last_bits_and_not_by_more(expected: np.ndarray, at: int) -> None:
    rows = np.arange(20)
    wanted = {"x": feature(expected, expected)}
    close = expected * np.float32(1 + 2**-23)
    assert not list(differences("s", "batches", {"x": close}, wanted, rows))
    sizes = np.abs(expected[expected != 0])
    usual = float(np.quantile(sizes, 0.9)) if sizes.size else 0.0
    off = expected.astype(np.float64)
    off[at] += 3e-5 * usual + 3e-6 * abs(off[at]) + 1e-30
    [found] = differences("s", "batches", {"x": off}, wanted, rows)
    assert (found.output, found.row, found.expected) == ("x", at, expected[at])


@pytest.mark.parametrize(
    ("expected", "received"),
    [(np.inf, 3.0), (3.0, np.inf), (np.inf, -np.inf), (np.nan, 0.0), (0.0, np.nan), (1.0, 1.001), (5, 6), (b"a", b"b")],
)
def test_what_is_not_a_number_is_no_neighbour_of_one(expected: Any, received: Any) -> None:
    one, other = (np.array([value], object if isinstance(value, bytes) else None) for value in (expected, received))
    assert len(list(differences("s", "single", {"x": other}, {"x": prediction(one)}, np.arange(1)))) == 1
    assert not list(differences("s", "single", {"x": one}, {"x": prediction(one)}, np.arange(1)))
