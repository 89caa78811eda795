from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from headrace.kubeflow.argo import check_argo, compile_argo
from headrace.kubeflow.deployment import Deployment, Schedule
from headrace.kubeflow.step_document import StepDocument
from headrace.pipelines.errors import Location, PipelineError
from headrace.pipelines.plan import (
    ArtifactSlot,
    Channel,
    Comparison,
    Const,
    Group,
    ListOf,
    Parameter,
    Plan,
    PlanParameter,
    Settings,
)

from tests.kubeflow.argo.plans import DEPLOYMENT, HOSTILE, make_plan, make_step


def compiled(plan: Plan, deployment: Deployment = DEPLOYMENT, **options: Any) -> dict[str, Any]:
    text = compile_argo(plan, deployment, **options)
    assert check_argo(text) == []
    return yaml.safe_load(text)


def template(document: dict[str, Any], name: str) -> dict[str, Any]:
    spec = document["spec"].get("workflowSpec", document["spec"])
    return next(found for found in spec["templates"] if found["name"] == name)


def only(settings: dict[str, Any], **step: Any) -> dict[str, Any]:
    """The template of a step with these settings."""
    step = make_step("Train", settings=Settings.from_json(settings), **step)
    return template(compiled(make_plan(step)), "train")


def refusal(plan: Plan, deployment: Deployment = DEPLOYMENT, **options: Any) -> str:
    with pytest.raises(PipelineError) as error:
        compile_argo(plan, deployment, **options)
    return str(error.value)


CHAIN = make_plan(
    make_step("Read", outputs=("examples",), results={"rows": "int"}, arguments={"path": Parameter("data")}),
    make_step("Spare", outputs=("examples",)),
    make_step(
        "Train",
        inputs={"examples": Channel("Read", "examples"), "more": ListOf((Channel("Spare", "examples"),) * 2)},
        slots={"more": ArtifactSlot("Examples", list=True), "warm": ArtifactSlot("Model", optional=True)},
        outputs=("model",),
        arguments={"rows": ListOf((Channel("Read", "rows"), Parameter("data"))), "const": Const("{{$}} $(HOME)")},
    ),
    parameters=(PlanParameter("data", "str", "data/"), PlanParameter("epochs", "int", required=True)),
)


def test_a_dag_follows_from_channels_alone():
    dag = template(compiled(CHAIN), "dag")["dag"]
    assert dag["failFast"] is False
    read, spare, train = dag["tasks"]
    assert "dependencies" not in read and "dependencies" not in spare
    assert train["dependencies"] == ["read", "spare"]
    assert {item["name"]: item["from"] for item in train["arguments"]["artifacts"]} == {
        "examples": "{{tasks.read.outputs.artifacts.examples}}",
        "more-0": "{{tasks.spare.outputs.artifacts.examples}}",
        "more-1": "{{tasks.spare.outputs.artifacts.examples}}",
    }
    given = {item["name"]: item["value"] for item in train["arguments"]["parameters"]}
    assert given["result-read-rows"] == "{{tasks.read.outputs.parameters.rows}}"
    assert given["digest-more-1"] == "{{tasks.spare.outputs.parameters.digest-examples}}"
    assert "workflow.parameters['data']" in given["pipeline-data"]


def test_references_go_in_and_out_as_files_as_they_are():
    train = template(compiled(CHAIN), "train")
    assert [a["path"] for a in train["inputs"]["artifacts"]] == [
        "/headrace/inputs/examples.json",
        "/headrace/inputs/more-0.json",
        "/headrace/inputs/more-1.json",
    ]
    assert {a["mode"] for a in train["inputs"]["artifacts"]} == {0o444}
    [model] = train["outputs"]["artifacts"]
    assert model == {"name": "model", "path": "/headrace/outputs/artifacts/model.json", "archive": {"none": {}}}
    outputs = {p["name"]: p["valueFrom"]["path"] for p in train["outputs"]["parameters"]}
    assert outputs == {name: f"/headrace/outputs/parameters/{name}" for name in ("step-verdict", "digest-model")}


