"""The fields of a workflow and their types, as the API of Argo 3.7 and Kubernetes 1.34 has them, as far as they are
looked at here: of what is `ANY` nothing is said.

Source: `manifests/base/crds/full` of Argo Workflows 3.7.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

Shape = dict[str, Any]

ANY = "anything"
STRING = "a string"
WHOLE = "a whole number"
BOOLEAN = "true or false"
# A number, or a text that holds one or becomes one.
WHOLE_OR_STRING = "a whole number or a string"
SCALAR = "a string, a number, true or false"
QUANTITY = "a quantity"

_STRINGS: Shape = {"*": STRING}
_ANYTHING: Shape = {"*": ANY}
_KEY_OF: Shape = {"name": STRING, "key": STRING, "optional": BOOLEAN}

_VALUE_FROM: Shape = {
    **dict.fromkeys(("default", "expression", "event", "jqFilter", "jsonPath", "parameter", "path"), STRING),
    "configMapKeyRef": _KEY_OF,
    "supplied": _ANYTHING,
}
_PARAMETER: Shape = {
    **dict.fromkeys(("name", "description", "globalName"), STRING),
    **dict.fromkeys(("value", "default"), SCALAR),
    "enum": [SCALAR],
    "valueFrom": _VALUE_FROM,
}
STORES = ("artifactory", "azure", "gcs", "git", "hdfs", "http", "oss", "raw", "s3")
_ARTIFACT: Shape = {
    **dict.fromkeys(("name", "path", "from", "fromExpression", "globalName", "subPath"), STRING),
    **dict.fromkeys(("optional", "recurseMode", "deleted", "archiveLogs"), BOOLEAN),
    **dict.fromkeys((*STORES, "artifactGC"), _ANYTHING),
    "archive": {"none": _ANYTHING, "tar": _ANYTHING, "zip": _ANYTHING},
    "mode": WHOLE,
}
_ARGUMENTS: Shape = {"parameters": [_PARAMETER], "artifacts": [_ARTIFACT]}
_METADATA: Shape = {"labels": _STRINGS, "annotations": _STRINGS}
_TOLERATION: Shape = {**dict.fromkeys(("key", "operator", "value", "effect"), STRING), "tolerationSeconds": WHOLE}
_VOLUME: Shape = {"name": STRING, "*": _ANYTHING}
_ENV: Shape = {
    "name": STRING,
    "value": STRING,
    "valueFrom": {
        "configMapKeyRef": _KEY_OF,
        "secretKeyRef": _KEY_OF,
        "fieldRef": {"apiVersion": STRING, "fieldPath": STRING},
        "resourceFieldRef": _ANYTHING,
    },
}
_SECURITY: Shape = {
    **dict.fromkeys(("allowPrivilegeEscalation", "privileged", "readOnlyRootFilesystem", "runAsNonRoot"), BOOLEAN),
    **dict.fromkeys(("appArmorProfile", "seLinuxOptions", "seccompProfile", "windowsOptions"), _ANYTHING),
    **dict.fromkeys(("runAsUser", "runAsGroup"), WHOLE),
    "capabilities": {"add": [STRING], "drop": [STRING]},
    "procMount": STRING,
}
_MOUNT: Shape = {
    **dict.fromkeys(("name", "mountPath", "mountPropagation", "recursiveReadOnly", "subPath", "subPathExpr"), STRING),
    "readOnly": BOOLEAN,
}
_CONTAINER: Shape = {
    **dict.fromkeys(("name", "image", "imagePullPolicy", "workingDir", "restartPolicy"), STRING),
    **dict.fromkeys(("terminationMessagePath", "terminationMessagePolicy"), STRING),
    **dict.fromkeys(("stdin", "stdinOnce", "tty"), BOOLEAN),
    **dict.fromkeys(("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"), _ANYTHING),
    **{key: [ANY] for key in ("envFrom", "ports", "resizePolicy", "volumeDevices")},
    **{key: [STRING] for key in ("args", "command")},
    "env": [_ENV],
    "resources": {"limits": {"*": QUANTITY}, "requests": {"*": QUANTITY}, "claims": [ANY]},
    "securityContext": _SECURITY,
    "volumeMounts": [_MOUNT],
}
_RETRY: Shape = {
    "affinity": _ANYTHING,
    "backoff": {"cap": STRING, "duration": STRING, "factor": WHOLE_OR_STRING, "maxDuration": STRING},
    "expression": STRING,
    "limit": WHOLE_OR_STRING,
    "retryPolicy": STRING,
}
_TASK: Shape = {
    **dict.fromkeys(("name", "template", "depends", "when", "onExit", "withParam"), STRING),
    **dict.fromkeys(("continueOn", "hooks", "inline", "templateRef", "withSequence"), _ANYTHING),
    "arguments": _ARGUMENTS,
    "withItems": [ANY],
}
TEMPLATE: Shape = {
    **dict.fromkeys(("name", "priorityClassName", "schedulerName", "serviceAccountName", "timeout"), STRING),
    **dict.fromkeys(("automountServiceAccountToken", "daemon", "failFast"), BOOLEAN),
    **dict.fromkeys(("affinity", "archiveLocation", "containerSet", "data", "executor", "http", "metrics"), _ANYTHING),
    **dict.fromkeys(("plugin", "resource", "securityContext", "suspend", "synchronization"), _ANYTHING),
    **{key: [ANY] for key in ("hostAliases", "initContainers", "sidecars")},
    "activeDeadlineSeconds": WHOLE_OR_STRING,
    "annotations": _STRINGS,
    "container": _CONTAINER,
    "dag": {"failFast": BOOLEAN, "target": STRING, "tasks": [{**_TASK, "dependencies": [STRING]}]},
    "inputs": _ARGUMENTS,
    "memoize": {"key": STRING, "maxAge": STRING, "cache": {"configMap": _KEY_OF}},
    "metadata": _METADATA,
    "nodeSelector": _STRINGS,
    "outputs": {**_ARGUMENTS, "exitCode": STRING, "result": STRING},
    "parallelism": WHOLE,
    "podSpecPatch": STRING,
    "retryStrategy": _RETRY,
    "script": {**_CONTAINER, "source": STRING},
    "steps": [[_TASK]],
    "tolerations": [_TOLERATION],
    "volumes": [_VOLUME],
}
SPEC: Shape = {
    **dict.fromkeys(("entrypoint", "onExit", "dnsPolicy", "podPriorityClassName", "podSpecPatch"), STRING),
    **dict.fromkeys(("schedulerName", "serviceAccountName", "shutdown"), STRING),
    **dict.fromkeys(("archiveLogs", "automountServiceAccountToken", "hostNetwork", "suspend"), BOOLEAN),
    **dict.fromkeys(("activeDeadlineSeconds", "parallelism", "priority"), WHOLE),
    **dict.fromkeys(("affinity", "artifactGC", "artifactRepositoryRef", "dnsConfig", "executor", "hooks"), _ANYTHING),
    **dict.fromkeys(("metrics", "podDisruptionBudget", "securityContext", "synchronization"), _ANYTHING),
    **dict.fromkeys(("templateDefaults", "volumeClaimGC", "workflowTemplateRef"), _ANYTHING),
    **{key: [ANY] for key in ("hostAliases", "volumeClaimTemplates")},
    "arguments": _ARGUMENTS,
    "imagePullSecrets": [{"name": STRING}],
    "nodeSelector": _STRINGS,
    "podGC": {"strategy": STRING, "deleteDelayDuration": STRING, "labelSelector": _ANYTHING},
    "podMetadata": _METADATA,
    "retryStrategy": _RETRY,
    "templates": [TEMPLATE],
    "tolerations": [_TOLERATION],
    "ttlStrategy": {
        **dict.fromkeys(("secondsAfterCompletion", "secondsAfterFailure", "secondsAfterSuccess"), WHOLE),
    },
    "volumes": [_VOLUME],
    "workflowMetadata": {**_METADATA, "labelsFrom": _ANYTHING},
}
CRON: Shape = {
    **dict.fromkeys(("concurrencyPolicy", "schedule", "timezone", "when"), STRING),
    **dict.fromkeys(("failedJobsHistoryLimit", "startingDeadlineSeconds", "successfulJobsHistoryLimit"), WHOLE),
    "schedules": [STRING],
    "stopStrategy": _ANYTHING,
    "suspend": BOOLEAN,
    "workflowMetadata": _METADATA,
    "workflowSpec": SPEC,
}


def document(kind: str) -> dict[str, Any]:
    """The shape of a whole document of a kind."""
    metadata = {
        **dict.fromkeys(("name", "generateName", "namespace"), STRING),
        **_METADATA,
        "*": ANY,
    }
    spec = CRON if kind == "CronWorkflow" else SPEC
    return {"apiVersion": STRING, "kind": STRING, "metadata": metadata, "spec": spec, "status": _ANYTHING}


def mismatches(value: Any, shape: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yields (place, what is wrong) for each field that is unknown or of another type."""
    if shape == ANY or value is None:
        return
    if isinstance(shape, list):
        if not isinstance(value, list):
            yield place, f"expected a list, received {_said(value)}"
            return
        for number, item in enumerate(value):
            yield from mismatches(item, shape[0], item_place(place, number, item))
    elif isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            yield place, f"expected a mapping, received {_said(value)}"
            return
        for key, item in value.items():
            if key not in shape and "*" not in shape:
                yield f"{place}.{key}", f"there is no such field; there are {', '.join(sorted(shape))}"
            else:
                yield from mismatches(item, shape.get(key, shape.get("*")), f"{place}.{key}")
    elif not _fits(value, shape):
        yield place, f"expected {shape}, received {_said(value)}"


def item_place(place: str, number: int, item: Any) -> str:
    """The place of an item of a list: by its name, if it has one."""
    name = item.get("name") if isinstance(item, Mapping) else None
    return f"{place}[{name if isinstance(name, str) and name else number}]"


_QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")


def _fits(value: Any, shape: str) -> bool:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    match shape:
        case "a string":
            return isinstance(value, str)
        case "a whole number":
            return is_whole
        case "true or false":
            return isinstance(value, bool)
        case "a whole number or a string":
            return is_whole or isinstance(value, str)
        case "a quantity":
            return is_whole or (isinstance(value, str) and _QUANTITY.fullmatch(value) is not None)
    return isinstance(value, str | int | float | bool)


def _said(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:60]!r}"
