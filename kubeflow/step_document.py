"""What a compiled file tells a container of its step: one JSON document, the same for every target.

Text of a user's is in it as JSON strings in which no character can be taken for a template: `{{` opens one in Argo and
in KFP, `$(NAME)` and `$$` mean something to Kubernetes. JSON can write any character as an escape, so none is lost.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from headrace.pipelines.errors import HeadraceError
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.plan import (
    ArtifactSlot,
    Channel,
    Const,
    Function,
    ListOf,
    MapOf,
    Parameter,
    Plan,
    Step,
    Value,
    channels_in,
    parameters_in,
)

VERSION = 1


def inert_json(value: Any) -> str:
    """JSON, canonical and ASCII, in which neither Argo, KFP nor Kubernetes finds anything to replace.

    >>> inert_json({"a": "{{workflow.name}} $(HOME)"})
    '{"a":"{\\\\u007bworkflow.name}} \\\\u0024(HOME)"}'
    >>> json.loads(inert_json("{{{{$$"))
    '{{{{$$'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    # Two braces in a row, dollars and DEL are found only inside strings: an object's first key follows its brace.
    # DEL is ASCII to Python's json, and `\x7f` to Argo, which writes that into JSON and fails.
    return text.replace("{{", "{\\u007b").replace("$", "\\u0024").replace("\x7f", "\\u007f")


@dataclass(frozen=True)
class StepDocument:
    """A step as its container gets it.

    Args:
        pipeline: The pipeline's name.
        step: The step of the Plan. Its functions are named by `FunctionRef.portable`.
        parameters: Kind of each parameter of the pipeline that the step reads, by name.
    """

    pipeline: str
    step: Step
    parameters: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, plan: Plan, step: Step) -> StepDocument:
        read = {value.name for value in parameter_ports(step).values() if isinstance(value, Parameter)}
        kinds = tuple(sorted((p.name, p.kind) for p in plan.parameters if p.name in read))
        return cls(plan.name, portable(step), kinds)

    def to_json(self) -> str:
        """The document as one inert argument of a command line."""
        document = {"headrace_step": VERSION, "pipeline": self.pipeline, "step": self.step.to_json()}
        return inert_json(document | {"parameters": dict(self.parameters)})

    @classmethod
    def from_json(cls, text: str) -> StepDocument:
        """Reads what `to_json` wrote.

        Raises:
            HeadraceError: The image's Headrace is of another version than the one that compiled the file.
        """
        document = json.loads(text)
        if (version := document.get("headrace_step")) != VERSION:
            raise HeadraceError(
                f"expected a step document of version {VERSION}, received {version!r}\n"
                "    fix: build the image and compile the pipeline with the same version of Headrace"
            )
        kinds = tuple(sorted(document["parameters"].items()))
        return cls(document["pipeline"], Step.from_json(document["step"]), kinds)


def portable(step: Step) -> Step:
    """The step with functions named without what depends on the machine that compiles."""
    return with_functions(step, FunctionRef.portable)


def with_functions(step: Step, change: Callable[[FunctionRef], FunctionRef]) -> Step:
    """The step with its component and every function among its arguments changed."""
    arguments = tuple((name, _with_functions(value, change)) for name, value in step.arguments)
    return replace(step, component=change(step.component), arguments=arguments)


def _with_functions(value: Value, change: Callable[[FunctionRef], FunctionRef]) -> Value:
    match value:
        case Function():
            return Function(change(value.ref))
        case ListOf():
            return ListOf(tuple(_with_functions(item, change) for item in value.values))
        case MapOf():
            return MapOf(tuple((key, _with_functions(item, change)) for key, item in value.items))
    return value


@dataclass(frozen=True)
class ArtifactPort:
    """One artifact that comes into a step; a list input has a port for each of its items.

    Args:
        name: The port's name: the input's, with the item's number after a hyphen for a list: ``models-0``.
        input: The input's name.
        channel: Where it comes from.
        slot: What the input takes.
    """

    name: str
    input: str
    channel: Channel
    slot: ArtifactSlot

    @property
    def digest(self) -> str:
        """Name of the parameter that brings the artifact's content digest, so that a target's cache sees it."""
        return f"digest-{self.name}"


def artifact_ports(step: Step) -> list[ArtifactPort]:
    """The artifacts that come into a step, in the order of its inputs."""
    slots, ports = dict(step.interface.inputs), []
    for name, value in step.inputs:
        if isinstance(value, ListOf):
            found = [item for item in value.values if isinstance(item, Channel)]
            ports += [ArtifactPort(f"{name}-{number}", name, item, slots[name]) for number, item in enumerate(found)]
        elif isinstance(value, Channel):
            ports.append(ArtifactPort(f"{name}-0" if slots[name].list else name, name, value, slots[name]))
    return ports


def parameter_ports(step: Step) -> dict[str, Parameter | Channel]:
    """The parameters that come into a step by port: ``pipeline-NAME`` of the pipeline, ``result-STEP-NAME`` of a step.

    A hyphen is in no Python name, so that no port can meet an input's or an output's name.
    """
    ports: dict[str, Parameter | Channel] = {}
    for _, argument in step.arguments:
        read: list[Parameter | Channel] = [*map(Parameter, parameters_in(argument)), *channels_in(argument)]
        ports |= {parameter_port(value): value for value in read}
    return dict(sorted(ports.items()))


def parameter_port(value: Parameter | Channel) -> str:
    """The name of the port that brings a value."""
    if isinstance(value, Parameter):
        return f"pipeline-{value.name}"
    return f"result-{task_name(value.step)}-{value.output}"


def may_be_cached(step: Step) -> bool:
    """Tells whether all that decides a step's result is in its document and in what comes in by its ports.

    A target's own cache sees no more than those. A step that reads files or asks the store must look at them each time;
    it does so in its container, which then finds the result in the pipeline root.
    """
    files = {name for name, kind in step.interface.parameters if kind.startswith("files")}
    reads = any(name in files and value != Const(None) for name, value in step.arguments)
    return step.settings.cache and step.place != "driver" and not reads


def output_digest(output: str) -> str:
    """The output parameter that holds the content digest of an output artifact."""
    return f"digest-{output}"


# The output parameter in which a step says what came of it: succeeded, refused, cached, or skipped. With a hyphen, so
# that it is none of the component's own: the Pusher's result is called `verdict`.
VERDICT = "step-verdict"


def task_name(step_id: str) -> str:
    """A step's name in a target: lower-case ASCII letters, digits and hyphens, at most 48 characters.

    A name that is not made of those alone, or is longer, gets a digest of the id. Two ids that differ in capitals and
    underscores only share a name; `portability` refuses them.

    >>> task_name("StatisticsGen"), task_name("BQExampleGen"), task_name("train_small")
    ('statistics-gen', 'bq-example-gen', 'train-small')
    """
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", step_id)
    name = "-".join(words).lower()
    if "".join(words) == re.sub(r"[-_]", "", step_id) and name[:1].isalpha() and len(name) <= 48:
        return name
    return f"step-{name[:32]}-".replace("--", "-") + hashlib.sha256(step_id.encode()).hexdigest()[:6]