def test_the_container_gets_its_step_as_one_inert_argument():
    container = template(compiled(CHAIN), "train")["container"]
    assert container["command"] == ["headrace-step"]
    arguments = dict(argument.split("=", 1) for argument in container["args"])
    assert "{{" not in arguments["--step"] and "$" not in arguments["--step"]
    document = StepDocument.from_json(arguments["--step"])
    assert dict(document.step.arguments)["const"] == Const("{{$}} $(HOME)")
    assert document.parameters == (("data", "str"),)
    assert arguments["--run"] == "{{workflow.uid}}" and arguments["--target"] == "argo"
    assert "--attempt" not in arguments
    assert set(re.findall(r"'([\w-]+)':", arguments["--parameters"])) == {
        "pipeline-data",
        "result-read-rows",
        "digest-examples",
        "digest-more-0",
        "digest-more-1",
    }


def test_parameters_are_arguments():
    parameters = compiled(CHAIN)["spec"]["arguments"]["parameters"]
    assert parameters == [
        {"name": "data", "value": "data/", "description": "str"},
        {"name": "epochs", "description": "int, as JSON"},
    ]
    given = compiled(CHAIN, parameters={"data": "x", "epochs": 3})["spec"]["arguments"]["parameters"]
    assert [parameter["value"] for parameter in given] == ["x", "3"]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("str", "no", "no"),
        ("str", "1e3", "1e3"),
        ("str?", None, "null"),
        ("str?", "null", '"null"'),
        ("float", 1.0, "1.0"),
        ("bool", True, "true"),
        ("list[str]", ["{{a}}"], '["{\\u007ba}}"]'),
        ("dict", {"a": {"b": 1}}, '{"a":{"b":1}}'),
    ],
)
def test_values_are_text_as_the_container_reads_it(kind: str, value: Any, text: str):
    plan = make_plan(make_step("A", arguments={"x": Parameter("p")}), parameters=(PlanParameter("p", kind, value),))
    [parameter] = compiled(plan)["spec"]["arguments"]["parameters"]
    assert parameter["value"] == text and isinstance(parameter["value"], str)
    assert kind == "str" or json.loads(text) == value


def test_choices_are_offered():
    parameters = (PlanParameter("loud", "bool", False), PlanParameter("mode", "'a'|'b'", "b"))
    first, second = compiled(make_plan(make_step("A"), parameters=parameters))["spec"]["arguments"]["parameters"]
    assert first["enum"] == ["true", "false"] and first["value"] == "false"
    assert second["enum"] == ['"a"', '"b"'] and second["value"] == '"b"'


