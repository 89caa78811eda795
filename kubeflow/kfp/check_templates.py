"""Templates in a compiled file: which of them KFP replaces, and whether what they name is there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from headrace.kubeflow.kfp.container_spec import RUN_ID
from headrace.kubeflow.kfp.parameter_types import not_stored

_OPEN = re.compile(r"\{\{(.*?)\}\}|\{\{", re.DOTALL)
_INPUT = re.compile(r"\$\.inputs\.(parameters|artifacts)\['([^']*)'\](\.uri|\.path|\.metadata.*|\.json_escape\[\d\])?")
_OUTPUT = re.compile(r"\$\.outputs\.(parameters|artifacts)\['([^']*)'\]\.(output_file|uri|path|metadata.*)")
_OTHER = re.compile(
    r"\$(\.json_escape\[\d\])?|\$\.pipeline_(job|task)_(name|uuid|id|resource_name|create_time_utc|schedule_time_utc)"
    r"(_placeholder)?|\$\.(pipeline_root|outputs\.output_file|workspace_path|pipeline_task_executor_.*)"
)


def template_problems(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields each text in which KFP or Argo would replace what nobody meant, or what is not there."""
    components = spec.get("components", {})
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for component in components.values():
        by_label.setdefault(component.get("executorLabel", ""), []).append(component)
    for label, executor in spec.get("deploymentSpec", {}).get("executors", {}).items():
        place = f"deploymentSpec.executors.{label}"
        for path, text in _texts(executor, place):
            ours = path.startswith((f"{place}.container.command", f"{place}.container.args", f"{place}.container.res"))
            if path.startswith(f"{place}.container.env"):
                text = text.replace(RUN_ID, "")
            yield from _text_problems(path, text, by_label.get(label, []) if ours else None)
    for part in ("pipelineInfo", "components", "root"):
        for path, text in _texts(spec.get(part, {}), part):
            inside = ".triggerPolicy." in path or ".constant" in path or path.endswith("artifactUri.constant")
            yield from _text_problems(path, text, [] if inside else None)


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield f"{place}.{key} (name)", str(key)
            yield from _texts(item, f"{place}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, f"{place}[{number}]")


def _text_problems(place: str, text: str, components: list[Mapping[str, Any]] | None) -> Iterator[tuple[str, str]]:
    """Problems of a text; of one in which templates have no meaning, where `components` is None, each of them."""
    if character := not_stored(text):
        yield place, f"the server cannot store the character {character!r} in {_short(text)!r}"
    for found in _OPEN.finditer(text):
        template = found[1]
        if template is None or components is None:
            yield place, f"'{{{{' opens a template in {_short(text)!r}; Argo or KFP would replace it"
            return
        yield from _named_problems(place, template.strip(), components)


def _named_problems(place: str, template: str, components: list[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    if _OTHER.fullmatch(template):
        return
    for pattern, definitions in ((_INPUT, "inputDefinitions"), (_OUTPUT, "outputDefinitions")):
        if named := pattern.fullmatch(template):
            for component in components:
                if named[2] not in component.get(definitions, {}).get(named[1], {}):
                    yield place, f"{{{{{template}}}}}: the component has no such {named[1][:-1]} {named[2]!r}"
            return
    yield place, f"{{{{{template}}}}} is no placeholder of KFP's; Argo would replace it or fail"


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
