"""Artifacts: what steps hand to one another.

An artifact is a folder at a URI. It exists exactly when its `artifact.json` exists, which is written last. The manifest
travels with the payload: type, properties, files with size and digest, semantic digest, producer, and links to other
artifacts.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar, overload

from headrace.pipelines import storage
from headrace.pipelines.errors import ArtifactError

MANIFEST = "artifact.json"
FORMAT = 1

T = TypeVar("T")


@dataclass(frozen=True)
class Direction:
    """Marks a component's argument as an artifact that comes in or goes out."""

    out: bool


Input = Annotated[T, Direction(out=False)]
Output = Annotated[T, Direction(out=True)]


class Property(Generic[T]):
    """A typed property of an artifact type, kept in its manifest.

    >>> class Report(Artifact):
    ...     pages = Property(int, "How many pages it has.")
    """

    def __init__(self, type_: type[T], doc: str = "") -> None:
        self.type, self.__doc__ = type_, doc
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, artifact: None, owner: type) -> Property[T]: ...
    @overload
    def __get__(self, artifact: Artifact, owner: type) -> T: ...
    def __get__(self, artifact: Artifact | None, owner: type) -> Property[T] | T:
        if artifact is None:
            return self
        try:
            value: T = artifact.properties[self.name]
        except KeyError:
            raise AttributeError(f"property {self.name!r} of {artifact!r} was never set") from None
        return value

    def __set__(self, artifact: Artifact, value: T) -> None:
        allowed = (int, float) if self.type is float else self.type
        if not isinstance(value, allowed) or (isinstance(value, bool) and self.type is not bool):
            said = f"{type(artifact).__name__}.{self.name}"
            raise ArtifactError(f"{said} takes {self.type.__name__}, not {type(value).__name__} ({value!r})")
        artifact.properties[self.name] = value


@dataclass(frozen=True)
class FileEntry:
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What `artifact.json` says.

    Args:
        type: The artifact type's name.
        digest: The semantic digest: equal for equal meaning, however the bytes were written.
        files: Each file's path relative to the artifact, its size in bytes and its SHA-256.
        properties: The type's typed properties and any the component added.
        links: Other artifacts or plain values this one names, such as a Model's TransformGraph and label.
        producer: Pipeline, run, step, attempt and output that made it.
        created: UTC time in ISO 8601.
    """

    type: str
    type_version: str
    digest: str
    files: dict[str, FileEntry]
    properties: dict[str, Any] = field(default_factory=dict)
    links: dict[str, Any] = field(default_factory=dict)
    producer: dict[str, Any] = field(default_factory=dict)
    created: str = ""

    def to_json(self, uri: str = "", root: str = "") -> str:
        """The text of `artifact.json`; links between artifacts of one root are written relative to `uri`."""
        links = with_link_uris(self.links, lambda link: storage.relative_to_folder(link, uri, root))
        return json.dumps({"headrace_artifact": FORMAT, **asdict(self), "links": links}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Manifest:
        try:
            document = json.loads(text)
            version = document.pop("headrace_artifact")
            files = {name: FileEntry(**entry) for name, entry in document.pop("files").items()}
            folder = where.removesuffix(MANIFEST)
            document["links"] = with_link_uris(
                document["links"], lambda link: storage.resolve_from_folder(link, folder)
            )
            manifest = cls(files=files, **document)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(
                f"{where}: not a manifest of Headrace ({error}); delete the folder and run again"
            ) from error
        if version != FORMAT:
            raise ArtifactError(
                f"{where}: manifest format {version}; this Headrace reads {FORMAT}. Install a newer one"
            )
        return manifest


def with_link_uris(links: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Gives links with the URI of each artifact among them changed."""
    return {
        name: {**link, "uri": change(link["uri"])} if isinstance(link, Mapping) and "uri" in link else link
        for name, link in links.items()
    }


_CLASSES: dict[str, type[Artifact]] = {}


