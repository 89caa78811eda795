"""KFP's side: the executor input says where everything is, and the executor output what each artifact's metadata are.

Both are the JSON of KFP's own messages (`kfp-pipeline-spec`, `ExecutorInput` and `ExecutorOutput`), of which its
launcher reads and writes the fields used here from 2.0.5 on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.kubeflow.container.kfp_metadata import CURVES_METADATA, metadata_of
from headrace.kubeflow.container.target_io import Given, Made, read_references, write_text
from headrace.kubeflow.kfp.artifact_schemas import curves_of
from headrace.kubeflow.kfp.container_spec import RUN_VARIABLE
from headrace.kubeflow.step_document import StepDocument, task_name
from headrace.pipelines.errors import HeadraceError

# Where KFP's launcher puts the files of an artifact, by the scheme of its URI.
_MOUNTS = {"gs": "/gcs", "s3": "/s3", "minio": "/minio"}


class KfpIo:
    """KFP's launcher hands over one JSON document.

    Args:
        document: The step.
        executor_input: The document.
        run: The run's id, where the compiled file knows it.
    """

    def __init__(self, document: StepDocument, *, executor_input: str, run: str = "") -> None:
        self._document, self._run = document, run
        try:
            self._input: Mapping[str, Any] = json.loads(executor_input)
        except ValueError as error:
            raise HeadraceError(
                f"--executor-input: expected KFP's executor input, received what is no JSON ({error})\n"
                "    fix: KFP replaces {{$...}} in the text of parameters as well; write it without two braces in a row"
            ) from None

    def given(self) -> Given:
        inputs = self._input.get("inputs", {})
        files = {}
        for name, entry in inputs.get("artifacts", {}).items():
            if artifacts := entry.get("artifacts"):
                files[name] = local_path(artifacts[0])
        references = read_references(self._document, files)
        return Given(self._run_id(), 1, references, inputs.get("parameterValues", {}))

    def write(self, made: Made) -> None:
        outputs = self._input.get("outputs", {})
        texts = made.parameter_texts(self._document)
        for name, entry in outputs.get("parameters", {}).items():
            if name in texts:
                write_text(Path(entry["outputFile"]), texts[name])
        shown: dict[str, Any] = {}
        for name, entry in outputs.get("artifacts", {}).items():
            reference = made.references.get(name)
            if reference is None or not entry.get("artifacts"):
                continue
            write_text(local_path(entry["artifacts"][0]), reference.to_json())
            metrics = dict(made.metrics.get(name, {}))
            if (curves := curves_of(name, reference.type)) and outputs["artifacts"].get(curves):
                # KFP's page draws these of an artifact of another type than the one whose numbers it lists.
                drawn = {key: metrics.pop(key) for key in CURVES_METADATA if key in metrics}
                shown[curves] = {"artifacts": [{"metadata": drawn}]}
            shown[name] = {"artifacts": [{"metadata": metadata_of(reference, metrics)}]}
        if file := outputs.get("outputFile"):
            write_text(Path(file), json.dumps({"artifacts": shown}, sort_keys=True, allow_nan=False))

    def _run_id(self) -> str:
        """The run's id: given, or found in what KFP derives from it."""
        known = self._run or _run_of_variable() or self._run_of_uris() or _run_of_pod()
        if not known:
            raise HeadraceError(
                "expected the run's id in the executor input, found none\n    fix: compile with this Headrace"
            )
        return known

    def _run_of_uris(self) -> str:
        """KFP writes each output under `<root>/<pipeline>/<run>/<task>/`, newer ones with a salt after the task."""
        task = task_name(self._document.step.id)
        for entry in self._input.get("outputs", {}).get("artifacts", {}).values():
            for artifact in entry.get("artifacts", ()):
                parts = artifact.get("uri", "").rstrip("/").split("/")[:-1]
                for back in (1, 2):
                    if len(parts) > back + 3 and parts[-back] == task:
                        return str(parts[-back - 1])
        return ""


def _run_of_variable() -> str:
    """What KFP's server has put in place; `kfp.local` has no workflow, and leaves the template as it is."""
    known = os.environ.get(RUN_VARIABLE, "")
    return "" if "{{" in known else known


def _run_of_pod() -> str:
    """The workflow's name, which is the run's own: of pods `<workflow>-system-container-impl-<number>`."""
    return os.environ.get("KFP_POD_NAME", "").partition("-system-")[0]


def local_path(artifact: Mapping[str, Any]) -> Path:
    """Where the launcher keeps an artifact's file.

    >>> str(local_path({"uri": "s3://bucket/run/model"})), str(local_path({"uri": "/here/run/model"}))
    ('/s3/bucket/run/model', '/here/run/model')

    Raises:
        HeadraceError: Its URI has a scheme that no launcher knows.
    """
    if path := artifact.get("customPath"):
        return Path(path)
    scheme, separator, rest = str(artifact.get("uri", "")).partition("://")
    if not separator and scheme.startswith("/"):
        # `kfp.local` has a folder of this machine for its pipeline root.
        return Path(scheme)
    if not separator or scheme not in _MOUNTS:
        raise HeadraceError(
            f"expected an artifact under s3://, gs:// or minio://, received {artifact.get('uri')!r}\n"
            "    fix: give KFP's pipeline root such a URL"
        )
    return Path(_MOUNTS[scheme]) / rest
