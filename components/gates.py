"""The gates that a Pusher is given when its pipeline names none: a SkewValidator and an InfraValidator of its model.

What they compare with is found by walking the channels: from the Model to the Trainer that makes it, from there to the
Transform, and to the rows that it took. Where that way is not to be seen, the gate is left out, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from headrace.pipelines.artifact_types import artifact_class
from headrace.pipelines.channels import OutputChannel
from headrace.pipelines.completion import Completion
from headrace.pipelines.component import Component
from headrace.pipelines.plan import Settings
from headrace.pipelines.recorded_step import RecordedStep

LEFT_OUT = "gates_left_out"
SWITCHED_OFF = "switched off in the pipeline's code"
# The author's word for each gate, as in `skew_gate=` and `skew_blessing=`.
GATES = ("infra", "skew")
# A gate is where its Pusher is and may read what that may; how much it needs is its own.
_AMOUNTS = {"retries", "retry_wait", "timeout", "cpu", "memory", "storage", "gpu", "gpu_type", "cache", "beam_args"}


class _NotFound(Exception):
    """What a gate needs cannot be found in the pipeline; the message says why."""


def with_gates(pusher: RecordedStep, steps: Sequence[RecordedStep]) -> Completion:
    """Gives the gates that a Pusher lacks.

    Args:
        pusher: The Pusher.
        steps: All steps of the pipeline: a gate of the same model that is among them is taken.
    """
    model = pusher.bound.get("model")
    if not isinstance(model, OutputChannel) or model.problem is not None:
        return Completion()
    added: list[RecordedStep] = []
    bound: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for gate in GATES:
        if pusher.bound.get(f"{gate}_blessing") is not None or pusher.bound.get(f"{gate}_gate", True) is False:
            continue
        component, inputs = _gate(gate)
        step = next((step for step in (*steps, *added) if _judges(step, component, model)), None)
        if step is None:
            try:
                step = component(model=model, **inputs(model))
            except _NotFound as reason:
                left_out[gate] = str(reason)
                continue
            step.with_id(_free_id(component.spec.name, model, [one.id for one in (*steps, *added)]))
            step.settings = _settings_of(pusher)
            added.append(step)
        bound[f"{gate}_blessing"] = step.outputs["blessing"]
    if left_out:
        bound[LEFT_OUT] = left_out
    notes = tuple(f"{pusher.id} pushes without the {gate} gate: {why}" for gate, why in left_out.items())
    return Completion(tuple(added), bound, notes)


def gates_fit(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the arguments of a Pusher that are about its gates."""
    for gate in GATES:
        said = given.get(f"{gate}_gate")
        if not isinstance(said, bool):
            yield (
                f"expected {gate}_gate of True or False, received {said!r}: a gate is there or not before a run",
                f"write {gate}_gate=False to push without it",
            )
        elif not said and given.get(f"{gate}_blessing") is not None:
            yield f"{gate}_gate=False, and yet {gate}_blessing is given", "leave one of them out"


def _gate(name: str) -> tuple[Component, Callable[[OutputChannel], dict[str, Any]]]:
    if name == "skew":
        from headrace.components.skew_validator import SkewValidator

        return SkewValidator, _skew_inputs
    from headrace.components.infra_validator import InfraValidator

    return InfraValidator, _infra_inputs


def _judges(step: RecordedStep, component: Component, model: OutputChannel) -> bool:
    given = step.bound.get("model")
    return step.component is component and isinstance(given, OutputChannel) and _same(given, model)


def _same(one: OutputChannel, other: OutputChannel) -> bool:
    return one.producer is other.producer and one.name == other.name


def _free_id(name: str, model: OutputChannel, taken: Sequence[str]) -> str:
    """The component's name; where that is taken, with the name of what makes the model, and a number if need be."""
    if name not in taken:
        return name
    longer = f"{name}_{model.producer.id}"
    numbered = (f"{longer}_{number}" for number in range(2, len(taken) + 3))
    return next(one for one in (longer, *numbered) if one not in taken)


def _settings_of(pusher: RecordedStep) -> Settings:
    names = {field.name for field in fields(Settings)} - _AMOUNTS
    return Settings.from_json({name: value for name, value in pusher.settings.to_json().items() if name in names})


def _skew_inputs(model: OutputChannel) -> dict[str, Any]:
    return {"examples": _raw_examples(model)}


def _infra_inputs(model: OutputChannel) -> dict[str, Any]:
    """The rows and their schema; where they are not found, the server is sent a row of what the model's inputs say."""
    found: dict[str, Any] = {}
    try:
        found["examples"] = _raw_examples(model)
    except _NotFound:
        return found
    trainer = model.producer
    for step in (trainer, *_makers(trainer, "transform_graph")):
        schema = step.bound.get("schema")
        if isinstance(schema, OutputChannel):
            return {**found, "schema": schema}
    return found


def _raw_examples(model: OutputChannel) -> OutputChannel:
    """The rows, as they came in, that a model's features were made from."""
    from headrace.components.importer import Importer
    from headrace.components.trainer import Trainer
    from headrace.components.transform import Transform

    trainer = model.producer
    if trainer.component is not Trainer:
        raise _NotFound(f"its model comes of {trainer.id}, which is no Trainer, so what it was trained on is not known")
    examples = trainer.bound.get("examples")
    if not isinstance(examples, OutputChannel):
        raise _NotFound(f"{trainer.id} has no examples")
    source = examples.producer
    if source.component is Transform and examples.name == "transformed_examples":
        raw = source.bound.get("examples")
        if isinstance(raw, OutputChannel):
            return raw
        raise _NotFound(f"{source.id} has no examples")
    if source.component is Importer:
        raise _NotFound(
            f"{source.id} brings the features of {trainer.id}, so the rows they were made from are not known"
        )
    if changing := _after_a_transform(source, set()):
        raise _NotFound(
            f"{changing} changes the features between Transform and {trainer.id}, row by row nothing matches"
        )
    return examples


def _after_a_transform(step: RecordedStep, seen: set[RecordedStep]) -> str:
    """The step that takes what a Transform wrote, on the way up from a step; "" where there is none."""
    from headrace.components.transform import Transform

    seen.add(step)
    for given in step.bound.values():
        if not isinstance(given, OutputChannel) or given.is_result or given.producer in seen:
            continue
        if given.producer.component is Transform and given.name == "transformed_examples":
            return step.id
        is_examples = issubclass(artifact_class(given.type), artifact_class("Examples"))
        if is_examples and (found := _after_a_transform(given.producer, seen)):
            return found
    return ""


def _makers(step: RecordedStep, name: str) -> list[RecordedStep]:
    given = step.bound.get(name)
    return [given.producer] if isinstance(given, OutputChannel) else []
