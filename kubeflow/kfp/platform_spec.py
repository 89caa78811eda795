"""A step's settings as a `KubernetesExecutorConfig`, the message of `kfp-kubernetes`, in its JSON form.

Written by its field names: the package would bring the whole SDK. A test parses every field with the package's message.
Source: kubernetes_platform/proto/kubernetes_executor_config.proto in github.com/kubeflow/pipelines. Names are given in
the fields that every server knows; later ones are for names that are known only when a step runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from headrace.pipelines.step_settings import Pairs, Settings

_TOLERATION_KEYS = ("key", "operator", "value", "effect")
_VOLUME_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def executor_config(settings: Settings, image_pull_secrets: tuple[str, ...] = ()) -> dict[str, Any]:
    """The platform configuration of one executor; empty if its settings need none."""
    config: dict[str, Any] = {
        "secretAsEnv": _variables(settings.secrets, "secretName", "secretKey"),
        "configMapAsEnv": _variables(settings.config_maps, "configMapName", "configMapKey"),
        "fieldPathAsEnv": [{"name": name, "fieldPath": path} for name, path in settings.pod_fields],
        "imagePullSecret": [{"secretName": name} for name in image_pull_secrets],
        "tolerations": [_toleration(dict(toleration)) for toleration in settings.tolerations],
        **_mounts(settings.volumes),
    }
    if settings.node_selector:
        config["nodeSelector"] = {"labels": dict(settings.node_selector)}
    metadata = {"labels": dict(settings.labels), "annotations": dict(settings.annotations)}
    if any(metadata.values()):
        config["podMetadata"] = {name: pairs for name, pairs in metadata.items() if pairs}
    return {name: content for name, content in config.items() if content}


def _variables(pairs: Pairs, source: str, key: str) -> list[dict[str, Any]]:
    """One entry for each secret or config map, with the variables that come from it."""
    found: dict[str, list[dict[str, str]]] = {}
    for variable, place in pairs:
        name, _, inside = place.partition("/")
        found.setdefault(name, []).append({key: inside, "envVar": variable})
    return [{source: name, "keyToEnv": entries} for name, entries in sorted(found.items())]


def _mounts(volumes: Pairs) -> dict[str, list[dict[str, Any]]]:
    mounts: dict[str, list[dict[str, Any]]] = {}
    for number, (path, source) in enumerate(volumes):
        kind, _, name = source.partition(":")
        match kind:
            case "pvc":
                mounts.setdefault("pvcMount", []).append({"constant": name, "mountPath": path})
            case "secret":
                mounts.setdefault("secretAsVolume", []).append({"secretName": name, "mountPath": path})
            case "config_map":
                mounts.setdefault("configMapAsVolume", []).append({"configMapName": name, "mountPath": path})
            case "scratch":
                mount = {"volumeName": f"scratch-{number}", "mountPath": path, "sizeLimit": name}
                mounts.setdefault("emptyDirMounts", []).append(mount)
    return mounts


def _toleration(toleration: Mapping[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {key: toleration[key] for key in _TOLERATION_KEYS if key in toleration}
    if seconds := toleration.get("tolerationSeconds"):
        # An int64 of protobuf is a string in JSON.
        entry["tolerationSeconds"] = str(int(seconds))
    return entry


def wrong(settings: Settings) -> Iterator[tuple[str, str]]:
    """What of these settings KFP's driver makes an invalid pod of, as (what, fix).

    It names a volume after what is mounted, so that a thing can be mounted once, and needs a name fit for a volume.
    """
    named: dict[str, str] = {}
    for path, source in settings.volumes:
        kind, _, name = source.partition(":")
        if kind == "scratch":
            continue
        if not _VOLUME_NAME.fullmatch(name):
            what = f"the volume {source!r} at {path}: KFP names the volume {name!r}, which Kubernetes does not take"
            yield what, "give it a name of lower-case letters, digits and hyphens, 63 at most"
        elif name in named:
            what = f"the volumes {named[name]!r} and {source!r}: KFP gives both the name {name!r}"
            yield what, "mount it once, or rename one of the two"
        named[name] = source
