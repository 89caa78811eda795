"""Checks of a template that becomes a pod: container, paths, volumes, environment, memoization, retries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from headrace.kubeflow.argo import legal
from headrace.kubeflow.argo.tags import Scope, Tag, dangling, named, tags

Found = tuple[str, str]

LEAVES = ("container", "containerSet", "script", "resource", "suspend", "data", "http", "plugin")
_POLICIES = ("Always", "OnFailure", "OnError", "OnTransientError")
_DURATION = re.compile(r"\d+|(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")
_CACHE_KEY = re.compile(r"[a-zA-Z0-9][-a-zA-Z0-9]*")
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


def leaf(template: Mapping[str, Any], place: str, scope: Scope, volumes: set[str]) -> Iterator[Found]:
    """Checks a template that is no DAG and no list of steps.

    Args:
        template: The template.
        place: Where it is.
        scope: What may be referred to within it.
        volumes: Names of the workflow's own volumes.
    """
    # Metrics are filled in when the pod has ended, by names of their own.
    yield from dangling({part: content for part, content in template.items() if part != "metrics"}, place, scope)
    if template.get("parallelism") is not None:
        yield f"{place}.parallelism", "only a DAG and a list of steps have it"
    deadline = template.get("activeDeadlineSeconds")
    if (isinstance(deadline, int) and deadline <= 0) or (isinstance(deadline, str) and not _number_or_tag(deadline)):
        yield f"{place}.activeDeadlineSeconds", f"expected a number above 0, received {deadline!r}"
    timeout = template.get("timeout")
    if isinstance(timeout, str) and "{{" not in timeout and (timeout.isdigit() or not _DURATION.fullmatch(timeout)):
        yield f"{place}.timeout", f"expected a duration such as 30s, received {timeout!r}"
    yield from _files(template, place)
    for part in ("container", "script"):
        if isinstance(template.get(part), Mapping):
            own = volumes | set(named(template.get("volumes")))
            yield from _container(template, template[part], f"{place}.{part}", own)
    names = named(template.get("volumes"))
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{place}.volumes[{name}]", "another volume has this name"
    for name in names:
        if not legal.subdomain(name) or "." in name or len(name) > 63:
            yield f"{place}.volumes[{name}]", "a volume's name has lower-case letters, digits and hyphens"
    if isinstance(template.get("memoize"), Mapping):
        yield from _memoize(template["memoize"], f"{place}.memoize")


def retry(strategy: Any, place: str) -> Iterator[Found]:
    """Checks a retry strategy."""
    if not isinstance(strategy, Mapping):
        return
    if strategy.get("retryPolicy") not in (None, "", *_POLICIES):
        yield f"{place}.retryPolicy", f"expected one of {', '.join(_POLICIES)}, received {strategy['retryPolicy']!r}"
    limit = strategy.get("limit")
    if (isinstance(limit, str) and not _number_or_tag(limit)) or (isinstance(limit, int) and limit < 0):
        yield f"{place}.limit", f"expected a number of tries, received {limit!r}"
    backoff = strategy.get("backoff")
    if isinstance(backoff, Mapping):
        if not backoff.get("duration"):
            yield f"{place}.backoff", "there is no duration"
        for field in ("duration", "maxDuration", "cap"):
            text = backoff.get(field)
            if isinstance(text, str) and text and "{{" not in text and not _DURATION.fullmatch(text):
                yield f"{place}.backoff.{field}", f"expected a duration such as 30s, received {text!r}"


def _number_or_tag(text: str) -> bool:
    return text.isdigit() or "{{" in text


def _files(template: Mapping[str, Any], place: str) -> Iterator[Found]:
    inputs, outputs = template.get("inputs") or {}, template.get("outputs") or {}
    for part, artifacts in (("inputs", inputs.get("artifacts")), ("outputs", outputs.get("artifacts"))):
        seen: dict[str, str] = {}
        for artifact in artifacts or ():
            where, path = f"{place}.{part}.artifacts[{artifact.get('name')}]", artifact.get("path")
            if not isinstance(path, str) or not path:
                yield f"{where}.path", "there is no path"
                continue
            if (not path.startswith("/") and "{{" not in path) or ".." in PurePosixPath(path).parts:
                yield f"{where}.path", f"expected an absolute path, received {path!r}"
            if path in seen and part == "inputs":
                yield f"{where}.path", f"{path} is also the path of {seen[path]}"
            seen[path] = str(artifact.get("name"))
            if "from" in artifact:
                yield f"{where}.from", "only a DAG and a list of steps say where an artifact is from"
    for parameter in outputs.get("parameters") or ():
        where = f"{place}.outputs.parameters[{parameter.get('name')}]"
        source = parameter.get("valueFrom")
        if parameter.get("value") is not None:
            if source is not None:
                yield where, "there are both value and valueFrom"
        elif not isinstance(source, Mapping):
            yield where, "there is neither value nor valueFrom"
        elif "container" in template or "script" in template:
            path = source.get("path")
            if not isinstance(path, str) or not path:
                yield f"{where}.valueFrom", "there is no path"
            elif not path.startswith("/") and "{{" not in path:
                yield f"{where}.valueFrom.path", f"expected an absolute path, received {path!r}"
            if others := sorted({"jqFilter", "jsonPath", "parameter", "expression"} & source.keys()):
                yield f"{where}.valueFrom", f"beside a path there is {others[0]}"


def _container(
    template: Mapping[str, Any], container: Mapping[str, Any], place: str, volumes: set[str]
) -> Iterator[Found]:
    image = container.get("image")
    if not isinstance(image, str) or not image:
        yield f"{place}.image", "there is no image"
    elif "{{" not in image and not legal.image(image):
        yield f"{place}.image", f"expected REPOSITORY:TAG, received {image!r}"
    paths = {}
    for artifact in (template.get("inputs") or {}).get("artifacts") or ():
        paths[artifact.get("path")] = f"the input artifact {artifact.get('name')}"
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        where, name, path = f"{place}.volumeMounts[{number}]", mount.get("name"), mount.get("mountPath")
        if name not in volumes:
            yield where, f"there is no volume {name!r}"
        if not isinstance(path, str) or not path.startswith("/") or ":" in path:
            yield where, f"expected an absolute path, received {path!r}"
        if path in paths:
            yield where, f"{path} is also the path of {paths[path]}"
        paths[path] = f"the volume {name}"
    yield from _environment(container.get("env") or (), f"{place}.env")
    resources = container.get("resources") or {}
    for name in sorted((resources.get("requests") or {}).keys() | (resources.get("limits") or {}).keys()):
        if not legal.label_key(name):
            yield f"{place}.resources", f"there is no resource {name!r}"


def _environment(variables: Any, place: str) -> Iterator[Found]:
    names = named(list(variables))
    for number, variable in enumerate(variables):
        name = variable.get("name")
        where = f"{place}[{name or number}]"
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            yield where, f"expected the name of a variable, received {name!r}"
        elif names.count(name) > 1:
            yield where, "it is set twice"
        source = variable.get("valueFrom")
        if source is not None and variable.get("value"):
            yield where, "there are both value and valueFrom"
        for reference in ("secretKeyRef", "configMapKeyRef"):
            if isinstance(source, Mapping) and reference in source:
                owner, key = source[reference].get("name"), source[reference].get("key")
                if not key or not isinstance(owner, str) or not ("{{" in owner or legal.subdomain(owner)):
                    yield f"{where}.valueFrom.{reference}", f"expected a name and a key, received {owner!r}, {key!r}"


def _memoize(memoize: Mapping[str, Any], place: str) -> Iterator[Found]:
    key, cache = memoize.get("key"), memoize.get("cache") or {}
    if not isinstance(key, str) or not _CACHE_KEY.fullmatch(_filled(key)):
        yield f"{place}.key", f"a key has letters, digits and hyphens, received {key!r}"
    name = (cache.get("configMap") or {}).get("name")
    if not isinstance(name, str) or not legal.subdomain(_filled(name)):
        yield f"{place}.cache.configMap", f"expected the name of a config map, received {name!r}"
    age = memoize.get("maxAge")
    if isinstance(age, str) and age and (age.isdigit() or not _DURATION.fullmatch(age)):
        yield f"{place}.maxAge", f"expected a duration such as 24h, received {age!r}"


def _filled(text: str) -> str:
    """The text with a digit in place of each tag."""
    for tag in tags(text):
        if tag.text is not None:
            text = text.replace(_written(text, tag), "0", 1)
    return text


def _written(text: str, tag: Tag) -> str:
    begin = text.find("{{")
    return text[begin : text.find("}}", begin) + 2]
