"""Files under any root: a local folder without fsspec, every other URL through it.

A URI is a local path or a URL with a scheme. Object stores have no rename, so nothing here relies on one: a local write
is made whole by a rename, a remote one by the store's own atomic put.

Credentials and endpoints are those of the file system's library, taken from its own environment: for `s3://` the usual
`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_PROFILE` and, for a server that is not Amazon's, `AWS_ENDPOINT_URL`.
Headrace passes them on to its workers and keeps none.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


def is_local(uri: str) -> bool:
    """Tells whether `uri` is a path of this machine.

    >>> is_local("/data/x"), is_local("s3://bucket/x")
    (True, False)
    """
    return "://" not in uri


def local_path(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def normalize(uri: str | os.PathLike[str]) -> str:
    """Gives a local path as an absolute one and leaves a URL as it is, without a trailing slash."""
    text = os.fspath(uri)
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    # abspath, for resolve would follow links
    return os.path.abspath(Path(text).expanduser()) if is_local(text) else text.rstrip("/")  # noqa: PTH100


def join(base: str, *parts: str) -> str:
    return "/".join([base.rstrip("/"), *(part.strip("/") for part in parts)])


def relative_to_root(uri: str, root: str) -> str:
    """Gives `uri` relative to the pipeline root when it lies inside, so that a root can be moved.

    >>> relative_to_root("/root/flights/x", "/root"), relative_to_root("/else/x", "/root")
    ('flights/x', '/else/x')
    """
    prefix = root.rstrip("/") + "/"
    return uri.removeprefix(prefix) if uri.startswith(prefix) else uri


def resolve(uri: str, root: str) -> str:
    """The inverse of `relative_to_root`."""
    return uri if uri.startswith("/") or "://" in uri else join(root, uri)


def relative_to_folder(uri: str, folder: str, root: str) -> str:
    """Gives `uri` relative to a folder when both lie in `root`, so that they can be moved together.

    >>> relative_to_folder("/root/a/x", "/root/b/y", "/root"), relative_to_folder("/else/x", "/root/b/y", "/root")
    ('../../a/x', '/else/x')
    """
    prefix = root.rstrip("/") + "/"
    both_inside = root and uri.startswith(prefix) and folder.startswith(prefix)
    return posixpath.relpath(uri.removeprefix(prefix), folder.removeprefix(prefix)) if both_inside else uri


def resolve_from_folder(uri: str, folder: str) -> str:
    """The inverse of `relative_to_folder`.

    >>> resolve_from_folder("../../a/x", "s3://bucket/root/b/y")
    's3://bucket/root/a/x'
    """
    if uri.startswith("/") or "://" in uri:
        return uri
    base = folder.rstrip("/").split("/")
    for part in uri.split("/"):
        base = base[:-1] if part == ".." else [*base, part]
    return "/".join(base)


def filesystem(uri: str) -> tuple[Any, str]:
    """Gives the fsspec file system of a URL and the path within it."""
    from fsspec.core import url_to_fs

    fs, path = url_to_fs(uri)
    return fs, path


def open_file(uri: str, mode: str = "rb") -> IO[Any]:
    if is_local(uri):
        path = local_path(uri)
        if "w" in mode:
            path.parent.mkdir(parents=True, exist_ok=True)
        return path.open(mode)
    fs, path_in_fs = filesystem(uri)
    if "w" in mode:
        fs.makedirs(path_in_fs.rsplit("/", 1)[0], exist_ok=True)
    handle: IO[Any] = fs.open(path_in_fs, mode)
    return handle


def read_bytes(uri: str) -> bytes:
    with open_file(uri, "rb") as file:
        data: bytes = file.read()
        return data


def write_bytes(uri: str, data: bytes) -> None:
    """Writes a whole file so that a reader sees all of it or none."""
    if not is_local(uri):
        with open_file(uri, "wb") as file:
            file.write(data)
        return
    target = local_path(uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    draft.write_bytes(data)
    draft.replace(target)


def exists(uri: str) -> bool:
    if is_local(uri):
        return local_path(uri).exists()
    fs, path = _as_of_now(uri)
    return bool(fs.exists(path))


def names_in(uri: str) -> list[str]:
    """The names of the files and folders in a folder, sorted; none where there is no folder."""
    if is_local(uri):
        folder = local_path(uri)
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    fs, path = _as_of_now(uri)
    try:
        return sorted({found.rstrip("/").rpartition("/")[2] for found in fs.ls(path, detail=False)} - {""})
    except FileNotFoundError:
        return []


def _as_of_now(uri: str) -> tuple[Any, str]:
    """A URL's file system without the listings that it remembers for as long as the process lives."""
    fs, path = filesystem(uri)
    fs.invalidate_cache(path)
    return fs, path


def remove_tree(uri: str) -> None:
    if is_local(uri):
        shutil.rmtree(local_path(uri), ignore_errors=True)
        return
    fs, path = filesystem(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def walk(uri: str) -> Iterator[tuple[str, int]]:
    """Yields (path relative to `uri`, size in bytes) of every file below it, sorted by path."""
    if is_local(uri):
        yield from sorted(_walk_local(str(local_path(uri)), ""))
        return
    fs, path = _as_of_now(uri)
    if not fs.exists(path):
        return
    prefix = fs._strip_protocol(path).rstrip("/") + "/"
    found = fs.find(path, detail=True)
    yield from sorted((name.removeprefix(prefix), int(info["size"])) for name, info in found.items())


def _walk_local(folder: str, prefix: str) -> Iterator[tuple[str, int]]:
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            if entry.is_dir():
                yield from _walk_local(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield prefix + entry.name, entry.stat().st_size


def download(uri: str, folder: Path) -> None:
    """Copies every file below `uri` into a local folder."""
    for relative, _ in walk(uri):
        target = folder / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_file(join(uri, relative), "rb") as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)


def upload(folder: Path, uri: str) -> None:
    """Copies every file of a local folder below `uri`."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as source, open_file(join(uri, path.relative_to(folder).as_posix()), "wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
