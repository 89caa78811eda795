"""The verbs of a cluster against a stand-in of Kubeflow Pipelines' API; see tests/cluster for the real one."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
import yaml
from headrace.kubeflow.kfp.check import check_kfp

from tests.kubeflow.client.conftest import OPTIONS
from tests.kubeflow.client.loopback import Answer, unresponsive

IDS = {"gen": "Gen", "train-model": "TrainModel", "gate": "Gate"}


def kfp_args(kfp, *more):
    return ("--target", "kfp", "--host", kfp.server.url, *more)


def workflow(run, phases, *, messages=None, exit_codes=None, spec=None):
    """A run's workflow as Kubeflow's server keeps it: of each task a driver's pod, and a DAG with the step's pod."""
    nodes = {}
    for name, phase in phases.items():
        word = name.replace("-", "")
        begun = {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:05Z"}
        nodes[f"{name}-d"] = {
            "id": f"w-{word}1",
            "displayName": f"{name}-driver",
            "type": "Pod",
            "phase": "Succeeded",
            **begun,
        }
        inner = {"Cached": "Succeeded"}.get(phase, phase)
        nodes[name] = {"id": f"w-{word}2", "displayName": name, "type": "DAG", "phase": inner, **begun}
        pod = {
            "id": f"w-{word}3",
            "displayName": "executor",
            "boundaryID": f"w-{word}2",
            "templateName": "impl",
            **begun,
        }
        pod |= {"type": "Skipped", "phase": "Skipped"} if phase == "Cached" else {"type": "Pod", "phase": phase}
        pod["message"] = (messages or {}).get(name, "")
        if exit_codes and name in exit_codes:
            pod["outputs"] = {"exitCode": exit_codes[name]}
        nodes[f"{name}-e"] = pod
    return {
        "metadata": {"name": "w"},
        "spec": spec or {},
        "status": {"nodes": {one["id"]: one for one in nodes.values()}},
    }


def ends(kfp, run, state, phases, logs=None, **more):
    """Lets a run end."""
    kfp.server.workflows[run] = workflow(run, phases, **more)
    kfp.server.logs |= {f"w-impl-{name.replace('-', '')}3": text for name, text in (logs or {}).items()}
    kfp.server.runs[run]["state"] = state


def only_run(kfp):
    (run,) = kfp.server.runs
    return run


def test_upload_makes_a_version_and_doing_it_again_changes_nothing(kfp):
    file = kfp.compiled("kfp")
    first = kfp.headrace("upload", file, *kfp_args(kfp), "--version", "abc123")
    assert (first.code, first.out) == (0, "flow, version abc123: uploaded\n"), first.err
    again = kfp.headrace("upload", file, *kfp_args(kfp), "--version", "abc123")
    assert (again.code, again.out) == (0, "flow, version abc123: was there already\n")
    assert len(kfp.server.versions) == len(kfp.server.pipelines) == 1
    (version,) = kfp.server.versions.values()
    assert version["pipeline_spec"] == yaml.safe_load((kfp.folder / file).read_text())


def test_a_version_of_that_name_with_another_content_is_refused(kfp):
    file = kfp.compiled("kfp")
    kfp.headrace("upload", file, *kfp_args(kfp), "--version", "abc123")
    kfp.compiled("kfp", "-p", "rate=0.7")
    done = kfp.headrace("upload", file, *kfp_args(kfp), "--version", "abc123")
    assert done.code == 2
    assert "version 'abc123' of pipeline 'flow' is there with another content" in done.err and "--version" in done.err
    assert len(kfp.server.versions) == 1


def test_without_a_name_a_version_is_called_by_its_content(kfp):
    file = kfp.compiled("kfp")
    names = [kfp.headrace("upload", file, *kfp_args(kfp)).out for _ in range(2)]
    assert (
        names[0].startswith("flow, version sha256-") and names[0].replace("uploaded", "was there already") == names[1]
    )
    kfp.compiled("kfp", "-p", "rate=0.7")
    assert kfp.headrace("upload", file, *kfp_args(kfp)).out not in names
    assert len(kfp.server.versions) == 2 and len(kfp.server.pipelines) == 1


def test_an_author_s_file_is_compiled_on_the_way(kfp):
    done = kfp.headrace("upload", "flow.py", *kfp_args(kfp), *OPTIONS, "--pipeline", "ours")
    assert done.code == 0 and done.out.startswith("ours, version sha256-")
    missing = kfp.headrace("upload", "flow.py", *kfp_args(kfp))
    assert missing.code == 2 and "image is missing" in missing.err and "--image" in missing.err


def test_a_pipeline_whose_version_is_refused_is_not_left_behind_empty(kfp):
    kfp.server.faults["POST .*/upload_version"] = Answer({"error_message": "Invalid input error: bad spec"}, 400)
    done = kfp.headrace("upload", kfp.compiled("kfp"), *kfp_args(kfp))
    assert done.code == 2 and "refused it (400): Invalid input error: bad spec" in done.err
    assert not kfp.server.pipelines


def test_submit_starts_a_run_of_a_compiled_file_without_the_author_s(kfp):
    file = kfp.compiled("kfp")
    (kfp.folder / "flow.py").unlink()
    done = kfp.headrace("submit", file, *kfp_args(kfp), "-p", "number=3", "-p", "rates=[1, 2]", "--experiment", "trial")
    run = only_run(kfp)
    assert (done.code, done.out) == (0, f"flow, run {run}\n"), done.err
    made = kfp.server.runs[run]
    assert made["runtime_config"]["parameters"] == {"number": 3, "rates": [1.0, 2.0]}
    assert [one["display_name"] for one in kfp.server.experiments.values()] == ["trial"]
    assert made["experiment_id"] == next(iter(kfp.server.experiments))
    assert made["pipeline_spec"]["pipelineInfo"]["name"] == "flow"


def test_parameters_are_checked_before_anything_is_sent(kfp):
    file = kfp.compiled("kfp")
    done = kfp.headrace("submit", file, *kfp_args(kfp), "-p", "number=three", "-p", "rates=1", "-p", "nmae=x")
    assert done.code == 2
    assert "pipeline flow has no parameter 'nmae'" in done.err and "it has" in done.err
    assert "parameter 'number': expected int, received 'three'" in done.err
    assert "3 problems" in done.err
    missing = kfp.headrace("submit", file, *kfp_args(kfp))
    assert "parameter 'number' (int) has no default and was not given" in missing.err
    assert not kfp.server.asked("POST .*")


def test_a_text_that_kubeflow_would_change_is_refused_as_the_compiler_refuses_it(kfp):
    file = kfp.compiled("kfp")
    assert kfp.headrace("upload", file, *kfp_args(kfp)).code == 0
    for text in ("{{workflow.name}}", "$(HOME)", "a $$", "a\x7f"):
        given = ("-p", "number=1", "-p", f"name={text}")
        compiling = kfp.headrace("compile", "flow.py", "--target", "kfp", "-o", "other.yaml", *OPTIONS, *given)
        assert compiling.code == 2 and "parameter 'name': KFP" in compiling.err
        for words in (
            ("submit", file),
            ("submit", "flow.py", *OPTIONS),
            ("submit", "--pipeline", "flow"),
            ("schedule", file, "--cron", "0 6 * * *"),
        ):
            done = kfp.headrace(*words, *kfp_args(kfp), *given)
            assert done.code == 2 and done.err == compiling.err, words
    assert not kfp.server.runs and not kfp.server.recurring


@pytest.mark.parametrize("verb", [("upload",), ("submit", "-p", "number=1"), ("schedule", "--cron", "0 6 * * *")])
def test_a_file_with_a_reference_to_nothing_is_refused_before_it_is_sent(kfp, verb):
    file = kfp.folder / kfp.compiled("kfp", "-p", "number=1")
    document = yaml.safe_load(file.read_text())
    document["root"]["dag"]["tasks"]["gate"]["dependentTasks"] = ["train-modell"]
    file.write_text(yaml.safe_dump(document))
    done = kfp.headrace(verb[0], file.name, *kfp_args(kfp), *verb[1:])
    assert done.code == 2 and "kfp.yaml: root.dag.tasks.gate" in done.err, done.err
    assert "train-modell" in done.err and "fix: " in done.err and not kfp.server.requests


def test_a_file_for_a_newer_server_is_not_measured_by_an_older_one_s_limits(kfp):
    steps = "\n".join(f'    Gen(number=number, name="{"x" * 6000}").with_id("gen{n}")' for n in range(60))
    (kfp.folder / "many.py").write_text(
        (kfp.folder / "flow.py").read_text() + f"\n\n@pipeline\ndef many(number: int = 1):\n{steps}\n"
    )
    words = ("compile", "many.py:many", "--target", "kfp", "-o", "many.yaml", *OPTIONS, "--kfp-version", "2.14.0")
    assert kfp.headrace(*words).code == 0
    assert "takes 256 KiB" in str(check_kfp((kfp.folder / "many.yaml").read_text(), kfp_version="2.0.5")[0])
    done = kfp.headrace("upload", "many.yaml", *kfp_args(kfp))
    assert done.code == 0, done.err


def test_submit_of_an_uploaded_pipeline_takes_the_newest_version_or_the_one_that_is_named(kfp):
    file = kfp.compiled("kfp")
    kfp.headrace("upload", file, *kfp_args(kfp), "--version", "one")
    kfp.compiled("kfp", "-p", "rate=0.7")
    kfp.headrace("upload", file, *kfp_args(kfp), "--version", "two")
    for more, wanted in (((), "two"), (("--version", "one"), "one")):
        done = kfp.headrace("submit", "--pipeline", "flow", *more, *kfp_args(kfp), "-p", "number=1")
        assert done.code == 0, done.err
        reference = list(kfp.server.runs.values())[-1]["pipeline_version_reference"]
        assert kfp.server.versions[reference["pipeline_version_id"]]["display_name"] == wanted
    assert "no pipeline 'other'" in kfp.headrace("submit", "--pipeline", "other", *kfp_args(kfp)).err
    assert "no version" in kfp.headrace("submit", "--pipeline", "flow", "--version", "3", *kfp_args(kfp)).err


def start(kfp):
    kfp.headrace("submit", kfp.compiled("kfp"), *kfp_args(kfp), "-p", "number=1")
    return only_run(kfp)


def test_status_says_how_each_step_stands(kfp):
    run = start(kfp)
    kfp.server.runs[run]["state"] = "RUNNING"
    kfp.server.workflows[run] = workflow(run, {"gen": "Cached", "train-model": "Running"})
    done = kfp.headrace("status", run, *kfp_args(kfp))
    lines = [line.split() for line in done.out.splitlines()]
    assert done.code == 0 and lines[0] == ["flow,", "run", f"{run}:", "running"]
    assert lines[1:] == [["Gen", "cached"], ["TrainModel", "running"], ["Gate", "pending"]]


@pytest.mark.parametrize(
    ("logs", "code", "last"),
    [
        (
            {
                "gen": "x\nsucceeded\nGen refused: what a user prints\nsucceeded\nand the launcher\n",
                "train-model": "succeeded (it never ran before)\n",
                "gate": "succeeded (it never ran before)\n",
            },
            0,
            "done: ",
        ),
        (
            {
                "gen": "[Gen] cached (nothing changed)\n",
                "train-model": "succeeded (it never ran before)\n",
                "gate": "[Gate] refused\n[Gate] Gate refused: too small\nI0101 the launcher\n",
            },
            3,
            "not blessed: Gate",
        ),
    ],
)
def test_the_exit_code_of_a_wait_says_how_the_run_ended(kfp, logs, code, last):
    run = start(kfp)
    ends(kfp, run, "SUCCEEDED", dict.fromkeys(IDS, "Succeeded"), logs)
    done = kfp.headrace("status", run, "--follow", *kfp_args(kfp))
    assert done.code == code, done.out + done.err
    assert done.out.splitlines()[-1].startswith(last)


def test_a_run_that_is_known_by_its_cache_alone_succeeded(kfp):
    run = start(kfp)
    ends(kfp, run, "SUCCEEDED", dict.fromkeys(IDS, "Cached"))
    done = kfp.headrace("status", run, *kfp_args(kfp))
    assert done.code == 0 and "3 cached" in done.out and "warning" not in done.out


def test_it_is_said_when_the_verdicts_are_gone_with_the_logs(kfp):
    run = start(kfp)
    ends(kfp, run, "SUCCEEDED", dict.fromkeys(IDS, "Succeeded"))
    done = kfp.headrace("status", run, *kfp_args(kfp))
    assert done.code == 0 and "warning: the logs of Gate, Gen, TrainModel cannot be read" in done.out


def test_a_failed_run_shows_the_failed_step_s_message(kfp):
    run = start(kfp)
    said = "Error (exit code 1): TrainModel failed: ValueError: seven\nis odd"
    phases = {"gen": "Succeeded", "train-model": "Failed", "gate": "Omitted"}
    ends(kfp, run, "FAILED", phases, messages={"train-model": said}, exit_codes={"train-model": "1"})
    done = kfp.headrace("status", run, "--follow", *kfp_args(kfp))
    assert done.code == 1
    assert "ValueError: seven" in done.out and "is odd" in done.out
    assert done.out.splitlines()[-1].startswith("failed: TrainModel  (3 steps")


def test_a_refusal_that_was_told_to_fail_the_run_is_one(kfp):
    run = start(kfp)
    phases = {"gen": "Succeeded", "train-model": "Succeeded", "gate": "Failed"}
    ends(kfp, run, "FAILED", phases, exit_codes={"gate": "3"})
    done = kfp.headrace("status", run, *kfp_args(kfp))
    assert done.code == 3 and "not blessed: Gate" in done.out


def test_a_run_ends_while_it_is_waited_for(kfp):
    file = kfp.compiled("kfp")
    phases = dict.fromkeys(IDS, "Succeeded")
    logs = dict.fromkeys(IDS, "succeeded (it never ran before)\n")

    def end():
        while not kfp.server.runs:
            time.sleep(0.05)
        time.sleep(0.5)
        ends(kfp, only_run(kfp), "SUCCEEDED", phases, logs)

    ending = threading.Thread(target=end)
    ending.start()
    done = kfp.headrace("submit", file, *kfp_args(kfp), "-p", "number=1", "--follow", "--timeout", "60")
    ending.join()
    assert done.code == 0, done.out + done.err
    assert [line.split()[0] for line in done.out.splitlines()[1:4]] == ["Gate", "Gen", "TrainModel"]


def test_a_wait_has_its_time_and_outlives_a_server_that_is_away(kfp):
    run = start(kfp)
    kfp.server.faults[f"GET .*/runs/{run}"] = unresponsive()
    began = time.monotonic()
    done = kfp.headrace("status", run, "--wait", "--timeout", "1", *kfp_args(kfp))
    assert time.monotonic() - began < 20
    assert done.code == 2 and "has not ended within 1 s; it goes on" in done.err


def test_terminate_and_what_it_ends_as(kfp):
    run = start(kfp)
    done = kfp.headrace("terminate", run, *kfp_args(kfp))
    assert (done.code, done.out) == (0, f"{run}: is being ended\n"), done.err
    # As servers of 2.0 end it: failed, and a history that tells.
    kfp.server.runs[run]["state"] = "FAILED"
    done = kfp.headrace("status", run, *kfp_args(kfp))
    assert done.code == 130 and done.out.splitlines()[-1].startswith("terminated: ")
    again = kfp.headrace("terminate", run, *kfp_args(kfp))
    assert again.code == 2 and "has ended already" in again.err


def test_logs_prints_those_of_the_failed_step_or_of_the_named_one(kfp):
    run = start(kfp)
    phases = {"gen": "Succeeded", "train-model": "Failed"}
    ends(kfp, run, "FAILED", phases, {"gen": "fine\n", "train-model": "password=geheim\nseven is odd\n"})
    assert kfp.headrace("logs", run, *kfp_args(kfp)).out == "password=***\nseven is odd\n"
    assert kfp.headrace("logs", run, "gen", *kfp_args(kfp)).out == "fine\n"
    other = kfp.headrace("logs", run, "Gate", *kfp_args(kfp))
    assert other.code == 2 and "step Gate of run" in other.err and "has no log: it is skipped" in other.err
    assert "no step 'x'" in kfp.headrace("logs", run, "x", *kfp_args(kfp)).err


def test_a_schedule_replaces_the_one_of_its_name(kfp):
    file = kfp.compiled("kfp")
    for hour in ("6", "7"):
        done = kfp.headrace("schedule", file, *kfp_args(kfp), "--cron", f"0 {hour} * * 1-5", "-p", "number=1")
        assert (done.code, done.out) == (0, f"flow: runs at 0 {hour} * * 1-5 (UTC)\n"), done.err
    (one,) = kfp.server.recurring.values()
    assert one["trigger"]["cron_schedule"]["cron"] == "0 0 7 * * 1-5"
    assert int(one["max_concurrency"]) == 1 and one["runtime_config"]["parameters"] == {"number": 1}
    assert kfp.headrace("schedule", "--delete", "flow", *kfp_args(kfp)).code == 0
    assert not kfp.server.recurring
    assert "there is no schedule 'flow'" in kfp.headrace("schedule", "--delete", "flow", *kfp_args(kfp)).err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--cron", "0 6 * * *", "--timezone", "Europe/Zurich"), "has one time zone for all recurring runs"),
        (("--cron", "0 6 * * *", "--concurrency", "Replace"), "cannot replace a run that is not done"),
        (("--cron", "6 o'clock"), "expected five fields"),
        (("--cron", "0 6 * * *", "--timezone", "Mars/Crater"), "unknown time zone 'Mars/Crater'"),
        ((), "not said when to run"),
    ],
)
def test_what_a_schedule_cannot_be_is_said(kfp, more, said):
    done = kfp.headrace("schedule", kfp.compiled("kfp"), *kfp_args(kfp), "-p", "number=1", *more)
    assert done.code == 2 and said in done.err
    assert not kfp.server.recurring


NO_SUCH = "00000000-0000-4000-8000-000000000099"


@pytest.mark.parametrize(
    ("verb", "pattern", "fault", "said"),
    [
        ("upload", "GET .*healthz", Answer({"message": "no user identity"}, 401), "not authorised"),
        ("upload", "POST .*/pipelines", Answer({"message": "User 'a' is not authorized"}, 403), "kubectl auth can-i"),
        ("upload", "GET .*healthz", Answer("<html>", type="text/html"), "a web page, as a log-in does"),
        ("upload", "GET .*healthz", Answer("", 302, headers={"location": "/dex"}), "as a log-in does"),
        ("upload", "GET .*healthz", Answer("404 page not found", 404, "text/plain"), "does not know this request"),
        ("upload", "POST .*upload_version", Answer("too big", 413, "text/plain"), "bytes is too large"),
        (
            "upload",
            "POST .*upload_version",
            Answer({"error_message": "File size too large. Maximum supported size is 33554432"}, 400),
            "bytes is too large",
        ),
        ("upload", "POST .*/pipelines", Answer({"message": "pipeline flow already exists"}, 409), "the name is taken"),
        ("submit", "POST .*/runs", Answer({"message": "InternalServerError: boom"}, 500), "refused it (500)"),
        ("submit", "POST .*/runs", unresponsive(), "is not ready (503)"),
        ("submit", "POST .*/runs", 5.0, "no answer from"),
        ("status", "x", 0.0, f"there is no run '{NO_SUCH}'"),
        ("terminate", "x", 0.0, f"there is no run '{NO_SUCH}'"),
        ("logs", "x", 0.0, f"there is no run '{NO_SUCH}'"),
    ],
)
def test_what_goes_wrong_at_the_server_is_one_line_with_what_to_do(kfp, verb, pattern, fault, said):
    kfp.server.faults[pattern] = fault
    what = (kfp.compiled("kfp"),) if verb in ("upload", "submit") else (NO_SUCH,)
    more = ("-p", "number=1") if verb == "submit" else ()
    done = kfp.headrace(verb, *what, *kfp_args(kfp), *more, "--request-timeout", "1")
    assert done.code == 2, done.out
    first, *rest = done.err.splitlines()
    assert first.startswith("error: ") and said in done.err, done.err
    assert len(rest) == 1 and rest[0].startswith("    fix: "), done.err
    assert "Traceback" not in done.err


def test_no_server_is_said_at_once(kfp):
    began = time.monotonic()
    done = kfp.headrace("status", NO_SUCH, "--target", "kfp", "--host", "http://127.0.0.1:9")
    assert done.code == 2 and "no server at http://127.0.0.1:9: connection refused" in done.err
    assert time.monotonic() - began < 5


def test_a_token_comes_from_a_file_or_the_environment_and_is_nowhere_else(kfp, monkeypatch, tmp_path):
    kfp.server.token = "geheimes-token"
    file = kfp.compiled("kfp")
    refused = kfp.headrace("upload", file, *kfp_args(kfp))
    assert refused.code == 2 and "not authorised" in refused.err
    (tmp_path / "token").write_text("geheimes-token\n")
    assert kfp.headrace("upload", file, *kfp_args(kfp), "--token-file", "token").code == 0
    assert kfp.headrace("upload", file, *kfp_args(kfp), "--service-account-token", "token").code == 0
    monkeypatch.setenv("HEADRACE_TOKEN", "geheimes-token")
    assert kfp.headrace("upload", file, *kfp_args(kfp)).code == 0
    kfp.server.faults["POST .*"] = Answer({"message": "bad header Authorization: Bearer geheimes-token"}, 403)
    done = kfp.headrace("submit", file, *kfp_args(kfp), "-p", "number=1")
    assert done.code == 2 and "geheimes-token" not in done.err + done.out


def test_cookies_open_what_stands_behind_a_log_in(kfp, monkeypatch):
    kfp.server.cookie = "authservice_session=abc"
    file = kfp.compiled("kfp")
    assert "a web page" in kfp.headrace("upload", file, *kfp_args(kfp)).err
    monkeypatch.setenv("HEADRACE_COOKIES", "authservice_session=abc")
    assert kfp.headrace("upload", file, *kfp_args(kfp)).code == 0


def test_a_namespace_is_sent_for_a_server_of_many_users(kfp):
    kfp.headrace("upload", kfp.compiled("kfp"), *kfp_args(kfp), "--namespace", "team-a")
    (made,) = kfp.server.asked("POST .*/pipelines")
    assert made.json["namespace"] == "team-a"
    assert not (Path.home() / ".config" / "kfp").exists(), "a choice of one command is none of the next"


def test_the_host_may_come_from_kubeflow_s_own_variable(kfp, monkeypatch):
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", kfp.server.url)
    assert kfp.headrace("upload", kfp.compiled("kfp"), "--target", "kfp").code == 0


def test_status_as_json_has_what_a_program_needs(kfp):
    run = start(kfp)
    ends(kfp, run, "FAILED", {"gen": "Failed"}, messages={"gen": "no"})
    done = kfp.headrace("status", run, "--json", *kfp_args(kfp))
    document = json.loads(done.out)
    assert (document["state"], document["exit_code"], done.code) == ("failed", 1, 1)
    assert {step["id"]: step["state"] for step in document["steps"]} == {
        "Gen": "failed",
        "TrainModel": "skipped",
        "Gate": "skipped",
    }


def test_a_server_that_keeps_no_workflow_lists_its_tasks(kfp):
    run = start(kfp)
    tasks = [
        {
            "display_name": "gen",
            "state": "SUCCEEDED",
            "start_time": "2026-01-01T00:00:00Z",
            "end_time": "2026-01-01T00:00:09Z",
        },
        {"display_name": "gen-driver", "state": "SUCCEEDED"},
        {
            "display_name": "train-model",
            "state": "FAILED",
            "error": {"message": "no memory"},
            "child_tasks": [{"pod_name": "p-1"}],
        },
    ]
    kfp.server.faults["GET /apis/v1beta1/.*"] = Answer("Not Found", 404, "text/plain")
    kfp.server.runs[run] |= {"state": "FAILED", "run_details": {"task_details": tasks}}
    done = kfp.headrace("status", run, *kfp_args(kfp))
    assert done.code == 1 and "no memory" in done.out and "9.0 s" in done.out
    kfp.server.logs["p-1"] = "killed\n"
    assert kfp.headrace("logs", run, *kfp_args(kfp)).out == "killed\n"
