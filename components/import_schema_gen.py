"""ImportSchemaGen: a schema edited by hand comes into a pipeline."""

from __future__ import annotations

from headrace.pipelines import InputFiles, Output, Schema, component, storage
from headrace.pipelines.errors import DataError


@component
def ImportSchemaGen(schema: Output[Schema], *, schema_file: InputFiles) -> None:
    """Reads a schema from a text file.

    Pass its output to consumers in place of SchemaGen's, or to SchemaGen as `imported_schema`, where it wins over
    what is inferred.

    Args:
        schema: The schema.
        schema_file: A `Schema` message of tensorflow-metadata in text form (`.pbtxt`).

    Raises:
        DataError: The file is not such a message; with its line.

    >>> ImportSchemaGen(schema_file="schemas/flights.pbtxt")  # doctest: +SKIP
    """
    from google.protobuf import text_format

    paths = [] if isinstance(schema_file, dict) else list(schema_file.paths)
    if len(paths) != 1:
        raise DataError(f"expected one schema file, received {len(paths) or 'files by name'}", "name the file itself")
    [path] = paths
    message = Schema.message_class()()
    try:
        text_format.Parse(storage.read_bytes(path).decode(), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise DataError(f"expected a Schema message in text form: {error}", "mend the line", file=path) from error
    schema.write(message)
