"""Importer: brings what lies in a folder into a pipeline as an artifact."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

from headrace.pipelines import Artifact, Output, component, step_context, storage
from headrace.pipelines.artifact import MANIFEST, digest_of
from headrace.pipelines.errors import DataError

T = TypeVar("T", bound=Artifact)


@component(place="driver")
def Importer(
    result: Output[T], *, source_uri: str, artifact_type: type[T], properties: dict[str, Any] | None = None
) -> None:
    """Brings an artifact that this pipeline did not make into it.

    A folder that is an artifact already (it has an `artifact.json`) is taken where it lies. The files of any other
    folder are copied under the pipeline root, once for each content, and become an artifact of the type given.

    Args:
        result: The artifact.
        source_uri: Folder or URL.
        artifact_type: Its type, such as `Schema` or `Model`.
        properties: Properties to set on files that were no artifact yet.

    Raises:
        DataError: There is nothing at `source_uri`.

    >>> Importer(source_uri="models/flights/3", artifact_type=Model).outputs["result"]          # doctest: +SKIP
    """
    source = storage.normalize(source_uri)
    if storage.exists(storage.join(source, MANIFEST)):
        result.stand_for(artifact_type.open(source))
        return
    files = [name for name, _ in storage.walk(source)]
    if not files:
        raise DataError("expected a folder with files, found none", "correct source_uri", file=source)
    contents = {name: hashlib.sha256(storage.read_bytes(storage.join(source, name))).hexdigest() for name in files}
    digest = digest_of([artifact_type.type_name(), contents, properties])
    target = storage.join(step_context().root, "imported", f"{artifact_type.type_name()}-{digest[:16]}")
    if not storage.exists(storage.join(target, MANIFEST)):
        for name in files:
            storage.write_bytes(storage.join(target, name), storage.read_bytes(storage.join(source, name)))
        copy = artifact_type(target)
        copy.properties.update(properties or {})
        copy.commit({"imported_from": source})
    result.stand_for(artifact_type.open(target))
