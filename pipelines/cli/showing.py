"""A recorded run as text and as JSON: `headrace show`."""

from __future__ import annotations

from typing import Any

from headrace.pipelines.artifact import Artifact
from headrace.pipelines.cli.console import WORDS
from headrace.pipelines.redaction import redact, redact_parameters
from headrace.pipelines.runs import Run, StepRun


def run_lines(run: Run) -> list[str]:
    """One line a step, with its outputs."""
    lines = [f"{run.pipeline}, run {run.id}: {run.state.value}"]
    if run.parameters:
        lines.append("  " + ", ".join(f"{name}={value!r}" for name, value in redact_parameters(run.parameters).items()))
    width = max((len(id_) for id_ in run.steps), default=0)
    for step in run.steps.values():
        outputs = ", ".join(f"{name} {artifact.digest[:8]}" for name, artifact in step.outputs.items())
        lines.append(f"  {step.id:{width}}  {WORDS[step.state]:11} {step.seconds:7.1f} s  {outputs}".rstrip())
    return lines


def step_lines(run: Run, step: StepRun) -> list[str]:
    """One step: state, reason, inputs, outputs with their properties, output parameters."""
    lines = [f"{step.id} ({step.component}) in run {run.id}: {WORDS[step.state]}, {step.seconds:.1f} s"]
    if step.cache_reason:
        lines.append(f"  why: {step.cache_reason}")
    if step.refusal:
        lines.append(f"  refused: {redact(step.refusal)}")
    if step.error:
        lines.append(f"  error: {redact(str(step.error.get('message', '')))}")
    lines += [f"  warning: {redact(warning)}" for warning in step.warnings]
    for name, artifacts in step.inputs.items():
        lines += [f"  in   {name}: {_said(artifact)}" for artifact in artifacts]
    for name, artifact in step.outputs.items():
        lines.append(f"  out  {name}: {_said(artifact)}")
        lines += [f"         {key} = {value!r}" for key, value in artifact.properties.items()]
    lines += [f"  result {name} = {value!r}" for name, value in step.results.items()]
    if step.peak_rss:
        lines.append(f"  peak memory {step.peak_rss / 2**20:,.0f} MiB")
    if step.log:
        lines.append(f"  log {step.log}")
    return lines


def _said(artifact: Artifact) -> str:
    # The record's type, for a type whose class this process has not imported.
    type_ = artifact.manifest.type if artifact.manifest else artifact.type_name()
    return f"{type_} {artifact.digest[:12]}  {artifact.uri}"


def run_document(run: Run) -> dict[str, Any]:
    """The run as JSON."""
    return {
        "id": run.id,
        "pipeline": run.pipeline,
        "state": run.state.value,
        "parameters": redact_parameters(run.parameters),
        "steps": {
            step.id: {
                "state": step.state.value,
                "seconds": step.seconds,
                "reason": step.cache_reason,
                "refusal": step.refusal,
                "error": redact(str(step.error.get("message", ""))) if step.error else None,
                "results": dict(step.results),
                "outputs": {
                    name: {"type": a.type_name(), "uri": a.uri, "digest": a.digest, "properties": a.properties}
                    for name, a in step.outputs.items()
                },
            }
            for step in run.steps.values()
        },
    }
