"""What the schema beside a SavedModel says of its inputs: the values they may have, and one of them as an example.

The schema is `assets.extra/schema.pbtxt` of the SavedModel, or the one that the artifact which holds it links to.

Format: tensorflow_metadata/proto/v0/schema.proto.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.transforms.serving.signatures import TensorInfo

SCHEMA = "schema.pbtxt"
_MANIFEST = "artifact.json"
_SHOWN_VALUES = 5
# 1x1 pixel, grey: the smallest image that every decoder of TensorFlow takes.
_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="


@dataclass(frozen=True)
class Domain:
    """What one input may be.

    Args:
        text: In words, such as "EWR, JFK, LGA" or "1 to 7"; "" if nothing is known.
        example: A value in it, as JSON; None if nothing is known.
    """

    text: str = ""
    example: Any = None


def find_schema(saved_model: Path) -> Path | None:
    """The schema of a SavedModel, if it is beside it."""
    extra = saved_model / "assets.extra" / SCHEMA
    if extra.is_file():
        return extra
    manifest = saved_model.parent / _MANIFEST
    if not manifest.is_file():
        return None
    link = json.loads(manifest.read_text()).get("links", {}).get("schema")
    if not isinstance(link, dict) or "://" in str(link.get("uri", "")):
        return None
    linked = manifest.parent / link["uri"] / SCHEMA
    return linked if linked.is_file() else None


def domains(schema_file: Path | None) -> dict[str, Domain]:
    """The domain of each feature of a schema by name; of sensitive ones nothing is told.

    Raises:
        ValueError: The file is no schema.
    """
    if schema_file is None:
        return {}
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = schema_pb2.Schema()
    try:
        text_format.Parse(schema_file.read_text(encoding="utf-8"), schema)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{schema_file}: expected a schema, received what cannot be parsed: {error}") from error
    shared = {domain.name: domain for domain in schema.string_domain}
    return {feature.name: _domain(feature, shared) for feature in schema.feature}


def _domain(feature: Any, shared: dict[str, Any]) -> Domain:
    if "sensitive" in feature.annotation.tag:
        return Domain("sensitive")
    kind = feature.WhichOneof("domain_info")
    if feature.domain in shared:
        return _categories(list(shared[feature.domain].value))
    if kind == "string_domain":
        return _categories(list(feature.string_domain.value))
    if kind == "bool_domain":
        return Domain("true, false", True)
    if kind == "time_domain":
        from tensorflow_metadata.proto.v0 import schema_pb2

        unit = schema_pb2.TimeDomain.IntegerTimeFormat.Name(feature.time_domain.integer_format)
        is_days = unit == "UNIX_DAYS"
        return Domain("days since 1970-01-01" if is_days else unit.lower(), 20_000 if is_days else None)
    if kind == "image_domain":
        return Domain("a PNG or JPEG image", {"b64": _PNG})
    if kind in ("int_domain", "float_domain"):
        return _range(getattr(feature, kind))
    return Domain()


def _categories(values: list[str]) -> Domain:
    rest = len(values) - _SHOWN_VALUES
    shown = ", ".join(values[:_SHOWN_VALUES]) + (f", ... ({len(values)} values)" if rest > 0 else "")
    return Domain(shown, values[0] if values else None)


def _range(domain: Any) -> Domain:
    low = domain.min if domain.HasField("min") else None
    high = domain.max if domain.HasField("max") else None
    if low is None and high is None:
        return Domain()
    if low is None or high is None:
        return Domain(f"from {low}" if high is None else f"to {high}", high if low is None else low)
    return Domain(f"{low} to {high}", low)


def example_of(tensor: TensorInfo, domain: Domain, raw: dict[str, Any] | None = None) -> Any:
    """One row's value of an input, as TensorFlow Serving's JSON writes it.

    Args:
        tensor: The input.
        domain: What is known of it.
        raw: A row of raw values, for an input that takes a serialized tf.Example.
    """
    value = _scalar(tensor, domain, raw)
    for size in reversed(tensor.shape[1:] if tensor.shape else ()):
        value = [value] * (2 if size is None else size)
    return value


def _scalar(tensor: TensorInfo, domain: Domain, raw: dict[str, Any] | None) -> Any:
    kind = tensor.dtype.numpy.kind
    if raw is not None:
        return {"b64": _serialized(raw)}
    if kind == "O":
        if isinstance(domain.example, dict):
            return domain.example
        if "image" in tensor.name or tensor.name.endswith("_bytes"):
            return {"b64": _PNG}
        return domain.example if isinstance(domain.example, str) else "text"
    if kind == "b":
        return domain.example if isinstance(domain.example, bool) else True
    if isinstance(domain.example, int | float):
        return float(domain.example) if kind == "f" else int(domain.example)
    return 1.5 if kind == "f" else 1


def _serialized(raw: dict[str, Any]) -> str:
    import base64

    from headrace.transforms.serving.examples import serialized_example

    return base64.b64encode(serialized_example({}, "", raw, "example")).decode()
