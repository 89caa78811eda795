"""What decides whether a step must run: definitions, parameters, files, inputs; and how to say which changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.pipelines.artifact import digest_of
from headrace.pipelines.function_ref import FunctionRef
from headrace.pipelines.plan import Step

VERSION = 1


@dataclass(frozen=True)
class CacheKey:
    """A step's cache key and the fields it was made from.

    `fields` decide the key. `parts` name each definition that the code digests cover, so that `why` can say which one
    changed.
    """

    fields: Mapping[str, Any]
    parts: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return digest_of(self.fields)

    def stored(self) -> dict[str, Any]:
        return {**self.fields, "parts": dict(self.parts)}


def cache_key(
    step: Step,
    inputs: Mapping[str, list[str]],
    parameters: Mapping[str, Any],
    files: Mapping[str, str],
    *,
    sample: int | None = None,
    parts: Mapping[str, Any] | None = None,
) -> CacheKey:
    """Gives the key of a step.

    Args:
        step: The step of the Plan.
        inputs: Semantic digests of the artifacts at each input, in order.
        parameters: JSON values of the plain arguments, without functions and files.
        files: Digest of what the files of each files argument contain.
        sample: Rows read of each split, or None.
        parts: Names and digests of the definitions behind the code digests.
    """
    functions = {name: value["function"]["code_digest"] for name, value in parameters.items() if is_function(value)}
    plain = {name: value for name, value in parameters.items() if name not in functions and name not in files}
    fields = {
        "version": VERSION,
        "component": step.component.code_digest,
        "functions": functions,
        "parameters": plain,
        "files": dict(files),
        "inputs": {name: list(digests) for name, digests in inputs.items()},
        "outputs": dict(step.interface.outputs),
        "env": dict(step.settings.env),
        "sample": sample,
    }
    return CacheKey(fields, dict(parts or {}))


def is_function(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"function"}


def function_refs(step: Step, parameters: Mapping[str, Any]) -> dict[str, FunctionRef]:
    """The component and every function argument of a step, by name."""
    refs = {"component": step.component}
    return refs | {
        name: FunctionRef.from_json(value["function"]) for name, value in parameters.items() if is_function(value)
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Says, a line each, what differs between the stored fields of two keys.

    >>> list(differences({"parameters": {"epochs": 1}}, {"parameters": {"epochs": 2}}))
    ['parameter epochs: 1 -> 2']
    """
    old_parts, new_parts = before.get("parts", {}), now.get("parts", {})
    for owner in sorted({*old_parts, *new_parts}):
        yield from _code(owner, old_parts.get(owner, {}), new_parts.get(owner, {}))
    if before.get("component") != now.get("component") and old_parts.get("component") == new_parts.get("component"):
        yield "the component's code changed"
    yield from _mapping("parameter", before, now, "parameters")
    yield from _mapping("files of", before, now, "files", shown=False)
    yield from _mapping("input", before, now, "inputs", shown=False)
    yield from _mapping("environment variable", before, now, "env", shown=False)
    if before.get("sample") != now.get("sample"):
        yield f"sample: {before.get('sample') or 'all rows'} -> {now.get('sample') or 'all rows'}"
    if before.get("version") != now.get("version") or before.get("outputs") != now.get("outputs"):
        yield "the component's outputs, or Headrace's cache format, changed"


def _code(owner: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    said = "component" if owner == "component" else owner
    for name in sorted({*old, *new}):
        if name not in old:
            yield f"{said}: now uses {name}"
        elif name not in new:
            yield f"{said}: no longer uses {name}"
        elif old[name] != new[name]:
            yield f"{said}: {name} changed"


def _mapping(
    said: str, before: Mapping[str, Any], now: Mapping[str, Any], field: str, shown: bool = True
) -> Iterator[str]:
    old, new = before.get(field) or {}, now.get(field) or {}
    for name in sorted({*old, *new}):
        if name not in old:
            yield f"{said} {name}: new" + (f", {new[name]!r}" if shown else "")
        elif name not in new:
            yield f"{said} {name}: gone" + (f", was {old[name]!r}" if shown else "")
        elif old[name] != new[name]:
            yield f"{said} {name}: {old[name]!r} -> {new[name]!r}" if shown else f"{said} {name} changed"
