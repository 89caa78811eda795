"""Planted faults: each is one change of a compiled file, and the complaint names its place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from headrace.kubeflow.argo import check_argo, compile_argo
from headrace.kubeflow.argo.cron import wrong_schedule
from headrace.kubeflow.deployment import Schedule
from headrace.pipelines.plan import Channel, Const, Parameter, PlanParameter, Settings

from tests.kubeflow.argo.conftest import Lint
from tests.kubeflow.argo.plans import DEPLOYMENT, make_plan, make_step

PLAN = make_plan(
    make_step("Read", outputs=("examples",), results={"rows": "int"}, arguments={"path": Parameter("data")}),
    make_step(
        "Train",
        inputs={"examples": Channel("Read", "examples")},
        outputs=("model",),
        arguments={"rows": Channel("Read", "rows"), "depth": Const(3)},
        settings=Settings(retries=2, retry_wait=1.0, timeout=60.0, memory="1Gi", env=(("A", "1"), ("B", "2"))),
    ),
    make_step("Push", inputs={"model": Channel("Train", "model")}),
    parameters=(PlanParameter("data", "str", "data/"), PlanParameter("loud", "bool", True)),
)
SCHEDULED = replace(DEPLOYMENT, schedule=Schedule("0 6 * * *"), pod_gc="OnPodSuccess")
FILES = {
    kind: yaml.safe_load(compile_argo(PLAN, SCHEDULED, kind=kind, memoize=True))
    for kind in ("Workflow", "WorkflowTemplate", "CronWorkflow")
}
Change = Callable[[dict[str, Any]], Any]


class Workflow:
    """A compiled file with handles on its parts."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document, self.spec = document, document["spec"].get("workflowSpec", document["spec"])
        self.templates = self.spec["templates"]
        self.dag, self.read, self.train, self.push = self.templates
        self.tasks = self.dag["dag"]["tasks"]
        self.container = self.train["container"]


def set_(part: Callable[[Workflow], Any], key: Any, value: Any) -> Callable[[Workflow], None]:
    return lambda workflow: part(workflow).__setitem__(key, value)


def drop(part: Callable[[Workflow], Any], key: Any) -> Callable[[Workflow], None]:
    return lambda workflow: part(workflow).__delitem__(key)


def append(part: Callable[[Workflow], Any], item: Any) -> Callable[[Workflow], None]:
    return lambda workflow: part(workflow).append(copy.deepcopy(item) if not callable(item) else item(workflow))


TASK = "spec.templates[dag].dag.tasks"
TRAIN = "spec.templates[train]"
# (name, change, place in the complaint, kind): what Argo's own linter finds.
Fault = tuple[str, Callable[[Workflow], None], str, str]

