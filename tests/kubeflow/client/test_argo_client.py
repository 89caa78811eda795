"""The verbs of a cluster against stand-ins of Kubernetes' API and of Argo's server; see tests/cluster for real ones."""

from __future__ import annotations

import base64
import gzip
import json
import time

import pytest
import yaml
from headrace.kubeflow.client.object_size import LIMIT, size_of
from headrace.kubeflow.step_document import VERDICT

from tests.kubeflow.client.conftest import OPTIONS, write_kubeconfig
from tests.kubeflow.client.loopback import Answer, unresponsive


def workflows(argo, plural="workflows", namespace="ours"):
    return {
        name: one for (space, kind, name), one in argo.server.objects.items() if (space, kind) == (namespace, plural)
    }


def start(argo, *more):
    done = argo.headrace("submit", argo.compiled("argo"), "--target", "argo", "-p", "number=1", *more)
    assert done.code == 0, done.err
    return done.out.split()[-1]


def node(run, name, phase, kind="Pod", verdict=None, **more):
    found = {
        "id": f"{run}-{name.replace('-', '')}",
        "displayName": name,
        "templateName": name,
        "type": kind,
        "phase": phase,
    }
    found |= {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:07Z" if phase != "Running" else None}
    if verdict is not None:
        found["outputs"] = {"parameters": [{"name": VERDICT, "value": verdict}]}
    return found | more


def ends(argo, run, phase, *nodes, **status):
    argo.server.objects["ours", "workflows", run]["status"] = {
        "phase": phase,
        "nodes": {n["id"]: n for n in nodes},
        **status,
    }


def test_submit_makes_a_workflow_in_the_namespace_of_the_kubeconfig(argo):
    file = argo.compiled("argo")
    (argo.folder / "flow.py").unlink()
    more = ("-p", "number=3", "-p", "rates=[1,2]", "-p", "name=$(HOME) 1e3", "--experiment", "trial")
    done = argo.headrace("submit", file, "--target", "argo", *more)
    assert done.code == 0, done.err
    ((name, made),) = workflows(argo).items()
    assert done.out == f"flow, run {name}\n" and name.startswith("flow-")
    values = {one["name"]: one.get("value") for one in made["spec"]["arguments"]["parameters"]}
    assert values["number"] == "3" and json.loads(values["rates"]) == [1.0, 2.0] and values["rate"] == "0.1"
    assert values["name"] == "$(HOME) 1e3"
    assert made["metadata"]["labels"]["headrace/experiment"] == "trial"


def test_parameters_are_checked_before_anything_is_sent(argo):
    done = argo.headrace("submit", argo.compiled("argo"), "--target", "argo", "-p", "idle=maybe", "-p", "nmae=x")
    assert done.code == 2 and "3 problems" in done.err
    assert (
        "no parameter 'nmae'" in done.err
        and "expected bool, received 'maybe'" in done.err
        and "'number' (int)" in done.err
    )
    assert not argo.server.requests


def test_a_text_that_argo_would_change_is_refused_as_the_compiler_refuses_it(argo):
    file, given = argo.compiled("argo"), ("-p", "number=1", "-p", "name=a {{workflow.name}}")
    assert argo.headrace("upload", "flow.py", "--target", "argo", *OPTIONS).code == 0
    compiling = argo.headrace("compile", "flow.py", "--target", "argo", "-o", "other.yaml", *OPTIONS, *given)
    said = "parameter 'name': 'a {{workflow.name}}' contains '{{', which Argo takes for a template"
    assert compiling.code == 2 and said in compiling.err
    asked = len(argo.server.asked("POST .*"))
    for words in (
        ("submit", file),
        ("submit", "flow.py", *OPTIONS),
        ("submit", "--pipeline", "flow"),
        ("schedule", file, "--cron", "0 6 * * *"),
    ):
        done = argo.headrace(*words, "--target", "argo", *given)
        assert done.code == 2 and done.err == compiling.err, words
    assert len(argo.server.asked("POST .*")) == asked and not workflows(argo)


def test_a_number_or_a_list_has_no_braces_that_argo_sees(argo):
    (argo.folder / "flow.py").write_text((argo.folder / "flow.py").read_text().replace("list[float]", "list"))
    given = ("-p", "number=1", "-p", 'rates=["{{workflow.name}}"]')
    done = argo.headrace("submit", argo.compiled("argo"), "--target", "argo", *given)
    assert done.code == 0, done.err
    ((_, made),) = workflows(argo).items()
    values = {one["name"]: one.get("value") for one in made["spec"]["arguments"]["parameters"]}
    assert "{{" not in values["rates"] and json.loads(values["rates"]) == ["{{workflow.name}}"]


@pytest.mark.parametrize("verb", [("upload",), ("submit", "-p", "number=1"), ("schedule", "--cron", "0 6 * * *")])
def test_a_file_with_a_reference_to_nothing_is_refused_before_it_is_sent(argo, verb):
    file = argo.folder / argo.compiled("argo", "-p", "number=1")
    document = yaml.safe_load(file.read_text())
    tasks = document["spec"]["templates"][0]["dag"]["tasks"]
    next(task for task in tasks if task["name"] == "gate")["dependencies"] = ["train-modell"]
    file.write_text(yaml.safe_dump(document))
    done = argo.headrace(verb[0], file.name, "--target", "argo", *verb[1:])
    assert done.code == 2 and "argo.yaml: spec.templates[dag].dag.tasks[gate]" in done.err, done.err
    assert "train-modell" in done.err and "fix: " in done.err and not argo.server.requests


def test_of_several_documents_none_is_left_unsaid(argo):
    file = argo.folder / argo.compiled("argo")
    file.write_text(file.read_text() + "---\n" + file.read_text())
    done = argo.headrace("submit", file.name, "--target", "argo", "-p", "number=1")
    assert done.code == 2 and "expected one document, found 2" in done.err and not argo.server.requests


def test_a_text_of_a_parameter_that_another_compiler_described_is_text(argo):
    file = argo.folder / argo.compiled("argo")
    document = yaml.safe_load(file.read_text())
    document["spec"]["arguments"]["parameters"].append({"name": "other", "description": "a file's name"})
    file.write_text(yaml.safe_dump(document))
    done = argo.headrace("submit", file.name, "--target", "argo", "-p", "number=1", "-p", "other=a b")
    assert done.code == 0, done.err
    ((_, made),) = workflows(argo).items()
    assert {"name": "other", "description": "a file's name", "value": "a b"} in made["spec"]["arguments"]["parameters"]


def test_a_file_that_etcd_would_not_take_is_refused_before_it_is_sent(argo):
    file, long = argo.compiled("argo"), ("-p", "name=" + "<" * (LIMIT // 6))
    words = ("--target", "argo", "-p", "number=1")
    for verb in (("submit", file), ("schedule", file, "--cron", "0 6 * * *")):
        done = argo.headrace(*verb, *words, *long)
        assert done.code == 2 and f"which takes {LIMIT:,}, 3 steps of " in done.err, done.err[-900:]
        assert "the largest are parameter name with 1,57" in done.err and "pass its URL" in done.err
        assert not argo.server.asked("POST .*")
    made = argo.headrace("submit", file, *words, "-p", "name=" + "a" * (LIMIT // 2))
    assert made.code == 0, made.err[-900:]
    ((_, kept),) = workflows(argo).items()
    assert LIMIT // 2 < size_of(kept) < LIMIT


def test_upload_makes_a_template_replaces_it_and_changes_nothing_for_equal_bytes(argo):
    file = argo.compiled("argo", "--kind", "WorkflowTemplate")
    outs = [argo.headrace("upload", file, "--target", "argo").out for _ in range(2)]
    assert outs == ["flow: uploaded\n", "flow: was there already\n"]
    argo.compiled("argo", "--kind", "WorkflowTemplate", "-p", "rate=0.7")
    assert argo.headrace("upload", file, "--target", "argo").out == "flow: uploaded\n"
    (made,) = workflows(argo, "workflowtemplates").values()
    assert {one["name"]: one.get("value") for one in made["spec"]["arguments"]["parameters"]}["rate"] == "0.7"
    assert made["metadata"]["resourceVersion"] == "2"
    refused = argo.headrace("upload", file, "--target", "argo", "--version", "1")
    assert refused.code == 2 and "one version" in refused.err


def test_a_run_of_an_uploaded_template_names_it(argo):
    argo.headrace("upload", "flow.py", "--target", "argo", *OPTIONS)
    done = argo.headrace(
        "submit", "--pipeline", "flow", "--target", "argo", "-p", "number=4", "--service-account", "runner"
    )
    assert done.code == 0, done.err
    (made,) = workflows(argo).values()
    assert made["spec"]["workflowTemplateRef"] == {"name": "flow"} and made["spec"]["serviceAccountName"] == "runner"
    assert made["spec"]["arguments"]["parameters"] == [{"name": "number", "value": "4"}]
    other = argo.headrace("submit", "--pipeline", "other", "--target", "argo")
    assert other.code == 2 and "no workflow template 'other' in namespace ours" in other.err


def test_status_reads_the_steps_of_a_workflow(argo):
    run = start(argo)
    pods = [node(run, f"train-model({n})", p, message=m) for n, p, m in ((0, "Failed", "odd"), (1, "Running", ""))]
    retry = node(run, "train-model", "Running", "Retry", children=[pod["id"] for pod in pods])
    ends(argo, run, "Running", node(run, "gen", "Succeeded", verdict="cached"), retry, *pods)
    done = argo.headrace("status", run, "--target", "argo")
    assert done.code == 0
    assert [line.split() for line in done.out.splitlines()[1:]] == [
        ["Gen", "cached"],
        ["TrainModel", "running"],
        ["Gate", "pending"],
    ]


@pytest.mark.parametrize(
    ("phase", "gate", "code", "last"),
    [
        ("Succeeded", {"phase": "Succeeded", "verdict": "succeeded"}, 0, "done: 3 steps, 1 cached"),
        ("Succeeded", {"phase": "Succeeded", "verdict": "refused"}, 3, "not blessed: Gate  (3 steps"),
        ("Succeeded", {"phase": "Succeeded", "verdict": "skipped"}, 0, "done: "),
        (
            "Failed",
            {"phase": "Failed", "message": "Error (exit code 1): Gate failed: KeyError: 'a'"},
            1,
            "failed: Gate",
        ),
        ("Failed", {"phase": "Failed", "outputs": {"exitCode": "3"}}, 3, "not blessed: Gate"),
        ("Error", {"phase": "Omitted"}, 1, "failed: the quota is exceeded"),
    ],
)
def test_the_exit_code_says_how_the_run_ended(argo, phase, gate, code, last):
    run = start(argo)
    memoized = node(run, "gen", "Succeeded", verdict="succeeded", memoizationStatus={"hit": True})
    message = {"message": "the quota is exceeded"} if phase == "Error" else {}
    ends(argo, run, phase, memoized, node(run, "train-model", "Succeeded"), node(run, "gate", **gate), **message)
    done = argo.headrace("status", run, "--follow", "--target", "argo")
    assert done.code == code, done.out + done.err
    assert done.out.splitlines()[-1].startswith(last), done.out
    if "message" in gate:
        assert "KeyError: 'a'" in done.out


def test_terminate_asks_argo_to_end_the_run_and_it_counts_as_ended_by_a_person(argo):
    run = start(argo)
    done = argo.headrace("terminate", run, "--target", "argo")
    assert done.code == 0 and done.out == f"{run}: is being ended\n", done.err
    assert workflows(argo)[run]["spec"]["shutdown"] == "Terminate"
    ends(argo, run, "Failed", node(run, "gen", "Failed", message="workflow shutdown with strategy:  Terminate"))
    assert argo.headrace("status", run, "--target", "argo").code == 130


def test_a_large_workflow_s_nodes_are_unpacked_and_offloaded_ones_are_asked_of_the_server(argo):
    run = start(argo)
    nodes = {"a": node(run, "gen", "Succeeded", verdict="succeeded")}
    packed = base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()
    argo.server.objects["ours", "workflows", run]["status"] = {"phase": "Running", "compressedNodes": packed}
    assert "Gen                       done" in argo.headrace("status", run, "--target", "argo").out
    argo.server.objects["ours", "workflows", run]["status"] = {"phase": "Running", "offloadNodeStatusVersion": "v1"}
    done = argo.headrace("status", run, "--target", "argo")
    assert done.code == 2 and "--host" in done.err


@pytest.mark.parametrize("naming", ["v1", "v2"])
def test_logs_reads_the_last_attempt_of_the_failed_step(argo, naming):
    run = start(argo)
    if naming == "v1":
        metadata = argo.server.objects["ours", "workflows", run]["metadata"]
        metadata["annotations"]["workflows.argoproj.io/pod-name-format"] = "v1"
    pods = [node(run, f"train-model({n})", "Failed", id=f"{run}-10{n}", templateName="train-model") for n in (0, 1)]
    retry = node(run, "train-model", "Failed", "Retry", children=[pod["id"] for pod in pods])
    pods[1]["startedAt"] = "2026-01-01T00:00:09Z"
    ends(argo, run, "Failed", retry, *pods)
    argo.server.logs[f"{run}-101" if naming == "v1" else f"{run}-train-model-101"] = "token: geheim\nthe last\n"
    done = argo.headrace("logs", "--target", "argo", run)
    assert (done.code, done.out) == (0, "token: ***\nthe last\n"), done.err
    assert argo.headrace("logs", "--target", "argo", run, "train_model").out == done.out
    argo.server.logs.clear()
    gone = argo.headrace("logs", "--target", "argo", run)
    assert gone.code == 2 and "the pod of TrainModel is gone" in gone.err


def test_a_schedule_is_a_cron_workflow_that_replaces_the_one_of_its_name(argo):
    file = argo.compiled("argo")
    for hour in ("6", "7", "7"):
        times = ("--cron", f"0 {hour} * * 1-5", "--timezone", "Europe/Zurich", "--concurrency", "Replace")
        done = argo.headrace("schedule", file, "--target", "argo", "-p", "number=1", *times)
        assert (done.code, done.out) == (0, f"flow: runs at 0 {hour} * * 1-5 (Europe/Zurich)\n"), done.err
    (made,) = workflows(argo, "cronworkflows").values()
    assert made["spec"]["schedules"] == ["0 7 * * 1-5"] and made["spec"]["concurrencyPolicy"] == "Replace"
    assert made["metadata"]["resourceVersion"] == "2", "the third changed nothing"
    values = {one["name"]: one.get("value") for one in made["spec"]["workflowSpec"]["arguments"]["parameters"]}
    assert values["number"] == "1"
    assert argo.headrace("schedule", "--delete", "flow", "--target", "argo").code == 0
    again = argo.headrace("schedule", "--delete", "flow", "--target", "argo")
    assert again.code == 2 and "there is no schedule 'flow'" in again.err


def test_a_schedule_of_the_deployment_file_needs_no_other_word(argo):
    (argo.folder / "d.yaml").write_text(
        "image: repo/flow:1\nroot: s3://bucket/root\nnamespace: theirs\nservice_account: runner\n"
        "schedule: {cron: '0 5 * * *', timezone: Asia/Tokyo}\n"
    )
    done = argo.headrace("schedule", "flow.py", "--target", "argo", "--deployment", "d.yaml", "-p", "number=1")
    assert done.code == 0, done.err
    ((name, made),) = workflows(argo, "cronworkflows", "theirs").items()
    assert (name, made["spec"]["timezone"]) == ("flow", "Asia/Tokyo")
    assert made["spec"]["workflowSpec"]["serviceAccountName"] == "runner"


@pytest.mark.parametrize(
    ("verb", "pattern", "fault", "said"),
    [
        ("submit", "POST .*", Answer({"message": "Unauthorized", "reason": "Unauthorized"}, 401), "not authorised"),
        (
            "submit",
            "POST .*",
            Answer({"message": 'workflows.argoproj.io is forbidden: User "a" cannot create resource'}, 403),
            "kubectl auth can-i",
        ),
        ("submit", "POST .*", Answer("404 page not found", 404, "text/plain"), "does not know this request"),
        ("status", "GET .*", Answer("404 page not found", 404, "text/plain"), "does not know this request"),
        ("submit", "POST .*", Answer({"message": "etcdserver: request is too large"}, 500), "bytes is too large"),
        (
            "submit",
            "POST .*",
            Answer({"message": "Request entity too large: limit is 3145728"}, 413),
            "bytes is too large",
        ),
        (
            "submit",
            "POST .*",
            Answer({"message": 'admission webhook "policy" denied the request'}, 400),
            "refused it (400)",
        ),
        (
            "upload",
            "POST .*",
            Answer({"message": '"flow" already exists', "reason": "AlreadyExists"}, 409),
            "the name is taken",
        ),
        ("submit", "POST .*", unresponsive(), "is not ready (503)"),
        ("submit", "POST .*", 5.0, "no answer from"),
        ("status", "x", 0.0, "there is no run 'flow-zzzzz' in namespace ours"),
        ("terminate", "x", 0.0, "there is no run 'flow-zzzzz' in namespace ours"),
        ("logs", "x", 0.0, "there is no run 'flow-zzzzz' in namespace ours"),
    ],
)
def test_what_goes_wrong_at_the_server_is_one_line_with_what_to_do(argo, verb, pattern, fault, said):
    argo.server.faults[pattern] = fault
    what = (argo.compiled("argo"),) if verb in ("upload", "submit") else ("flow-zzzzz",)
    more = ("-p", "number=1") if verb == "submit" else ()
    done = argo.headrace(verb, *what, "--target", "argo", *more, "--request-timeout", "1")
    assert done.code == 2, done.out
    first, *rest = done.err.splitlines()
    assert first.startswith("error: ") and said in done.err, done.err
    assert len(rest) == 1 and rest[0].startswith("    fix: "), done.err


def test_no_cluster_and_no_server_are_said_at_once(argo):
    file = argo.compiled("argo")
    began = time.monotonic()
    write_kubeconfig(argo.folder / "kubeconfig", "http://127.0.0.1:9")
    refused = argo.headrace("submit", file, "--target", "argo", "-p", "number=1")
    assert refused.code == 2 and "no server at http://127.0.0.1:9: connection refused" in refused.err
    (argo.folder / "kubeconfig").unlink()
    none = argo.headrace("submit", file, "--target", "argo", "-p", "number=1")
    assert none.code == 2 and "no cluster is known here" in none.err and "KUBECONFIG" in none.err
    assert time.monotonic() - began < 10


def test_the_token_of_the_kubeconfig_is_used_and_another_wins(argo, tmp_path):
    argo.server.token = "geheimes-token"
    file = argo.compiled("argo")
    assert "not authorised" in argo.headrace("submit", file, "--target", "argo", "-p", "number=1").err
    (tmp_path / "token").write_text("geheimes-token")
    given = argo.headrace("submit", file, "--target", "argo", "-p", "number=1", "--token-file", "token")
    assert given.code == 0, given.err
    write_kubeconfig(tmp_path / "kubeconfig", argo.server.url, token="geheimes-token")
    assert argo.headrace("submit", file, "--target", "argo", "-p", "number=1").code == 0


def test_argo_s_own_server_does_the_same(argo, monkeypatch):
    """With --host: no kubeconfig, other paths and envelopes, a bearer token as Argo's command prints it."""
    (argo.folder / "kubeconfig").unlink()
    argo.server.token = "geheimes-token"
    server = ("--target", "argo", "--host", argo.server.url, "--namespace", "ours")
    file = argo.compiled("argo")
    assert "not authorised" in argo.headrace("submit", file, *server, "-p", "number=1").err
    monkeypatch.setenv("HEADRACE_TOKEN", "Bearer geheimes-token")
    done = argo.headrace("submit", file, *server, "-p", "number=1")
    assert done.code == 0, done.err
    run = done.out.split()[-1]
    ends(argo, run, "Failed", node(run, "gen", "Failed", message="odd", id=f"{run}-77"))
    status = argo.headrace("status", run, *server)
    assert status.code == 1 and "odd" in status.out
    argo.server.logs[f"{run}-gen-77"] = "one\ntwo\n"
    assert argo.headrace("logs", run, "Gen", *server).out == "one\ntwo\n"
    for _ in range(2):
        assert argo.headrace("upload", "flow.py", *server, *OPTIONS).code == 0
    assert argo.headrace("schedule", file, *server, "-p", "number=1", "--cron", "0 6 * * *").code == 0
    assert argo.headrace("schedule", "--delete", "flow", *server).code == 0
    other = argo.headrace("submit", file, *server, "-p", "number=1").out.split()[-1]
    assert argo.headrace("terminate", other, *server).code == 0
    assert workflows(argo)[other]["spec"]["shutdown"] == "Terminate"
    unknown = argo.headrace("status", "flow-zzzzz", *server)
    assert unknown.code == 2 and "there is no run 'flow-zzzzz'" in unknown.err


def test_what_is_sent_is_what_was_compiled(argo):
    file = argo.compiled("argo")
    run = start(argo)
    wanted, made = yaml.safe_load((argo.folder / file).read_text()), workflows(argo)[run]
    assert made["spec"]["templates"] == wanted["spec"]["templates"]
    assert made["metadata"]["labels"] == wanted["metadata"].get("labels", {})
