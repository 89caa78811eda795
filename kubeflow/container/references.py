"""Reference files: what passes through KFP's or Argo's artifact mechanism in place of an artifact.

The payload stays where the step wrote it, in the pipeline root; a reference is a small JSON document that says where,
of which type, and with which content. One of an output that was not made says why.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from headrace.pipelines import storage
from headrace.pipelines.artifact import Manifest, read_manifest, with_link_uris
from headrace.pipelines.errors import ArtifactError
from headrace.pipelines.execution import OutputRecord
from headrace.pipelines.store import ArtifactRecord, StepKey

VERSION = 1
# A manifest that lists thousands of shards is shortened: who needs the list reads it beside the shards.
MANIFEST_BYTES = 32_768
ABSENT_DIGEST = "absent"
# In place of the value of an output parameter that a step did not give.
ABSENT_RESULT = "headrace_absent"


@dataclass(frozen=True)
class Reference:
    """An artifact somewhere, or why there is none.

    Args:
        type: The artifact type's name.
        uri: The artifact's folder or URL; empty when it is absent.
        digest: Its semantic digest; empty when it is absent.
        manifest: What its `artifact.json` says, links as absolute URIs; `files` is left out when it is long.
        absent: Why it was not made; None for one that was.
    """

    type: str
    uri: str = ""
    digest: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    absent: str | None = None

    @classmethod
    def of(cls, record: OutputRecord) -> Reference:
        """The reference of an artifact that a step committed.

        Raises:
            ArtifactError: It is gone.
        """
        manifest = json.loads(read_manifest(record.uri).to_json())
        if len(json.dumps(manifest)) > MANIFEST_BYTES:
            manifest |= {"files": {}, "files_left_out": len(manifest["files"])}
        return cls(record.type, record.uri, record.digest, manifest)

    @property
    def digest_text(self) -> str:
        """The content digest as an output parameter has it."""
        return self.digest if self.absent is None else ABSENT_DIGEST

    def to_json(self) -> str:
        if self.absent is not None:
            return json.dumps({"headrace_reference": VERSION, "type": self.type, "absent": self.absent}, sort_keys=True)
        document = {"uri": self.uri, "type": self.type, "digest": self.digest, "manifest": dict(self.manifest)}
        return json.dumps({"headrace_reference": VERSION, **document}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> Reference:
        """Reads what `to_json` wrote.

        Raises:
            ArtifactError: It is no reference, or one of another Headrace.
        """
        try:
            document = json.loads(text)
            version = document.pop("headrace_reference")
        except (ValueError, KeyError, AttributeError):
            what = f"{where}: expected a reference to an artifact of Headrace, received {str(text[:80])!r}"
            raise ArtifactError(f"{what}\n    fix: compile the pipeline and build the image again") from None
        if version != VERSION:
            raise ArtifactError(
                f"{where}: expected a reference of version {VERSION}, received {version!r}\n"
                "    fix: build the images of all steps with the same version of Headrace"
            )
        return cls(**document)

    def record(self, root: str) -> ArtifactRecord | None:
        """The artifact as the runner's planning takes it; None of one that is absent."""
        if self.absent is not None:
            return None
        producer = self.manifest.get("producer", {})
        key = StepKey(
            producer.get("run", ""), producer.get("step", "imported"), "", int(producer.get("attempt", 1) or 1)
        )
        return ArtifactRecord(
            id=0,
            root=root,
            uri=self.uri,
            type=self.type,
            digest=self.digest,
            properties=self.manifest.get("properties", {}),
            links=self.manifest.get("links", {}),
            live=True,
            created=moment(self.manifest.get("created", "")),
            producer=key,
            output=producer.get("output", ""),
        )


def moment(text: str) -> datetime:
    """A time written by `datetime.isoformat`; the beginning of time where there is none."""
    return datetime.fromisoformat(text) if text else datetime.fromtimestamp(0, UTC)


def is_live(record: OutputRecord) -> bool:
    """Whether an artifact is still there with the content it was recorded with."""
    from headrace.pipelines.artifact_types import artifact_class

    manifest = Manifest(record.type, "1", record.digest, {}, dict(record.properties), dict(record.links))
    try:
        there = artifact_class(record.type)(record.uri, manifest).is_live()
        return there and read_manifest(record.uri).digest == record.digest
    except ArtifactError:
        return False


def below_root(record: OutputRecord, root: str) -> OutputRecord:
    """The record with URIs relative to the root, so that the root can be moved."""
    return _moved(record, lambda uri: storage.relative_to_root(uri, root))


def under_root(record: OutputRecord, root: str) -> OutputRecord:
    """The inverse of `below_root`."""
    return _moved(record, lambda uri: storage.resolve(uri, root))


def _moved(record: OutputRecord, change: Any) -> OutputRecord:
    from dataclasses import replace

    return replace(record, uri=change(record.uri), links=with_link_uris(record.links, change))
