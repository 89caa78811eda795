"""Importer: brings what lies in a folder into a pipeline as an artifact."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from time import time_ns
from typing import Any, TypeVar

from headrace.pipelines import Artifact, Output, component, step_context, storage
from headrace.pipelines.artifact import MANIFEST, digest_of
from headrace.pipelines.errors import ArtifactError, DataError
from headrace.pipelines.file_listing import listing_of
from headrace.pipelines.store import FileStamp

T = TypeVar("T", bound=Artifact)

CHUNK = 1 << 20
# What people edit by hand is small; of what is larger the size is compared.
COMPARED_BYTES = 16 << 20


@component(place="driver")
def Importer(
    result: Output[T], *, source_uri: str, artifact_type: type[T], properties: dict[str, Any] | None = None
) -> None:
    """Brings an artifact that this pipeline did not make into it.

    A folder that is an artifact already (it has an `artifact.json`) is taken where it lies. The files of any other
    folder are copied under the pipeline root, once for each content, and become an artifact of the type given. Their
    content counts in every run, so that what depends on them runs again when they change; a file that has not changed
    (path, size, time and inode, or a remote object's ETag) is not read again.

    Args:
        result: The artifact.
        source_uri: Folder or URL.
        artifact_type: Its type, such as `Schema` or `Model`.
        properties: Properties to set on files that were no artifact yet, such as ``{"blessed": True}``.

    Raises:
        DataError: There is nothing at `source_uri`, or its files are no artifact of that type.
        ArtifactError: The artifact there is of another type, or was changed since it was made.

    >>> Importer(source_uri="models/flights/3", artifact_type=Model).outputs["result"]          # doctest: +SKIP
    """
    source = storage.normalize(source_uri)
    if storage.exists(storage.join(source, MANIFEST)):
        if properties is not None:
            raise DataError(
                "received properties= for what is an artifact already, with its own", "leave out properties=", source
            )
        result.stand_for(_unchanged(artifact_type.open(source)))
        return
    names = [name for name, _ in storage.walk(source)]
    if not names:
        raise DataError("expected a folder with files, found none", "correct source_uri", file=source)
    contents = dict(zip(names, _digests([storage.join(source, name) for name in names])))
    digest = digest_of([artifact_type.type_name(), contents, properties])
    target = storage.join(step_context().root, "imported", f"{artifact_type.type_name()}-{digest[:16]}")
    if not storage.exists(storage.join(target, MANIFEST)):
        _copy(source, artifact_type(target), names, properties or {})
    result.stand_for(artifact_type.open(target))


def _copy(source: str, artifact: Artifact, names: list[str], properties: dict[str, Any]) -> None:
    storage.remove_tree(artifact.uri)
    for name, place in artifact.places_of(names).items():
        with (
            storage.open_file(storage.join(source, name)) as original,
            storage.open_file(storage.join(artifact.uri, place), "wb") as copy,
        ):
            shutil.copyfileobj(original, copy, CHUNK)
    artifact.properties.update(properties)
    try:
        artifact.commit({"imported_from": source})
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise DataError(
            f"the files there are no {artifact.type_name()}: {said}", "correct source_uri or artifact_type", source
        ) from error


def _unchanged(artifact: Artifact) -> Artifact:
    """Gives an artifact back whose files are those of its manifest, since its digest is all that others look at."""
    assert artifact.manifest is not None
    sizes = dict(storage.walk(artifact.uri))
    entries = artifact.manifest.files
    compared = [name for name, entry in entries.items() if sizes.get(name) == entry.size <= COMPARED_BYTES]
    digests = dict(zip(compared, _digests([storage.join(artifact.uri, name) for name in compared])))
    for name, entry in entries.items():
        if sizes.get(name) != entry.size or digests.get(name, entry.sha256) != entry.sha256:
            raise ArtifactError(
                f"{artifact.uri}: {name} was changed since the artifact was made\n    fix: delete its {MANIFEST}, "
                "and its files are imported as they are now"
            )
    return artifact


def _digests(uris: Sequence[str]) -> list[str]:
    """The SHA-256 of files, of those that have not changed as the store remembers it."""
    context = step_context()
    store = context.store if context.store_url is not None else None
    stamps = [_stamp(uri) for uri in uris] if store is not None else []
    known = store.known_digests([stamp for stamp in stamps if stamp is not None]) if store is not None else {}
    began, read = time_ns(), {}
    digests = []
    for uri, stamp in zip(uris, stamps or [None] * len(uris)):
        digest = known.get(stamp.path) if stamp is not None else None
        if digest is None:
            digest = _sha256(uri)
            # Of a file that changed while it was read, or could have without a new stamp, nothing is remembered.
            if stamp is not None and not stamp.racy(began) and _stamp(uri) == stamp:
                read[stamp] = digest
        digests.append(digest)
    if store is not None and read:
        store.remember_digests(read)
    return digests


def _stamp(uri: str) -> FileStamp | None:
    """What tells that a file has not changed; None where its file system does not say."""
    if storage.is_local(uri):
        return FileStamp.of(uri)
    entry = listing_of(uri).entry(uri)
    return FileStamp(uri, entry.size, version=entry.etag) if entry.etag else None


def _sha256(uri: str) -> str:
    digest = hashlib.sha256()
    with storage.open_file(uri) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