LINTED: list[Fault] = [
    ("unknown template", set_(lambda w: w.tasks[1], "template", "trian"), f"{TASK}[train].template", "Workflow"),
    ("unknown entrypoint", set_(lambda w: w.spec, "entrypoint", "main"), "spec.entrypoint", "Workflow"),
    ("no entrypoint", drop(lambda w: w.spec, "entrypoint"), "spec.entrypoint", "Workflow"),
    ("unknown dependency", append(lambda w: w.tasks[1]["dependencies"], "raed"), f"{TASK}[train]", "Workflow"),
    ("cycle", set_(lambda w: w.tasks[0], "dependencies", ["push"]), TASK, "Workflow"),
    ("missing dependency", drop(lambda w: w.tasks[2], "dependencies"), f"{TASK}[push].arguments", "Workflow"),
    (
        "unknown output parameter",
        set_(lambda w: w.tasks[1]["arguments"]["parameters"][0], "value", "{{tasks.read.outputs.parameters.row}}"),
        f"{TASK}[train].arguments.parameters[result-read-rows].value",
        "Workflow",
    ),
    (
        "unknown output artifact",
        set_(lambda w: w.tasks[1]["arguments"]["artifacts"][0], "from", "{{tasks.read.outputs.artifacts.example}}"),
        f"{TASK}[train].arguments.artifacts[examples].from",
        "Workflow",
    ),
    (
        "unknown task in a reference",
        set_(lambda w: w.tasks[2]["arguments"]["artifacts"][0], "from", "{{tasks.trian.outputs.artifacts.model}}"),
        f"{TASK}[push].arguments.artifacts[model].from",
        "Workflow",
    ),
    ("no argument for an input", lambda w: w.tasks[1]["arguments"]["parameters"].pop(), f"{TASK}[train]", "Workflow"),
    ("no artifact for an input", drop(lambda w: w.tasks[2]["arguments"], "artifacts"), f"{TASK}[push]", "Workflow"),
    (
        "argument without a value",
        drop(lambda w: w.tasks[1]["arguments"]["parameters"][0], "value"),
        f"{TASK}[train].arguments.parameters[result-read-rows]",
        "Workflow",
    ),
    ("two tasks of a name", append(lambda w: w.tasks, lambda w: w.tasks[0]), f"{TASK}[read]", "Workflow"),
    ("two templates of a name", append(lambda w: w.templates, lambda w: w.read), "spec.templates[read]", "Workflow"),
    ("illegal task name", set_(lambda w: w.tasks[2], "name", "push_it"), f"{TASK}[push_it]", "Workflow"),
    ("illegal template name", set_(lambda w: w.push, "name", "push.it"), "spec.templates[push.it]", "Workflow"),
    ("no tasks", set_(lambda w: w.dag["dag"], "tasks", []), TASK, "Workflow"),
    ("no image", drop(lambda w: w.container, "image"), f"{TRAIN}.container.image", "Workflow"),
    ("two types", set_(lambda w: w.train, "suspend", {}), TRAIN, "Workflow"),
    ("no type", drop(lambda w: w.train, "container"), TRAIN, "Workflow"),
    ("unknown field", set_(lambda w: w.container, "comand", ["x"]), f"{TRAIN}.container.comand", "Workflow"),
    ("unknown field of the spec", set_(lambda w: w.spec, "entryPoint", "dag"), "spec.entryPoint", "Workflow"),
    ("wrong type", set_(lambda w: w.container, "args", "x"), f"{TRAIN}.container.args", "Workflow"),
    (
        "wrong type of a variable",
        set_(lambda w: w.container["env"][0], "value", 1),
        f"{TRAIN}.container.env[A]",
        "Workflow",
    ),
    ("wrong quantity", set_(lambda w: w.container["resources"]["limits"], "memory", "1GiB"), TRAIN, "Workflow"),
    (
        "two mounts of a path",
        set_(lambda w: w.container["volumeMounts"][1], "mountPath", "/headrace/outputs"),
        f"{TRAIN}.container.volumeMounts[1]",
        "Workflow",
    ),
    (
        "an artifact without a path",
        drop(lambda w: w.train["inputs"]["artifacts"][0], "path"),
        f"{TRAIN}.inputs.artifacts[examples].path",
        "Workflow",
    ),
    (
        "two inputs of a name",
        append(lambda w: w.train["inputs"]["parameters"], {"name": "result-read-rows"}),
        f"{TRAIN}.inputs.parameters[result-read-rows]",
        "Workflow",
    ),
    (
        "illegal name of an output",
        set_(lambda w: w.push["outputs"]["parameters"][0], "name", "a.b"),
        "spec.templates[push].outputs.parameters[a.b]",
        "Workflow",
    ),
    (
        "an output parameter from nowhere",
        drop(lambda w: w.push["outputs"]["parameters"][0], "valueFrom"),
        "spec.templates[push].outputs.parameters[step-verdict]",
        "Workflow",
    ),
    (
        "an output parameter without a path",
        set_(lambda w: w.push["outputs"]["parameters"][0], "valueFrom", {"expression": "1"}),
        "spec.templates[push].outputs.parameters[step-verdict]",
        "Workflow",
    ),
    (
        "retry policy",
        set_(lambda w: w.train["retryStrategy"], "retryPolicy", "Never"),
        f"{TRAIN}.retryStrategy",
        "Workflow",
    ),
    ("deadline", set_(lambda w: w.train, "activeDeadlineSeconds", -1), f"{TRAIN}.activeDeadlineSeconds", "Workflow"),
    ("timeout", set_(lambda w: w.train, "timeout", "60"), f"{TRAIN}.timeout", "Workflow"),
    ("parallelism of a pod", set_(lambda w: w.train, "parallelism", 2), f"{TRAIN}.parallelism", "Workflow"),
    ("deadline of a DAG", set_(lambda w: w.dag, "activeDeadlineSeconds", 5), "spec.templates[dag]", "Workflow"),
    (
        "dangling variable",
        append(lambda w: w.container["args"], "{{inputs.parameters.gone}}"),
        f"{TRAIN}.container.args",
        "Workflow",
    ),
    ("dangling workflow variable", append(lambda w: w.container["args"], "{{workflow.nam}}"), TRAIN, "Workflow"),
    (
        "parameter that is not declared",
        append(lambda w: w.container["args"], "{{workflow.parameters.x}}"),
        TRAIN,
        "Workflow",
    ),
    (
        "value that is no choice",
        set_(lambda w: w.spec["arguments"]["parameters"][1], "value", "maybe"),
        "spec.arguments.parameters[loud].value",
        "Workflow",
    ),
    (
        "illegal name of an argument",
        set_(lambda w: w.spec["arguments"]["parameters"][0], "name", "da ta"),
        "spec.arguments.parameters[da ta]",
        "Workflow",
    ),
    ("pod GC", set_(lambda w: w.spec["podGC"], "strategy", "Always"), "spec.podGC.strategy", "Workflow"),
    ("both kinds of dependencies", set_(lambda w: w.tasks[2], "depends", "train"), f"{TASK}[push]", "Workflow"),
    ("unknown result", lambda w: depend(w, "train.Done"), f"{TASK}[push].depends", "Workflow"),
    ("a schedule", set_(lambda w: w.document["spec"], "schedules", ["61 * * * *"]), "spec.schedules", "CronWorkflow"),
    (
        "a policy",
        set_(lambda w: w.document["spec"], "concurrencyPolicy", "Never"),
        "spec.concurrencyPolicy",
        "CronWorkflow",
    ),
    ("two schedules", set_(lambda w: w.document["spec"], "schedule", "* * * * *"), "spec", "CronWorkflow"),
    (
        "a name too long",
        set_(lambda w: w.document["metadata"], "name", "x" * 53),
        "metadata.name",
        "CronWorkflow",
    ),
    (
        "a schedule's parameter without a value",
        drop(lambda w: w.spec["arguments"]["parameters"][0], "value"),
        "spec.workflowSpec.arguments.parameters[data]",
        "CronWorkflow",
    ),
    ("braces that never close", append(lambda w: w.container["args"], "{{workflow.name"), TRAIN, "Workflow"),
    (
        "an argument given twice",
        append(lambda w: w.tasks[2]["arguments"]["artifacts"], lambda w: w.tasks[2]["arguments"]["artifacts"][0]),
        f"{TASK}[push].arguments.artifacts[model]",
        "Workflow",
    ),
    ("template of a template", set_(lambda w: w.tasks[1], "template", "trian"), TASK, "WorkflowTemplate"),
]
# What its linter lets pass, and what then fails, hangs or means something else in the cluster.
OURS: list[Fault] = [
    (
        "a name in an expression",
        set_(lambda w: w.container["args"], -1, "{{=sprig.b64enc(inputs.parameters['gone'])}}"),
        f"{TRAIN}.container.args",
        "Workflow",
    ),
    ("a bracket in an expression", append(lambda w: w.container["args"], "{{=toJson((1)}}"), TRAIN, "Workflow"),
    ("a variable of no one's", append(lambda w: w.container["args"], "{{today}}"), TRAIN, "Workflow"),
    ("retries without a strategy", append(lambda w: w.push["container"]["args"], "{{retries}}"), "push", "Workflow"),
    ("a memoize key", set_(lambda w: w.push["memoize"], "key", "a_b"), "spec.templates[push].memoize.key", "Workflow"),
    ("a cache's name", set_(lambda w: w.push["memoize"]["cache"]["configMap"], "name", "A b"), "[push]", "Workflow"),
    (
        "a cache's age",
        set_(lambda w: w.push["memoize"], "maxAge", "day"),
        "spec.templates[push].memoize.maxAge",
        "Workflow",
    ),
    ("an image", set_(lambda w: w.container, "image", "a b"), f"{TRAIN}.container.image", "Workflow"),
    ("a volume", set_(lambda w: w.container["volumeMounts"][0], "name", "gone"), TRAIN, "Workflow"),
    (
        "a variable set twice",
        set_(lambda w: w.container["env"][0], "name", "B"),
        f"{TRAIN}.container.env[B]",
        "Workflow",
    ),
    (
        "an argument for no input",
        append(lambda w: w.tasks[0]["arguments"]["parameters"], {"name": "extra", "value": "1"}),
        f"{TASK}[read].arguments.parameters[extra]",
        "Workflow",
    ),
    ("a label", set_(lambda w: w.document["metadata"]["labels"], "a b", "c"), "metadata.labels", "Workflow"),
    ("a label's value", set_(lambda w: w.train, "metadata", {"labels": {"a": "b c"}}), f"{TRAIN}.metadata", "Workflow"),
    (
        "a generated name",
        set_(lambda w: w.document["metadata"], "generateName", "A_"),
        "metadata.generateName",
        "Workflow",
    ),
    (
        "two braces in a value",
        set_(lambda w: w.spec["arguments"]["parameters"][0], "value", "{{workflow.name}}"),
        "spec.arguments.parameters[data].value",
        "Workflow",
    ),
    ("a backoff", set_(lambda w: w.train["retryStrategy"]["backoff"], "duration", "soon"), TRAIN, "Workflow"),
    ("a limit", set_(lambda w: w.train["retryStrategy"], "limit", "some"), f"{TRAIN}.retryStrategy.limit", "Workflow"),
    (
        "an argument of a template",
        append(lambda w: w.container["args"], "{{workflow.parameters.x}}"),
        TRAIN,
        "WorkflowTemplate",
    ),
    ("a word of Argo's", lambda w: rename(w, "read", "not"), f"{TASK}[train]", "Workflow"),
    ("a relative path", set_(lambda w: w.train["inputs"]["artifacts"][0], "path", "in.json"), TRAIN, "Workflow"),
    ("an account", set_(lambda w: w.spec, "serviceAccountName", "No One"), "spec.serviceAccountName", "Workflow"),
    ("no pods at a time", set_(lambda w: w.spec, "parallelism", 0), "spec.parallelism", "Workflow"),
]


