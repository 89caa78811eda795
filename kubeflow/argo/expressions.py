"""The few expressions that a compiled workflow has, in the language of Argo's `{{=...}}`.

A parameter's text goes from the workflow's arguments to a task, and from there into a container's argument. At each
place Argo replaces what stands between two braces, so that a text with braces would be replaced in its turn. So it
travels as a JSON string in which no opening brace is left, and goes into the container's argument as base64: no
template pass, no `$(NAME)` of Kubernetes and no shell finds anything in it. `{{name}}` would not do for a text of a
user's: Argo writes it with Go's escapes, of which some are none of JSON's, and then fails.
"""

from __future__ import annotations

from collections.abc import Iterable

from headrace.kubeflow.step_document import ArtifactPort
from headrace.pipelines.plan import Channel, Parameter


def pipeline_parameter(name: str) -> str:
    """The value of a parameter of the pipeline, as a JSON string without an opening brace."""
    return "{{=sprig.replace('{', '\\\\u007b', toJson(workflow.parameters[" + _quoted(name) + "]))}}"


def parameters(ports: dict[str, Parameter | Channel], artifacts: Iterable[ArtifactPort]) -> str:
    """Base64 of a JSON object of what came into a step: port -> text."""
    items = [f"{_quoted(port)}: {_text(port, value)}" for port, value in ports.items()]
    items += [f"{_quoted(port.digest)}: {_input(port.digest)}" for port in artifacts]
    return "{{=sprig.b64enc(toJson({" + ", ".join(items) + "}))}}"


def inputs_digest(ports: Iterable[str]) -> str:
    """SHA-256 of what came into a step."""
    return "{{=sprig.sha256sum(toJson({" + ", ".join(f"{_quoted(port)}: {_input(port)}" for port in ports) + "}))}}"


def _text(port: str, value: Parameter | Channel) -> str:
    return f"sprig.fromJson({_input(port)})" if isinstance(value, Parameter) else _input(port)


def _input(port: str) -> str:
    return f"inputs.parameters[{_quoted(port)}]"


def _quoted(name: str) -> str:
    # `legal` lets no name through that has a quote in it.
    return f"'{name}'"