def test_settings_are_argos_own():
    found = only(
        {
            "retries": 3,
            "retry_wait": 0.5,
            "timeout": 1.5,
            "cpu": "2",
            "memory": "4Gi",
            "storage": "10Gi",
            "gpu": 2,
            "gpu_type": "amd.com/gpu",
            "env": {"A": "$(B) no"},
            "secrets": {"TOKEN": "vault/token"},
            "config_maps": {"MODE": "map/key"},
            "pod_fields": {"POD": "metadata.name"},
            "volumes": {
                "/data": "pvc:claim",
                "/keys": "secret:keys",
                "/etc/app": "config_map:app",
                "/tmp": "scratch:5Gi",
            },
            "node_selector": {"pool": "gpu"},
            "tolerations": [
                {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": "60"},
            ],
            "labels": {"team": "no"},
            "annotations": {"note": "1e3"},
            "image": "other:2",
        }
    )
    assert found["retryStrategy"] == {
        "limit": 3,
        "retryPolicy": "Always",
        "backoff": {"duration": "500ms", "factor": 2},
    }
    assert found["activeDeadlineSeconds"] == 2
    assert found["metadata"] == {"labels": {"team": "no"}, "annotations": {"note": "1e3"}}
    assert found["nodeSelector"] == {"pool": "gpu"}
    assert found["tolerations"] == [
        {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
    ]
    container = found["container"]
    assert container["image"] == "other:2"
    assert "--attempt={{retries}}" in container["args"]
    bounded = {"memory": "4Gi", "ephemeral-storage": "10Gi", "amd.com/gpu": "2"}
    assert container["resources"] == {"requests": {"cpu": "2", **bounded}, "limits": bounded}
    assert container["env"] == [
        {"name": "A", "value": "$$(B) no"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "vault", "key": "token"}}},
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "key"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    volumes = {volume.pop("name"): volume for volume in found["volumes"]}
    mounts = {
        mount["mountPath"]: (volumes[mount["name"]], mount.get("readOnly")) for mount in container["volumeMounts"]
    }
    assert mounts == {
        "/headrace/outputs": ({"emptyDir": {}}, None),
        "/tmp": ({"emptyDir": {"sizeLimit": "5Gi"}}, None),
        "/data": ({"persistentVolumeClaim": {"claimName": "claim"}}, None),
        "/keys": ({"secret": {"secretName": "keys"}}, True),
        "/etc/app": ({"configMap": {"name": "app"}}, True),
    }


def test_a_container_may_do_little():
    found = only({})
    context = found["container"]["securityContext"]
    assert context["runAsNonRoot"] and context["readOnlyRootFilesystem"]
    assert context["allowPrivilegeEscalation"] is False and context["capabilities"] == {"drop": ["ALL"]}
    assert [mount["mountPath"] for mount in found["container"]["volumeMounts"]] == ["/headrace/outputs", "/tmp"]


def test_what_concerns_the_whole_run_is_in_its_spec():
    deployment = replace(
        DEPLOYMENT,
        namespace="ml",
        service_account="runner",
        image_pull_secrets=("registry",),
        parallelism=4,
        ttl=3600,
        pod_gc="OnPodSuccess",
        fs_group=1000,
        settings=Settings(memory="1Gi"),
        fail_if_not_blessed=True,
        log_prefix=False,
        store="postgresql://u@h/d",
    )
    document = compiled(make_plan(make_step("A", settings=Settings(retries=1))), deployment)
    spec = document["spec"]
    assert document["metadata"]["namespace"] == "ml"
    assert spec["serviceAccountName"] == "runner" and spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["parallelism"] == 4 and spec["ttlStrategy"] == {"secondsAfterCompletion": 3600}
    assert spec["podGC"] == {"strategy": "OnPodSuccess"} and spec["securityContext"] == {"fsGroup": 1000}
    found = template(document, "a")
    assert found["container"]["resources"]["limits"] == {"memory": "1Gi"}
    assert found["retryStrategy"]["expression"] == 'lastRetry.exitCode != "3"'
    assert {"--fail-if-not-blessed", "--no-log-prefix", "--store=postgresql://u@h/d"} <= {*found["container"]["args"]}


def test_a_group_that_is_none_is_refused():
    with pytest.raises(PipelineError, match="fs_group: expected a group's number, received -1"):
        replace(DEPLOYMENT, fs_group=-1)
    with pytest.raises(PipelineError, match="expected int"):
        Deployment.from_document({"image": "a", "root": "s3://b", "fs_group": True})


def test_the_three_kinds_run_the_same():
    deployment = replace(DEPLOYMENT, schedule=Schedule("0 6 * * 1-5", "Europe/Zurich", "Replace"))
    given = {"epochs": 1}
    workflow = compiled(CHAIN, deployment, parameters=given)
    of_template = compiled(CHAIN, deployment, kind="WorkflowTemplate", parameters=given)
    cron = compiled(CHAIN, deployment, kind="CronWorkflow", parameters=given)
    assert workflow["metadata"]["generateName"] == "flights-" and of_template["metadata"]["name"] == "flights"
    metadata = of_template["spec"].pop("workflowMetadata")
    assert metadata["labels"] == workflow["metadata"]["labels"]
    assert workflow["spec"] == of_template["spec"] == cron["spec"].pop("workflowSpec")
    assert cron["spec"] == {
        "schedules": ["0 6 * * 1-5"],
        "timezone": "Europe/Zurich",
        "concurrencyPolicy": "Replace",
        "workflowMetadata": metadata,
    }
    older = compiled(CHAIN, deployment, kind="CronWorkflow", parameters=given, argo_version=(3, 5))
    assert older["spec"]["schedule"] == "0 6 * * 1-5" and "schedules" not in older["spec"]


def key_of(plan: Plan, step: str = "train", deployment: Deployment = DEPLOYMENT) -> str | None:
    memoize = template(compiled(plan, deployment, memoize=True), step).get("memoize")
    return memoize and memoize["key"]


def test_what_is_memoized_depends_on_all_that_a_result_does():
    step = make_step("Train", outputs=("model",), arguments={"x": Const(1)}, settings=Settings(env=(("A", "1"),)))
    keys = [
        key_of(make_plan(changed), deployment=deployment)
        for changed, deployment in [
            (step, DEPLOYMENT),
            (replace(step, component=replace(step.component, code_digest="1" * 64)), DEPLOYMENT),
            (replace(step, arguments=(("x", Const(2)),)), DEPLOYMENT),
            (replace(step, settings=Settings(env=(("A", "2"),))), DEPLOYMENT),
            (step, replace(DEPLOYMENT, image="repo/flights:2")),
            (step, replace(DEPLOYMENT, root="s3://bucket/other")),
            (step, replace(DEPLOYMENT, fail_if_not_blessed=True)),
        ]
    ]
    assert None not in keys and len({*keys}) == len(keys)
    assert key_of(make_plan(step), deployment=replace(DEPLOYMENT, parallelism=3)) == keys[0]
    comes_in = template(compiled(CHAIN, memoize=True), "train")["memoize"]
    for port in ("pipeline-data", "result-read-rows", "digest-examples", "digest-more-0"):
        assert f"inputs.parameters['{port}']" in comes_in["key"]
    assert comes_in["cache"]["configMap"]["name"].startswith("headrace-flights-train-")


def test_a_step_that_must_look_itself_is_not_memoized():
    assert key_of(make_plan(make_step("Train", settings=Settings(cache=False)))) is None
    assert key_of(make_plan(make_step("Train", settings=Settings(retries=1)))) is None
    assert key_of(make_plan(make_step("Train", place="driver"))) is None
    reads = make_step("Train", arguments={"x": Const({"paths": ["a"]})}, kinds={"x": "files"})
    assert key_of(make_plan(reads)) is None
    reads_nothing = make_step("Train", arguments={"x": Const(None)}, kinds={"x": "files?"})
    assert key_of(make_plan(reads_nothing)) is not None


def test_nothing_is_memoized_unless_it_is_asked_for():
    # A stock installation lets the controller write no config maps, and steps that succeeded then end in error.
    assert "memoize" not in compile_argo(CHAIN, DEPLOYMENT)
    assert "memoize" in template(compiled(CHAIN, memoize=True), "train")


@pytest.mark.parametrize("name", ["in", "not", "nil", "Let", "true", "matches"])
def test_a_step_may_have_the_name_of_one_of_argos_words(name: str):
    plan = make_plan(make_step(name, outputs=("x",)), make_step("After", inputs={"x": Channel(name, "x")}))
    [task, after] = template(compiled(plan), "dag")["dag"]["tasks"]
    assert after["dependencies"] == [task["name"]] == [f"{name.lower()}--step"]


def test_a_step_may_be_called_dag():
    document = compiled(make_plan(make_step("dag")))
    assert document["spec"]["entrypoint"] == "dag-dag"


def test_any_name_of_a_pipeline_becomes_one_of_kubernetes():
    for name in [text for text in HOSTILE if "{{" not in text]:
        document = compiled(make_plan(make_step("A"), name=name or "x"))
        assert document["metadata"]["annotations"]["headrace/pipeline"] == (name or "x")
        assert re.fullmatch(r"[a-z][a-z0-9-]*-", document["metadata"]["generateName"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"labels": {"a b": "c"}}, "label 'a b'"),
        ({"labels": {"a": "x" * 64}}, "setting 'labels'"),
        ({"node_selector": {"a": "-b"}}, "setting 'node_selector'"),
        ({"annotations": {"/a": "b"}}, "annotation '/a'"),
        ({"tolerations": [{"key": "a", "colour": "b"}]}, "unknown key 'colour'"),
        ({"tolerations": [{"key": "a", "effect": "Never"}]}, "one of the effects"),
        ({"tolerations": [{"value": "a"}]}, "without a key"),
        ({"env": {"A": "1"}, "secrets": {"A": "s/k"}}, "A is in the settings 'env' and 'secrets'"),
        ({"secrets": {"A": "No_Name/k"}}, "'No_Name/k' is no name"),
        ({"pod_fields": {"A": "spec.image"}}, "no field 'spec.image'"),
        ({"volumes": {"/headrace/x": "pvc:a"}}, "where a step's own files are"),
        ({"volumes": {"/data": "pvc:A B"}}, "'A B' is no name"),
        ({"volumes": {"/a/../b": "scratch:1Gi"}}, "absolute path"),
        ({"image": "a b"}, "REPOSITORY:TAG"),
        ({"gpu": 1, "gpu_type": "a b"}, "no resource 'a b'"),
        ({"env": {"A": "{{workflow.name}}"}}, "takes for a template"),
        ({"annotations": {"a": "{{=1}}"}}, "takes for a template"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_with_its_place(settings: dict[str, Any], said: str):
    plan = make_plan(make_step("Train", settings=Settings.from_json(settings)))
    plan = replace(plan, locations={"Train": Location("author.py", 7)})
    message = refusal(plan)
    assert "author.py:7: Train: " in message and said in message and "fix: " in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": "a b"}, "image: expected"),
        ({"root": "s3://b/{{workflow.name}}"}, "root contains '{{'"),
        ({"project": "/a{{"}, "project contains '{{'"),
        ({"service_account": "No One"}, "service_account: 'No One'"),
        ({"namespace": "A"}, "namespace: 'A'"),
        ({"image_pull_secrets": ("a", "B")}, "image_pull_secrets[1]: 'B'"),
        ({"parallelism": 0}, "parallelism: expected 1"),
        ({"root": "memory://x"}, "pods share no memory"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(change: dict[str, Any], said: str):
    assert said in refusal(make_plan(make_step("A")), replace(DEPLOYMENT, **change))


def test_values_that_do_not_fit_are_all_said_at_once():
    message = refusal(
        CHAIN,
        replace(DEPLOYMENT, schedule=Schedule("0 0 * * *")),
        kind="CronWorkflow",
        parameters={"data": "{{workflow.name}}", "dat": 1},
    )
    assert "no parameter 'dat'" in message
    assert "'{{workflow.name}}' contains '{{', which Argo takes for a template" in message
    assert "parameter 'epochs' has no value" in message
    assert "expected int, received str '3'" in refusal(CHAIN, parameters={"epochs": "3"})
    assert "surrogate" in refusal(CHAIN, parameters={"data": "\ud800"})


def test_usage_is_checked():
    plan = make_plan(make_step("A"))
    assert "expected one of Workflow" in refusal(plan, kind="Job")
    assert "needs a schedule" in refusal(plan, kind="CronWorkflow")
    assert "expected Argo 3.5 or newer" in refusal(plan, argo_version=(3, 4))


def test_what_argo_cannot_express_is_refused_not_dropped():
    inner = make_step("B")
    for kind in ("condition", "loop", "exit_handler", "sub_pipeline"):
        plan = make_plan(make_step("A"))
        plan = replace(plan, nodes=(*plan.nodes, Group(kind, "G", (inner,))))
        assert "G: argo cannot express" in refusal(plan)
    compared = make_step("C", arguments={"x": Comparison("<", Const(1), Const(2))})
    assert "C.x: argo cannot express a comparison" in refusal(make_plan(compared))


def test_names_that_argo_has_no_letters_for_are_refused():
    plan = make_plan(make_step("A", outputs=("modèle",), results={"größe": "int"}))
    message = refusal(replace(plan, parameters=(PlanParameter("año", "int", 1),)))
    assert "output 'modèle'" in message and "result 'größe'" in message and "parameter 'año'" in message


def test_a_pipelines_name_is_no_template():
    assert "the pipeline's name '{{$}}' contains" in refusal(make_plan(make_step("A"), name="{{$}}"))


def test_a_document_longer_than_an_argument_is_refused():
    plan = make_plan(make_step("A", arguments={"x": Const("x" * 140_000)}))
    assert "an argument of a container may have 131,071" in refusal(plan)


def test_compiling_changes_nothing_and_gives_equal_bytes():
    before = CHAIN.to_json()
    assert compile_argo(CHAIN, DEPLOYMENT) == compile_argo(Plan.from_json(before), DEPLOYMENT)
    assert CHAIN.to_json() == before


def test_the_expression_of_a_parameter_has_nothing_of_its_text():
    """What Argo evaluates is of names alone, whatever the values are."""
    plan = make_plan(make_step("A", arguments={"x": Parameter("p")}), parameters=(PlanParameter("p", "str", "a'+b"),))
    [argument] = template(compiled(plan), "dag")["dag"]["tasks"][0]["arguments"]["parameters"]
    assert argument["value"] == r"{{=sprig.replace('{', '\\u007b', toJson(workflow.parameters['p']))}}"