def depend(workflow: Workflow, on: str) -> None:
    for task in workflow.tasks:
        for name in task.pop("dependencies", ()):
            task["depends"] = name
    workflow.tasks[2]["depends"] = on


def rename(workflow: Workflow, old: str, new: str) -> None:
    workflow.tasks[0]["name"] = new
    text = yaml.safe_dump(workflow.dag).replace(f"tasks.{old}.", f"tasks.{new}.").replace(f"- {old}\n", f"- {new}\n")
    workflow.dag.clear()
    workflow.dag.update(yaml.safe_load(text))
    for task in workflow.dag["dag"]["tasks"]:
        task["dependencies"] = [new if name in (False, old) else name for name in task.get("dependencies", ())]
    workflow.dag["dag"]["tasks"][0]["name"] = new


def mutated(change: Callable[[Workflow], None], kind: str) -> dict[str, Any]:
    document = copy.deepcopy(FILES[kind])
    change(Workflow(document))
    assert document != FILES[kind]
    return document


@pytest.mark.parametrize("kind", FILES)
def test_nothing_is_wrong_with_what_is_compiled(kind: str):
    assert check_argo(FILES[kind]) == []


@pytest.mark.parametrize(
    ("change", "place", "kind"), [pytest.param(*rest, id=name) for name, *rest in [*LINTED, *OURS]]
)
def test_a_planted_fault_is_found_at_its_place(change: Callable[[Workflow], None], place: str, kind: str):
    place = place.replace("spec.templates", "spec.workflowSpec.templates") if kind == "CronWorkflow" else place
    found = [problem.what for problem in check_argo(mutated(change, kind))]
    assert any(place in what.split(": ")[0] for what in found), found


