"""What lies beside a pushed model in `assets.extra`: where it came from, and the schema of what it takes.

TensorFlow Serving reads no file of that folder, and `headrace model show` reads both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from headrace.pipelines import Model, Schema
from headrace.pipelines.artifact import Manifest, read_manifest
from headrace.pipelines.errors import ArtifactError

RECEIPT, SCHEMA = "assets.extra/headrace.json", "assets.extra/schema.pbtxt"


def made_from(model: Model) -> dict[str, Any]:
    """Where a model came from, by following the links of its manifest.

    Returns:
        `headrace`: the version that pushed it; `label`, `weight`, `train_split` as the Trainer had them; and for the
        model, and each artifact that it was made from, type, digest, URI and, while the artifact is there, the
        pipeline, run, step and code that made it.
    """
    plain = {name: value for name, value in sorted(model.links.items()) if not _is_link(value)}
    told: dict[str, Any] = {"headrace": version("headrace"), **plain}
    told["model"] = _told(model.type_name(), model.uri, model.digest, model.manifest)
    told["made_from"] = list(_ancestors(model.links, {model.digest}))
    return told


def _is_link(value: Any) -> bool:
    return isinstance(value, Mapping) and {"type", "uri", "digest"} <= set(value)


def _ancestors(links: Mapping[str, Any], seen: set[str]) -> Iterator[dict[str, Any]]:
    for name, link in sorted(links.items()):
        if not _is_link(link) or link["digest"] in seen:
            continue
        seen.add(link["digest"])
        try:
            manifest: Manifest | None = read_manifest(link["uri"])
        except (ArtifactError, OSError):
            manifest = None  # deleted since; its digest says what it was
        yield {"as": name, **_told(link["type"], link["uri"], link["digest"], manifest)}
        if manifest is not None:
            yield from _ancestors(manifest.links, seen)


def _told(kind: str, uri: str, digest: str, manifest: Manifest | None) -> dict[str, Any]:
    told: dict[str, Any] = {"type": kind, "digest": digest, "uri": uri}
    if manifest is not None:
        told |= {"created": manifest.created, **manifest.producer}
    return told


def schema_text(model: Model) -> bytes | None:
    """The schema that a model names, as text, without the values of columns marked sensitive; None without one."""
    link = model.links.get("schema")
    if not isinstance(link, Mapping) or not _is_link(link):
        return None
    try:
        schema = Schema.open(link["uri"]).read()
    except (ArtifactError, OSError):
        return None
    from google.protobuf import text_format
    from headrace.transforms.schema import sensitive_columns

    hidden = set(sensitive_columns(schema))
    shared = {feature.domain for feature in schema.feature if feature.name not in hidden}
    for feature in schema.feature:
        if feature.name in hidden:
            _without_values(feature)
    kept = [domain for domain in schema.string_domain if domain.name in shared]
    del schema.string_domain[:]
    schema.string_domain.extend(kept)
    text: str = text_format.MessageToString(schema, as_utf8=True)
    return text.encode()


def _without_values(feature: Any) -> None:
    """Clears what says which values a column has; that it is a bool, or a time, is its type."""
    feature.ClearField("domain")
    kind = feature.WhichOneof("domain_info")
    if kind is not None and kind not in ("bool_domain", "time_domain", "time_of_day_domain"):
        feature.ClearField(kind)
