"""Reading artifacts for a page that must come out whatever became of them."""

from __future__ import annotations

import json
from typing import Any

from headrace.pipelines import storage
from headrace.pipelines.artifact import Artifact
from headrace.pipelines.errors import HeadraceError


def payload(artifact: Artifact) -> Any:
    """Gives what the artifact holds, or None when it is gone, damaged or unreadable here."""
    try:
        return artifact.read()
    except Exception as error:
        if not _expected(error):
            raise
        return None


def json_file(artifact: Artifact, name: str) -> Any:
    """Gives a JSON file of the artifact, or None."""
    try:
        return json.loads(storage.read_bytes(storage.join(artifact.uri, name)))
    except (OSError, ValueError):
        return None


def _expected(error: Exception) -> bool:
    """A fault of the data or the place, not of this code; protobuf's own errors have no common base with others."""
    return isinstance(error, OSError | ValueError | HeadraceError) or type(error).__name__ in (
        "DecodeError",
        "ParseError",
    )
