"""From what a target hands over to a planned step, by the local runner's own planning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headrace.kubeflow.container.references import ABSENT_DIGEST, ABSENT_RESULT, Reference
from headrace.kubeflow.container.target_io import Given, parse_json
from headrace.kubeflow.step_document import StepDocument, artifact_ports, parameter_ports, with_functions
from headrace.pipelines.errors import HeadraceError
from headrace.pipelines.file_patterns import DigestMemo
from headrace.pipelines.parameter_kinds import annotation_of
from headrace.pipelines.parameter_values import NotAllowed, encode, parse_text
from headrace.pipelines.plan import Channel, Parameter
from headrace.pipelines.runner.step_planning import CodeParts, MissingInput, Outcome, PlannedStep, plan_step

__all__ = ["MissingInput", "plan_given"]


def plan_given(
    document: StepDocument, given: Given, *, root: str, project: str, memo: DigestMemo | None = None
) -> PlannedStep:
    """Plans a step of a cluster as the local runner plans one, so that both give it the same cache key.

    Args:
        document: The step as its compiled file says.
        given: What the target hands over.
        root: The pipeline root.
        project: The project's folder in the image.
        memo: Where files' digests are remembered, if anywhere.

    Raises:
        MissingInput: An input that the step must have was not made.
        CodeChanged: The image has other code than the pipeline was compiled from.
        DataError: A files argument means no files.
        HeadraceError: A parameter does not read as its kind, or a reference is not the artifact that was promised.
    """
    step = with_functions(document.step, lambda ref: ref.as_here(project))
    _require_digests(document, given)
    parameters, results = _values(document, given)
    outcomes = _outcomes(document, given.references, results, root)
    return plan_step(step, parameters, outcomes, memo, CodeParts(project), None)


def _outcomes(
    document: StepDocument, references: Mapping[str, Reference], results: Mapping[Channel, Any], root: str
) -> dict[str, Outcome]:
    """What the steps before this one left, as far as it reads it."""
    channels = {port.channel: references.get(port.name) for port in artifact_ports(document.step)}
    steps = {channel.step for channel in (*channels, *results)}
    outcomes = {}
    for id_ in steps:
        outputs, missing = {}, None
        for channel, reference in channels.items():
            record = reference.record(root) if channel.step == id_ and reference is not None else None
            if record is not None:
                outputs[channel.output] = (record,)
            elif channel.step == id_ and reference is not None:
                missing = missing or reference.absent
        values = {channel.output: value for channel, value in results.items() if channel.step == id_}
        found = {name: value for name, value in values.items() if not _is_absent(value)}
        reasons = [value[ABSENT_RESULT] for value in values.values() if _is_absent(value)]
        outcomes[id_] = Outcome(outputs, found, missing=missing or next(iter(reasons), None))
    return outcomes


def _is_absent(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {ABSENT_RESULT}


def _values(document: StepDocument, given: Given) -> tuple[dict[str, Any], dict[Channel, Any]]:
    """The pipeline's parameters by name, and the results of other steps by channel."""
    kinds, parameters, results = dict(document.parameters), {}, {}
    for port, value in parameter_ports(document.step).items():
        if port not in given.parameters:
            raise HeadraceError(
                f"expected a value for {port!r}, received {', '.join(sorted(given.parameters)) or 'none'}\n"
                "    fix: compile the pipeline again with this Headrace"
            )
        text = given.parameters[port]
        if isinstance(value, Parameter):
            parameters[value.name] = read_parameter(value.name, kinds.get(value.name, "any"), text)
        else:
            results[value] = parse_json(text, port) if isinstance(text, str) else text
    return parameters, results


def read_parameter(name: str, kind: str, given: Any) -> Any:
    """Reads a pipeline's parameter: of kind str its text as it is, of others JSON or what a person would type.

    >>> read_parameter("n", "str", "3"), read_parameter("n", "int", "3"), read_parameter("n", "list[str]", '["a"]')
    ('3', 3, ['a'])

    Raises:
        HeadraceError: It does not read as its kind.
    """
    annotation = annotation_of(kind)
    try:
        if isinstance(given, float) and given.is_integer() and annotation in (int, int | None):
            # KFP knows one kind of number.
            return encode(int(given), annotation)
        if not isinstance(given, str) or kind == "str":
            return encode(given, annotation)
        try:
            return encode(json.loads(given), annotation)
        except (ValueError, NotAllowed):
            return parse_text(given, kind)
    except NotAllowed as error:
        fix = f"\n    fix: {error.fix}" if error.fix else ""
        raise HeadraceError(f"parameter {name!r}: {error}{fix}") from None


def _require_digests(document: StepDocument, given: Given) -> None:
    """Refuses a reference of other content than the target's cache was told of."""
    for port in artifact_ports(document.step):
        told, reference = given.parameters.get(port.digest), given.references.get(port.name)
        if told is None or reference is None:
            continue
        if told != reference.digest_text:
            raise HeadraceError(
                f"input {port.name!r}: expected content {told[:12]}, received {reference.digest_text[:12]}"
                f" ({reference.uri or ABSENT_DIGEST})\n    fix: run the pipeline again without the target's cache"
            )
