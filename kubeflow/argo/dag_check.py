"""Checks of a DAG's and a list of steps' tasks: names, templates, dependencies, cycles, arguments."""

from __future__ import annotations

import graphlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from headrace.kubeflow.argo.names import RESERVED
from headrace.kubeflow.argo.tags import NODE_FIELDS, Scope, dangling, named, references, tags, texts

Found = tuple[str, str]
Templates = Mapping[str, Mapping[str, Any]]

FIELD_NAME = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]{0,127}")
_RESULTS = ("Succeeded", "Failed", "Errored", "Skipped", "Omitted", "Daemoned", "AnySucceeded", "AllFailed")
_DEPENDS = re.compile(r"([a-zA-Z0-9][-a-zA-Z0-9]*)(?:\.([A-Z][a-zA-Z]+))?")


def dag(template: Mapping[str, Any], templates: Templates, place: str, scope: Scope) -> Iterator[Found]:
    """Checks a DAG template.

    Args:
        template: The template.
        templates: All templates of the workflow.
        place: Where the template is.
        scope: What may be referred to within it.
    """
    tasks = [task for task in template["dag"].get("tasks") or () if isinstance(task, Mapping)]
    place = f"{place}.dag"
    if not tasks:
        yield f"{place}.tasks", "there must be at least one task"
    by_name = {task["name"]: task for task in tasks if isinstance(task.get("name"), str)}
    yield from _names(tasks, f"{place}.tasks")
    upstream = {name: _upstream(task) for name, task in by_name.items()}
    yield from _dependencies(tasks, upstream, f"{place}.tasks")
    try:
        graphlib.TopologicalSorter({name: sorted(upstream[name]) for name in upstream}).prepare()
    except graphlib.CycleError as error:
        yield f"{place}.tasks", f"a cycle: {' <- '.join(error.args[1])}"
        return
    for target in (template["dag"].get("target") or "").split():
        if "{{" not in target and target not in by_name:
            yield f"{place}.target", f"there is no task {target!r}"
    for task in by_name.values():
        reachable = _reachable(task, by_name, upstream)
        inner = scope.having(_outputs("tasks", reachable, templates), _items(task))
        if task.get("hooks") or task.get("onExit"):
            inner = inner.having(set(), {f"tasks.{task['name']}"})
        yield from _task(task, templates, f"{place}.tasks[{task['name']}]", inner)


def steps(template: Mapping[str, Any], templates: Templates, place: str, scope: Scope) -> Iterator[Found]:
    """Checks a template of steps, as `dag` does; each group sees those before it."""
    groups = [[step for step in group if isinstance(step, Mapping)] for group in template["steps"] if group]
    yield from _names([step for group in groups for step in group], f"{place}.steps")
    before: dict[str, Mapping[str, Any]] = {}
    for group in groups:
        for step in group:
            inner = scope.having(_outputs("steps", before, templates), _items(step))
            if step.get("hooks") or step.get("onExit"):
                inner = inner.having(set(), {f"steps.{step.get('name')}"})
            yield from _task(step, templates, f"{place}.steps[{step.get('name')}]", inner)
        before |= {step["name"]: step for step in group if isinstance(step.get("name"), str)}


def _names(tasks: list[Mapping[str, Any]], place: str) -> Iterator[Found]:
    seen = set()
    for number, task in enumerate(tasks):
        name = task.get("name")
        if not isinstance(name, str) or not name:
            yield f"{place}[{number}]", "a task needs a name"
        elif not FIELD_NAME.fullmatch(name):
            yield f"{place}[{name}]", "a task's name has letters, digits and hyphens, and begins with no hyphen"
        elif name in seen:
            yield f"{place}[{name}]", "another task has this name"
        seen.add(name)


def _upstream(task: Mapping[str, Any]) -> set[str]:
    depends = task.get("depends")
    named_ = {found[0] for found in _DEPENDS.findall(depends)} if isinstance(depends, str) else set()
    return named_ | {name for name in task.get("dependencies") or () if isinstance(name, str)}


