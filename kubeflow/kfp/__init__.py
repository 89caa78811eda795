"""Kubeflow Pipelines v2: a Plan as a `PipelineSpec` and its Kubernetes platform spec."""

from __future__ import annotations

from headrace.kubeflow.kfp.compile import compile_kfp

__all__ = ["compile_kfp"]
