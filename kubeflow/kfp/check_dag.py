"""The tasks of a DAG in a compiled file: what each reads is there, of its type, and before it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from headrace.kubeflow.kfp.check_types import artifact_fits, parameter_fits, value_problem

Found = Iterator[tuple[str, str]]

_TASK_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_CONDITION_INPUT = re.compile(r"inputs\.(?:parameter_values|parameters)\['([^']*)'\]")


def dag_problems(place: str, component: Mapping[str, Any], components: Mapping[str, Any]) -> Found:
    """Yields what is wrong with a component's DAG.

    Args:
        place: The component's place in the file.
        component: The component.
        components: All components by name.
    """
    tasks = component["dag"].get("tasks", {})
    if not tasks:
        yield f"{place}.dag", "a DAG without tasks"
    for name, task in tasks.items():
        where = f"{place}.dag.tasks.{name}"
        yield from _task_problems(where, name, task, tasks)
        inner = components.get(task.get("componentRef", {}).get("name", ""))
        if inner is None:
            yield f"{where}.componentRef", f"no component is called {task.get('componentRef', {}).get('name')!r}"
            continue
        yield from _input_problems(where, task, inner, component, tasks, components)
        yield from _control_problems(where, task, inner)
    yield from _cycle_problems(place, tasks)
    yield from _output_problems(place, component, tasks, components)


def _task_problems(place: str, name: str, task: Mapping[str, Any], tasks: Mapping[str, Any]) -> Found:
    if not _TASK_NAME.fullmatch(name):
        yield place, f"expected a name of lower-case letters, digits and '-', received {name!r}"
    if not task.get("taskInfo", {}).get("name"):
        yield f"{place}.taskInfo", "no name, by which KFP records the task"
    elif task["taskInfo"]["name"] != name and _is_read(name, tasks):
        yield f"{place}.taskInfo", f"KFP looks for {name!r}, and would find {task['taskInfo']['name']!r}"
    if f"{name}-driver" in tasks:
        yield f"{place}-driver", f"KFP has a task of this name of its own, for {name}"
    for other in task.get("dependentTasks", []):
        if other not in tasks:
            yield f"{place}.dependentTasks", f"no task is called {other!r}"
    retries = task.get("retryPolicy", {}).get("maxRetryCount", 0)
    if retries < 0:
        yield f"{place}.retryPolicy.maxRetryCount", f"expected no negative number, received {retries}"


def _is_read(name: str, tasks: Mapping[str, Any]) -> bool:
    return any(name in _producers(task) for task in tasks.values())


def _producers(task: Mapping[str, Any]) -> set[str]:
    """The tasks whose outputs a task reads."""
    inputs = task.get("inputs", {})
    sources = [*inputs.get("parameters", {}).values(), *inputs.get("artifacts", {}).values()]
    named = ("taskOutputParameter", "taskOutputArtifact", "taskFinalStatus")
    return {source[kind].get("producerTask", "") for source in sources for kind in named if kind in source}


def _input_problems(
    place: str,
    task: Mapping[str, Any],
    inner: Mapping[str, Any],
    outer: Mapping[str, Any],
    tasks: Mapping[str, Any],
    components: Mapping[str, Any],
) -> Found:
    declared = inner.get("inputDefinitions", {})
    given = task.get("inputs", {})
    looped = _looped(task)
    for part in ("parameters", "artifacts"):
        for name, source in given.get(part, {}).items():
            where = f"{place}.inputs.{part}.{name}"
            if name not in declared.get(part, {}):
                if name not in looped:
                    yield where, "the component has no such input"
                continue
            type_or_what = _source_type(part, source, outer, tasks, components)
            if isinstance(type_or_what, str):
                yield where, type_or_what
            elif what := _mismatch(part, source, type_or_what, declared[part][name]):
                yield where, what
        for name, port in declared.get(part, {}).items():
            required = not port.get("isOptional") and "defaultValue" not in port
            if required and name not in given.get(part, {}) and name not in looped:
                yield f"{place}.inputs.{part}", f"the component's input {name!r} is not given"


def _looped(task: Mapping[str, Any]) -> set[str]:
    """Inputs that a loop gives to its rounds, or takes its items from."""
    names = set()
    for iterator in ("parameterIterator", "artifactIterator"):
        if iterator in task:
            names.add(task[iterator].get("itemInput", ""))
            names |= {str(item) for item in task[iterator].get("items", {}).values()}
    return names


def _source_type(
    part: str,
    source: Mapping[str, Any],
    outer: Mapping[str, Any],
    tasks: Mapping[str, Any],
    components: Mapping[str, Any],
) -> Mapping[str, Any] | str:
    """The port that a source means, or why it means none."""
    kind, singular = (
        ("taskOutputParameter", "Parameter") if part == "parameters" else ("taskOutputArtifact", "Artifact")
    )
    if kind in source:
        return _output_port(
            source[kind].get("producerTask"), source[kind].get(f"output{singular}Key"), part, tasks, components
        )
    if (name := source.get(f"componentInput{singular}")) is not None:
        found: Mapping[str, Any] | None = outer.get("inputDefinitions", {}).get(part, {}).get(name)
        return found if found is not None else f"the surrounding DAG has no input {name!r}"
    if "taskFinalStatus" in source:
        producer = source["taskFinalStatus"].get("producerTask")
        return {"parameterType": "TASK_FINAL_STATUS"} if producer in tasks else f"no task is called {producer!r}"
    if "runtimeValue" in source:
        return {"constant": source["runtimeValue"].get("constant")} if "constant" in source["runtimeValue"] else {}
    if "taskOutputArtifact" in source or "taskOutputParameter" in source:
        return f"reads {', '.join(source)} as one of {part}"
    return {} if source.get("parameterExpressionSelector") else "no source"


def _output_port(
    task: Any, key: Any, part: str, tasks: Mapping[str, Any], components: Mapping[str, Any]
) -> Mapping[str, Any] | str:
    if task not in tasks:
        return f"no task is called {task!r}"
    component = components.get(tasks[task].get("componentRef", {}).get("name", ""), {})
    ports = component.get("outputDefinitions", {}).get(part, {})
    port: Mapping[str, Any] | None = ports.get(key)
    if port is None:
        return f"the task {task!r} has no output {key!r} among its {part}; it has {', '.join(ports) or 'none'}"
    return port


def _mismatch(
    part: str, source: Mapping[str, Any], given: Mapping[str, Any], expected: Mapping[str, Any]
) -> str | None:
    if "constant" in given:
        return value_problem(given["constant"], expected.get("parameterType", "")) if _is_plain(given) else None
    if not given or source.get("parameterExpressionSelector"):
        return None
    if part == "parameters":
        types = given.get("parameterType", ""), expected.get("parameterType", "")
        return None if parameter_fits(*types) else f"expected {types[1]}, received {types[0]}"
    if bool(given.get("isArtifactList")) != bool(expected.get("isArtifactList")):
        wanted, got = ("a list", "one artifact") if expected.get("isArtifactList") else ("one artifact", "a list")
        return f"expected {wanted}, received {got}"
    if not artifact_fits(given.get("artifactType", {}), expected.get("artifactType", {})):
        return f"expected {_said(expected)}, received {_said(given)}"
    return None


def _is_plain(given: Mapping[str, Any]) -> bool:
    return not (isinstance(given["constant"], str) and "{{$" in given["constant"])


def _said(port: Mapping[str, Any]) -> str:
    type_ = port.get("artifactType", {})
    return f"{type_.get('schemaTitle', 'an instance schema')}@{type_.get('schemaVersion', '?')}"


def _control_problems(place: str, task: Mapping[str, Any], inner: Mapping[str, Any]) -> Found:
    given = task.get("inputs", {}).get("parameters", {})
    for name in _CONDITION_INPUT.findall(task.get("triggerPolicy", {}).get("condition", "")):
        if name not in given:
            yield f"{place}.triggerPolicy.condition", f"the task has no input {name!r}"
    iterator = task.get("parameterIterator")
    if iterator is not None:
        items, item = iterator.get("items", {}).get("inputParameter"), iterator.get("itemInput")
        if items is not None and items not in given:
            yield f"{place}.parameterIterator.items", f"the task has no input {items!r}"
        if item not in inner.get("inputDefinitions", {}).get("parameters", {}):
            yield f"{place}.parameterIterator.itemInput", f"the component has no input {item!r}"


def _cycle_problems(place: str, tasks: Mapping[str, Any]) -> Found:
    waits = {name: {*task.get("dependentTasks", []), *_producers(task)} & tasks.keys() for name, task in tasks.items()}
    while free := [name for name, before in waits.items() if not before]:
        for name in free:
            del waits[name]
        for before in waits.values():
            before.difference_update(free)
    if waits:
        path = [min(waits)]
        while (ahead := min(waits[path[-1]])) not in path:
            path.append(ahead)
        yield f"{place}.dag.tasks.{ahead}", f"a cycle: {' <- '.join([*path[path.index(ahead) :], ahead])}"


def _output_problems(
    place: str, component: Mapping[str, Any], tasks: Mapping[str, Any], components: Mapping[str, Any]
) -> Found:
    """What a DAG hands out comes from one of its tasks, in the type that it declares."""
    for part, singular in (("parameters", "Parameter"), ("artifacts", "Artifact")):
        outputs = component["dag"].get("outputs", {}).get(part, {})
        declared = component.get("outputDefinitions", {}).get(part, {})
        for name in declared.keys() - outputs.keys():
            yield f"{place}.dag.outputs.{part}", f"the declared output {name!r} comes from no task"
        for name, output in outputs.items():
            where = f"{place}.dag.outputs.{part}.{name}"
            if name not in declared:
                yield where, "the component declares no such output"
            for selector in _selectors(output):
                port = _output_port(
                    selector.get("producerSubtask"), selector.get(f"output{singular}Key"), part, tasks, components
                )
                if isinstance(port, str):
                    yield where, port
                elif name in declared and (
                    what := _mismatch(part, {}, _one_round(port, declared[name]), declared[name])
                ):
                    yield where, what


def _one_round(port: Mapping[str, Any], declared: Mapping[str, Any]) -> Mapping[str, Any]:
    """The port as a DAG hands it out: the rounds of a loop together are a list."""
    if declared.get("isArtifactList"):
        return {**port, "isArtifactList": True}
    return {**port, "parameterType": "LIST"} if declared.get("parameterType") == "LIST" else port


def _selectors(output: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if "valueFromParameter" in output:
        return [output["valueFromParameter"]]
    if "valueFromOneof" in output:
        return list(output["valueFromOneof"].get("parameterSelectors", []))
    return list(output.get("artifactSelectors", []))