def test_argos_linter_finds_what_it_is_said_to_find_and_no_more(argo_lint: Lint):
    """So that the first list is of faults that are ones to Argo, and the second is what this check is for beyond it."""
    files = {}
    for label, group in (("linted", LINTED), ("ours", OURS)):
        for number, (_, change, _, kind) in enumerate(group):
            document = mutated(change, kind)
            if "name" in document["metadata"] and len(document["metadata"]["name"]) < 40:
                document["metadata"]["name"] = f"{label}{number}"
            files[f"{label}{number}"] = yaml.safe_dump(document)
    found = argo_lint(files)
    unfound = [name for number, (name, *_) in enumerate(LINTED) if f"linted{number}" not in found]
    beyond = [name for number, (name, *_) in enumerate(OURS) if f"ours{number}" in found]
    assert len(LINTED) >= 30 and (unfound, beyond) == ([], [])


def test_text_that_is_no_workflow_is_said():
    assert "no YAML" in check_argo("a: [")[0].what
    assert "expected a mapping" in check_argo("- a")[0].what
    assert "apiVersion: expected" in check_argo({"kind": "Workflow", "apiVersion": "v1"})[0].what
    assert "kind: expected one of" in check_argo({"kind": "Job", "apiVersion": "argoproj.io/v1alpha1"})[0].what