def _dependencies(tasks: list[Mapping[str, Any]], upstream: Mapping[str, set[str]], place: str) -> Iterator[Found]:
    uses_depends = any(task.get("depends") for task in tasks)
    for task in tasks:
        where = f"{place}[{task.get('name')}]"
        if uses_depends and task.get("dependencies"):
            yield f"{where}.dependencies", "a DAG has either `depends` or `dependencies`"
        if uses_depends and task.get("continueOn"):
            yield f"{where}.continueOn", "with `depends` there is no `continueOn`"
        for name in sorted(upstream.get(str(task.get("name")), ())):
            if name not in upstream:
                yield where, f"it depends on {name!r}, and there is no such task"
            elif name in RESERVED or name[0].isdigit():
                yield where, f"it depends on {name!r}, which is a word of Argo's in this place"
        for name, result in _DEPENDS.findall(task.get("depends") or ""):
            if result and result not in _RESULTS:
                yield f"{where}.depends", f"{name}.{result}: there are {', '.join(_RESULTS)}"
            if result in ("AnySucceeded", "AllFailed") and not _items(task):
                yield f"{where}.depends", f"{name}.{result}: the task has no items"


def _reachable(task: Mapping[str, Any], by_name: Templates, upstream: Mapping[str, set[str]]) -> Templates:
    """The tasks that a task refers to and that are done before it."""
    referred = {
        reference.split(".")[1]
        for _, text in texts(task, "")
        for tag in tags(text)
        for reference in (references(tag) if tag.text is not None else ())
        if reference.startswith("tasks.") and "." in reference
    }
    done, todo = set(), list(upstream[task["name"]]) if referred else []
    while todo:
        if (name := todo.pop()) not in done:
            done.add(name)
            todo += upstream.get(name, ())
    return {name: by_name[name] for name in referred & done if name in by_name}


def _items(task: Mapping[str, Any]) -> set[str]:
    return {"item"} if any(task.get(part) for part in ("withItems", "withParam", "withSequence")) else set()


def _outputs(root: str, tasks: Mapping[str, Mapping[str, Any]], templates: Templates) -> set[str]:
    names = set()
    for name, task in tasks.items():
        names |= {f"{root}.{name}.{field}" for field in NODE_FIELDS}
        outputs = (templates.get(str(task.get("template"))) or {}).get("outputs") or {}
        for part in ("parameters", "artifacts"):
            names |= {f"{root}.{name}.outputs.{part}.{output}" for output in named(outputs.get(part))}
        if _items(task):
            names |= {f"{root}.{name}.outputs.parameters"}
    return names


def _task(task: Mapping[str, Any], templates: Templates, place: str, scope: Scope) -> Iterator[Found]:
    yield from dangling(task, place, scope)
    if task.get("templateRef") or task.get("inline"):
        return
    template = templates.get(str(task.get("template")))
    if template is None:
        yield f"{place}.template", f"there is no template {task.get('template')!r}"
        return
    inputs, given = template.get("inputs") or {}, task.get("arguments") or {}
    for part in ("parameters", "artifacts"):
        arguments, declared = given.get(part) or [], inputs.get(part) or []
        yield from _given(arguments, named(declared), part, f"{place}.arguments.{part}")
        for slot in declared:
            if isinstance(slot, Mapping) and slot.get("name") not in named(arguments) and not _has_own(slot, part):
                yield f"{place}.arguments.{part}", f"nothing is given for the template's input {slot.get('name')!r}"


def _given(arguments: list[Any], declared: list[str], part: str, place: str) -> Iterator[Found]:
    seen = set()
    for argument in arguments:
        if not isinstance(argument, Mapping) or not isinstance(name := argument.get("name"), str):
            continue
        where = f"{place}[{name}]"
        if name in seen:
            yield where, "it is given twice"
        seen.add(name)
        if name not in declared:
            yield where, "the template has no such input"
        if part == "parameters" and argument.get("value") is None and argument.get("valueFrom") is None:
            yield where, "there is no value"
        if part == "artifacts" and not (argument.keys() - {"name", "optional", "path", "mode"}):
            yield where, "there is neither `from` nor a location"
        if "from" in argument and not re.fullmatch(r"\{\{[^{}]*(artifacts)[^{}]*\}\}", str(argument["from"])):
            yield f"{where}.from", f"expected {{{{tasks.NAME.outputs.artifacts.NAME}}}}, received {argument['from']!r}"


def _has_own(slot: Mapping[str, Any], part: str) -> bool:
    if part == "parameters":
        return any(slot.get(key) is not None for key in ("value", "default", "valueFrom"))
    return bool(slot.get("optional")) or bool(slot.keys() - {"name", "path", "mode", "optional", "archive"})
