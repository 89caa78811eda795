"""The check of a compiled file finds what KFP's loader and server let through, and says where it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from headrace.kubeflow.kfp.check import check_kfp, require_sound
from headrace.kubeflow.kfp.compile import compile_kfp
from headrace.pipelines.errors import PipelineError

from tests.kubeflow.kfp.kfp_plans import DEPLOYMENT, NEW_SETTINGS, NEWEST, documents, flights, one_step, ports

Mutation = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def sound() -> list[Any]:
    return documents(compile_kfp(ports(), DEPLOYMENT))


@pytest.fixture(scope="module")
def placed() -> list[Any]:
    return documents(compile_kfp(one_step(**NEW_SETTINGS), DEPLOYMENT, kfp_version=NEWEST))


def found(changed: list[Any], version: str = "2.0.5") -> list[str]:
    return [str(problem) for problem in check_kfp(yaml.safe_dump_all(changed), kfp_version=version)]


@pytest.mark.parametrize("plan", [flights, ports, lambda: one_step(cpu="1")])
def test_what_is_compiled_is_sound(plan: Callable[[], Any]) -> None:
    assert check_kfp(compile_kfp(plan(), DEPLOYMENT)) == []


def test_settings_are_sound(placed: list[Any]) -> None:
    assert found(placed, NEWEST) == []


def _task(spec: dict[str, Any], name: str = "join") -> dict[str, Any]:
    task: dict[str, Any] = spec["root"]["dag"]["tasks"][name]
    return task


def _artifact(spec: dict[str, Any]) -> dict[str, Any]:
    source: dict[str, Any] = _task(spec)["inputs"]["artifacts"]["one"]["taskOutputArtifact"]
    return source


def _container(spec: dict[str, Any], label: str = "exec-join") -> dict[str, Any]:
    container: dict[str, Any] = spec["deploymentSpec"]["executors"][label]["container"]
    return container


def _definitions(spec: dict[str, Any], name: str = "comp-join") -> dict[str, Any]:
    definitions: dict[str, Any] = spec["components"][name]["inputDefinitions"]
    return definitions


def _loop_of_components(spec: dict[str, Any]) -> None:
    inner = {"taskInfo": {"name": "again"}, "componentRef": {"name": "comp-first"}}
    spec["components"]["comp-first"] = {"dag": {"tasks": {"again": inner}}}


MUTATIONS: dict[str, tuple[Mutation, str, str]] = {
    "a producer that is not there": (
        lambda spec: _artifact(spec).update(producerTask="gone"),
        "root.dag.tasks.join.inputs.artifacts.one",
        "no task is called 'gone'",
    ),
    "an output that is not there": (
        lambda spec: _artifact(spec).update(outputArtifactKey="gone"),
        "root.dag.tasks.join.inputs.artifacts.one",
        "has no output 'gone' among its artifacts; it has examples",
    ),
    "a parameter read as an artifact": (
        lambda spec: _artifact(spec).update(outputArtifactKey="rows"),
        "root.dag.tasks.join.inputs.artifacts.one",
        "has no output 'rows' among its artifacts",
    ),
    "an output parameter that is not there": (
        lambda spec: _task(spec)["inputs"]["parameters"]["digest-one"]["taskOutputParameter"].update(
            outputParameterKey="digest"
        ),
        "root.dag.tasks.join.inputs.parameters.digest-one",
        "has no output 'digest' among its parameters",
    ),
    "a pipeline parameter that is not there": (
        lambda spec: spec["root"]["inputDefinitions"]["parameters"].pop("count"),
        "root.dag.tasks.join.inputs.parameters.pipeline-count",
        "the surrounding DAG has no input 'count'",
    ),
    "a required input left out": (
        lambda spec: _task(spec)["inputs"]["artifacts"].pop("one"),
        "root.dag.tasks.join.inputs.artifacts",
        "the component's input 'one' is not given",
    ),
    "an input that the component lacks": (
        lambda spec: _definitions(spec)["artifacts"].pop("one"),
        "root.dag.tasks.join.inputs.artifacts.one",
        "the component has no such input",
    ),
    "an artifact of another type": (
        lambda spec: _definitions(spec)["artifacts"]["one"]["artifactType"].update(schemaTitle="system.Model"),
        "root.dag.tasks.join.inputs.artifacts.one",
        "expected system.Model@0.0.1, received system.Dataset@0.0.1",
    ),
    "an artifact of another version": (
        lambda spec: _definitions(spec)["artifacts"]["one"]["artifactType"].update(schemaVersion="1.0.0"),
        "root.dag.tasks.join.inputs.artifacts.one",
        "expected system.Dataset@1.0.0, received system.Dataset@0.0.1",
    ),
    "one artifact for a list": (
        lambda spec: _definitions(spec)["artifacts"]["one"].update(isArtifactList=True),
        "root.dag.tasks.join.inputs.artifacts.one",
        "expected a list, received one artifact",
    ),
    "a parameter of another type": (
        lambda spec: _definitions(spec)["parameters"]["pipeline-count"].update(parameterType="BOOLEAN"),
        "root.dag.tasks.join.inputs.parameters.pipeline-count",
        "expected BOOLEAN, received NUMBER_INTEGER",
    ),
    "a default of another type": (
        lambda spec: spec["root"]["inputDefinitions"]["parameters"]["count"].update(defaultValue="3"),
        "root.inputDefinitions.parameters.count.defaultValue",
        "expected a value of NUMBER_INTEGER, received '3'",
    ),
    "a constant of another type": (
        lambda spec: _task(spec)["inputs"]["parameters"].update(
            {"pipeline-count": {"runtimeValue": {"constant": "three"}}}
        ),
        "root.dag.tasks.join.inputs.parameters.pipeline-count",
        "expected a value of NUMBER_INTEGER, received 'three'",
    ),
    "a parameter without a type": (
        lambda spec: _definitions(spec)["parameters"]["digest-one"].pop("parameterType"),
        "components.comp-join.inputDefinitions.parameters.digest-one",
        "expected a parameterType such as STRING, received None",
    ),
    "an artifact without a type": (
        lambda spec: _definitions(spec)["artifacts"]["one"].pop("artifactType"),
        "components.comp-join.inputDefinitions.artifacts.one",
        "expected an artifactType with a schemaTitle",
    ),
    "a title that is none": (
        lambda spec: spec["components"]["comp-ask"]["outputDefinitions"]["artifacts"]["model"]["artifactType"].update(
            schemaTitle="Model"
        ),
        "components.comp-ask.outputDefinitions.artifacts.model",
        "expected a schemaTitle such as system.Dataset, received 'Model'",
    ),
    "a component that is not there": (
        lambda spec: _task(spec).update(componentRef={"name": "comp-gone"}),
        "root.dag.tasks.join.componentRef",
        "no component is called 'comp-gone'",
    ),
    "an executor that is not there": (
        lambda spec: spec["components"]["comp-join"].update(executorLabel="exec-gone"),
        "components.comp-join.executorLabel",
        "no executor is called 'exec-gone'",
    ),
    "a component without an implementation": (
        lambda spec: spec["components"]["comp-join"].pop("executorLabel"),
        "components.comp-join",
        "expected a DAG or an executor",
    ),
    "a component within itself": (_loop_of_components, "components.comp-first", "contains itself"),
    "a dependency that is not there": (
        lambda spec: _task(spec)["dependentTasks"].append("gone"),
        "root.dag.tasks.join.dependentTasks",
        "no task is called 'gone'",
    ),
    "a cycle": (
        lambda spec: _task(spec, "first").update(dependentTasks=["join"]),
        "root.dag.tasks.first",
        "a cycle: first <- join <- first",
    ),
    "a task that waits for itself": (
        lambda spec: _task(spec, "ask").update(dependentTasks=["ask"]),
        "root.dag.tasks.ask",
        "a cycle: ask <- ask",
    ),
    "a name that a task cannot have": (
        lambda spec: spec["root"]["dag"]["tasks"].update({"Ask_1": spec["root"]["dag"]["tasks"].pop("ask")}),
        "root.dag.tasks.Ask_1",
        "expected a name of lower-case letters",
    ),
    "a name that KFP has itself": (
        lambda spec: spec["root"]["dag"]["tasks"].update({"ask-driver": copy.deepcopy(_task(spec, "ask"))}),
        "root.dag.tasks.ask-driver",
        "KFP has a task of this name of its own",
    ),
    "a display name by which no output is found": (
        lambda spec: _task(spec, "first").update(taskInfo={"name": "First"}),
        "root.dag.tasks.first.taskInfo",
        "KFP looks for 'first', and would find 'First'",
    ),
    "a task without a name": (
        lambda spec: _task(spec, "ask").pop("taskInfo"),
        "root.dag.tasks.ask.taskInfo",
        "no name",
    ),
    "a name of a component too long for an annotation": (
        lambda spec: spec["components"].update({"c" * 48: spec["components"]["comp-ask"]}),
        "components." + "c" * 48,
        "expected a name of at most 47 letters",
    ),
    "a name of a pipeline": (
        lambda spec: spec["pipelineInfo"].update(name="Every Port"),
        "pipelineInfo.name",
        "expected lower-case letters",
    ),
    "no image": (
        lambda spec: _container(spec).update(image=""),
        "deploymentSpec.executors.exec-join.container.image",
        "no image",
    ),
    "nothing to start": (
        lambda spec: _container(spec).update(command=[], args=[]),
        "deploymentSpec.executors.exec-join.container",
        "neither a command nor arguments",
    ),
    "an executor of nothing": (
        lambda spec: spec["deploymentSpec"]["executors"].update({"exec-join": {}}),
        "deploymentSpec.executors.exec-join",
        "expected a container or an importer",
    ),
    "a variable twice": (
        lambda spec: _container(spec)["env"].append({"name": "HEADRACE_RUN", "value": "1"}),
        "deploymentSpec.executors.exec-join.container.env",
        "'HEADRACE_RUN' is set twice",
    ),
    "a template of Argo's in an argument": (
        lambda spec: _container(spec)["args"].append("{{workflow.name}}"),
        "deploymentSpec.executors.exec-join.container.args[5]",
        "is no placeholder of KFP's",
    ),
    "an expression in an argument": (
        lambda spec: _container(spec)["args"].append("{{=1+1}}"),
        "deploymentSpec.executors.exec-join.container.args[5]",
        "is no placeholder of KFP's",
    ),
    "a placeholder of what is not there": (
        lambda spec: _container(spec)["args"].append("{{$.inputs.parameters['gone']}}"),
        "deploymentSpec.executors.exec-join.container.args[5]",
        "the component has no such parameter 'gone'",
    ),
    "a template in a default": (
        lambda spec: spec["root"]["inputDefinitions"]["parameters"]["text"].update(defaultValue="{{workflow.uid}}"),
        "root.inputDefinitions.parameters.text.defaultValue",
        "'{{' opens a template",
    ),
    "half a template in the environment": (
        lambda spec: _container(spec)["env"].append({"name": "A", "value": "{{"}),
        "deploymentSpec.executors.exec-join.container.env[1].value",
        "'{{' opens a template",
    ),
    "a character that is not stored": (
        lambda spec: _container(spec)["env"].append({"name": "A", "value": "line\u2028line"}),
        "deploymentSpec.executors.exec-join.container.env[1].value",
        "the server cannot store the character '\\u2028'",
    ),
    "a negative number of retries": (
        lambda spec: _task(spec).update(retryPolicy={"maxRetryCount": -1}),
        "root.dag.tasks.join.retryPolicy.maxRetryCount",
        "expected no negative number",
    ),
    "a condition on what is not there": (
        lambda spec: _task(spec).update(triggerPolicy={"condition": "inputs.parameter_values['gone'] == true"}),
        "root.dag.tasks.join.triggerPolicy.condition",
        "the task has no input 'gone'",
    ),
    "a loop over what is not there": (
        lambda spec: _task(spec).update(
            parameterIterator={"items": {"inputParameter": "gone"}, "itemInput": "pipeline-count"}
        ),
        "root.dag.tasks.join.parameterIterator.items",
        "the task has no input 'gone'",
    ),
    "an output of the pipeline from nowhere": (
        lambda spec: spec["root"].update(
            outputDefinitions={"artifacts": {"model": {"artifactType": {"schemaTitle": "system.Model"}}}}
        ),
        "root.dag.outputs.artifacts",
        "the declared output 'model' comes from no task",
    ),
    "an output of the pipeline of another type": (
        lambda spec: (
            spec["root"].update(
                outputDefinitions={"artifacts": {"model": {"artifactType": {"schemaTitle": "system.Model"}}}}
            ),
            spec["root"]["dag"].update(
                outputs={
                    "artifacts": {
                        "model": {"artifactSelectors": [{"producerSubtask": "first", "outputArtifactKey": "examples"}]}
                    }
                }
            ),
        ),
        "root.dag.outputs.artifacts.model",
        "expected system.Model",
    ),
    "an unknown field": (
        lambda spec: _container(spec).update(entrypoint="x"),
        "file",
        'no field named "entrypoint"',
    ),
    "a number for a text": (lambda spec: _container(spec).update(image=3), "file", "not what KFP's messages hold"),
    "another version of the IR": (
        lambda spec: spec.update(schemaVersion="2.0.0"),
        "schemaVersion",
        "expected '2.1.0', received '2.0.0'",
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_mistake_is_found_at_its_place(name: str, sound: list[Any]) -> None:
    mutate, place, said = MUTATIONS[name]
    changed = copy.deepcopy(sound)
    mutate(changed[0])
    assert [one for one in found(changed) if one.startswith(f"{place}: ") and said in one], found(changed)


PLACED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "an executor of another name": (
        lambda executors: executors.update({"exec-gone": executors.pop("exec-train")}),
        "exec-gone: no executor has this name",
    ),
    "an unknown setting": (
        lambda executors: executors["exec-train"].update(nodeSelectors={"labels": {}}),
        "exec-train.nodeSelectors: the server knows no such field",
    ),
    "two volumes of one name": (
        lambda executors: executors["exec-train"]["secretAsVolume"].append({"secretName": "data", "mountPath": "/x"}),
        "two volumes of the pod would be called 'data'",
    ),
    "two mounts at one path": (
        lambda executors: executors["exec-train"]["pvcMount"].append({"constant": "b", "mountPath": "/data"}),
        "two things are mounted at '/data'",
    ),
    "a relative path": (
        lambda executors: executors["exec-train"]["pvcMount"].append({"constant": "b", "mountPath": "x"}),
        "expected an absolute mountPath",
    ),
}


@pytest.mark.parametrize("name", PLACED)
def test_a_mistake_in_the_platform_spec_is_found(name: str, placed: list[Any]) -> None:
    mutate, said = PLACED[name]
    changed = copy.deepcopy(placed)
    mutate(changed[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"])
    assert any(said in one for one in found(changed, NEWEST)), found(changed, NEWEST)


def test_a_file_too_large_for_an_old_server_is_found(sound: list[Any]) -> None:
    changed = copy.deepcopy(sound)
    _container(changed[0])["args"].append("x" * 300_000)
    assert any("of which a server before 2.3.0 takes 256 KiB" in one for one in found(changed))
    assert found(changed, "2.3.0") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not YAML"),
        ("", "expected one document with pipelineInfo, found 0"),
        ("a: 1\n---\nb: 2", "found 0"),
        ("pipelineInfo: {name: a}\n---\npipelineInfo: {name: a}", "found 2"),
        ("pipelineInfo: {name: a}\nschemaVersion: 2.1.0\nroot: {dag: {}}\n---\nother: 1", "found other documents"),
        ("pipelineInfo: {name: a}\nschemaVersion: 2.1.0", "root: expected a DAG"),
    ],
)
def test_a_file_that_is_none(text: str, said: str) -> None:
    assert any(said in str(problem) for problem in check_kfp(text))
    with pytest.raises(PipelineError):
        require_sound(text)
