"""Lists the files of a folder or glob, on this machine or behind an fsspec URL, with what identifies their content."""

from __future__ import annotations

import difflib
import glob
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from headrace.pipelines.errors import DataError, MissingExtra

MAGIC = re.compile(r"[*?[]")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class FileEntry:
    """One file as it was when it was listed.

    Args:
        path: Local path, or fsspec URL with its scheme.
        size: Bytes.
        mtime_ns: Time of the last change in nanoseconds; 0 for a remote object.
        inode: Inode number; 0 for a remote object.
        etag: A remote object's ETag, version or checksum, with its kind; "" when the filesystem gives none.
        span: The span it belongs to, or None.
        version: The version of that span, or None.
    """

    path: str
    size: int
    mtime_ns: int = 0
    inode: int = 0
    etag: str = ""
    span: int | None = None
    version: int | None = None


class Listing(Protocol):
    """The questions that `find` asks of a filesystem."""

    def is_folder(self, path: str) -> bool: ...
    def is_file(self, path: str) -> bool: ...
    def entry(self, path: str) -> FileEntry: ...
    def glob(self, pattern: str) -> list[str]: ...
    def names(self, folder: str) -> list[str]:
        """Paths of what is directly in a folder, sorted; empty when there is no such folder."""


def listing_of(pattern: str) -> Listing:
    """The filesystem that a path or URL lies on."""
    scheme = pattern.partition("://")[0] if "://" in pattern else ""
    return Remote(scheme) if scheme and scheme != "file" else Local()


def find(pattern: str, suffixes: tuple[str, ...]) -> list[FileEntry]:
    """The files that a folder, a file or a glob means, sorted by path.

    Raises:
        DataError: There is none; says what was looked for and the nearest names.
    """
    listing = listing_of(pattern)
    path = pattern.removeprefix("file://")
    if listing.is_folder(path):
        entries = inside(listing, path, suffixes) or _images_below(listing, path)
        if not entries:
            raise _empty_folder(listing, path, suffixes)
        return entries
    if listing.is_file(path):
        return [listing.entry(path)]
    found: set[FileEntry] = set()
    for match in listing.glob(path) if MAGIC.search(path) else ():
        found.update([listing.entry(match)] if listing.is_file(match) else inside(listing, match, suffixes))
    if not found:
        raise _missing(listing, path)
    return sorted(found, key=lambda entry: entry.path)


def inside(listing: Listing, folder: str, suffixes: tuple[str, ...]) -> list[FileEntry]:
    """A folder's own data files, sorted: the names with one of the suffixes that do not begin with `.` or `_`."""
    paths = [path for path in listing.names(folder) if _is_data(path, suffixes)]
    return [listing.entry(path) for path in paths if listing.is_file(path)]


def _images_below(listing: Listing, folder: str) -> list[FileEntry]:
    """The image files of a folder and, since a folder is often a class, of its subfolders, sorted."""
    base = folder.rstrip("/")
    paths = {path for pattern in ("*", "**/*") for path in listing.glob(f"{glob.escape(base)}/{pattern}")}
    kept = [path for path in sorted(paths) if _is_data(path, IMAGE_SUFFIXES) and not _is_hidden(path[len(base) :])]
    return [listing.entry(path) for path in kept if listing.is_file(path)]


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "_")) for part in path.split("/"))


def nothing_found(pattern: str, why: str, names: Iterable[str] = ()) -> DataError:
    """The error of a pattern that means no file."""
    return DataError(
        f"nothing to read: {why}",
        fix="Give a folder, a file or a glob that matches at least one file.",
        file=pattern,
        details=tuple(f"    there is: {name}" for name in names),
    )


