"""The verbs of `headrace` that concern a cluster. Imported when one is asked for; see headrace.pipelines.cli."""

from __future__ import annotations

from headrace.kubeflow.cli.arguments import add_arguments
from headrace.kubeflow.cli.compiling import compile, require_portable
from headrace.kubeflow.cli.images import image
from headrace.kubeflow.cli.running import logs, schedule, status, submit, terminate, upload

__all__ = [
    "add_arguments",
    "compile",
    "image",
    "logs",
    "require_portable",
    "schedule",
    "status",
    "submit",
    "terminate",
    "upload",
]
