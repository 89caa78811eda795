"""Names and texts that Kubernetes or Argo would refuse, some only when the step's pod is made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields

from headrace.kubeflow.deployment import Deployment
from headrace.kubeflow.step_document import VERDICT, StepDocument
from headrace.pipelines.errors import Problem
from headrace.pipelines.plan import Plan, Settings, Step

# RFC 1123, as Kubernetes' apimachinery/pkg/util/validation has it.
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_KEY = re.compile(r"[-._A-Za-z0-9]+")
_PORT = re.compile(r"[A-Za-z0-9_][-A-Za-z0-9_]*")
_FIELD = re.compile(
    r"metadata\.(name|namespace|uid|labels\['[^']+'\]|annotations\['[^']+'\])"
    r"|spec\.(nodeName|serviceAccountName)|status\.(hostIPs?|podIPs?)"
)
_IMAGE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._/:@]*")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_TOLERATION = {"key", "operator", "value", "effect", "tolerationSeconds"}
# Linux takes no longer argument of a process; the step's document is one.
_ARGUMENT = 131_071

Wrong = tuple[str, str]


def problems(plan: Plan, deployment: Deployment) -> list[Problem]:
    """What of a Plan's and a deployment's names and texts a cluster would refuse.

    Args:
        plan: The pipeline.
        deployment: Where it is to run.
    """
    wrong = [*_pipeline(plan), *_deployment(deployment), *_parameters(plan)]
    found = [Problem(what, fix, code="name") for what, fix in wrong]
    for step in plan.steps:
        where = plan.locations.get(step.id)
        wrong = [*wrong_settings(deployment.settings_of(step)), *_interface(step), *_document(plan, step, deployment)]
        found += [Problem(f"{step.id}: {what}", fix, where, "name") for what, fix in wrong]
    return found


def label_value(text: str) -> bool:
    return not text or (len(text) <= 63 and _NAME.fullmatch(text) is not None)


def label_key(text: str) -> bool:
    prefix, slash, name = text.rpartition("/")
    return bool(_NAME.fullmatch(name)) and len(name) <= 63 and (not slash or subdomain(prefix))


def subdomain(text: str) -> bool:
    return len(text) <= 253 and SUBDOMAIN.fullmatch(text) is not None


def port(text: str) -> bool:
    """Whether it can be the name of a parameter or an artifact."""
    return _PORT.fullmatch(text) is not None


def image(text: str) -> bool:
    return _IMAGE.fullmatch(text) is not None


def _pipeline(plan: Plan) -> Iterator[Wrong]:
    if "{{" in plan.name:
        what = f"the pipeline's name {plan.name!r} contains '{{{{', which Argo takes for a template"
        yield what, "write it without two braces in a row"


def _deployment(deployment: Deployment) -> Iterator[Wrong]:
    for f in fields(Deployment):
        if "{{" in str(getattr(deployment, f.name)) and f.name != "settings":
            yield f"{f.name} contains '{{{{', which Argo takes for a template", "write it without two braces in a row"
    names = {"service_account": deployment.service_account, "namespace": deployment.namespace}
    names |= {f"image_pull_secrets[{n}]": name for n, name in enumerate(deployment.image_pull_secrets)}
    for option, name in names.items():
        if name is not None and not subdomain(name):
            yield _not_a_name(option, name)
    if not image(deployment.image):
        yield f"image: expected REPOSITORY:TAG, received {deployment.image!r}", "give --image REPOSITORY:TAG"
    for option, number, least in (("parallelism", deployment.parallelism, 1), ("ttl", deployment.ttl, 0)):
        if number is not None and number < least:
            yield f"{option}: expected {least} or more, received {number}", "correct it"


def _parameters(plan: Plan) -> Iterator[Wrong]:
    for parameter in plan.parameters:
        if not port(parameter.name):
            yield f"parameter {parameter.name!r}: Argo's names have ASCII letters, digits, '_' and '-'", "rename it"


def _interface(step: Step) -> Iterator[Wrong]:
    interface = step.interface
    for part, names in (("input", interface.inputs), ("output", interface.outputs), ("result", interface.results)):
        for name, _ in names:
            if not port(name):
                yield f"{part} {name!r}: Argo's names have ASCII letters, digits, '_' and '-'", "rename it"
    if VERDICT in dict(interface.results):
        yield f"an output parameter is called {VERDICT!r}, as the one in which a step says what came of it", "rename it"


def _document(plan: Plan, step: Step, deployment: Deployment) -> Iterator[Wrong]:
    size = len(f"--step={StepDocument.of(plan, deployment.deployed(step)).to_json()}")
    if size > _ARGUMENT:
        what = f"its document has {size:,} bytes, and an argument of a container may have {_ARGUMENT:,}"
        yield what, "pass what is long as a file"


def wrong_settings(settings: Settings) -> Iterator[Wrong]:
    """What of a step's settings Kubernetes refuses, whichever target writes its pod, as (what, fix)."""
    if settings.image is not None and not image(settings.image):
        yield f"setting 'image': expected REPOSITORY:TAG, received {settings.image!r}", "correct it"
    yield from _environment(settings)
    yield from _volumes(settings)
    for option, pairs in (("labels", settings.labels), ("node_selector", settings.node_selector)):
        for key, value in pairs:
            if not label_key(key) or not label_value(value):
                rule = "at most 63 letters, digits, '-', '_' and '.', a letter or digit at both ends"
                yield f"setting {option!r}: Kubernetes takes no label {key!r}: {value!r}", f"write {rule}"
    for key, _ in settings.annotations:
        if not label_key(key):
            yield f"setting 'annotations': Kubernetes takes no annotation {key!r}", "correct it"
    for toleration in settings.tolerations:
        if wrong := _toleration(dict(toleration)):
            yield f"setting 'tolerations': {wrong}", "correct it"
    if settings.gpu and not label_key(settings.gpu_type):
        yield f"setting 'gpu_type': Kubernetes takes no resource {settings.gpu_type!r}", "write one as nvidia.com/gpu"


