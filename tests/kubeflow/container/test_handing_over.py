"""What a target hands over, one thing at a time: texts, files, the run's id, and what is wrong with them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from headrace.kubeflow.container.argo_io import ArgoIo
from headrace.kubeflow.container.kfp_io import KfpIo, local_path
from headrace.kubeflow.container.planning import read_parameter
from headrace.kubeflow.container.references import Reference
from headrace.kubeflow.container.target_io import Made
from headrace.kubeflow.container.termination_message import LIMIT, error_message, write_message
from headrace.kubeflow.entrypoint import main
from headrace.kubeflow.kfp.container_spec import RUN_ID
from headrace.kubeflow.step_document import StepDocument
from headrace.pipelines.errors import ArtifactError, HeadraceError
from headrace.pipelines.execution import StepError
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.plan import ArtifactSlot, Channel, Interface, Step
from hypothesis import given
from hypothesis import strategies as st

STEP = Step(
    id="Train",
    component=FunctionRef("json", "dumps", "0"),
    interface=Interface(
        inputs=(("maybe", ArtifactSlot("Schema", optional=True)), ("rows", ArtifactSlot("Examples"))),
        outputs=(("model", "Model"),),
    ),
    inputs=(("maybe", Channel("A", "schema")), ("rows", Channel("B", "examples"))),
)
DOCUMENT = StepDocument("flow", STEP)
ROWS = Reference("Examples", "s3://b/rows", "d1")


def argo(folder: Path, **given: Any) -> ArgoIo:
    return ArgoIo(DOCUMENT, run="r", folder=str(folder), **given)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("str", "3", "3"),
        ("str", "", ""),
        ("str", '"quoted"', '"quoted"'),
        ("int", "3", 3),
        ("float", "3", 3.0),
        ("float", "1e-3", 0.001),
        ("bool", "true", True),
        ("bool", "yes", True),
        ("int?", "null", None),
        ("str?", '"a"', "a"),
        ("str?", "a", "a"),
        ("list[int]", "[1, 2]", [1, 2]),
        ("dict[str, float]", '{"a": 1}', {"a": 1.0}),
        ("'a'|'b'", '"a"', "a"),
        ("'a'|'b'", "a", "a"),
    ],
)
def test_a_parameters_text_is_read_by_its_kind(kind: str, text: str, value: Any) -> None:
    assert read_parameter("p", kind, text) == value


@pytest.mark.parametrize(("kind", "given_", "value"), [("int", 3.0, 3), ("float", 3, 3.0), ("list[int]", [1], [1])])
def test_a_parameter_of_kfps_own_types_is_read_by_its_kind(kind: str, given_: Any, value: Any) -> None:
    found = read_parameter("p", kind, given_)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(("kind", "text"), [("int", "three"), ("bool", "maybe"), ("list[int]", "[1.5]"), ("int", 1.5)])
def test_a_text_that_is_none_of_its_kind_is_refused(kind: str, text: Any) -> None:
    with pytest.raises(HeadraceError, match="parameter 'p': expected"):
        read_parameter("p", kind, text)


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_any_text_comes_through_argos_argument(texts: dict[str, str]) -> None:
    encoded = base64.b64encode(json.dumps(texts).encode()).decode()
    assert ArgoIo(DOCUMENT, run="r", parameters=encoded)._texts() == texts


def test_argos_files_become_references(tmp_path: Path) -> None:
    (tmp_path / "inputs").mkdir()
    with pytest.raises(HeadraceError, match=r"input 'rows' has no reference: expected it at .*rows\.json"):
        argo(tmp_path).given()
    (tmp_path / "inputs" / "rows.json").write_text(ROWS.to_json())
    given_ = argo(tmp_path, retries=2).given()
    assert given_.references == {"rows": ROWS} and given_.attempt == 3
    (tmp_path / "inputs" / "rows.json").write_text("{}")
    with pytest.raises(ArtifactError, match="expected a reference to an artifact"):
        argo(tmp_path).given()
    (tmp_path / "inputs" / "rows.json").write_text(ROWS.to_json().replace(": 1,", ": 2,"))
    with pytest.raises(ArtifactError, match="version 1, received 2"):
        argo(tmp_path).given()


@pytest.mark.parametrize("text", ["no base64!", base64.b64encode(b"[1]").decode(), base64.b64encode(b"{").decode()])
def test_parameters_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(HeadraceError, match="--parameters: expected"):
        argo(tmp_path, parameters=text)._texts()


@pytest.mark.parametrize("salt", ["", "2f0d/"])
def test_kfps_run_is_found_in_its_uris(monkeypatch: pytest.MonkeyPatch, salt: str) -> None:
    monkeypatch.delenv("HEADRACE_RUN", raising=False)
    uri = f"minio://mlpipeline/v2/artifacts/flow/run-7/train/{salt}model"
    outputs = {"artifacts": {"model": {"artifacts": [{"uri": uri}]}}}
    assert KfpIo(DOCUMENT, executor_input=json.dumps({"outputs": outputs}))._run_id() == "run-7"
    assert KfpIo(DOCUMENT, executor_input=json.dumps({"outputs": outputs}), run="given")._run_id() == "given"
    monkeypatch.setenv("KFP_POD_NAME", "flow-x2x4-system-container-impl-123")
    assert KfpIo(DOCUMENT, executor_input="{}")._run_id() == "flow-x2x4"
    monkeypatch.delenv("KFP_POD_NAME")
    with pytest.raises(HeadraceError, match="expected the run's id"):
        KfpIo(DOCUMENT, executor_input="{}")._run_id()


def test_a_variable_that_nobody_has_filled_in_is_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "/work/local_outputs/flow-2026-01-01-00-00-00-000000/train/model"
    executor_input = json.dumps({"outputs": {"artifacts": {"model": {"artifacts": [{"uri": uri}]}}}})
    monkeypatch.setenv("HEADRACE_RUN", "workflow-7")
    assert KfpIo(DOCUMENT, executor_input=executor_input)._run_id() == "workflow-7"
    monkeypatch.setenv("HEADRACE_RUN", RUN_ID)
    assert KfpIo(DOCUMENT, executor_input=executor_input)._run_id() == "flow-2026-01-01-00-00-00-000000"
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    with pytest.raises(HeadraceError, match="expected the run's id"):
        KfpIo(DOCUMENT, executor_input="{}")._run_id()


def test_kfps_files_lie_where_its_launcher_puts_them() -> None:
    paths = {uri: str(local_path({"uri": uri})) for uri in ("s3://b/x", "gs://b/x/y", "minio://b/x")}
    assert paths == {"s3://b/x": "/s3/b/x", "gs://b/x/y": "/gcs/b/x/y", "minio://b/x": "/minio/b/x"}
    assert local_path({"uri": "s3://b/x", "customPath": "/else"}) == Path("/else")
    assert local_path({"uri": "/of/kfp/local/x"}) == Path("/of/kfp/local/x")
    with pytest.raises(HeadraceError, match="s3://, gs:// or minio://"):
        local_path({"uri": "hdfs://b/x"})


def test_an_executor_input_that_kfp_has_broken_says_why() -> None:
    with pytest.raises(HeadraceError, match=r"\{\{\$\.\.\.\}\} in the text of parameters"):
        KfpIo(DOCUMENT, executor_input='{"inputs": {"parameterValues": {"a": "it"s"}}}')


def test_kfps_executor_output_is_read_by_its_own_message(tmp_path: Path) -> None:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2 as spec

    path = tmp_path / "model"
    executor_input = {
        "outputs": {
            "artifacts": {"model": {"artifacts": [{"uri": "s3://b/x", "customPath": str(path)}]}},
            "parameters": {"digest-model": {"outputFile": str(tmp_path / "digest")}},
            "outputFile": str(tmp_path / "output.json"),
        }
    }
    reference = Reference("Model", "s3://b/model", "d1", {"properties": {"epochs": 3, "none": None}})
    io = KfpIo(DOCUMENT, executor_input=json.dumps(executor_input))
    io.write(Made("succeeded", {"model": reference}, metrics={"model": {"auc": 0.7}}))
    message = json_format.Parse((tmp_path / "output.json").read_text(), spec.ExecutorOutput())
    metadata = json_format.MessageToDict(message.artifacts["model"].artifacts[0].metadata)
    assert metadata == {"uri": "s3://b/model", "digest": "d1", "type": "Model", "epochs": 3.0, "auc": 0.7}
    assert (tmp_path / "digest").read_text() == "d1"
    assert Reference.from_json(path.read_text(), "x") == reference


def test_an_input_of_other_content_than_the_targets_cache_was_told_is_refused(tmp_path: Path) -> None:
    from headrace.kubeflow.container.planning import _require_digests

    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "rows.json").write_text(ROWS.to_json())
    for told, fits in (("d1", True), ("d2", False), ("absent", False)):
        encoded = base64.b64encode(json.dumps({"digest-rows": told}).encode()).decode()
        given_ = argo(tmp_path, parameters=encoded).given()
        if fits:
            _require_digests(DOCUMENT, given_)
        else:
            with pytest.raises(HeadraceError, match=f"expected content {told}, received d1"):
                _require_digests(DOCUMENT, given_)


def test_a_document_of_another_headrace_fails_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    monkeypatch.setenv("HEADRACE_TERMINATION_LOG", str(tmp_path / "message"))
    document = DOCUMENT.to_json().replace('"headrace_step":1', '"headrace_step":9')
    assert main(["--target=argo", f"--step={document}", "--root=/x", f"--project={tmp_path / 'none'}"]) == 1
    assert "version 1, received 9" in (tmp_path / "message").read_text()


@given(st.text(max_size=9000), st.text(max_size=9000))
def test_a_termination_message_is_whole_text_that_kubernetes_keeps(message: str, trace: str) -> None:
    import tempfile

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "message")
        patch.setenv("HEADRACE_TERMINATION_LOG", str(path))
        assert write_message(error_message("Train", StepError("E", message, trace)))
        data = path.read_bytes()
        assert len(data) <= LIMIT and data.decode().startswith("Train failed")


def test_a_termination_message_has_no_secrets(tmp_path: Path) -> None:
    error = StepError("E", "cannot connect to postgresql://ann:hunter2@db/x", "password=hunter3")
    assert "hunter" not in error_message("Train", error)
