"""Argo's side: references are files under /headrace, parameters one base64 argument, results files again."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

from headrace.kubeflow.container.target_io import Given, Made, parse_json, read_references, write_text
from headrace.kubeflow.step_document import StepDocument, artifact_ports
from headrace.pipelines.errors import HeadraceError

FOLDER = "/headrace"


class ArgoIo:
    """Argo hands over files and arguments.

    Args:
        document: The step.
        run: The workflow's uid.
        retries: How often the step was tried before, as Argo counts.
        parameters: Base64 of a JSON object: port -> text.
        folder: Where Argo mounts inputs and looks for outputs.
    """

    def __init__(
        self, document: StepDocument, *, run: str, retries: int = 0, parameters: str = "", folder: str = FOLDER
    ) -> None:
        self._document, self._run, self._retries = document, run, retries
        self._parameters, self._folder = parameters, Path(folder)

    def given(self) -> Given:
        inputs = self._folder / "inputs"
        files = {port.name: inputs / f"{port.name}.json" for port in artifact_ports(self._document.step)}
        references = read_references(self._document, files)
        return Given(self._run, self._retries + 1, references, self._texts())

    def _texts(self) -> dict[str, str]:
        try:
            text = base64.b64decode(self._parameters, validate=True).decode() if self._parameters else "{}"
        except (binascii.Error, UnicodeDecodeError) as error:
            raise HeadraceError(
                f"--parameters: expected base64 of a JSON object, received {self._parameters[:80]!r} ({error})\n"
                "    fix: compile the pipeline again with this Headrace"
            ) from None
        found = parse_json(text, "--parameters")
        if not isinstance(found, dict):
            raise HeadraceError(f"--parameters: expected a JSON object, received {text[:80]!r}")
        # Argo's own expressions turn a text that looks like a number into one.
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}

    def write(self, made: Made) -> None:
        outputs = self._folder / "outputs"
        for name, reference in made.references.items():
            write_text(outputs / "artifacts" / f"{name}.json", reference.to_json())
        for name, text in made.parameter_texts(self._document).items():
            write_text(outputs / "parameters" / name, text)
