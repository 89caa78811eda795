"""The schema of a dataset: inferred from statistics, merged with a hand-edited one, read as the model's inputs."""

from headrace.transforms.schema.check import check_schema, schema_problems
from headrace.transforms.schema.infer import infer_schema
from headrace.transforms.schema.inputs import model_inputs
from headrace.transforms.schema.merge import merge_schemas
from headrace.transforms.schema.tags import default_of, mark_sensitive, sensitive_columns, set_default

__all__ = [
    "check_schema",
    "default_of",
    "infer_schema",
    "mark_sensitive",
    "merge_schemas",
    "model_inputs",
    "schema_problems",
    "sensitive_columns",
    "set_default",
]
