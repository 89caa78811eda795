"""Runs a Plan on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines.errors import PipelineError, Problem
from headrace.pipelines.plan import Plan
from headrace.pipelines.runner.options import Listener, RunOptions, check_runnable, resolve_parameters

if TYPE_CHECKING:
    from headrace.pipelines.runner.workers import ForkedWorkers
    from headrace.pipelines.runs import Run

__all__ = ["Listener", "RunOptions", "run", "run_plan"]


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
    from headrace.pipelines.step_context import inside_a_step

    if inside_a_step():
        what = f"pipeline {plan.name} is run by the file that a step of it imports"
        fix = 'put the call of run() under `if __name__ == "__main__":`'
        raise PipelineError(Problem(what, fix, plan.locations.get(""), "run-at-import"))
    return run_plan(plan, RunOptions(**options), listener or Listener())


def run_plan(plan: Plan, options: RunOptions, listener: Listener) -> Run:
    """Runs a Plan, as `run`, with options and a listener that are there already."""
    workers = _early_workers(plan, options)
    try:
        # Here, since it imports SQLAlchemy: the workers' imports go on beside it.
        from headrace.pipelines.runner.driver import Driver

        return Driver(plan, options, listener, workers).run()
    finally:
        if workers is not None:
            workers.close()


def _early_workers(plan: Plan, options: RunOptions) -> ForkedWorkers | None:
    """Starts the workers at once where every step will run, so that their imports do not wait for the store.

    Otherwise the driver starts them for the first step that is not cached: often none is.
    """
    from headrace.pipelines.runner.workers import ForkedWorkers, workers_for

    check_runnable(plan)
    resolve_parameters(plan, options.parameters)
    store = options.store_for(plan)
    is_new = "://" not in store and not Path(store).exists()
    if options.isolation != "fork" or options.debug or (options.cache and not is_new):
        return None
    logs = options.home_for(plan) / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    workers = workers_for(plan.steps, options, options.root_for(plan), str(logs / f"imports-{os.getpid()}.log"))
    return workers if isinstance(workers, ForkedWorkers) else None
