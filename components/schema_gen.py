"""SchemaGen: what the columns are, inferred from their statistics."""

from __future__ import annotations

from headrace.pipelines import Input, Output, Schema, Statistics, component
from headrace.pipelines.errors import DataError


@component(imports=("headrace.transforms.schema",))
def SchemaGen(
    statistics: Input[Statistics],
    schema: Output[Schema],
    imported_schema: Input[Schema] | None = None,
    *,
    infer_feature_shape: bool = True,
    sensitive: list[str] | None = None,
) -> None:
    """Infers a schema from statistics: type, presence, valency, shape, and domains where the data shows one.

    What a hand-edited schema says of a column wins over inference, so that an edit survives the next run.

    Args:
        statistics: Statistics of every split.
        schema: The schema.
        imported_schema: A schema edited by hand, from ImportSchemaGen.
        infer_feature_shape: Whether columns that always have one value get a fixed shape.
        sensitive: Columns whose values no report, log or error may show.

    Raises:
        DataError: A column cannot be an input of a SavedModel, or needs a default; with every such column and the
            line to paste.

    >>> SchemaGen(statistics=statistics_gen.outputs["statistics"], sensitive=["name"])  # doctest: +SKIP
    """
    from headrace.transforms.schema import check_schema, infer_schema, mark_sensitive, merge_schemas

    measured = statistics.read()
    try:
        inferred = infer_schema(measured, infer_feature_shape=infer_feature_shape)
        if imported_schema is not None:
            inferred = merge_schemas(inferred, imported_schema.read())
        # After the merge: no edit by hand lifts what the pipeline says.
        mark_sensitive(inferred, sensitive or ())
        check_schema(inferred, measured)
    except ValueError as error:
        raise DataError(
            str(error), "mend the source, or import a schema edited by hand with ImportSchemaGen"
        ) from error
    schema.write(inferred)
    schema.link(statistics=statistics)
