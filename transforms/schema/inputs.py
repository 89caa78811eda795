"""The schema read as what a model takes: dtype, shape and missing value of each raw column."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.transforms.feature_model import ModelInput, missing_value
from headrace.transforms.schema.tags import default_of
from tensorflow_metadata.proto.v0 import schema_pb2

_DTYPES = {schema_pb2.INT: "int64", schema_pb2.FLOAT: "float32", schema_pb2.BYTES: "string"}


def model_inputs(
    schema: schema_pb2.Schema, *, exclude: Iterable[str] = (), environment: str | None = None
) -> dict[str, ModelInput]:
    """What a model takes of each column, by name in the schema's order.

    Args:
        schema: A schema that `check_schema` accepts.
        exclude: Columns that are no inputs, such as the label.
        environment: Leaves out columns that the schema says are not in this environment.

    Raises:
        ValueError: A feature has no type, or more than one dimension.

    Example:
        >>> schema = schema_pb2.Schema()
        >>> feature = schema.feature.add(name="age", type=schema_pb2.INT)
        >>> model_inputs(schema)["age"].dtype  # may be missing: NaN stands for it
        'float32'
        >>> feature.presence.min_fraction = 1.0
        >>> model_inputs(schema)["age"].dtype
        'int64'
    """
    left_out = set(exclude)
    return {
        feature.name: _model_input(feature)
        for feature in schema.feature
        if feature.name not in left_out and in_environment(schema, feature, environment)
    }


def in_environment(schema: schema_pb2.Schema, feature: schema_pb2.Feature, environment: str | None) -> bool:
    """Whether the column is expected in the environment; a deprecated one is expected nowhere."""
    if feature.deprecated or feature.lifecycle_stage in (
        *(schema_pb2.DEPRECATED, schema_pb2.DISABLED, schema_pb2.PLANNED, schema_pb2.ALPHA, schema_pb2.DEBUG_ONLY),
    ):
        return False
    if environment is None or environment in feature.in_environment:
        return True
    if environment in feature.not_in_environment:
        return False
    return not schema.default_environment or environment in schema.default_environment


def is_required(feature: schema_pb2.Feature) -> bool:
    """Whether every row has the column."""
    return bool(feature.presence.min_fraction >= 1.0)


def _model_input(feature: schema_pb2.Feature) -> ModelInput:
    if feature.type not in _DTYPES:
        raise ValueError(
            f"the schema's feature {feature.name!r} has the type {schema_pb2.FeatureType.Name(feature.type)}; "
            "expected INT, FLOAT or BYTES"
        )
    dtype = "bool" if feature.WhichOneof("domain_info") == "bool_domain" else _DTYPES[feature.type]
    default = default_of(feature)
    optional = not is_required(feature)
    missing = default
    if default is None and optional:
        dtype = "string" if dtype == "string" else "float32"
        missing = missing_value(dtype)
    image = feature.WhichOneof("domain_info") == "image_domain"
    return ModelInput(feature.name, dtype, _shape(feature), optional, missing, image)


def _shape(feature: schema_pb2.Feature) -> tuple[int | None, ...]:
    kind = feature.WhichOneof("shape_type")
    if kind == "shape":
        sizes = [dim.size for dim in feature.shape.dim]
        if len(sizes) > 1:
            raise ValueError(
                f"the schema gives feature {feature.name!r} the shape {sizes}; expected one dimension: the feature "
                "model has no lists of lists"
            )
        return () if sizes in ([], [1]) else (sizes[0],)
    counts = feature.value_count
    if kind == "value_count" and counts.HasField("max") and counts.min == counts.max:
        return () if counts.max == 1 else (counts.max,)
    return (None,) if kind == "value_count" else ()
