"""Runs a Plan on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headrace.pipelines.errors import PipelineError, Problem
from headrace.pipelines.plan import Plan
from headrace.pipelines.runner.options import Listener, RunOptions

if TYPE_CHECKING:
    from headrace.pipelines.runs import Run

__all__ = ["Listener", "RunOptions", "run"]


def run(plan: Plan, *, listener: Listener | None = None, **options: Any) -> Run:
    """Runs a Plan on this machine and gives what came of it; a failed step is a state of the run, not an exception.

    Args:
        plan: The Plan.
        listener: Who is told as it goes.
        **options: See `RunOptions`: parameters, root, store, cache, sample, jobs, debug, beam_args, experiment, report.

    Raises:
        PipelineError: The Plan has what a local run cannot honour, or a parameter is wrong.
        StoreError: The store cannot be opened.
    """
    from headrace.pipelines.runner.driver import Driver
    from headrace.pipelines.step_context import inside_a_step

    if inside_a_step():
        what = f"pipeline {plan.name} is run by the file that a step of it imports"
        fix = 'put the call of run() under `if __name__ == "__main__":`'
        raise PipelineError(Problem(what, fix, plan.locations.get(""), "run-at-import"))
    return Driver(plan, RunOptions(**options), listener or Listener()).run()
