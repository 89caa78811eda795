"""Write, check, plan and run pipelines.

>>> from headrace.pipelines import Input, Output, component, pipeline
"""

from headrace.pipelines.artifact import Artifact, Input, Output, Property
from headrace.pipelines.artifact_types import (
    Anomalies,
    Blessing,
    Evaluation,
    Examples,
    HyperParameters,
    InfraBlessing,
    Model,
    Predictions,
    PushedModel,
    QuarantinedRows,
    Schema,
    SkewBlessing,
    Statistics,
    TransformGraph,
)
from headrace.pipelines.channels import PipelineParameter
from headrace.pipelines.component import component
from headrace.pipelines.component_spec import Function, InputFiles
from headrace.pipelines.errors import HeadraceError, PipelineError
from headrace.pipelines.input_files import FilePattern
from headrace.pipelines.pipeline import Pipeline, pipeline
from headrace.pipelines.plan import Plan
from headrace.pipelines.step_context import step_context

__all__ = [
    "Anomalies",
    "Artifact",
    "Blessing",
    "Evaluation",
    "Examples",
    "FilePattern",
    "Function",
    "HeadraceError",
    "HyperParameters",
    "InfraBlessing",
    "Input",
    "InputFiles",
    "Model",
    "Output",
    "Pipeline",
    "PipelineError",
    "PipelineParameter",
    "Plan",
    "Predictions",
    "Property",
    "PushedModel",
    "QuarantinedRows",
    "Schema",
    "SkewBlessing",
    "Statistics",
    "TransformGraph",
    "component",
    "pipeline",
    "step_context",
]