STEPS = """
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {generateName: steps-}
spec:
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {name: a, template: say, arguments: {parameters: [{name: text, value: x}]}}
    - - name: b
        template: say
        withItems: [1, 2]
        arguments: {parameters: [{name: text, value: "{{steps.a.outputs.parameters.out}} {{item}}"}]}
  - name: say
    inputs: {parameters: [{name: text}]}
    container: {image: busybox, command: [echo, "{{inputs.parameters.text}}"]}
    outputs: {parameters: [{name: out, valueFrom: {path: /tmp/out}}]}
"""


def test_steps_are_checked_as_a_dag_is():
    assert check_argo(STEPS) == []
    for old, new, said in [
        ("steps.a.outputs", "steps.b.outputs", "{{steps.b.outputs.parameters.out}} refers to nothing"),
        ("name: b", "name: a", "another task has this name"),
        ("template: say", "template: sya", "no template 'sya'"),
        ("withItems: [1, 2]", "when: 'true'", "{{item}} refers to nothing"),
    ]:
        assert any(said in problem.what for problem in check_argo(STEPS.replace(old, new))), said


@pytest.mark.parametrize(
    "schedule", ["* * * * *", "*/5 1-3,7 ? JAN-MAR sun", "@daily", "@every 1h30m", "TZ=UTC 0 0 1 1 0"]
)
def test_schedules_that_argo_reads(schedule: str):
    assert wrong_schedule(schedule) is None


@pytest.mark.parametrize(
    "schedule", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7", "a * * * *",
                 "5-1 * * * *", "*/0 * * * *", "1-2-3 * * * *", "@noon", "@every day", "* * * * mon-sun"]
)  # fmt: skip
def test_schedules_that_argo_refuses(schedule: str):
    assert wrong_schedule(schedule) is not None
