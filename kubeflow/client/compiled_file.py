"""A compiled pipeline, read without the source it was made from: which target it is for, its steps and parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from headrace.kubeflow.step_document import task_name
from headrace.pipelines.errors import PipelineError, Problem
from headrace.pipelines.parameter_kinds import annotation_of
from headrace.pipelines.parameter_values import NotAllowed, encode, parse_text

# What a target may call the kinds of its parameters, in the terms of a Plan.
_KFP_KINDS = {
    "STRING": "str",
    "NUMBER_INTEGER": "int",
    "NUMBER_DOUBLE": "float",
    "BOOLEAN": "bool",
    "LIST": "list",
    "STRUCT": "dict",
}
# How the description ends of an Argo parameter that is no text.
_AS_JSON = ", as JSON"
ARGO_KINDS = ("Workflow", "WorkflowTemplate", "CronWorkflow")


@dataclass(frozen=True)
class CompiledFile:
    """A compiled pipeline.

    Args:
        text: The file's content.
        target: ``"kfp"`` or ``"argo"``.
        documents: Its YAML documents.
        path: Where it was read from, for messages.
    """

    text: str
    target: str
    documents: tuple[Mapping[str, Any], ...]
    path: str = "the compiled file"

    @classmethod
    def read(cls, path: str | Path) -> CompiledFile | None:
        """Reads a compiled file; None for one that is none, such as a Python file or a Plan.

        Raises:
            PipelineError: The file is not YAML.
        """
        if Path(path).suffix not in (".yaml", ".yml", ".json") or not Path(path).is_file():
            return None
        try:
            return cls.parse(Path(path).read_text(encoding="utf-8"), str(path))
        except UnicodeDecodeError as error:
            raise PipelineError(Problem(f"{path}: {error}", "compile it again", code="compiled-file")) from None

    @classmethod
    def parse(cls, text: str, path: str = "the compiled file") -> CompiledFile | None:
        """Reads the text of a compiled file; None if it is none.

        Raises:
            PipelineError: The text is not YAML.
        """
        import yaml

        try:
            # The C loader takes a tenth of the time, where PyYAML was built with it; both read the same.
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            documents = [document for document in yaml.load_all(text, Loader=loader) if document is not None]
        except yaml.YAMLError as error:
            said = " ".join(str(error).split())
            raise PipelineError(
                Problem(f"{path}: not YAML: {said}", "compile it again", code="compiled-file")
            ) from None
        if not documents or not isinstance(documents[0], Mapping):
            return None
        first = documents[0]
        if "pipelineInfo" in first and "root" in first:
            return cls(text, "kfp", tuple(documents), path)
        if first.get("kind") in ARGO_KINDS and str(first.get("apiVersion", "")).startswith("argoproj.io/"):
            return cls(text, "argo", tuple(documents), path)
        return None

    @property
    def document(self) -> Mapping[str, Any]:
        return self.documents[0]

    @property
    def name(self) -> str:
        """The pipeline's name."""
        if self.target == "kfp":
            return str(self.document["pipelineInfo"]["name"])
        metadata = self.document.get("metadata", {})
        return str(metadata.get("name") or metadata.get("generateName", "")).rstrip("-")

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @cached_property
    def step_ids(self) -> dict[str, str]:
        """The author's name of each step by its name in the cluster."""
        return step_ids(self.documents)

    @property
    def workflow_spec(self) -> Mapping[str, Any]:
        """Argo: what a workflow of it runs, whatever the kind of the file."""
        spec: Mapping[str, Any] = self.document["spec"]
        return spec["workflowSpec"] if self.document["kind"] == "CronWorkflow" else spec

    @cached_property
    def parameters(self) -> dict[str, tuple[str, bool]]:
        """The pipeline's parameters: kind and whether a value must be given, by name."""
        said = {name: kind for document in step_documents(self.documents) for name, kind in _kinds(document)}
        if self.target == "argo":
            entries = self.workflow_spec.get("arguments", {}).get("parameters", [])
            given = {entry["name"] for entry in entries if "value" in entry}
            # One that no step reads is in no document; what the file says of it for people begins with its kind. One of
            # another compiler's has text.
            said_of = {entry["name"]: str(entry.get("description", "")) for entry in entries}
            kinds = {
                name: text.removesuffix(_AS_JSON) if text.endswith(_AS_JSON) else "str"
                for name, text in said_of.items()
            }
            return {name: (said.get(name, kind), name not in given) for name, kind in kinds.items()}
        entries = self.document["root"].get("inputDefinitions", {}).get("parameters", {})
        return {
            name: (
                said.get(name, _KFP_KINDS[entry["parameterType"]]),
                "defaultValue" not in entry and not entry.get("isOptional"),
            )
            for name, entry in entries.items()
        }

    def require_sound(self) -> None:
        """Refuses a file that a server would take and whose run would then fail, or never end.

        A file that was compiled here is sound; one that somebody has changed, or that another compiler made, may have a
        reference to nothing, a cycle, or a wrong type.

        Raises:
            PipelineError: With everything that is wrong, each with its place in the file.
        """
        if self._unsound:
            raise PipelineError(self._unsound)

    @cached_property
    def _unsound(self) -> list[Problem]:
        if self.target == "kfp":
            from headrace.kubeflow.kfp.check import check_kfp
            from headrace.kubeflow.kfp.target import NEWEST

            # Which version a file is for does not stand in it: what only older servers refuse, they say.
            found = check_kfp(self.documents, kfp_version=NEWEST)
        else:
            from headrace.kubeflow.argo.check import check_argo

            found = check_argo(self.document)
            if len(self.documents) > 1:
                what = f"expected one document, found {len(self.documents)}: the others would not be sent"
                found.append(Problem(what, "write each into a file of its own"))
        fix = "compile it again, or correct it at this place"
        return [
            replace(one, what=f"{self.path}: {one.what}", fix=one.fix or fix, code="compiled-file") for one in found
        ]

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Checks values of parameters, texts of a command line among them, as a local run does.

        Raises:
            PipelineError: One is unknown, missing, or of another type.
        """
        known = self.parameters
        problems, values = [], {}
        for name in given.keys() - known.keys():
            what = f"pipeline {self.name} has no parameter {name!r}"
            problems.append(Problem(what, f"it has {', '.join(known) or 'none'}", code="parameter"))
        for name, (kind, required) in known.items():
            if name not in given:
                if required:
                    what = f"parameter {name!r} ({kind}) has no default and was not given"
                    problems.append(Problem(what, f"-p {name}=...", code="parameter"))
                continue
            try:
                values[name] = (parse_text if isinstance(given[name], str) else _encoded)(given[name], kind)
            except NotAllowed as error:
                problems.append(Problem(f"parameter {name!r}: {error}", f"-p {name}=...", code="parameter"))
        if problems:
            raise PipelineError(problems)
        return values

    def texts(self, given: Mapping[str, Any]) -> dict[str, str]:
        """The same as Argo takes them: a string as it is, of any other kind as JSON.

        Raises:
            PipelineError: One is unknown, missing, of another type, or of a form that Argo would change.
        """
        from headrace.kubeflow.argo.arguments import text_of

        return self._as(text_of, self.values(given))

    def kfp_values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The same as Kubeflow takes them.

        Raises:
            PipelineError: One is unknown, missing, of another type, or of a form that Kubeflow would change.
        """
        from headrace.kubeflow.kfp.parameter_types import parameter_to_kfp

        return self._as(parameter_to_kfp, self.values(given))

    def _as(self, written: Callable[[Any, str], Any], values: Mapping[str, Any]) -> dict[str, Any]:
        """Values in a target's own form, which is that of a value and its kind."""
        problems, found = [], {}
        for name, value in values.items():
            try:
                found[name] = written(value, self.parameters[name][0])
            except NotAllowed as error:
                problems.append(Problem(f"parameter {name!r}: {error}", error.fix, code="parameter"))
        if problems:
            raise PipelineError(problems)
        return found


def _encoded(value: Any, kind: str) -> Any:
    return encode(value, annotation_of(kind))


def step_documents(tree: Any) -> Iterator[Mapping[str, Any]]:
    """The steps' documents in a compiled file, or in what a server gives back of one, wherever they stand."""
    if isinstance(tree, str):
        if tree.startswith("--step={"):
            try:
                document = json.loads(tree.removeprefix("--step="))
            except ValueError:
                return
            if isinstance(document, dict) and "headrace_step" in document:
                yield document
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from step_documents(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from step_documents(value)


def step_ids(tree: Any) -> dict[str, str]:
    """The author's name of each step by its name in the cluster."""
    ids = [str(document["step"]["id"]) for document in step_documents(tree)]
    return {task_name(id_): id_ for id_ in ids}


def _kinds(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from document.get("parameters", {}).items()