class Local:
    """Files of this machine."""

    def is_folder(self, path: str) -> bool:
        return Path(path).is_dir()

    def is_file(self, path: str) -> bool:
        return Path(path).is_file()

    def entry(self, path: str) -> FileEntry:
        stat = Path(path).stat()
        return FileEntry(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)

    def glob(self, pattern: str) -> list[str]:
        # glob.glob takes relative and absolute patterns alike and keeps the spelling, Path.glob does neither.
        return sorted(path.rstrip("/") for path in glob.glob(pattern, recursive=True))  # noqa: PTH207

    def names(self, folder: str) -> list[str]:
        base = Path(folder)
        return sorted(str(base / path.name) for path in base.iterdir()) if base.is_dir() else []


class Remote:
    """Objects behind an fsspec URL."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.filesystem, _ = open_fsspec(f"{scheme}://")
        # fsspec remembers listings for as long as the process lives.
        self.filesystem.invalidate_cache()

    def is_folder(self, path: str) -> bool:
        return bool(self.filesystem.isdir(path))

    def is_file(self, path: str) -> bool:
        return bool(self.filesystem.isfile(path))

    def entry(self, path: str) -> FileEntry:
        info: Mapping[str, Any] = self.filesystem.info(path)
        for kind in ("ETag", "etag", "md5Hash", "content_md5", "generation", "VersionId", "version_id"):
            if info.get(kind):
                return FileEntry(self._url(info["name"]), info["size"] or 0, etag=f"{kind.lower()}:{info[kind]}")
        return FileEntry(self._url(info["name"]), info["size"] or 0)

    def glob(self, pattern: str) -> list[str]:
        return sorted(self._url(path) for path in self.filesystem.glob(pattern))

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(self._url(info["name"]) for info in self.filesystem.ls(folder, detail=True))
        except (OSError, ValueError):
            return []

    def _url(self, path: str) -> str:
        # fsspec's memory filesystem spells memory://a as /a; a pattern is matched against what its author wrote.
        path = path.lstrip("/") if self.scheme == "memory" else path
        return path if "://" in path else f"{self.scheme}://{path}"


def open_fsspec(url: str) -> tuple[Any, str]:
    """The fsspec filesystem of a URL and the path on it.

    Raises:
        MissingExtra: fsspec is not installed.
    """
    try:
        import fsspec
    except ImportError:
        raise MissingExtra("run", "fsspec") from None
    filesystem, path = fsspec.core.url_to_fs(url)
    return filesystem, path


def _is_data(path: str, suffixes: tuple[str, ...]) -> bool:
    name = path.rpartition("/")[2]
    return not name.startswith((".", "_")) and name.lower().endswith(suffixes)


def _empty_folder(listing: Listing, path: str, suffixes: tuple[str, ...]) -> DataError:
    names = listing.names(path)
    error = nothing_found(path, f"the folder has no file ending in {', '.join(suffixes)}", names[:8])
    deeper = [file for name in names if listing.is_folder(name) for file in listing.names(name)]
    suffix = next((suffix for suffix in suffixes for file in deeper if _is_data(file, (suffix,))), None)
    if suffix is None:
        return error
    pattern = f"{path.rstrip('/')}/*/*{suffix}"
    return DataError(error.what, f"Its subfolders have some: give {pattern!r}.", error.file, details=error.details)


def _missing(listing: Listing, path: str) -> DataError:
    magic = MAGIC.search(path)
    folder = path[: magic.start()].rpartition("/")[0] if magic else path.rpartition("/")[0]
    while folder and not listing.is_folder(folder) and not folder.endswith(":/"):
        folder = folder.rpartition("/")[0]
    folder = folder or ("/" if path.startswith("/") else ".")
    names = {name.rpartition("/")[2]: name for name in listing.names(folder)}
    wanted = path.removeprefix(folder).lstrip("/").partition("/")[0]
    near = difflib.get_close_matches(wanted, names, n=5, cutoff=0.5) or sorted(names)[:5]
    why = "no file matches" if magic else "no such file or folder"
    return nothing_found(path, f"{why}; nearest in {folder}:" if near else why, [names[name] for name in near])
