"""Upload, submit, schedule, watch and end runs on Kubeflow Pipelines and on Argo.

Both clients are `Client`s: what one can do the other can, and what comes of a run is said in the same words.
"""

from __future__ import annotations

from headrace.kubeflow.client.compiled_file import CompiledFile
from headrace.kubeflow.client.connection import Client, Connection, connect
from headrace.kubeflow.client.run_status import RunStatus, StepStatus
from headrace.kubeflow.client.waiting import wait

__all__ = ["Client", "CompiledFile", "Connection", "RunStatus", "StepStatus", "connect", "wait"]
