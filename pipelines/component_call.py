"""`Component.call`: a component run here and now, on live artifacts and values, for a unit test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines import storage
from headrace.pipelines.artifact import Artifact
from headrace.pipelines.execution import commit_outputs, output_class, results_of
from headrace.pipelines.step_context import StepContext, enter, leave

if TYPE_CHECKING:
    from headrace.pipelines.component import Component


@dataclass(frozen=True)
class CallResult:
    """What `component.call` gives: outputs and output parameters as attributes.

    Attributes:
        refusal: Why the component declined to do what it is for, if it did.
        rejection: Why what it looked at would stop a run, if it would.
    """

    outputs: Mapping[str, Artifact]
    results: Mapping[str, Any]
    refusal: str | None = None
    warnings: tuple[str, ...] = ()
    rejection: str | None = None

    def __getattr__(self, name: str) -> Any:
        if name in self.outputs:
            return self.outputs[name]
        if name in self.results:
            return self.results[name]
        raise AttributeError(f"no output {name!r}; there are {', '.join([*self.outputs, *self.results])}")


def call_component(component: Component, out_dir: Path, given: Mapping[str, Any]) -> CallResult:
    """Runs a component in this process on live artifacts and values; what `Component.call` does."""
    spec = component.spec
    defaults = {name: parameter.default for name, parameter in spec.parameters.items() if not parameter.required}
    known = {*spec.inputs, *spec.parameters}
    if unknown := sorted(set(given) - known):
        raise TypeError(f"{spec.name} takes no argument {unknown[0]!r}; it takes {', '.join(sorted(known))}")
    values = defaults | dict(given)
    missing = [n for n, slot in spec.inputs.items() if not slot.optional and n not in values]
    if missing := missing + [n for n in spec.parameters if n not in values]:
        raise TypeError(f"{spec.name} misses the argument {missing[0]!r}")
    for name, parameter in spec.parameters.items():
        if parameter.kind.startswith("files") and values[name] is not None:
            from headrace.pipelines.input_files import resolve_files

            values[name] = resolve_files(values[name])
    inputs = {name: values[name] for name in spec.inputs if values.get(name) is not None}
    parameters = {name: values[name] for name in spec.parameters}
    outputs = {
        name: output_class(component, name, inputs, parameters)(storage.normalize(out_dir / name))
        for name in spec.outputs
    }
    context = StepContext(step=spec.name, root=str(out_dir))
    token = enter(context)
    try:
        returned = component.function(
            **{name: None for name, slot in spec.inputs.items() if slot.optional and name not in inputs},
            **inputs,
            **outputs,
            **parameters,
        )
        committed = commit_outputs(component, outputs, {"step": spec.name}, context)
    finally:
        leave(token)
        context.close()
    made = {name: artifact for name, artifact in outputs.items() if name in committed}
    return CallResult(
        made, results_of(component, returned), context.refusal, tuple(context.warnings), context.rejection
    )
