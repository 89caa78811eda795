"""The IR of a pipeline: its ports, its container, its settings, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from headrace.kubeflow.deployment import Deployment, Schedule
from headrace.kubeflow.kfp.compile import compile_kfp
from headrace.kubeflow.kfp.parameter_types import not_stored
from headrace.kubeflow.kfp.target import target
from headrace.kubeflow.portability import CONSTRUCTS
from headrace.kubeflow.step_document import StepDocument
from headrace.pipelines.errors import PipelineError
from headrace.pipelines.plan import Const, Plan, PlanParameter, Settings

from tests.kubeflow.argo.plans import HOSTILE, make_plan, make_step
from tests.kubeflow.kfp.kfp_plans import (
    DEPLOYMENT,
    NEW_SETTINGS,
    NEWEST,
    OLD_SETTINGS,
    ROOT,
    bird_strikes,
    digits,
    documents,
    flights,
    one_step,
    ports,
    same_everywhere,
)

EVERYTHING = replace(
    DEPLOYMENT,
    store="postgresql://runs@host/headrace",
    image_pull_secrets=("registry",),
    ttl=3600,
    fail_if_not_blessed=True,
    log_prefix=False,
)
GOLDEN: dict[str, Callable[[], str]] = {
    "flights": lambda: compile_kfp(flights(), DEPLOYMENT),
    "bird_strikes": lambda: compile_kfp(bird_strikes(), DEPLOYMENT),
    "digits": lambda: compile_kfp(digits(), DEPLOYMENT),
    "ports": lambda: compile_kfp(ports(), DEPLOYMENT),
    "settings-2.0.5": lambda: compile_kfp(one_step(**OLD_SETTINGS), DEPLOYMENT),
    "settings-2.17.0": lambda: compile_kfp(one_step(**NEW_SETTINGS), EVERYTHING, kfp_version=NEWEST),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"kfp/{name}.yaml", same_everywhere(GOLDEN[name]()))


def spec(plan: Plan, deployment: Deployment = DEPLOYMENT, **options: Any) -> dict[str, Any]:
    return documents(compile_kfp(plan, deployment, **options))[0]


def problems(plan: Plan, deployment: Deployment = DEPLOYMENT, **options: Any) -> str:
    with pytest.raises(PipelineError) as refused:
        compile_kfp(plan, deployment, **options)
    return str(refused.value)


def container(plan: Plan, deployment: Deployment = DEPLOYMENT, **options: Any) -> dict[str, Any]:
    [executor] = spec(plan, deployment, **options)["deploymentSpec"]["executors"].values()
    return executor["container"]


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_every_process_writes_the_same_bytes(seed: str) -> None:
    # There are distributions that install a package `tests` of their own, which would be found before a folder.
    code = (
        f"import sys, types\ntests = sys.modules['tests'] = types.ModuleType('tests')\n"
        f"tests.__path__ = [{str(ROOT / 'tests')!r}]\n"
        "from tests.kubeflow.kfp.kfp_plans import *\nfrom headrace.kubeflow.kfp.compile import compile_kfp\n"
        "import sys\nsys.stdout.write(compile_kfp(ports(), DEPLOYMENT))\n"
        "sys.stdout.write(compile_kfp(one_step(**NEW_SETTINGS), DEPLOYMENT, kfp_version=NEWEST))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    here = compile_kfp(ports(), DEPLOYMENT) + compile_kfp(one_step(**NEW_SETTINGS), DEPLOYMENT, kfp_version=NEWEST)
    assert done.stdout == here


def test_the_plan_is_left_as_it_was() -> None:
    plan = ports()
    before = plan.to_json()
    compile_kfp(plan, DEPLOYMENT)
    assert plan.to_json() == before


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom tests.kubeflow.kfp.kfp_plans import *\n"
        "from headrace.kubeflow.kfp.compile import compile_kfp\ncompile_kfp(flights(), DEPLOYMENT)\n"
        "heavy = 'tensorflow keras apache_beam pyarrow sqlalchemy numpy kfp kubernetes'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    code = code.replace("from tests.kubeflow.kfp.kfp_plans import *", HEAVY_FREE)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[]\n", "")


HEAVY_FREE = (
    "from headrace.kubeflow.deployment import Deployment\nfrom headrace.pipelines.author_file import load_plan\n"
    "DEPLOYMENT = Deployment(image='repo/flights:1', root='s3://bucket/root')\n"
    "flights = lambda: load_plan('examples/flights/pipeline.py')"
)


def test_a_digest_comes_with_every_artifact() -> None:
    compiled = spec(ports())
    task = compiled["root"]["dag"]["tasks"]["join"]
    for name, source in task["inputs"]["artifacts"].items():
        producer = source["taskOutputArtifact"]
        assert task["inputs"]["parameters"][f"digest-{name}"] == {
            "taskOutputParameter": {
                "producerTask": producer["producerTask"],
                "outputParameterKey": f"digest-{producer['outputArtifactKey']}",
            }
        }
    assert sorted(task["inputs"]["artifacts"]) == ["all-0", "all-1", "one"]
    assert compiled["components"]["comp-join"]["inputDefinitions"]["artifacts"]["extra"]["isOptional"] is True


def test_an_edit_of_the_code_is_in_the_arguments_and_a_run_is_not() -> None:
    """KFP's cache key has the arguments and not the environment."""
    plan = one_step()
    [step] = plan.steps
    edited = make_plan(replace(step, component=replace(step.component, code_digest="1" * 64)))
    assert container(plan)["args"] != container(edited)["args"]
    assert not any("workflow" in argument for argument in container(plan)["args"])
    assert {"name": "HEADRACE_RUN", "value": "{{workflow.uid}}"} in container(plan)["env"]


