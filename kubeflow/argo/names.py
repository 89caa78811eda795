"""Names of tasks, templates and workflows, from those of a Plan."""

from __future__ import annotations

import re

from headrace.kubeflow.step_document import task_name
from headrace.pipelines.plan import Plan

# Words of the language in which Argo writes what a task depends on: a task of that name cannot be depended on.
RESERVED = frozenset(["and", "contains", "else", "false", "if", "in", "let", "matches", "nil", "not", "or", "true"])


def pipeline_name(plan: Plan) -> str:
    """The pipeline's name as Kubernetes takes it: one that has other letters gets a digest."""
    name = task_name(plan.name)
    return name if plan.name.lower().startswith("step") else re.sub("^step-", "pipeline-", name)


def task_names(plan: Plan) -> dict[str, str]:
    """The task and template of each step, by the step's id. `task_name` never makes two hyphens in a row."""
    names = {step.id: task_name(step.id) for step in plan.steps}
    return {id_: f"{name}--step" if name in RESERVED else name for id_, name in names.items()}
