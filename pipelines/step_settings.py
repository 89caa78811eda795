"""How a step is run: retries, time, resources, environment, volumes, placement; declared once for every target."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from headrace.pipelines.parameter_values import NotAllowed, encode

Pairs = tuple[tuple[str, str], ...]

# What a file system of a step may come from: a claim, a secret, a config map, or scratch space of a size.
VOLUME_KINDS = ("pvc", "secret", "config_map", "scratch")
_QUANTITY = re.compile(r"\d+(\.\d+)?([munkKMGTPE]|[KMGTPE]i)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Settings:
    """How a step is run; what a backend cannot do it refuses.

    Args:
        retries: How often a failed step is tried again.
        retry_wait: Seconds before the first new try; twice as long before each further one.
        timeout: Seconds after which an attempt is ended.
        cpu: Cores asked for, such as ``"2"`` or ``"500m"``.
        memory: Memory asked for, such as ``"4Gi"``.
        storage: Scratch disk asked for (ephemeral storage), such as ``"10Gi"``.
        gpu: Accelerators asked for.
        gpu_type: Kubernetes' resource name of the accelerator.
        cache: Whether an earlier result may be taken.
        env: Environment variables.
        secrets: Environment variable -> secret and key, ``"secret/key"``.
        config_maps: Environment variable -> config map and key, ``"map/key"``.
        pod_fields: Environment variable -> field of the pod, such as ``"metadata.name"``.
        volumes: Absolute path -> what is mounted there: ``"pvc:NAME"``, ``"secret:NAME"``, ``"config_map:NAME"`` or
            ``"scratch:10Gi"``.
        node_selector: Labels that the node must have.
        tolerations: Taints that are tolerated, as Kubernetes writes them:
            ``{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}``.
        labels: Labels of the pod.
        annotations: Annotations of the pod.
        image: The step's own container image.
        beam_args: Arguments for Beam, such as ``("--runner=FlinkRunner",)``.

    >>> Settings.from_json({"cpu": "2", "secrets": {"TOKEN": "vault/token"}}).secrets
    (('TOKEN', 'vault/token'),)
    """

    retries: int = 0
    retry_wait: float | None = None
    timeout: float | None = None
    cpu: str | None = None
    memory: str | None = None
    storage: str | None = None
    gpu: int | None = None
    gpu_type: str = "nvidia.com/gpu"
    cache: bool = True
    env: Pairs = ()
    secrets: Pairs = ()
    config_maps: Pairs = ()
    pod_fields: Pairs = ()
    volumes: Pairs = ()
    node_selector: Pairs = ()
    tolerations: tuple[Pairs, ...] = ()
    labels: Pairs = ()
    annotations: Pairs = ()
    image: str | None = None
    beam_args: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {name: _plain(value, _TYPES[name]) for name, value in changed.items()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Settings:
        """Reads settings by name.

        Raises:
            ValueError: One is unknown, or its value is not of its type or form; the message names it.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(document) - known):
            raise ValueError(f"unknown setting {unknown[0]!r}; there are {', '.join(sorted(known))}")
        values: dict[str, Any] = {}
        for name, value in document.items():
            try:
                values[name] = encode(value, _TYPES[name])
            except NotAllowed as error:
                raise ValueError(f"setting {name!r}: {error}") from None
            if wrong := _wrong(name, values[name]):
                raise ValueError(f"setting {name!r}: {wrong}")
        return cls(**{name: _frozen(value) for name, value in values.items()})

    def over(self, defaults: Settings) -> Settings:
        """These settings, with what they leave open taken from others; mappings are joined key by key."""
        return Settings.from_json(_joined(defaults.to_json(), self.to_json()))


_TYPES: dict[str, Any] = {
    "retries": int,
    "retry_wait": float | None,
    "timeout": float | None,
    "cpu": str | None,
    "memory": str | None,
    "storage": str | None,
    "gpu": int | None,
    "gpu_type": str,
    "cache": bool,
    "env": dict[str, str],
    "secrets": dict[str, str],
    "config_maps": dict[str, str],
    "pod_fields": dict[str, str],
    "volumes": dict[str, str],
    "node_selector": dict[str, str],
    "tolerations": list[dict[str, str]],
    "labels": dict[str, str],
    "annotations": dict[str, str],
    "image": str | None,
    "beam_args": list[str],
}


def _plain(value: Any, type_: Any) -> Any:
    if type_ == dict[str, str]:
        return dict(value)
    if type_ == list[dict[str, str]]:
        return [dict(item) for item in value]
    return list(value) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _joined(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    joined = {**defaults, **given}
    for name in defaults.keys() & given.keys():
        if isinstance(given[name], dict):
            joined[name] = {**defaults[name], **given[name]}
    return joined


def _wrong(name: str, value: Any) -> str | None:
    """Says what is wrong with the form of a value, if anything is."""
    if isinstance(value, int | float) and value < 0:
        return f"expected no negative number, received {value!r}"
    if name in ("cpu", "memory", "storage") and value is not None and not _QUANTITY.fullmatch(value):
        return f"expected a quantity such as '500m', '2' or '4Gi', received {value!r}"
    if name in ("env", "secrets", "config_maps", "pod_fields"):
        for key, source in value.items():
            if not _VARIABLE.fullmatch(key):
                return f"expected the name of an environment variable, received {key!r}"
            if name in ("secrets", "config_maps") and not all(source.partition("/")[::2]):
                return f"expected {key}: 'name/key', received {source!r}"
    if name == "volumes":
        for path, source in value.items():
            kind, _, what = source.partition(":")
            if not path.startswith("/") or kind not in VOLUME_KINDS or not what:
                kinds = ", ".join(f"{kind}:..." for kind in VOLUME_KINDS)
                return f"expected an absolute path and one of {kinds}, received {path!r}: {source!r}"
            if kind == "scratch" and not _QUANTITY.fullmatch(what):
                return f"expected a size such as scratch:10Gi at {path}, received {what!r}"
    return None
