"""The standard components, one file each, under TFX's names. A name is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.components.importer import Importer as Importer
    from headrace.components.infra_validator import InfraValidator as InfraValidator
    from headrace.components.pusher import Filesystem as Filesystem
    from headrace.components.pusher import Pusher as Pusher
    from headrace.components.resolver import Resolver as Resolver
    from headrace.components.skew_validator import SkewValidator as SkewValidator
    from headrace.components.trainer import ServingSignature as ServingSignature
    from headrace.components.trainer import Trainer as Trainer
    from headrace.components.transform import Transform as Transform

_WHERE = {
    "BulkInferrer": "bulk_inferrer",
    "CsvExampleGen": "csv_example_gen",
    "Evaluator": "evaluator",
    "ExampleValidator": "example_validator",
    "Filesystem": "pusher",
    "ImageExampleGen": "image_example_gen",
    "ImportExampleGen": "import_example_gen",
    "ImportSchemaGen": "import_schema_gen",
    "Importer": "importer",
    "InfraValidator": "infra_validator",
    "ParquetExampleGen": "parquet_example_gen",
    "Pusher": "pusher",
    "Resolver": "resolver",
    "SchemaGen": "schema_gen",
    "ServingSignature": "trainer",
    "SkewValidator": "skew_validator",
    "SqlExampleGen": "sql_example_gen",
    "StatisticsGen": "statistics_gen",
    "Trainer": "trainer",
    "Transform": "transform",
}
__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
