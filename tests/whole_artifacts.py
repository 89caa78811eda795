"""What holds of every pipeline root whatever was killed there: an artifact that exists is whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

from headrace.pipelines import Artifact
from headrace.pipelines.artifact import MANIFEST, read_manifest


def check_artifacts(root: Path, checked: set[Path]) -> None:
    """Every artifact there is, recorded or not, opens, and its files are what its manifest says.

    Args:
        root: A local pipeline root.
        checked: Manifests that need no second look; this call's are added.
    """
    for manifest in root.rglob(MANIFEST):
        if manifest in checked:
            continue
        checked.add(manifest)
        for name, entry in read_manifest(str(manifest.parent)).files.items():
            with (manifest.parent / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                assert (file.tell(), digest) == (entry.size, entry.sha256), manifest
        Artifact.open(str(manifest.parent))


def what_is_left(folder: Path) -> str:
    """What a step that was killed left in its folder, in words."""
    if any(folder.rglob(MANIFEST)):
        return "artifact without record"
    return "payload without manifest" if any(path.is_file() for path in folder.rglob("*")) else "nothing written"
