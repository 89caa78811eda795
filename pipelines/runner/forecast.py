"""What a run would do, and why, without running: `headrace plan` and `headrace why STEP FILE`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from headrace.pipelines import storage
from headrace.pipelines.errors import HeadraceError, StoreError
from headrace.pipelines.execution import execute
from headrace.pipelines.plan import Plan
from headrace.pipelines.runner.options import RunOptions, check_runnable, resolve_parameters
from headrace.pipelines.runner.step_planning import (
    CodeParts,
    MissingInput,
    Outcome,
    PlannedStep,
    StoreMemo,
    find_hit,
    plan_step,
    step_request,
    why_it_runs,
)
from headrace.pipelines.store import History, Store


@dataclass(frozen=True)
class Forecast:
    """What a run would do with one step: ``cached``, ``runs``, ``may run``, ``asks`` (the store) or ``fails``."""

    step: str
    verdict: str
    reason: str


def forecast(plan: Plan, options: RunOptions, *, all_reasons: bool = False) -> list[Forecast]:
    """Says for each step whether it would run, and why.

    A step behind one that runs may still be taken from the cache, should that one give what it gave before.

    Args:
        plan: The Plan.
        options: As for a run.
        all_reasons: Whether to give every difference, a line each, not only the first three.
    """
    check_runnable(plan)
    parameters = resolve_parameters(plan, options.parameters)
    place = options.place_for(plan)
    root, recorded = place.root, place.recorded_root
    history = History(plan.name, recorded, options.scope)
    outcomes: dict[str, Outcome] = {}
    forecasts = []
    with ExitStack() as stack:
        try:
            store = stack.enter_context(Store.open(place.store, create=False))
        except StoreError as error:
            if "no store" not in str(error):
                raise
            return [Forecast(step.id, "runs", "it never ran before") for step in plan.steps]
        memo, code = StoreMemo(store), CodeParts(plan.root)
        for step in plan.steps:
            unsettled = [up for up in step.upstream() if up not in outcomes]
            if unsettled:
                forecasts.append(Forecast(step.id, "may run", f"if {' or '.join(unsettled)} gives something new"))
                continue
            try:
                planned = plan_step(step, parameters, outcomes, memo, code, options.sample)
            except (HeadraceError, MissingInput) as error:
                forecasts.append(Forecast(step.id, "fails", str(error)))
                continue
            if step.place == "driver":
                outcomes[step.id] = _ask(planned, store, options, plan)
                forecasts.append(Forecast(step.id, "asks", "the store, each time"))
                continue
            hit = find_hit(store, planned, recorded, root) if options.cache and step.settings.cache else None
            if hit is not None:
                outcomes[step.id] = Outcome(hit.outputs, hit.output_parameters, hit.refusal)
                forecasts.append(Forecast(step.id, "cached", f"nothing changed since run {hit.key.run_id}"))
                continue
            reasons = (
                why_it_runs(store, planned, history) if options.cache and step.settings.cache else ["the cache is off"]
            )
            forecasts.append(
                Forecast(step.id, "runs", "\n  ".join(["", *reasons]) if all_reasons else "; ".join(reasons[:3]))
            )
    return forecasts


def _ask(planned: PlannedStep, store: Store, options: RunOptions, plan: Plan) -> Outcome:
    """Lets a step that only asks the store ask it; what it finds is recorded already."""
    place = options.place_for(plan)
    root, recorded = place.root, place.recorded_root
    result = execute(step_request(planned, plan, options, place, run="plan", folder=storage.join(root, "plan")))
    found = {
        name: store.artifacts(
            uri=storage.relative_to_root(output.uri, root), root=recorded, digest=output.digest, limit=1
        )
        for name, output in result.outputs.items()
    }
    return Outcome({name: records for name, records in found.items() if records}, result.results, result.refusal)
