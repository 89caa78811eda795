"""The folder whose versions are served: on this machine, or under an fsspec URL, whose versions are copied here."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
SAVED_MODEL = "saved_model.pb"
# What says that a version's file is another one: of a local file time and size, of a remote one what its store tells.
Mark = tuple[Any, ...]
_TOLD = ("ETag", "etag", "generation", "LastModified", "mtime", "created", "size")


class ModelFolder(Protocol):
    """Where versions are found."""

    def versions(self) -> set[int]:
        """The numbers of the versions that are there, whole."""

    def mark(self, number: int) -> Mark:
        """What a version's file is, to see whether it was replaced."""

    def take(self, number: int) -> Path:
        """A version's SavedModel on this machine."""

    def give_back(self, number: int) -> None:
        """Says that a version is no longer served."""

    def close(self) -> None:
        """Says that nothing more is served."""


def model_folder(place: str | Path) -> ModelFolder:
    """The folder at a path or URL: of versions, or of one SavedModel, which is then the only version.

    Raises:
        FileNotFoundError: There is no such folder.
        OSError: The URL cannot be read.
    """
    return RemoteFolder(str(place)) if is_url(place) else LocalFolder(Path(place))


def is_url(place: str | Path) -> bool:
    """Whether it is an fsspec URL, and no path of this machine."""
    return isinstance(place, str) and "://" in place


def model_name(place: str | Path) -> str:
    """A model's name from where it is: the base folder's, also where one version of it is given.

    >>> model_name(Path("serving/flights/3")), model_name("s3://models/flights/")
    ('flights', 'flights')
    """
    if is_url(place):
        url = urlsplit(str(place))
        parts = [part for part in (url.netloc, *url.path.split("/")) if part]
    else:
        parts = list(Path(place).absolute().parts)
    return parts[-2] if len(parts) > 1 and parts[-1].isdigit() and parts[-2] != "/" else parts[-1]


class LocalFolder:
    """A folder on this machine; see `model_folder`."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise FileNotFoundError(f"expected a SavedModel or a folder of versions, found no folder {path}")
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def versions(self) -> set[int]:
        return set(self._folders())

    def _folders(self) -> dict[int, Path]:
        if (self._path / SAVED_MODEL).is_file():
            return {_number(self._path.name): self._path}
        found = {int(one.name): one for one in self._path.iterdir() if one.name.isdigit()}
        return {number: one for number, one in found.items() if (one / SAVED_MODEL).is_file()}

    def mark(self, number: int) -> Mark:
        status = (self.take(number) / SAVED_MODEL).stat()
        return status.st_mtime_ns, status.st_size

    def take(self, number: int) -> Path:
        try:
            return self._folders()[number]
        except KeyError:
            raise FileNotFoundError(f"version {number} was taken away from {self._path}") from None

    def give_back(self, number: int) -> None:
        """Nothing was copied."""

    def close(self) -> None:
        """Nothing was copied."""


class RemoteFolder:
    """A folder under an fsspec URL, such as ``s3://models/flights``; see `model_folder`.

    A version is copied here when it is to be served, and its copy goes when it no longer is.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._files, path = self._asked(_opened, url)
        self._path = str(path).rstrip("/")
        if not self._asked(self._files.isdir, self._path):
            raise FileNotFoundError(f"expected a SavedModel or a folder of versions, found no folder {url}")
        self._copies = tempfile.TemporaryDirectory(prefix="headrace-serve-")

    def __str__(self) -> str:
        return self._url

    def versions(self) -> set[int]:
        return set(self._folders())

    def _folders(self) -> dict[int, str]:
        self._files.invalidate_cache()
        if self._asked(self._files.exists, f"{self._path}/{SAVED_MODEL}"):
            return {_number(PurePosixPath(self._path).name): self._path}
        names = [str(one).rstrip("/") for one in self._asked(self._files.ls, self._path, detail=False)]
        found = {int(PurePosixPath(one).name): one for one in names if PurePosixPath(one).name.isdigit()}
        # It is written last, so a version that has it is whole.
        return {number: one for number, one in found.items() if self._asked(self._files.exists, f"{one}/{SAVED_MODEL}")}

    def mark(self, number: int) -> Mark:
        told = self._asked(self._files.info, f"{self._at(number)}/{SAVED_MODEL}")
        return tuple(str(told.get(key)) for key in _TOLD)

    def _at(self, number: int) -> str:
        try:
            return self._folders()[number]
        except KeyError:
            raise FileNotFoundError(f"version {number} was taken away from {self._url}") from None

    def url(self, number: int) -> str:
        """A version's own URL."""
        base, path = self._url.rstrip("/"), self._at(number)
        return base if path == self._path else f"{base}/{PurePosixPath(path).name}"

    def take(self, number: int, *, without: Collection[str] = ()) -> Path:
        """A copy of a version on this machine, without some of its folders, such as the weights in `variables`."""
        copy = Path(self._copies.name) / str(number)
        shutil.rmtree(copy, ignore_errors=True)
        source = self._at(number)
        for file in self._asked(self._files.find, source):
            place = PurePosixPath(file).relative_to(source)
            # A console's "new folder" is a file of its folder's name.
            if str(file).endswith("/") or not place.parts or place.parts[0] in without:
                continue
            target = copy / place
            target.parent.mkdir(parents=True, exist_ok=True)
            self._asked(self._files.get_file, file, str(target))
        return copy

    def give_back(self, number: int) -> None:
        shutil.rmtree(Path(self._copies.name) / str(number), ignore_errors=True)

    def close(self) -> None:
        self._copies.cleanup()

    def _asked(self, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """A call of a store's client, whose errors are of its own kinds."""
        try:
            return call(*arguments, **options)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise OSError(f"{self._url}: {type(error).__name__}: {error}") from error


def _opened(url: str) -> tuple[Any, Any]:
    from fsspec.core import url_to_fs

    # Listings that a client keeps would hide new versions.
    files, path = url_to_fs(url, use_listings_cache=False)
    return files, path


def _number(name: str) -> int:
    return int(name) if name.isdigit() else 1