def test_what_reads_files_or_asks_the_store_looks_itself() -> None:
    cached = {name: task["cachingOptions"]["enableCache"] for name, task in tasks(ports()).items()}
    assert cached == {"first": True, "second-one": True, "join": True, "read": False, "ask": False}
    assert tasks(one_step(cache=False))["train"]["cachingOptions"] == {"enableCache": False}


def tasks(plan: Plan, **options: Any) -> dict[str, Any]:
    return spec(plan, **options)["root"]["dag"]["tasks"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"cpu": "500m"}, {"cpuRequest": 0.5}),
        ({"cpu": "2"}, {"cpuRequest": 2}),
        ({"memory": "4Gi"}, {"memoryRequest": 4.294967296, "memoryLimit": 4.294967296}),
        ({"memory": "512Mi"}, {"memoryRequest": 0.536870912, "memoryLimit": 0.536870912}),
        ({"memory": "10G"}, {"memoryRequest": 10, "memoryLimit": 10}),
        ({"gpu": 2}, {"accelerator": {"type": "nvidia.com/gpu", "count": "2"}}),
    ],
)
def test_resources(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert container(one_step(**given))["resources"] == expected


def test_a_timeout_is_in_the_command() -> None:
    assert container(one_step(timeout=90))["command"] == ["timeout", "--kill-after=30", "90", "headrace-step"]


def test_a_retry_waits_twice_as_long_each_time() -> None:
    policy = tasks(one_step(retries=2, retry_wait=1.5), kfp_version=NEWEST)["train"]["retryPolicy"]
    assert policy == {
        "maxRetryCount": 2,
        "backoffDuration": "2s",
        "backoffFactor": 2,
        "backoffMaxDuration": "3600s",
    }


def test_parameters_given_replace_defaults() -> None:
    compiled = spec(ports(), parameters={"required": "here", "count": 7})
    declared = compiled["root"]["inputDefinitions"]["parameters"]
    assert declared["required"] == {"parameterType": "STRING", "defaultValue": "here", "isOptional": True}
    assert declared["count"]["defaultValue"] == 7
    assert "has no parameter 'nothing'" in problems(ports(), parameters={"nothing": 1})
    assert "parameter 'count': expected int" in problems(ports(), parameters={"count": "x"})


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_a_constant_arrives(text: str) -> None:
    step = make_step("Train", arguments={"a": Const({"k": [text], text: 1})}, kinds={"a": "dict"})
    plan = Plan(f"p {text}", (step,))
    [argument] = [one for one in container(plan)["args"] if one.startswith("--step=")]
    document = StepDocument.from_json(argument.removeprefix("--step="))
    assert document == StepDocument.of(plan, step)
    assert dict(document.step.arguments)["a"] == Const({"k": [text], text: 1})
    assert "{{" not in argument and "$" not in argument and argument.isascii()


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_a_default_arrives_or_is_refused(text: str) -> None:
    plan = make_plan(
        make_step("Train"), parameters=(PlanParameter("p", "str", text), PlanParameter("l", "list[str]", [text]))
    )
    if any(template in text for template in ("{{", "$(", "$$")):
        assert problems(plan).count("KFP replaces what follows") == 2
    elif not_stored(text):
        assert problems(plan).count("KFP cannot store the character") == 2
    else:
        declared = spec(plan)["root"]["inputDefinitions"]["parameters"]
        assert (declared["p"]["defaultValue"], declared["l"]["defaultValue"]) == (text, [text])


@pytest.mark.parametrize("text", [text for text in HOSTILE if "{{" not in text])
def test_hostile_text_in_the_environment_arrives(text: str) -> None:
    if not_stored(text):
        assert "which KFP cannot store" in problems(one_step(env={"A": text}))
        return
    [entry] = container(one_step(env={"A": text}))["env"][1:]
    assert expanded(expanded(entry["value"])) == text


def expanded(text: str) -> str:
    """What Kubernetes makes of an argument or a variable, where no variable has a name that is asked for.

    Source: third_party/forked/golang/expansion/expand.go in k8s.io/kubernetes.
    """
    made, at = "", 0
    while at < len(text):
        if text[at] == "$" and text[at + 1 : at + 2] == "$":
            made, at = made + "$", at + 2
        else:
            made, at = made + text[at], at + 1
    return made


def test_two_dollars_are_one_to_kubernetes() -> None:
    assert (expanded("$$(HOME)"), expanded("$(HOME)"), expanded("5$")) == ("$(HOME)", "$(HOME)", "5$")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"retries": 1}, "2.0.5 cannot; 2.4.1 can"),
        ({"tolerations": [{"key": "a"}]}, "2.0.5 cannot; 2.1.0 can"),
        ({"labels": {"a": "b"}}, "2.0.5 cannot; 2.14.0 can"),
        ({"volumes": {"/c": "config_map:c"}}, "KFP 2.0.5 cannot mount 'config_map:c' at /c; 2.1.0 can"),
        ({"volumes": {"/c": "scratch:1Gi"}}, "KFP 2.0.5 cannot mount 'scratch:1Gi' at /c; 2.3.0 can"),
        ({"storage": "1Gi"}, "kfp cannot express a step's setting `storage`"),
        ({"volumes": {"/a": "pvc:x", "/b": "pvc:x"}}, "KFP gives both the name 'x'"),
        ({"volumes": {"/a": "secret:a.b"}}, "which Kubernetes does not take"),
        ({"memory": "1k"}, "less than 100000 bytes"),
        ({"timeout": 0}, "a timeout of 0 seconds"),
        ({"env": {"HEADRACE_RUN": "1"}}, "holds the run's id"),
        ({"env": {"A": "{{a}}"}}, "which kfp takes for a template"),
        ({"image": "repo/$(X):1"}, "which KFP replaces"),
        ({"secrets": {"A": "Vault/token"}}, "is no name of an object in Kubernetes"),
        ({"env": {"A": "1"}, "secrets": {"A": "vault/token"}}, "A is in the settings"),
    ],
)
def test_refused_settings_name_the_step(settings: dict[str, Any], said: str) -> None:
    found = problems(one_step(**settings))
    assert said in found and "Train" in found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"parallelism": 3}, "ResourceQuota"),
        ({"ttl": 60}, "2.17.0 can"),
        ({"fs_group": 1000}, "cannot express the deployment's `fs_group`"),
        ({"pod_gc": "OnPodSuccess"}, "cannot express the deployment's `pod_gc`"),
        ({"image_pull_secrets": ("a",)}, "2.1.0 can"),
        ({"root": "memory://root"}, "pods share no memory"),
        ({"root": "s3://bucket/$(X)"}, "which KFP replaces"),
        ({"schedule": Schedule("0 6 * * *", "Europe/Zurich")}, "one time zone"),
        ({"schedule": Schedule("0 6 * * *", concurrency="Replace")}, "cannot replace a run"),
    ],
)
def test_refused_deployments(changes: dict[str, Any], said: str) -> None:
    assert said in problems(one_step(), replace(DEPLOYMENT, **changes))


