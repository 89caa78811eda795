"""Arguments that name files: how they are written, what they mean as a step is planned, the digest of their content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from headrace.pipelines.artifact import digest_of
from headrace.pipelines.file_patterns import DigestMemo, ResolvedFiles, content_digest, resolve

Resolved = ResolvedFiles | dict[str, ResolvedFiles]


@dataclass(frozen=True)
class FilePattern:
    """A file pattern with a window of spans, as an argument of an ExampleGen.

    Args:
        pattern: Folder, file or glob, with `{SPAN}`, `{VERSION}` or `{YYYY}-{MM}-{DD}`.
        window: How many of the last spans, of each its newest version.
        span: The newest span to take, instead of the newest there is.
        version: The version to take.

    >>> FilePattern("data/{SPAN}/*.csv", window=7).window
    7
    """

    pattern: str
    window: int = 1
    span: int | None = None
    version: int | None = None


_PATTERN = {"pattern", "window", "span", "version"}


def encode_files(value: Any) -> Any:
    """Gives the JSON form of a files argument: a pattern, or patterns by name."""
    if isinstance(value, FilePattern):
        return asdict(value)
    if isinstance(value, Mapping) and "pattern" in value and set(value) <= _PATTERN:
        return asdict(FilePattern(**value))
    if isinstance(value, Mapping):
        return {str(name): encode_files(item) for name, item in value.items()}
    if value is None or isinstance(value, str):
        return value
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    raise TypeError(f"expected a path, a FilePattern, or a dict of them, received {type(value).__name__} {value!r}")


def resolve_files(value: Any) -> Resolved:
    """Lists the files that the JSON form of a files argument means now.

    Raises:
        DataError: There are none.
    """
    value = encode_files(value)
    if isinstance(value, str):
        return resolve(value)
    if "pattern" in value and set(value) <= _PATTERN:
        return resolve(
            value["pattern"], window=value.get("window", 1), span=value.get("span"), version=value.get("version")
        )
    found = {name: resolve_files(item) for name, item in value.items()}
    return {name: files for name, files in found.items() if isinstance(files, ResolvedFiles)}


def files_to_json(files: Resolved) -> dict[str, Any]:
    if isinstance(files, ResolvedFiles):
        return {"files": files.to_json()}
    return {"by_name": {name: item.to_json() for name, item in files.items()}}


def files_from_json(document: Mapping[str, Any]) -> Resolved:
    if "files" in document:
        return ResolvedFiles.from_json(document["files"])
    return {name: ResolvedFiles.from_json(item) for name, item in document["by_name"].items()}


def files_digest(files: Resolved, memo: DigestMemo | None = None) -> str:
    """A digest of what the files contain and which spans they are; where they lie does not count."""
    if isinstance(files, ResolvedFiles):
        return digest_of([content_digest(files.files, memo), list(files.spans), list(files.versions)])
    return digest_of({name: files_digest(item, memo) for name, item in files.items()})
