"""What the server answers is what the signature gives when it is called directly, for any rows, dtypes and forms."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.served_models import DTYPES, SHAPES, Server, served, write_echo

tf = pytest.importorskip("tensorflow")
pytest.importorskip("starlette")

NUMBERS = [dtype for dtype in DTYPES if dtype != "string"]
KSERVE = {"float32": "FP32", "float64": "FP64", "bool": "BOOL", "string": "BYTES"}
QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_echo(tmp_path_factory.mktemp("models") / "echo")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    # A delay, so that requests that come at once do go together.
    with served(folder, "--batch-delay", "5") as running:
        yield running


@pytest.fixture(scope="module")
def signatures(folder: Path) -> Any:
    return tf.saved_model.load(str(folder)).signatures


def values(dtype: str) -> st.SearchStrategy[Any]:
    if dtype == "bool":
        return st.booleans()
    if dtype == "string":
        return st.one_of(st.text(max_size=5), st.binary(max_size=5))
    if dtype.startswith("float"):
        return st.floats(width=int(dtype[5:]))
    info = np.iinfo(dtype)
    return st.integers(int(info.min), int(info.max))


@st.composite
def columns(draw: st.DrawFn, dtypes: list[str], at_least: int = 1) -> dict[str, list[Any]]:
    """A value for each input of each row."""
    rows, width = draw(st.integers(at_least, 5)), draw(st.integers(0, 3))
    found = {}
    for dtype in dtypes:
        one = values(dtype)
        shapes = {"one": one, "three": st.lists(one, min_size=3, max_size=3)}
        shapes["any"] = st.lists(one, min_size=width, max_size=width)
        for shape in SHAPES:
            found[f"{dtype}_{shape}"] = draw(st.lists(shapes[shape], min_size=rows, max_size=rows))
    return found


def as_json(value: Any) -> Any:
    if isinstance(value, list):
        return [as_json(one) for one in value]
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def tensors(given_columns: dict[str, list[Any]]) -> dict[str, Any]:
    found = {}
    for name, column in given_columns.items():
        dtype, _, shape = name.partition("_")
        rank = len(SHAPES[shape])
        array = np.empty((len(column), *([len(column[0])] if rank == 2 else [])), object)
        array[...] = column
        found[name] = tf.constant(array.tolist(), dtype, shape=array.shape)
    return found


def expected(signature: Any, given_columns: dict[str, list[Any]]) -> dict[str, Any]:
    return {name: value.numpy().tolist() for name, value in signature(**tensors(given_columns)).items()}


def back(value: Any) -> Any:
    """A value of an answer as Python has it: text as bytes."""
    if isinstance(value, list):
        return [back(one) for one in value]
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value.encode() if isinstance(value, str) else value


def same(found: Any, wanted: Any, name: str) -> None:
    """Equal, float32 to the digits that give it back, NaN to NaN."""
    if isinstance(wanted, list):
        assert isinstance(found, list) and len(found) == len(wanted), name
        for one, other in zip(found, wanted):
            same(one, other, name)
    elif isinstance(wanted, float):
        if name.startswith("float32"):
            found = float(np.float32(found))
        assert found == wanted or (math.isnan(found) and math.isnan(wanted)), name
    else:
        assert type(found) is type(wanted) and found == wanted, name


def check(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name in wanted:
        same(back(found[name]), wanted[name], name)


@QUICK
@given(columns(NUMBERS), st.booleans())
def test_numbers_in_rows_and_in_columns(server: Server, signatures: Any, drawn: Any, by_rows: bool) -> None:
    check(predicted(server, "serving_default", drawn, by_rows), expected(signatures["serving_default"], drawn))


@QUICK
@given(columns(["string"]), st.booleans())
def test_text_and_bytes_in_rows_and_in_columns(server: Server, signatures: Any, drawn: Any, by_rows: bool) -> None:
    drawn = {name: [utf8(one) for one in column] for name, column in drawn.items()}
    check(predicted(server, "text", drawn, by_rows), expected(signatures["text"], drawn))


def utf8(value: Any) -> Any:
    return (
        [utf8(one) for one in value] if isinstance(value, list) else value.encode() if isinstance(value, str) else value
    )


def predicted(server: Server, signature: str, drawn: dict[str, list[Any]], by_rows: bool) -> dict[str, Any]:
    """The server's answer by columns, in whichever form it was asked."""
    sent = {name: as_json(column) for name, column in drawn.items()}
    body: dict[str, Any] = {"signature_name": signature, "inputs": sent}
    if by_rows:
        body = {"signature_name": signature, "instances": [dict(zip(sent, row)) for row in zip(*sent.values())]}
    status, found = server.predict(body)
    assert status == 200, found
    if not by_rows:
        return dict(found["outputs"])
    return {name: [row[name] for row in found["predictions"]] for name in found["predictions"][0]}


