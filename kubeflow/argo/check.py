"""A semantic check of an Argo file: of what `headrace compile` wrote, or of any other.

Argo's own linter needs its binary, or a server; and it looks neither into expressions nor at what an artifact is taken
from. What it finds in a file of containers, DAGs and steps, this finds as well, and names the place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.kubeflow.argo import dag_check, legal, pod_check, shapes
from headrace.kubeflow.argo.cron import wrong_schedule
from headrace.kubeflow.argo.dag_check import FIELD_NAME
from headrace.kubeflow.argo.tags import Scope, dangling, named, of_template, of_workflow, tags
from headrace.kubeflow.deployment import CONCURRENCY, POD_GC
from headrace.pipelines.errors import Problem

Found = tuple[str, str]

KINDS = ("Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate", "CronWorkflow")
_TYPES = (*pod_check.LEAVES, "dag", "steps")


def check_argo(document: str | Mapping[str, Any]) -> list[Problem]:
    """Checks an Argo file.

    Args:
        document: The file's text, of one document, or what YAML reads from it.

    Returns:
        Everything that is wrong, each with its place in the file; nothing, when it is right.

    >>> [problem.what for problem in check_argo({"kind": "Workflow", "apiVersion": "argoproj.io/v1alpha1"})]
    ['metadata: expected a name or generateName, received neither', 'spec: there is none']
    """
    if isinstance(document, str):
        import yaml

        try:
            document = yaml.load(document, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            return [Problem(f"it is no YAML: {error}", code="argo")]
    return [Problem(f"{place}: {what}", code="argo") for place, what in _document(document)]


def _document(document: Any) -> Iterator[Found]:
    if not isinstance(document, Mapping):
        yield "document", f"expected a mapping, received {type(document).__name__}"
        return
    kind = document.get("kind")
    if document.get("apiVersion") != "argoproj.io/v1alpha1":
        yield "apiVersion", f"expected argoproj.io/v1alpha1, received {document.get('apiVersion')!r}"
    if kind not in KINDS:
        yield "kind", f"expected one of {', '.join(KINDS)}, received {kind!r}"
        return
    of_types = list(shapes.mismatches(document, shapes.document(kind), ""))
    if of_types:
        # What follows takes types for granted.
        yield from ((place.lstrip("."), what) for place, what in of_types)
        return
    yield from _metadata(document.get("metadata") or {}, kind)
    spec = document.get("spec")
    if not spec:
        yield "spec", "there is none"
    elif kind == "CronWorkflow":
        yield from _cron(spec)
        yield from _workflow(spec.get("workflowSpec") or {}, "spec.workflowSpec", kind)
    else:
        yield from _workflow(spec, "spec", kind)


def _metadata(metadata: Mapping[str, Any], kind: str) -> Iterator[Found]:
    name, prefix = metadata.get("name"), metadata.get("generateName")
    longest = 52 if kind == "CronWorkflow" else 63
    if not name and not prefix:
        yield "metadata", "expected a name or generateName, received neither"
    if name and (not legal.subdomain(name) or len(name) > longest):
        yield "metadata.name", f"expected at most {longest} lower-case letters, digits and hyphens, received {name!r}"
    # Kubernetes cuts a longer one.
    if prefix and not legal.subdomain(prefix + "0"):
        yield "metadata.generateName", f"expected lower-case letters, digits and hyphens, received {prefix!r}"
    yield from _labels(metadata, "metadata")


def _labels(metadata: Any, place: str) -> Iterator[Found]:
    for key, value in ((metadata or {}).get("labels") or {}).items():
        if not legal.label_key(key) or not ("{{" in value or legal.label_value(value)):
            yield f"{place}.labels.{key}", f"Kubernetes takes no such label: {value!r}"
    for key in (metadata or {}).get("annotations") or {}:
        if not legal.label_key(key):
            yield f"{place}.annotations.{key}", "Kubernetes takes no such annotation"


def _cron(spec: Mapping[str, Any]) -> Iterator[Found]:
    schedules = [*(spec.get("schedules") or ()), *([spec["schedule"]] if spec.get("schedule") else ())]
    if spec.get("schedule") and spec.get("schedules"):
        yield "spec", "there are both schedule and schedules"
    if not schedules:
        yield "spec.schedules", "there is no schedule"
    for schedule in schedules:
        if wrong := wrong_schedule(schedule):
            yield "spec.schedules", f"{schedule!r}: {wrong}"
    if (policy := spec.get("concurrencyPolicy")) not in (None, "", *CONCURRENCY):
        yield "spec.concurrencyPolicy", f"expected one of {', '.join(CONCURRENCY)}, received {policy!r}"
    if isinstance(deadline := spec.get("startingDeadlineSeconds"), int) and deadline < 0:
        yield "spec.startingDeadlineSeconds", f"expected 0 or more, received {deadline}"
    if not spec.get("workflowSpec"):
        yield "spec.workflowSpec", "there is none"
    yield from _labels(spec.get("workflowMetadata"), "spec.workflowMetadata")


def _workflow(spec: Mapping[str, Any], place: str, kind: str) -> Iterator[Found]:
    yield from _arguments(spec.get("arguments") or {}, f"{place}.arguments", required=kind == "CronWorkflow")
    for part in ("workflowMetadata", "podMetadata"):
        yield from _labels(spec.get(part), f"{place}.{part}")
    strategy = (spec.get("podGC") or {}).get("strategy")
    if strategy not in (None, "", *POD_GC):
        yield f"{place}.podGC.strategy", f"expected one of {', '.join(POD_GC)}, received {strategy!r}"
    if isinstance(parallelism := spec.get("parallelism"), int) and parallelism < 1:
        yield f"{place}.parallelism", f"expected 1 or more, received {parallelism}"
    account = spec.get("serviceAccountName")
    if account and "{{" not in account and not legal.subdomain(account):
        yield f"{place}.serviceAccountName", f"{account!r} is no name of an object in Kubernetes"
    yield from pod_check.retry(spec.get("retryStrategy"), f"{place}.retryStrategy")
    if spec.get("workflowTemplateRef"):
        if spec.get("templates"):
            yield f"{place}.templates", "beside workflowTemplateRef there are none"
        return
    templates = {name: t for t in spec.get("templates") or () if isinstance(name := t.get("name"), str)}
    for part in ("entrypoint", "onExit"):
        if spec.get(part) and spec[part] not in templates:
            yield f"{place}.{part}", f"there is no template {spec[part]!r}"
    if not spec.get("entrypoint") and kind in ("Workflow", "CronWorkflow"):
        yield f"{place}.entrypoint", "there is none"
    yield from _templates(spec, templates, place)


def _arguments(arguments: Mapping[str, Any], place: str, *, required: bool) -> Iterator[Found]:
    yield from _named(arguments.get("parameters") or (), f"{place}.parameters")
    yield from _named(arguments.get("artifacts") or (), f"{place}.artifacts")
    for parameter in arguments.get("parameters") or ():
        where, value = f"{place}.parameters[{parameter.get('name')}]", parameter.get("value")
        if required and value is None and parameter.get("valueFrom") is None:
            yield where, "it has no value, and nobody is there to give one when the schedule fires"
        if isinstance(value, str) and any(True for _ in tags(value)):
            yield f"{where}.value", "it has two opening braces, which Argo takes for a template"
        choices = parameter.get("enum")
        if choices is not None and (not choices or (value is not None and value not in choices)):
            yield f"{where}.value", f"expected one of {choices}, received {value!r}"
    for artifact in arguments.get("artifacts") or ():
        if not artifact.keys() & {*shapes.STORES, "from", "fromExpression"}:
            yield f"{place}.artifacts[{artifact.get('name')}]", "there is no location"


def _named(items: Any, place: str) -> Iterator[Found]:
    """Checks the names of parameters or artifacts."""
    seen = set()
    for number, item in enumerate(items):
        name = item.get("name")
        if not name:
            yield f"{place}[{number}]", "there is no name"
        elif not legal.port(name):
            yield f"{place}[{name}]", "a name has letters, digits, '_' and '-', and begins with no '-'"
        elif name in seen:
            yield f"{place}[{name}]", "another has this name"
        seen.add(name)


def _templates(spec: Mapping[str, Any], templates: dag_check.Templates, place: str) -> Iterator[Found]:
    scope = of_workflow(set(named((spec.get("arguments") or {}).get("parameters"))))
    rest = {part: content for part, content in spec.items() if part not in ("templates", "arguments")}
    yield from dangling(rest, place, scope)
    volumes = {*named(spec.get("volumes")), *_claims(spec.get("volumeClaimTemplates") or ())}
    seen = set()
    for number, template in enumerate(spec.get("templates") or ()):
        name = template.get("name")
        where = f"{place}.templates[{name or number}]"
        if not name or not FIELD_NAME.fullmatch(name):
            yield where, "a template's name has letters, digits and hyphens, and begins with no hyphen"
        elif name in seen:
            yield where, "another template has this name"
        seen.add(name)
        yield from _template(template, templates, where, scope, volumes)


def _claims(claims: Any) -> list[str]:
    return [claim["metadata"]["name"] for claim in claims if (claim.get("metadata") or {}).get("name")]


def _template(
    template: Mapping[str, Any], templates: dag_check.Templates, place: str, scope: Scope, volumes: set[str]
) -> Iterator[Found]:
    types = [type_ for type_ in _TYPES if template.get(type_) is not None]
    if len(types) != 1:
        yield place, f"expected one of {', '.join(_TYPES)}, received {' and '.join(types) or 'none'}"
        return
    for part in ("inputs", "outputs"):
        for group in ("parameters", "artifacts"):
            yield from _named((template.get(part) or {}).get(group) or (), f"{place}.{part}.{group}")
    yield from _labels(template.get("metadata"), f"{place}.metadata")
    yield from pod_check.retry(template.get("retryStrategy"), f"{place}.retryStrategy")
    is_leaf = types[0] in pod_check.LEAVES
    inner = of_template(scope, template, leaf=is_leaf)
    if is_leaf:
        yield from pod_check.leaf(template, place, inner, volumes)
        return
    if template.get("activeDeadlineSeconds") is not None:
        yield f"{place}.activeDeadlineSeconds", "only a template that is a pod has it"
    check = dag_check.dag if types[0] == "dag" else dag_check.steps
    yield from check(template, templates, place, inner)