def test_the_defaults_of_a_deployment_are_refused_as_a_steps_own() -> None:
    assert "2.4.1 can" in problems(one_step(), replace(DEPLOYMENT, settings=Settings(retries=1)))


def test_a_step_too_long_for_the_driver_is_refused() -> None:
    long = make_plan(make_step("Train", arguments={"a": Const("x" * 140_000)}))
    assert "Train: its container has 14" in problems(long)


def test_names_that_meet_in_kfp_are_refused() -> None:
    found = problems(make_plan(make_step("Load"), make_step("LoadDriver")))
    assert "a task load-driver of its own" in found
    assert "both called 'train-a'" in problems(make_plan(make_step("TrainA"), make_step("train_a")))


@pytest.mark.parametrize("name", ["a" * 60, "root", "Root", "x", "no", "Train" * 12])
def test_names_of_components_fit_an_annotation(name: str) -> None:
    for component in spec(make_plan(make_step(name)))["components"]:
        assert len(f"implementations-{component}") <= 63 and component != "root"


def test_numbers_that_a_double_cannot_hold_are_refused() -> None:
    plan = make_plan(make_step("Train"), parameters=(PlanParameter("n", "int", 2**53 + 1),))
    assert "would become 9007199254740992" in problems(plan)
    assert "would become" in problems(make_plan(make_step("T"), parameters=(PlanParameter("n", "list[int]", [2**60]),)))