@QUICK
@given(columns(DTYPES))
def test_typed_tensors(server: Server, signatures: Any, drawn: Any) -> None:
    for signature, dtypes in (("serving_default", NUMBERS), ("text", ["string"])):
        part = {name: column for name, column in drawn.items() if name.partition("_")[0] in dtypes}
        part = {name: [utf8(one) for one in column] if signature == "text" else column for name, column in part.items()}
        body = {"parameters": {"signature_name": signature}, "inputs": [tensor(name, part[name]) for name in part]}
        status, answer = server.infer(body)
        assert status == 200, answer
        wanted = expected(signatures[signature], part)
        for one in answer["outputs"]:
            data = one["data"]
            if one.get("parameters", {}).get("content_type") == "base64":
                data = [{"b64": value} for value in data]
            flat = np.asarray(wanted[one["name"]], object)
            assert one["shape"] == list(flat.shape)
            same(back(data), flat.reshape(-1).tolist(), one["name"])


def tensor(name: str, column: list[Any]) -> dict[str, Any]:
    dtype = name.partition("_")[0]
    array = tensors({name: column})[name].numpy()
    data, parameters = array.reshape(-1).tolist(), {}
    if dtype == "string":
        data, parameters = [base64.b64encode(one).decode() for one in data], {"content_type": "base64"}
    datatype = KSERVE.get(dtype, dtype.upper())
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": data, "parameters": parameters}


@settings(QUICK, max_examples=10)
@given(st.lists(columns(NUMBERS), min_size=4, max_size=10))
def test_requests_that_come_at_once_each_get_their_own_rows(server: Server, signatures: Any, drawn: list[Any]) -> None:
    with ThreadPoolExecutor(len(drawn)) as pool:
        found = list(pool.map(lambda one: predicted(server, "serving_default", one, False), drawn))
    for one, other in zip(found, drawn):
        check(one, expected(signatures["serving_default"], other))


def test_one_bad_request_among_others_fails_alone(server: Server) -> None:
    def ask(x: float) -> tuple[int, Any]:
        return server.predict({"signature_name": "picky", "instances": [x]})

    sent = [4.0, -1.0, 9.0, 16.0, -4.0, 25.0, 36.0, 49.0]
    with ThreadPoolExecutor(len(sent)) as pool:
        found = list(pool.map(ask, sent))
    for x, (status, answer) in zip(sent, found):
        assert status == (200 if x >= 0 else 400)
        assert x < 0 or answer == {"predictions": [x**0.5]}


def test_an_output_of_the_whole_batch_is_of_one_request(server: Server) -> None:
    def ask(size: int) -> float:
        status, found = server.predict({"signature_name": "total", "inputs": [1.0] * size})
        assert status == 200
        return float(found["outputs"]["total"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(1, 30))) == [float(size) for size in range(1, 30)]


def test_the_bytes_of_an_answer_are_json_but_for_special_floats(server: Server) -> None:
    status, found = server.predict({"signature_name": "total", "inputs": [0.1, 1e30]})
    assert status == 200 and json.loads(json.dumps(found, allow_nan=False)) == found
