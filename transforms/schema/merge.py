"""Merging a hand-edited schema over an inferred one, so that the edits survive the next run."""

from __future__ import annotations

from tensorflow_metadata.proto.v0 import schema_pb2


def merge_schemas(inferred: schema_pb2.Schema, imported: schema_pb2.Schema) -> schema_pb2.Schema:
    """The imported schema, with inference filling in only what it leaves open.

    - A feature stated *with its type* is complete: it is taken as it is, so that what was deleted stays deleted.
    - A feature stated *without a type* is an amendment: each of its fields wins over the inferred one.
    - Where any feature is complete, the imported schema decides which columns there are: a column it lacks is left
      out, and ExampleValidator reports it as new. Amendments alone keep all inferred columns.
    - Several statements of one column are one, the later winning: a line may be pasted at the end.

    Args:
        inferred: From `infer_schema`.
        imported: Written or edited by a person.

    Example:
        >>> inferred = schema_pb2.Schema(feature=[schema_pb2.Feature(name="x", type=schema_pb2.INT)])
        >>> edit = schema_pb2.Schema(feature=[schema_pb2.Feature(name="x")])
        >>> edit.feature[0].annotation.tag.append("sensitive")
        >>> merge_schemas(inferred, edit).feature[0].type == schema_pb2.INT
        True
    """
    stated = _one_statement_each(imported)
    found = {feature.name: feature for feature in inferred.feature}
    merged = schema_pb2.Schema()
    merged.CopyFrom(imported)
    del merged.feature[:]
    if any(feature.type for feature in stated.values()):
        merged.feature.extend(_amended(found.get(name), feature) for name, feature in stated.items())
    else:
        merged.feature.extend(_amended(feature, stated.get(name)) for name, feature in found.items())
        # A column that only a person knows of: kept, so that its absence is reported.
        merged.feature.extend(feature for name, feature in stated.items() if name not in found)
    return merged


def _one_statement_each(schema: schema_pb2.Schema) -> dict[str, schema_pb2.Feature]:
    stated: dict[str, schema_pb2.Feature] = {}
    for feature in schema.feature:
        stated[feature.name] = _over(stated[feature.name], feature) if feature.name in stated else feature
    return stated


def _amended(inferred: schema_pb2.Feature | None, stated: schema_pb2.Feature | None) -> schema_pb2.Feature:
    if stated is None:
        assert inferred is not None
        return inferred
    return stated if stated.type or inferred is None else _over(inferred, stated)


def _over(base: schema_pb2.Feature, edit: schema_pb2.Feature) -> schema_pb2.Feature:
    """Each field of `edit` replaces that of `base`; annotations add up."""
    merged = schema_pb2.Feature()
    merged.CopyFrom(base)
    for field, _ in edit.ListFields():
        if field.name != "annotation":
            # MergeFrom of one field after clearing it, which also clears the other members of its oneof.
            merged.ClearField(field.name)
    only = schema_pb2.Feature()
    only.CopyFrom(edit)
    tags = [tag for tag in edit.annotation.tag if tag not in base.annotation.tag]
    del only.annotation.tag[:]
    only.annotation.tag.extend(tags)
    if not only.annotation.ByteSize():
        only.ClearField("annotation")
    merged.MergeFrom(only)
    return merged
