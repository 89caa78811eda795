"""Pretrained models that a `build_model` reads from disk: their content is in the step's cache key."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headrace.pipelines import storage
from headrace.pipelines.errors import DataError
from headrace.pipelines.file_listing import MAGIC
from headrace.pipelines.file_patterns import ResolvedFiles


def pretrained_problems(pretrained: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with the Trainer's `pretrained=`, and what to do, before anything runs."""
    if pretrained is None:
        return
    if not isinstance(pretrained, Mapping):
        yield (
            f"expected pretrained= as a dict of name to files, received {pretrained!r}",
            'write {"words": "folder/**"}',
        )
        return
    for name, files in pretrained.items():
        if isinstance(files, str | Path) and not MAGIC.search(str(files)) and Path(files).is_dir():
            folder = str(files).rstrip("/")
            yield f"pretrained= has the folder {folder!r} for {name!r}", f'write "{folder}/**": all of its files count'


def local_paths(pretrained: Mapping[str, ResolvedFiles], scratch: Path) -> dict[str, str]:
    """Where each model is on this machine: the file, or the folder before the pattern's first wildcard.

    Args:
        pretrained: Name -> files.
        scratch: A folder for what is remote.

    Raises:
        DataError: A folder has files that the pattern leaves out: changing them would change no key.
    """
    return {name: str(_local(files, scratch / "pretrained" / name)) for name, files in pretrained.items()}


def _local(files: ResolvedFiles, copies: Path) -> Path:
    magic = MAGIC.search(files.pattern)
    base = files.pattern[: magic.start()].rpartition("/")[0] if magic else files.pattern
    uri = storage.normalize(base)
    if storage.is_local(uri):
        path = storage.local_path(uri)
        if magic:
            _check_whole(path, files)
        return path
    for entry in files.files:
        target = copies / entry.path.removeprefix(base).lstrip("/") if magic else copies / base.rpartition("/")[2]
        target.parent.mkdir(parents=True, exist_ok=True)
        with storage.open_file(entry.path) as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
    return copies if magic else copies / base.rpartition("/")[2]


def _check_whole(folder: Path, files: ResolvedFiles) -> None:
    declared = {Path(path).resolve() for path in files.paths}
    there = {path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}
    if lacking := sorted(path for path in there if path.resolve() not in declared):
        raise DataError(
            f"pretrained= has {files.pattern!r}, which leaves out {len(lacking)} files of the folder",
            f"write {str(folder) + '/**'!r}: what build_model may read must count",
            file=str(lacking[0]),
        )
