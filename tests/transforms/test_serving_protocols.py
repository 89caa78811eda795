"""The server's two protocols: the documented requests have the documented answers, and what is refused says why."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from headrace.pipelines.cli import main

from tests.served_models import Server, served, write_echo, write_half_plus

pytest.importorskip("tensorflow")
pytest.importorskip("starlette")

HALF = "/v1/models/half_plus_three"
ECHO = "/v1/models/echo"


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("models") / "half_plus_three"
    write_half_plus(base / "00000123", 3.0)
    with served(base, "--label", "stable=123", "--label", "gone=7") as server:
        yield server


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = write_echo(tmp_path_factory.mktemp("models") / "echo")
    with served(folder, "--max-body", "20K", "--max-rows", "500") as server:
        yield server


def test_the_documented_status(half: Server) -> None:
    version = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for where in ("", "/versions/123", "/labels/stable"):
        assert half.ask("GET", HALF + where) == (200, {"model_version_status": [version]})


def test_the_documented_predict(half: Server) -> None:
    for where in ("", "/versions/123", "/labels/stable"):
        status, found = half.predict({"instances": [1.0, 2.0, 5.0]}, where)
        assert (status, found) == (200, {"predictions": [3.5, 4.0, 5.5]})
    assert half.predict({"instances": [{"x": 1}, {"x": 2.0}]}) == (200, {"predictions": [3.5, 4.0]})
    assert half.predict({"inputs": [1.0, 2.0, 5.0]}) == (200, {"outputs": [3.5, 4.0, 5.5]})
    assert half.predict({"inputs": {"x": [1.0]}}) == (200, {"outputs": [3.5]})
    assert half.predict({"signature_name": "serving_default", "instances": [0]}) == (200, {"predictions": [3.0]})
    assert half.predict({"signature_name": "", "instances": [0]}) == (200, {"predictions": [3.0]})


def test_the_documented_regress_and_classify(half: Server) -> None:
    regress = {"signature_name": "tensorflow/serving/regress", "examples": [{"x": 1.0}, {"x": 2.0}]}
    assert half.ask("POST", f"{HALF}:regress", regress) == (200, {"results": [3.5, 4.0]})
    classify = {"signature_name": "classify_x", "context": {"x": [1.0]}, "examples": [{"other": "a"}, {}]}
    answer = {"results": [[["half", 3.5]], [["half", 3.5]]]}
    assert half.ask("POST", f"{HALF}/versions/123:classify", classify) == (200, answer)


def test_the_documented_metadata(half: Server) -> None:
    status, found = half.ask("GET", f"{HALF}/metadata")
    assert status == 200
    assert found["model_spec"] == {"name": "half_plus_three", "signature_name": "", "version": "123"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"] == {
        "inputs": {
            "x": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
                "name": "x:0",
            }
        },
        "outputs": {
            "y": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
                "name": "add:0",
            }
        },
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    assert signatures["tensorflow/serving/regress"]["method_name"] == "tensorflow/serving/regress"


def test_what_is_not_there(half: Server) -> None:
    assert half.ask("POST", "/v1/models/half:predict", {"instances": [1.0]}) == (
        404,
        {"error": "Servable not found for request: Latest(half); the model here is half_plus_three"},
    )
    status, found = half.predict({"instances": [1.0]}, "/versions/4")
    assert (status, found["error"]) == (
        404,
        "Servable not found for request: Specific(half_plus_three, 4); served: 123",
    )
    assert half.predict({"instances": [1.0]}, "/labels/new")[1]["error"].startswith(
        "Unrecognized servable version label"
    )
    assert half.predict({"instances": [1.0]}, "/labels/gone")[0] == 404
    for method, path in (("GET", "/nothing"), ("POST", f"{HALF}:guess"), ("POST", HALF), ("GET", f"{HALF}/what")):
        status, found = half.ask(method, path, b"" if method == "POST" else None)
        assert status == 404 and found["error"] == f"Malformed request: {method} {path}"


def test_special_floats_are_tokens_without_quotes(echo: Server) -> None:
    body = b'{"signature_name": "total", "inputs": [NaN, Infinity, -Infinity, 0.1]}'
    connection = echo.connect()
    connection.request("POST", f"{ECHO}:predict", body)
    text = connection.getresponse().read()
    assert b'"row":[NaN, Infinity, -Infinity, 0.1]' in text
    assert b'"total":NaN' in text


def test_floats_have_as_few_digits_as_give_them_back(echo: Server) -> None:
    connection = echo.connect()
    connection.request("POST", f"{ECHO}:predict", b'{"signature_name": "picky", "instances": [0.01, 2, 1e-10]}')
    assert connection.getresponse().read() == b'{"predictions":[0.1,1.4142135,0.00001]}'


def test_bytes(echo: Server) -> None:
    raw = b"\xff\x00\xfe"
    packed = {"b64": base64.b64encode(raw).decode()}
    rows = [
        {"string_one": packed, "string_three": ["a", packed, "é"], "string_any": []},
        {"string_one": "text", "string_three": ["", "b", "c"], "string_any": []},
    ]
    status, found = echo.predict({"signature_name": "text", "instances": rows})
    assert status == 200, found
    first, second = found["predictions"]
    assert first["string_one_bytes"] == packed, "a name that ends in _bytes says so"
    assert first["string_one_out"] == packed, "bytes that are no text could not be read otherwise"
    assert first["string_three_out"] == ["a", packed, "é"]
    assert second["string_one_out"] == "text" and second["string_one_bytes"] == {"b64": "dGV4dA=="}


def test_inputs_with_a_default_may_be_left_out(echo: Server) -> None:
    full = {"signature_name": "scaled", "instances": [{"x": 2, "weight": 3.0, "word": "a"}, {"x": 4}]}
    answer = [{"scaled": 6.0, "word": "a"}, {"scaled": 4.0, "word": "none"}]
    assert echo.predict(full) == (200, {"predictions": answer})
    columns = {"signature_name": "scaled", "inputs": {"x": [1.5, 2.5]}}
    assert echo.predict(columns) == (200, {"outputs": {"scaled": [1.5, 2.5], "word": ["none", "none"]}})
    tensor = {"name": "x", "datatype": "FP32", "shape": [1], "data": [5]}
    status, found = echo.infer({"parameters": {"signature_name": "scaled"}, "inputs": [tensor]})
    assert status == 200
    assert [(one["name"], one["data"]) for one in found["outputs"]] == [("scaled", [5.0]), ("word", ["none"])]


def test_gzip_and_limits(echo: Server) -> None:
    body = json.dumps({"signature_name": "total", "inputs": [1.0, 2.0]}).encode()
    packed = {"Content-Encoding": "gzip"}
    answer = (200, {"outputs": {"row": [1.0, 2.0], "total": 3.0}})
    assert echo.ask("POST", f"{ECHO}:predict", gzip.compress(body), packed) == answer
    assert echo.ask("POST", f"{ECHO}:predict", gzip.compress(body)[:-9], packed)[0] == 400
    assert echo.ask("POST", f"{ECHO}:predict", body, {"Content-Encoding": "br"})[0] == 415
    bomb = gzip.compress(b"[" + b" " * 10**6)
    status, found = echo.ask("POST", f"{ECHO}:predict", bomb, packed)
    assert (status, found["error"]) == (
        413,
        "the body: expected at most 20,480 bytes, received more than 20,480 unpacked",
    )
    status, found = echo.predict({"signature_name": "total", "inputs": [1.0] * 501})
    assert (status, found["error"]) == (413, "inputs.x: expected at most 500 rows, received 501")


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit(half: Server, echo: Server, declared: bool) -> None:
    body = json.dumps({"instances": [0.5] * 10_000}).encode()
    assert half.ask("POST", f"{HALF}:predict", body)[0] == 200
    connection = echo.connect()
    if declared:
        connection.request("POST", f"{ECHO}:predict", body)
    else:
        connection.request("POST", f"{ECHO}:predict", iter([body[:15_000], body[15_000:]]), encode_chunked=True)
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["error"].startswith("the body: expected at most 20,480 bytes, received")


BAD: list[tuple[Any, str]] = [
    (b"", "JSON Parse error"),
    (b'{"instances": [1.0]', "JSON Parse error"),
    (b"[1]", "expected a JSON object as the body, received a list: [1]"),
    ({}, 'expected either "instances" (rows) or "inputs" (columns), received neither'),
    ({"instances": [1], "inputs": [1]}, "received both"),
    ({"instances": []}, "instances: expected a list of at least one row, received an empty list"),
    ({"instances": {"x": 1}}, "instances: expected a list of at least one row, received an object"),
    ({"instances": ["a"]}, 'instances[0]: expected float32, received a string: "a"'),
    ({"instances": [1, None]}, "instances[1]: expected float32, received null: null; for a missing value send NaN"),
    ({"instances": [1, True]}, "instances[1]: expected float32, received a bool: true"),
    ({"instances": [1, [2]]}, "instances[1]: expected a value of float32 as in the first, received a list: [2]"),
    ({"instances": [{"x": 1}, {"x": "b"}]}, 'instances[1].x: expected float32, received a string: "b"'),
    ({"instances": [{"x": 1}, {"x": [2]}]}, "instances[1].x: expected the shape [], received [1]: [2]"),
    ({"instances": [{"x": 1}, 2]}, "instances[1]: expected an object with a value for each input"),
    ({"instances": [1, {"x": 2}]}, "instances[1]: expected a value as in the first row, received an object"),
    ({"instances": [{"y": 1}]}, "instances[0].y: the signature 'picky' has no such input; it has x"),
    ({"instances": [{"x": 1}, {}]}, "instances[1]: Missing named input: 'x' (float32); received no inputs"),
    ({"instances": [{"x": 1, "z": 1}]}, "instances[0].z: the signature 'picky' has no such input; it has x"),
    ({"instances": [1e60]}, "instances[0]: expected float32, received 1e+60, which is out of its range"),
    ({"inputs": {"y": [1]}}, "inputs.y: the signature 'picky' has no such input"),
    ({"inputs": {}}, "inputs: Missing named input: 'x' (float32); received no inputs"),
    ({"inputs": 1.0}, "inputs: expected the shape [?], received []: 1.0"),
    ({"inputs": [[1.0], [2.0, 3.0]]}, "inputs[1]: expected a list of 1 values as in the first, received one of 2"),
    ({"inputs": [1.0, -1.0]}, "the model refuses the values: assertion failed: [x is negative"),
    ({"signature_name": 3, "inputs": [1]}, "signature_name: expected a string, received a whole number: 3"),
    ({"signature_name": "nope", "inputs": [1]}, 'Serving signature name: "nope" not found in signature def'),
]


@pytest.mark.parametrize(("body", "words"), BAD, ids=[words[:50] for _, words in BAD])
def test_a_bad_request_is_told_its_field(echo: Server, body: Any, words: str) -> None:
    if isinstance(body, dict):
        body = {"signature_name": "picky"} | body
    status, found = echo.predict(body)
    assert status == 400 and words in found["error"], found


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("int8_one", [128], "inputs.int8_one[0]: expected int8, received 128, which is out of its range"),
        ("int64_one", [1.0], "inputs.int64_one[0]: expected int64, received a number: 1.0"),
        ("uint64_one", [-1], "inputs.uint64_one[0]: expected uint64, received -1"),
        ("bool_three", [[True, False, 1]], "inputs.bool_three[0][2]: expected bool, received a whole number: 1"),
        ("float32_three", [[1, 2]], "inputs.float32_three: expected the shape [?, 3], received [1, 2]"),
        ("float64_any", [[1], "a"], "inputs.float64_any[1]: expected a list of 1 values as in the first, received"),
    ],
)
def test_a_bad_value_is_told_its_place(echo: Server, name: str, value: Any, words: str) -> None:
    signature = whole_inputs()
    status, found = echo.predict({"inputs": signature | {name: value}})
    assert status == 400 and words in found["error"]


def whole_inputs() -> dict[str, Any]:
    from tests.served_models import DTYPES, SHAPES

    def value(dtype: str) -> Any:
        return True if dtype == "bool" else 1

    rows = {"one": lambda v: [v], "three": lambda v: [[v] * 3], "any": lambda v: [[v]]}
    return {f"{dtype}_{shape}": rows[shape](value(dtype)) for dtype in DTYPES if dtype != "string" for shape in SHAPES}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "examples: expected a list of at least one object, received nothing"),
        ({"examples": [1]}, "examples[0]: expected an object, received a whole number: 1"),
        ({"examples": [{"x": None}]}, "examples[0].x: expected a number, a string, a bool"),
        ({"examples": [{"x": [1, 2.5]}]}, "examples[0].x: expected values of one type, received float and int64"),
        ({"examples": [{"x": 2**63}]}, "examples[0].x: expected int64, received 9223372036854775808"),
        ({"context": {"x": 1.0}, "examples": [{"x": 2.0}]}, "examples[0].x: the feature is in the context too"),
        ({"signature_name": "serving_default", "examples": [{"x": 1.0}]}, ":regress expects a signature"),
        ({"examples": [{"x": "text"}]}, "the model refuses the values"),
    ],
)
def test_a_bad_example_is_told_its_feature(half: Server, body: Any, words: str) -> None:
    body = {"signature_name": "tensorflow/serving/regress"} | body
    status, found = half.ask("POST", f"{HALF}:regress", body)
    assert status == 400 and words in found["error"]


def test_open_inference_health_and_metadata(half: Server) -> None:
    assert half.ask("GET", "/v2/health/live") == (200, {"live": True})
    assert half.ask("GET", "/v2/health/ready") == (200, {"ready": True})
    status, about = half.ask("GET", "/v2")
    assert status == 200 and about["name"] == "headrace" and about["extensions"] == []
    ready = {"name": "half_plus_three", "ready": True}
    assert half.ask("GET", "/v2/models/half_plus_three/ready") == (200, ready)
    assert half.ask("GET", "/v2/models/half_plus_three/versions/123/ready") == (200, ready)
    assert half.ask("GET", "/v2/models/half_plus_three/versions/7/ready")[0] == 503
    assert half.ask("GET", "/v2/models/half_plus_three") == (
        200,
        {
            "name": "half_plus_three",
            "versions": ["123"],
            "platform": "tensorflow_savedmodel",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
        },
    )


def test_open_inference_infer(half: Server) -> None:
    tensor = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]}
    status, found = half.infer({"id": "42", "inputs": [tensor], "outputs": [{"name": "y"}]})
    assert status == 200
    assert found == {
        "model_name": "half_plus_three",
        "model_version": "123",
        "id": "42",
        "outputs": [{"name": "y", "shape": [2], "datatype": "FP32", "data": [3.5, 4.0]}],
    }


def test_open_inference_bytes(echo: Server) -> None:
    raw = base64.b64encode(b"\xff\x00").decode()

    def tensor(name: str, shape: list[int], data: Any, **parameters: str) -> dict[str, Any]:
        return {"name": name, "datatype": "BYTES", "shape": shape, "data": data, "parameters": parameters}

    inputs = [
        tensor("string_one", [1], [raw], content_type="base64"),
        tensor("string_three", [1, 3], [["a", "b", "c"]]),
        tensor("string_any", [1, 1], ["é"]),
    ]
    asked = [{"name": "string_any_out"}, {"name": "string_one_out"}]
    asked.append({"name": "string_three_out", "parameters": {"content_type": "base64"}})  # type: ignore[dict-item]
    body = {"parameters": {"signature_name": "text"}, "inputs": inputs, "outputs": asked}
    status, found = echo.infer(body)
    assert status == 200, found
    text, packed, wanted = found["outputs"]
    assert text == {"name": "string_any_out", "datatype": "BYTES", "shape": [1, 1], "data": ["é"]}
    assert packed["data"] == [raw] and packed["parameters"] == {"content_type": "base64"}
    assert wanted["data"] == ["YQ==", "Yg==", "Yw=="]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"datatype": "FP64"}, "inputs.x.datatype: expected FP32, received FP64"),
        ({"shape": [2, 1]}, "inputs.x.shape: expected [?], received [2, 1]"),
        ({"shape": [3]}, "inputs.x.data: expected 3 values for the shape [3], received 2"),
        ({"shape": "2"}, "inputs.x.shape: expected a list of whole numbers, received a string"),
        ({"data": None}, "inputs.x.data: expected a list, received null"),
        ({"data": [1.0, "b"]}, 'inputs.x.data[1]: expected float32, received a string: "b"'),
        ({"name": "z"}, "inputs.z: the signature 'serving_default' has no such input; it has x"),
        ({"name": 3}, "inputs[0].name: expected a string, received a whole number: 3"),
        (
            {"parameters": {"binary_data_size": 8}},
            "inputs.x.parameters.binary_data_size: expected the tensor's data as JSON",
        ),
    ],
)
def test_a_bad_tensor_is_told_its_field(half: Server, change: dict[str, Any], words: str) -> None:
    tensor = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1.0, 2.0]} | change
    status, found = half.infer({"inputs": [tensor]})
    assert status == 400 and words in found["error"]


def test_a_bad_inference_request_is_told_its_field(half: Server) -> None:
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}
    for body, words in (
        ({}, "inputs: expected a list of tensors, received nothing"),
        ({"inputs": [tensor, tensor]}, "inputs[1].name: 'x' is given twice"),
        ({"inputs": [tensor], "outputs": [{"name": "q"}]}, "outputs[0].name: the model has no output 'q'; it has y"),
        ({"inputs": [tensor], "id": 4}, "id: expected a string, received a whole number: 4"),
        ({"inputs": []}, "inputs: Missing named input: 'x'"),
    ):
        status, found = half.infer(body)
        assert status == 400 and words in found["error"]


def test_the_command_refuses_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", str(tmp_path / "none")]) == 2
    assert "error: expected a SavedModel or a folder of versions, found no folder" in capsys.readouterr().err
    for wrong, words in (
        (("--max-body", "8X"), "expected a whole number, received '8X'"),
        (("--max-batch", "0"), "expected a number from 1, received 0"),
        (("--batch-delay", "-1"), "expected milliseconds from 0 to 60000, received '-1'"),
        (("--versions", "newest"), "expected a whole number, received 'newest'"),
        (("--label", "stable"), "expected LABEL=VERSION, such as stable=3, received 'stable'"),
    ):
        with pytest.raises(SystemExit):
            main(["serve", str(tmp_path), *wrong])
        assert words in capsys.readouterr().err


def test_where_nothing_can_be_served_the_command_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="expected a SavedModel or a folder of versions, found no folder"):
        Server(tmp_path / "none")
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"no protobuf at all")
    with pytest.raises(RuntimeError, match="expected a SavedModel, received a file that cannot be parsed"):
        Server(tmp_path / "m")