@pytest.mark.parametrize("version", ["2.0", "x", "2.0.4", "1.8.5", ""])
def test_a_version_that_is_none_is_refused(version: str) -> None:
    assert "Kubeflow Pipelines" in problems(one_step(), kfp_version=version)


def test_every_construct_has_its_word() -> None:
    assert target().constructs.keys() == CONSTRUCTS.keys()


def test_a_second_document_only_where_something_is_in_it() -> None:
    assert len(documents(compile_kfp(one_step(cpu="1"), DEPLOYMENT))) == 1
    _, platform = documents(compile_kfp(one_step(node_selector={"a": "b"}), DEPLOYMENT))
    assert platform == {
        "platforms": {
            "kubernetes": {"deploymentSpec": {"executors": {"exec-train": {"nodeSelector": {"labels": {"a": "b"}}}}}}
        }
    }


def test_no_secret_value_can_be_in_it() -> None:
    text = compile_kfp(one_step(secrets={"TOKEN": "vault/token"}), DEPLOYMENT)
    [_, platform] = documents(text)
    [config] = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    assert config == {"secretAsEnv": [{"secretName": "vault", "keyToEnv": [{"secretKey": "token", "envVar": "TOKEN"}]}]}


def test_it_needs_no_source_tree(tmp_path: Path) -> None:
    plan = Plan.from_json(flights().to_json())
    text = compile_kfp(plan, DEPLOYMENT)
    document = json.loads(next(a for a in _arguments(text) if a.startswith("--step=")).removeprefix("--step="))
    assert not any(str(ROOT) in one for one in _arguments(text)), document


def _arguments(text: str) -> list[str]:
    executors = documents(text)[0]["deploymentSpec"]["executors"]
    return [argument for executor in executors.values() for argument in executor["container"]["args"]]
