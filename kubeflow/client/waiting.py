"""Waiting for a run, bounded in time, across a server that is away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from headrace.kubeflow.client.run_status import STEP_ENDED, RunStatus, StepStatus
from headrace.pipelines.errors import ClusterError

if TYPE_CHECKING:
    from headrace.kubeflow.client.connection import Client

# How long a server may be away before the wait is given up: a control plane's upgrade takes minutes.
AWAY = 300.0


def wait(
    client: Client,
    run: str,
    *,
    timeout: float | None = None,
    poll: float = 2.0,
    on_step: Callable[[StepStatus], None] = lambda step: None,
) -> RunStatus:
    """Waits until a run has ended.

    Args:
        client: Where it runs.
        run: What the server calls it.
        timeout: Seconds to wait at most.
        poll: Seconds between two looks, at first; they become longer with the run, up to 30.
        on_step: Told of each step once, when it has ended.

    Raises:
        ClusterError: It had not ended in time, or the server was away for five minutes. The run goes on.
    """
    began = answered = time.monotonic()
    told: set[str] = set()
    while True:
        try:
            status = client.status(run)
            answered = time.monotonic()
        except ClusterError as error:
            if not error.passing or time.monotonic() - answered > AWAY:
                raise
            status = None
        if status is not None:
            for step in status.steps:
                if step.state in STEP_ENDED and step.id not in told:
                    told.add(step.id)
                    on_step(step)
            if status.ended:
                return status
        waited = time.monotonic() - began
        if timeout is not None and waited >= timeout:
            raise ClusterError(
                f"run {run} has not ended within {timeout:g} s; it goes on",
                f"headrace status --target {client.target} {run}",
            )
        pause = max(poll, min(30.0, waited / 20))
        time.sleep(pause if timeout is None else min(pause, timeout - waited))
