"""Plan -> Argo Workflows: one Workflow, WorkflowTemplate or CronWorkflow, with nothing of Kubeflow needed."""

from headrace.kubeflow.argo.check import check_argo
from headrace.kubeflow.argo.compile import KINDS, compile_argo
from headrace.kubeflow.argo.target import TARGET, target

__all__ = ["KINDS", "TARGET", "check_argo", "compile_argo", "target"]
