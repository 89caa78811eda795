"""What a step's container is given and gives back, whichever target runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from headrace.kubeflow.container.references import ABSENT_RESULT, Reference
from headrace.kubeflow.step_document import VERDICT, StepDocument, artifact_ports, inert_json, output_digest
from headrace.pipelines.errors import HeadraceError


@dataclass(frozen=True)
class Given:
    """What comes into a step.

    Args:
        run: The run's id.
        attempt: Counted from 1, as far as the target knows.
        references: By artifact port; a port whose optional input is not there is missing.
        parameters: By parameter port: a text, or a JSON value where the target's parameters have types.
    """

    run: str
    attempt: int
    references: Mapping[str, Reference]
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """What goes out of a step.

    Args:
        verdict: ``"succeeded"``, ``"refused"``, ``"cached"`` or ``"skipped"``; empty of a step that failed.
        references: Of every output artifact, by name.
        results: Output parameters by name; what is missing is written as absent.
        absent: Why results are missing.
        metrics: Metadata that a target shows beside an artifact, by output.
    """

    verdict: str
    references: Mapping[str, Reference]
    results: Mapping[str, Any] = field(default_factory=dict)
    absent: str = ""
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def parameter_texts(self, document: StepDocument) -> dict[str, str]:
        """The text of each output parameter of the step."""
        texts = {output_digest(name): reference.digest_text for name, reference in self.references.items()}
        for name, _ in document.step.interface.results:
            texts[name] = inert_json(self.results.get(name, {ABSENT_RESULT: self.absent or "it was not given"}))
        return texts | {VERDICT: self.verdict}


class TargetIo(Protocol):
    """How a target hands things to a container and takes them from it."""

    def given(self) -> Given:
        """Reads what comes into the step.

        Raises:
            HeadraceError: It is not what the compiler promised.
        """

    def write(self, made: Made) -> None:
        """Writes what goes out of the step where the target looks for it."""


def read_references(document: StepDocument, files: Mapping[str, Path]) -> dict[str, Reference]:
    """Reads the reference file of each artifact port.

    Args:
        document: The step.
        files: Where the file of each port would be.

    Raises:
        HeadraceError: The file of an input that must be there is missing.
    """
    found = {}
    for port in artifact_ports(document.step):
        path = files.get(port.name)
        if path is not None and path.is_file():
            found[port.name] = Reference.from_json(path.read_bytes(), str(path))
        elif not port.slot.optional:
            where = f"expected it at {path}" if path is not None else "the target named no file for it"
            raise HeadraceError(
                f"input {port.name!r} has no reference: {where}\n    fix: compile the pipeline again with this Headrace"
            )
    return found


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def parse_json(text: str, what: str) -> Any:
    """Reads JSON that a target handed over.

    Raises:
        HeadraceError: It is no JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise HeadraceError(f"{what}: expected JSON, received {text[:120]!r} ({error})") from None