def _environment(settings: Settings) -> Iterator[Wrong]:
    seen: dict[str, str] = {}
    for option in ("env", "secrets", "config_maps", "pod_fields"):
        for name, source in getattr(settings, option):
            if name in seen:
                yield f"{name} is in the settings {seen[name]!r} and {option!r}", "leave one out"
            seen[name] = option
            if option == "env" and "\0" in source:
                yield f"setting 'env': {name} has a zero byte, which ends a variable", "remove it"
            if option in ("secrets", "config_maps"):
                owner, _, key = source.partition("/")
                if not subdomain(owner) or not _KEY.fullmatch(key):
                    yield _not_a_name(f"setting {option!r}: {name}", source)
            if option == "pod_fields" and not _FIELD.fullmatch(source):
                fields_ = "metadata.name, metadata.namespace, metadata.uid, metadata.labels['KEY'], spec.nodeName, ..."
                yield f"setting 'pod_fields': {name}: a pod has no field {source!r} for a variable", f"take {fields_}"


def _volumes(settings: Settings) -> Iterator[Wrong]:
    for path, source in settings.volumes:
        kind, _, what = source.partition(":")
        if kind != "scratch" and not subdomain(what):
            yield _not_a_name(f"setting 'volumes': {path}", what)
        if path.rstrip("/") == "/headrace" or path.startswith("/headrace/"):
            yield f"setting 'volumes': {path} is where a step's own files are", "mount it elsewhere"
        if ":" in path or ".." in path.split("/") or (path != "/" and path.endswith("/")) or path == "/":
            yield f"setting 'volumes': expected an absolute path, received {path!r}", "write one such as /data"


def _toleration(toleration: dict[str, str]) -> str | None:
    if unknown := sorted(toleration.keys() - _TOLERATION):
        return f"unknown key {unknown[0]!r}; there are {', '.join(sorted(_TOLERATION))}"
    if (operator := toleration.get("operator", "Equal")) not in ("Equal", "Exists"):
        return f"expected the operator Equal or Exists, received {operator!r}"
    if operator == "Exists" and toleration.get("value"):
        return "with the operator Exists there is no value"
    if not toleration.get("key") and operator != "Exists":
        return "without a key, the operator is Exists"
    if "effect" in toleration and toleration["effect"] not in ("", *_EFFECTS):
        return f"expected one of the effects {', '.join(_EFFECTS)}, received {toleration['effect']!r}"
    if "tolerationSeconds" in toleration:
        if not re.fullmatch(r"-?\d+", toleration["tolerationSeconds"]):
            return f"expected a whole number of tolerationSeconds, received {toleration['tolerationSeconds']!r}"
        if toleration.get("effect") != "NoExecute":
            return "tolerationSeconds need the effect NoExecute"
    return None


def _not_a_name(option: str, name: str) -> Wrong:
    return f"{option}: {name!r} is no name of an object in Kubernetes", "write lower-case letters, digits, '-' and '.'"