class Artifact:
    """A folder of files with a type, properties and links.

    Inside a component an `Output` artifact is written (`write`, or files under `path`); Headrace commits it when the
    component returns. An `Input` artifact is read (`read`, or files under `path`). Subclass it to give a type of your
    own: `read`, `write` and, where bytes may differ for one meaning, `semantic_digest`.

    Args:
        uri: Folder or URL of the artifact.
        manifest: Its manifest, when it exists already.

    >>> class Notes(Artifact):
    ...     def write(self, text: str) -> None:
    ...         (self.path / "notes.txt").write_text(text)
    ...     def read(self) -> str:
    ...         return (self.path / "notes.txt").read_text()
    """

    type_version: ClassVar[str] = "1"
    schema_title: ClassVar[str | None] = None
    # What reading or writing it imports: a worker has it before its step begins.
    imports: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _CLASSES[cls.type_name()] = cls

    def __init__(self, uri: str, manifest: Manifest | None = None) -> None:
        self.uri = uri
        self.manifest = manifest
        self.properties: dict[str, Any] = dict(manifest.properties) if manifest else {}
        self.links: dict[str, Any] = dict(manifest.links) if manifest else {}
        self.left_out = False
        self._staged: tempfile.TemporaryDirectory[str] | None = None

    @classmethod
    def type_name(cls) -> str:
        return cls.__name__

    @classmethod
    def open(cls, uri: str) -> Self:
        """Opens an artifact that exists.

        Raises:
            ArtifactError: There is no manifest at `uri`, or it is of another type.
        """
        manifest = read_manifest(uri)
        if manifest.type != cls.type_name() and cls is not Artifact:
            raise ArtifactError(f"{uri}: expected {cls.type_name()}, received {manifest.type}")
        return cls(uri, manifest)

    @property
    def path(self) -> Path:
        """A local folder with the artifact's files; a remote artifact is staged on first use."""
        if storage.is_local(self.uri):
            folder = storage.local_path(self.uri)
            if self.manifest is None:
                folder.mkdir(parents=True, exist_ok=True)
            return folder
        if self._staged is None:
            self._staged = tempfile.TemporaryDirectory(prefix="headrace-")
            if self.manifest is not None:
                storage.download(self.uri, Path(self._staged.name))
        return Path(self._staged.name)

    @property
    def digest(self) -> str:
        if self.manifest is None:
            raise ArtifactError(f"{self!r} is not committed yet, so it has no digest")
        return self.manifest.digest

    def link(self, **links: Artifact | str | int | float | bool | list[str] | None) -> None:
        """Names other artifacts or plain values in the manifest."""
        for name, target in links.items():
            if isinstance(target, Artifact):
                self.links[name] = {"type": target.type_name(), "uri": target.uri, "digest": target.digest}
            elif target is not None:
                self.links[name] = target

    def stand_for(self, other: Artifact) -> None:
        """Makes this output be an artifact that exists already, such as one that was resolved."""
        self.uri, self.manifest = other.uri, other.manifest
        self.properties, self.links = other.properties, other.links

    def leave_out(self) -> None:
        """Says that this output is not made this time; a step that must have it is then skipped."""
        self.left_out = True

    def read(self) -> Any:
        raise NotImplementedError(f"{self.type_name()} has no read(); use the files under .path")

    def write(self, value: Any) -> None:
        raise NotImplementedError(f"{self.type_name()} has no write(); write files under .path")

    @classmethod
    def places_of(cls, names: Collection[str]) -> dict[str, str]:
        """Where files that are no artifact yet go in one of this type: their names -> names in the artifact."""
        return {name: name for name in names}

    def semantic_digest(self, files: Mapping[str, FileEntry]) -> str:
        """Digest of what the artifact means; here the names and bytes of its files."""
        return digest_of({name: entry.sha256 for name, entry in files.items()})

    def is_live(self) -> bool:
        """Tells whether the artifact is there and, in a local folder, whole; a cache hit asks."""
        if not storage.is_local(self.uri):
            return storage.exists(storage.join(self.uri, MANIFEST))
        try:
            files = read_manifest(self.uri).files
            folder = storage.local_path(self.uri)
            return all((folder / name).stat().st_size == entry.size for name, entry in files.items())
        except (ArtifactError, OSError):
            return False

    def is_empty(self) -> bool:
        """Tells whether a component left this output unwritten."""
        staged = self._staged is not None and any(Path(self._staged.name).iterdir())
        return not staged and not self.properties and next(storage.walk(self.uri), None) is None

    def commit(self, producer: Mapping[str, Any], root: str = "") -> Manifest:
        """Makes the artifact exist: digests its files, then writes `artifact.json`, last.

        Args:
            producer: Who made it.
            root: The pipeline root, within which links are written relative.
        """
        if self._staged is not None:
            storage.upload(Path(self._staged.name), self.uri)
        files = {name: self._file_entry(name, size) for name, size in storage.walk(self.uri) if name != MANIFEST}
        digest = digest_of([self.type_name(), self.semantic_digest(files), self.digested_properties()])
        self.manifest = Manifest(
            type=self.type_name(),
            type_version=self.type_version,
            digest=digest,
            files=files,
            properties=dict(self.properties),
            links=dict(self.links),
            producer=dict(producer),
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
        )
        storage.write_bytes(storage.join(self.uri, MANIFEST), self.manifest.to_json(self.uri, root).encode())
        return self.manifest

    def digested_properties(self) -> dict[str, Any]:
        """The properties that belong to the artifact's meaning; a type may leave out those that do not."""
        return self.properties

    def _file_entry(self, name: str, size: int) -> FileEntry:
        sha = hashlib.sha256()
        with storage.open_file(storage.join(self.uri, name), "rb") as file:
            while chunk := file.read(1 << 20):
                sha.update(chunk)
        return FileEntry(size, sha.hexdigest())

    def __repr__(self) -> str:
        return f"{self.type_name()}({self.uri!r})"

    def _repr_html_(self) -> str:
        from headrace.pipelines.html import artifact_html

        return artifact_html(self)


def artifact_classes() -> dict[str, type[Artifact]]:
    """The artifact types that are defined by now, by name; of two that share one, the later."""
    return _CLASSES


def read_manifest(uri: str) -> Manifest:
    """Reads `artifact.json`.

    Raises:
        ArtifactError: There is none, or it cannot be read.
    """
    place = storage.join(uri, MANIFEST)
    try:
        return Manifest.from_json(storage.read_bytes(place), place)
    except FileNotFoundError:
        raise ArtifactError(
            f"{uri}: no {MANIFEST} here, so no artifact: it was never committed, or was deleted"
        ) from None


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value in canonical form.

    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()
