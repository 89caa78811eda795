"""What the schema proto has no field for, kept in its own place for such things: `feature.annotation.tag`.

`annotation { tag: "sensitive" }` marks a column whose values must not be shown; `annotation { tag: "default=0" }`
states the value for missing ones. Both survive TensorFlow Data Validation's tools, and a line such as
`feature { name: "year" annotation { tag: "default=0" } }` can be pasted at the end of a schema's text.
"""

from __future__ import annotations

from collections.abc import Iterable

from tensorflow_metadata.proto.v0 import schema_pb2

SENSITIVE = "sensitive"
_DEFAULT = "default="
_BOOLS = {"true": True, "1": True, "false": False, "0": False}


def is_sensitive(feature: schema_pb2.Feature) -> bool:
    """Whether the column's values must not be shown."""
    return SENSITIVE in feature.annotation.tag


def sensitive_columns(schema: schema_pb2.Schema) -> list[str]:
    """Names of the columns marked sensitive, in the schema's order."""
    return [feature.name for feature in schema.feature if is_sensitive(feature)]


def mark_sensitive(schema: schema_pb2.Schema, columns: Iterable[str]) -> None:
    """Marks columns as sensitive.

    Raises:
        ValueError: The schema has no such column.
    """
    features = {feature.name: feature for feature in schema.feature}
    wanted = list(columns)
    if unknown := sorted(set(wanted) - set(features)):
        raise ValueError(f"columns {unknown} are to be marked sensitive; the schema has {sorted(features)}")
    for name in wanted:
        if not is_sensitive(features[name]):
            features[name].annotation.tag.append(SENSITIVE)


def default_of(feature: schema_pb2.Feature) -> bool | int | float | str | None:
    """The stated value for missing ones, in the column's type; None when none is stated. The last tag wins.

    Raises:
        ValueError: The tag's text is no value of the column's type.

    Example:
        >>> feature = schema_pb2.Feature(name="year", type=schema_pb2.INT)
        >>> set_default(feature, -1)
        >>> default_of(feature)
        -1
    """
    stated: list[str] = [tag.removeprefix(_DEFAULT) for tag in feature.annotation.tag if tag.startswith(_DEFAULT)]
    if not stated:
        return None
    text: str = stated[-1]
    try:
        if feature.WhichOneof("domain_info") == "bool_domain":
            return _BOOLS[text.strip().lower()]
        if feature.type == schema_pb2.INT:
            return int(text)
        if feature.type == schema_pb2.FLOAT:
            return float(text)
    except (KeyError, ValueError):
        kind = schema_pb2.FeatureType.Name(feature.type)
        raise ValueError(
            f"the schema states the default {text!r} for column {feature.name!r}, which is no {kind}; "
            'write for example annotation { tag: "default=0" }'
        ) from None
    return text


def set_default(feature: schema_pb2.Feature, value: bool | int | float | str) -> None:
    """States the value for missing ones, instead of any stated before."""
    others = [tag for tag in feature.annotation.tag if not tag.startswith(_DEFAULT)]
    text = str(value).lower() if isinstance(value, bool) else str(value)
    del feature.annotation.tag[:]
    feature.annotation.tag.extend([*others, f"{_DEFAULT}{text}"])


def default_line(column: str, value: int) -> str:
    """The line that states a default when it is pasted into a schema's text."""
    return f'feature {{ name: "{column}" annotation {{ tag: "{_DEFAULT}{value}" }} }}'
