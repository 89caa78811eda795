"""What must hold of every Plan, in whichever notation it was written."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from headrace.pipelines.artifact_types import artifact_class
from headrace.pipelines.errors import Location, Problem
from headrace.pipelines.plan import Channel, ListOf, PlanParameter, Step, Value, channels_in, parameters_in


def check(
    steps: Sequence[Step],
    parameters: Sequence[PlanParameter],
    locations: Mapping[str, Location],
    location: Location | None = None,
) -> list[Problem]:
    """Finds every dangling reference, wrong type, missing input and cycle of a list of steps.

    Args:
        steps: The steps, in any order.
        parameters: The pipeline's parameters.
        locations: Source place of each step by id.
        location: Source place of the pipeline, for problems of no one step.
    """
    by_id = {step.id: step for step in steps}
    names = {parameter.name for parameter in parameters}
    problems: list[Problem] = []
    for step in steps:
        where = locations.get(step.id, location)
        for name, value in (*step.inputs, *step.arguments):
            problems += _references(step, name, value, by_id, names, where)
        problems += _inputs(step, by_id, where)
    return [*problems, *cycles(steps, locations, location)]


def _references(
    step: Step, name: str, value: Value, by_id: Mapping[str, Step], parameters: set[str], where: Location | None
) -> Iterator[Problem]:
    for channel in channels_in(value):
        said = f"{step.id}.{name} reads {channel.step}.{channel.output}"
        if channel.step not in by_id:
            near = difflib.get_close_matches(channel.step, by_id, 1, 0.4)
            fix = f"did you mean {near[0]}?" if near else "add the step"
            yield Problem(f"{said}, but no step is called {channel.step!r}", fix, where, "not-listed")
            continue
        interface = by_id[channel.step].interface
        declared = [*dict(interface.outputs), *dict(interface.results)]
        if channel.output not in declared:
            near = difflib.get_close_matches(channel.output, declared, 1, 0.4)
            fix = f"use {near[0]}" if near else f"it has {', '.join(declared) or 'none'}"
            yield Problem(f"{said}, but {channel.step} declares no output {channel.output!r}", fix, where, "output")
    for parameter in parameters_in(value):
        if parameter not in parameters:
            fix = f"declare it; there are {', '.join(sorted(parameters)) or 'none'}"
            yield Problem(
                f"{step.id}.{name} reads parameter {parameter!r}, which the pipeline does not have",
                fix,
                where,
                "parameter",
            )


def _inputs(step: Step, by_id: Mapping[str, Step], where: Location | None) -> Iterator[Problem]:
    slots = dict(step.interface.inputs)
    given = dict(step.inputs)
    for name, slot in slots.items():
        if name not in given:
            if not slot.optional:
                fix = f"give it a channel of type {slot.type}"
                yield Problem(
                    f"{step.id}: missing input {name!r} (an artifact of type {slot.type})",
                    fix,
                    where,
                    "missing-argument",
                )
            continue
        value = given[name]
        for item in value.values if slot.list and isinstance(value, ListOf) else (value,):
            producer = by_id.get(item.step) if isinstance(item, Channel) else None
            received = (
                dict(producer.interface.outputs).get(item.output) if producer and isinstance(item, Channel) else None
            )
            if received is not None and not issubclass(artifact_class(received), artifact_class(slot.type)):
                what = f"{step.id}.{name}: expected {slot.type}, received {received}"
                yield Problem(what, f"take it from a step that makes {slot.type}", where, "argument")
    for name in given.keys() - slots.keys():
        near = difflib.get_close_matches(name, slots, 1, 0.7)
        fix = f"use {near[0]!r}" if near else f"it takes {', '.join(slots) or 'none'}"
        yield Problem(f"{step.id}: unknown input {name!r}", fix, where, "unknown-argument")


def cycles(steps: Sequence[Step], locations: Mapping[str, Location], location: Location | None) -> Iterator[Problem]:
    """Reports one cycle for each group of steps that wait for one another."""
    upstream = {step.id: set(step.upstream()) for step in steps}
    upstream = {id_: {up for up in ups if up in upstream} for id_, ups in upstream.items()}
    while free := [id_ for id_, ups in upstream.items() if not ups]:
        for id_ in free:
            del upstream[id_]
        for ups in upstream.values():
            ups.difference_update(free)
    while upstream:
        path = [min(upstream)]
        while (ahead := min(upstream[path[-1]])) not in path:
            path.append(ahead)
        cycle = [*path[path.index(ahead) :], ahead]
        shown = " <- ".join(cycle)
        yield Problem(
            f"a cycle: {shown}", "take one of these channels from another step", locations.get(ahead, location), "cycle"
        )
        reached = set(cycle)
        while more := {
            id_ for id_, ups in upstream.items() if id_ not in reached and (ups & reached or id_ in reached)
        }:
            reached |= more
        for id_ in reached:
            upstream.pop(id_, None)
        for ups in upstream.values():
            ups -= reached
        upstream = {id_: ups for id_, ups in upstream.items() if ups}
