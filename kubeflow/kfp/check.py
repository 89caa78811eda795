"""A check of a compiled file, from this compiler or another, without the pipeline that it was made from.

KFP's loader takes dangling references, cycles and wrong types; its server finds some of them, each when the step that
has it runs. Here every reference is followed, every type compared, every name and every template looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headrace.kubeflow.kfp.check_dag import dag_problems
from headrace.kubeflow.kfp.check_templates import template_problems
from headrace.kubeflow.kfp.check_types import type_problem, value_problem
from headrace.kubeflow.kfp.protos import pipeline_spec_pb2
from headrace.kubeflow.kfp.target import DEFAULT, target
from headrace.pipelines.errors import PipelineError, Problem

Found = Iterator[tuple[str, str]]

_PIPELINE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_COMPONENT_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PARAMETER_NAME = re.compile(r"[A-Za-z0-9_-]+")
# Until 2.2 the server writes each component into an annotation, of whose name Kubernetes takes 63 characters after the
# prefix, and of all annotations together 256 KiB.
_ANNOTATIONS = (2, 3, 0)
_NAME, _TOTAL = 63, 256 * 1024
_PLATFORM_FIELDS = frozenset(
    {
        *("secretAsVolume", "secretAsEnv", "pvcMount", "nodeSelector", "podMetadata", "imagePullSecret"),
        *("imagePullPolicy", "configMapAsVolume", "configMapAsEnv", "activeDeadlineSeconds", "fieldPathAsEnv"),
        *("tolerations", "genericEphemeralVolume", "nodeAffinity", "podAffinity", "enabledSharedMemory"),
        *("emptyDirMounts", "securityContext", "initContainers"),
    }
)
_VOLUMES = {
    "pvcMount": "constant",
    "secretAsVolume": "secretName",
    "configMapAsVolume": "configMapName",
    "emptyDirMounts": "volumeName",
}


def check_kfp(text: str | Sequence[Any], *, kfp_version: str = DEFAULT) -> list[Problem]:
    """Finds what is wrong with a compiled file.

    Args:
        text: The YAML of a `PipelineSpec`, with a platform spec as a further document where it has one; or what YAML
            reads from it, a list of documents.
        kfp_version: The version of the API server that it is for.

    Returns:
        The problems, each with its place in the file; none for a file that is sound.

    >>> [str(problem) for problem in check_kfp("pipelineInfo: {name: Flights}")][:1]
    ["schemaVersion: expected '2.1.0', received None"]
    """
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        read = yaml.load_all(text, Loader=loader) if isinstance(text, str) else text
        documents = [document for document in read if document is not None]
    except yaml.YAMLError as error:
        return [Problem(f"not YAML: {' '.join(str(error).split())}", "compile it again", code="kfp-file")]
    server = target(kfp_version).server
    return [Problem(f"{place}: {what}", code="kfp-file") for place, what in _document_problems(documents, server)]


def require_sound(text: str | Sequence[Any], *, kfp_version: str = DEFAULT) -> None:
    """Refuses a compiled file that is not sound.

    Raises:
        PipelineError: With everything that is wrong with it.
    """
    if found := check_kfp(text, kfp_version=kfp_version):
        raise PipelineError(found)


def _document_problems(documents: list[Any], server: tuple[int, ...]) -> Found:
    specs = [one for one in documents if isinstance(one, Mapping) and "pipelineInfo" in one]
    platforms = [one for one in documents if isinstance(one, Mapping) and "platforms" in one]
    if len(specs) != 1:
        yield "file", f"expected one document with pipelineInfo, found {len(specs)}"
        return
    if len(specs) + len(platforms) != len(documents) or len(platforms) > 1:
        yield "file", "expected a pipeline spec and at most one platform spec, found other documents"
    [spec] = specs
    if spec.get("schemaVersion") != "2.1.0":
        yield "schemaVersion", f"expected '2.1.0', received {spec.get('schemaVersion')!r}"
    if unfit := _unfit(spec, platforms):
        yield "file", unfit
        return
    yield from _spec_problems(spec, server)
    for platform in platforms:
        yield from _platform_problems(platform, spec)
    if server < _ANNOTATIONS:
        yield from _size_problems(spec, platforms)


def _unfit(spec: Mapping[str, Any], platforms: list[Any]) -> str | None:
    """What the official messages say, which know every field and its type."""
    from google.protobuf import json_format

    messages = pipeline_spec_pb2()
    try:
        json_format.ParseDict(spec, messages.PipelineSpec())
        json_format.ParseDict(
            spec.get("deploymentSpec", {}), messages.PipelineDeploymentConfig(), ignore_unknown_fields=False
        )
        for platform in platforms:
            json_format.ParseDict(platform, messages.PlatformSpec())
    except (json_format.ParseError, TypeError, ValueError, AttributeError) as error:
        return f"not what KFP's messages hold: {error}"
    return None


def _spec_problems(spec: Mapping[str, Any], server: tuple[int, ...]) -> Found:
    name = spec["pipelineInfo"].get("name", "")
    if not _PIPELINE_NAME.fullmatch(name):
        yield "pipelineInfo.name", f"expected lower-case letters, digits, '-' and '.', received {name!r}"
    components = {"root": spec.get("root", {}), **spec.get("components", {})}
    if "root" in spec.get("components", {}):
        yield "components.root", "the name is the pipeline's own"
    if "dag" not in components["root"]:
        yield "root", "expected a DAG, found none"
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    for label, executor in executors.items():
        yield from _executor_problems(f"deploymentSpec.executors.{label}", executor)
    for name, component in components.items():
        place = "root" if name == "root" else f"components.{name}"
        longest = _NAME - len("implementations-") if server < _ANNOTATIONS else _NAME
        if not _COMPONENT_NAME.fullmatch(name) or len(name) > longest:
            yield place, f"expected a name of at most {longest} letters, digits, '-', '_' and '.'"
        yield from _component_problems(place, component, components, executors)
    yield from _recursion_problems(components)
    yield from template_problems(spec)


def _executor_problems(place: str, executor: Mapping[str, Any]) -> Found:
    if "container" not in executor:
        if "importer" not in executor:
            yield place, f"expected a container or an importer, received {', '.join(executor) or 'nothing'}"
        return
    container = executor["container"]
    if not str(container.get("image", "")).strip():
        yield f"{place}.container.image", "no image"
    if not container.get("command") and not container.get("args"):
        yield f"{place}.container", "neither a command nor arguments: KFP's launcher has nothing to start"
    names = [variable.get("name", "") for variable in container.get("env", [])]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"{place}.container.env", f"{name!r} is set twice"


def _component_problems(
    place: str, component: Mapping[str, Any], components: Mapping[str, Any], executors: Mapping[str, Any]
) -> Found:
    if ("dag" in component) == ("executorLabel" in component):
        yield place, "expected a DAG or an executor"
    label = component.get("executorLabel")
    if label is not None and label not in executors:
        yield f"{place}.executorLabel", f"no executor is called {label!r}"
    for direction in ("inputDefinitions", "outputDefinitions"):
        for part, kind in (("parameters", "parameterType"), ("artifacts", "artifactType")):
            for name, port in component.get(direction, {}).get(part, {}).items():
                where = f"{place}.{direction}.{part}.{name}"
                if not _PARAMETER_NAME.fullmatch(name):
                    yield where, "expected a name of letters, digits, '_' and '-'"
                if what := type_problem(port.get(kind), kind):
                    yield where, what
                elif "defaultValue" in port and (what := value_problem(port["defaultValue"], port[kind])):
                    yield f"{where}.defaultValue", what
        both = component.get(direction, {})
        for name in both.get("parameters", {}).keys() & both.get("artifacts", {}).keys():
            yield f"{place}.{direction}", f"{name!r} is a parameter and an artifact"
    if "dag" in component:
        yield from dag_problems(place, component, components)


def _recursion_problems(components: Mapping[str, Any]) -> Found:
    """A component within itself, which the server follows for ever."""
    uses = {
        name: {task.get("componentRef", {}).get("name") for task in component.get("dag", {}).get("tasks", {}).values()}
        for name, component in components.items()
    }
    for name in components:
        reached, ahead = set[str](), list(uses[name])
        while ahead:
            if (inner := ahead.pop()) not in reached:
                reached.add(inner)
                ahead += uses.get(inner, ())
        if name in reached:
            yield f"components.{name}", "the component contains itself"


def _platform_problems(platform: Mapping[str, Any], spec: Mapping[str, Any]) -> Found:
    known = spec.get("deploymentSpec", {}).get("executors", {})
    for name, one in platform["platforms"].items():
        place = f"platforms.{name}"
        if name != "kubernetes":
            yield place, "KFP's open source server knows the platform 'kubernetes' alone"
        for label, config in one.get("deploymentSpec", {}).get("executors", {}).items():
            where = f"{place}.deploymentSpec.executors.{label}"
            if label not in known:
                yield where, "no executor has this name, so that its settings would be dropped"
            for field in sorted(config.keys() - _PLATFORM_FIELDS):
                yield f"{where}.{field}", "the server knows no such field, and would drop it"
            yield from _mount_problems(where, config)


def _mount_problems(place: str, config: Mapping[str, Any]) -> Found:
    volumes: set[str] = set()
    paths: set[str] = set()
    for field, name_field in _VOLUMES.items():
        for mount in config.get(field, []):
            name, path = mount.get(name_field), mount.get("mountPath", "")
            if not str(path).startswith("/"):
                yield f"{place}.{field}", f"expected an absolute mountPath, received {path!r}"
            if path in paths:
                yield f"{place}.{field}", f"two things are mounted at {path!r}"
            if name in volumes:
                yield f"{place}.{field}", f"two volumes of the pod would be called {name!r}"
            paths.add(path)
            if name is not None:
                volumes.add(name)


def _size_problems(spec: Mapping[str, Any], platforms: list[Any]) -> Found:
    """What the server writes into the annotations of one workflow."""
    import json

    def size(value: Any) -> int:
        return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())

    components = spec.get("components", {})
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    # Two annotations for each component, whose names count as well.
    total = 2 * sum(len("pipelines.kubeflow.org/implementations-") + len(name) for name in components)
    total += size(spec.get("root", {}).get("inputDefinitions", {})) + sum(map(size, components.values()))
    # The root's tasks are in its component's annotation, and once more in the workflow's templates.
    total += size(spec.get("root", {}).get("dag", {}))
    total += sum(size(executor.get("container", {})) for executor in executors.values())
    for platform in platforms:
        total += size(platform["platforms"].get("kubernetes", {}).get("deploymentSpec", {}))
    if total > _TOTAL:
        what = f"about {total // 1024} KiB, of which a server before 2.3.0 takes {_TOTAL // 1024} KiB"
        yield "components", f"{what}; make several pipelines of it, or use a newer server"
