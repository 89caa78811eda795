"""The standard artifact types. Each reads and writes its own payload, so no component knows another's file names."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

from headrace.pipelines import storage
from headrace.pipelines.artifact import Artifact, FileEntry, Property, artifact_classes, digest_of
from headrace.pipelines.errors import MissingExtra
from headrace.pipelines.examples import Examples


class SingleFileArtifact(Artifact):
    """An artifact whose payload is one file."""

    file: ClassVar[str]

    @classmethod
    def places_of(cls, names: Collection[str]) -> dict[str, str]:
        """One file is the payload, whatever it was called."""
        return dict.fromkeys(names, cls.file) if len(names) == 1 else super().places_of(names)


class ProtoArtifact(SingleFileArtifact):
    """An artifact whose payload is one standard message of tensorflow-metadata, as text or binary protobuf."""

    imports = ("tensorflow_metadata.proto.v0", "google.protobuf.text_format")

    proto: ClassVar[tuple[str, str]]

    @classmethod
    def message_class(cls) -> Any:
        import importlib

        module, name = cls.proto
        try:
            return getattr(importlib.import_module(module), name)
        except ImportError as error:
            raise MissingExtra("run", "tensorflow_metadata") from error

    def read(self) -> Any:
        message = self.message_class()()
        data = storage.read_bytes(storage.join(self.uri, self.file))
        if self.file.endswith(".pbtxt"):
            from google.protobuf import text_format

            return text_format.Parse(data.decode(), message)
        message.ParseFromString(data)
        return message

    def write(self, value: Any) -> None:
        if not isinstance(value, self.message_class()):
            raise TypeError(f"{self.type_name()} takes a {self.message_class().__name__}, not {type(value).__name__}")
        if self.file.endswith(".pbtxt"):
            from google.protobuf import text_format

            data = text_format.MessageToString(value).encode()
        else:
            data = value.SerializeToString(deterministic=True)
        storage.write_bytes(storage.join(self.uri, self.file), data)

    def semantic_digest(self, files: Mapping[str, FileEntry]) -> str:
        import hashlib

        return hashlib.sha256(self.read().SerializeToString(deterministic=True)).hexdigest()


class Statistics(ProtoArtifact):
    """`DatasetFeatureStatisticsList`: one dataset per split, named after it."""

    proto = ("tensorflow_metadata.proto.v0.statistics_pb2", "DatasetFeatureStatisticsList")
    file = "FeatureStats.pb"


class Schema(ProtoArtifact):
    """A `Schema` message in text form, to be read and edited by people."""

    proto = ("tensorflow_metadata.proto.v0.schema_pb2", "Schema")
    file = "schema.pbtxt"


class Anomalies(ProtoArtifact):
    """An `Anomalies` message: each feature's anomalies with the offending values."""

    proto = ("tensorflow_metadata.proto.v0.anomalies_pb2", "Anomalies")
    file = "SchemaDiff.pb"

    found = Property(int, "How many anomalies there are.")


class JsonArtifact(SingleFileArtifact):
    """An artifact whose payload is one JSON document."""

    def read(self) -> Any:
        return json.loads(storage.read_bytes(storage.join(self.uri, self.file)))

    def write(self, value: Any) -> None:
        text = json.dumps(value, indent=1, sort_keys=True, allow_nan=True)
        storage.write_bytes(storage.join(self.uri, self.file), text.encode())

    def semantic_digest(self, files: Mapping[str, FileEntry]) -> str:
        return digest_of(self.read())


class SavedModelArtifact(Artifact):
    """A folder with a TensorFlow SavedModel; two exports of one model have one digest though their bytes differ."""

    saved_model: ClassVar[str]

    @property
    def saved_model_path(self) -> Path:
        return self.path / self.saved_model

    @classmethod
    def places_of(cls, names: Collection[str]) -> dict[str, str]:
        """A bare SavedModel, such as a version that was pushed, goes where the type has its own."""
        inside = f"{cls.saved_model}/" if "saved_model.pb" in names else ""
        return {name: f"{inside}{name}" for name in names}

    def read(self) -> Any:
        """Loads the SavedModel with TensorFlow."""
        try:
            import tensorflow as tf
        except ImportError as error:
            raise MissingExtra("run", "tensorflow") from error
        return tf.saved_model.load(str(self.saved_model_path))

    def semantic_digest(self, files: Mapping[str, FileEntry]) -> str:
        if not any(name.endswith("saved_model.pb") for name in files):
            return super().semantic_digest(files)
        from headrace.pipelines.saved_model_digest import saved_model_digest

        inside = self.saved_model.rstrip("/") + "/"
        others = {name: entry.sha256 for name, entry in files.items() if not name.startswith(inside)}
        return digest_of([saved_model_digest(self.saved_model_path), others])


class TransformGraph(SavedModelArtifact):
    """raw -> features and raw -> label as one SavedModel, with each feature's dtype, shape and vocabulary beside it."""

    saved_model = "saved_model"
    engine = Property(str, "What took the state from the data: tensorflow_transform, or by default Keras layers.")

    def semantic_digest(self, files: Mapping[str, FileEntry]) -> str:
        # TensorFlow Transform's own export of the same graph, whose bytes differ from one to the next.
        own = "transform_fn/"
        digest = super().semantic_digest({name: entry for name, entry in files.items() if not name.startswith(own)})
        if own + "saved_model.pb" not in files:
            return digest
        from headrace.pipelines.saved_model_digest import saved_model_digest

        return digest_of([digest, saved_model_digest(self.path / "transform_fn")])


class Model(SavedModelArtifact):
    """An exported SavedModel that takes raw inputs, with links to its TransformGraph, Schema, Examples and label.

    The training series (loss and metrics by epoch and step) lies beside it in `training/` and is not part of its
    meaning.
    """

    saved_model = "serving"

    def semantic_digest(self, files: Mapping[str, FileEntry]) -> str:
        return super().semantic_digest(
            {name: entry for name, entry in files.items() if not name.startswith("training/")}
        )


class Evaluation(JsonArtifact):
    """Metrics overall and by slice, each with its count and confidence interval."""

    file = "evaluation.json"


class Blessing(JsonArtifact):
    """Whether a model may be pushed, and why."""

    file = "blessing.json"

    blessed = Property(bool, "Whether the model passed.")
    reason = Property(str, "One sentence: the threshold that decided.")


class InfraBlessing(Blessing):
    """Whether a model loads and answers in the server it is meant for."""


class SkewBlessing(Blessing):
    """Whether serving gives what training saw."""


class HyperParameters(JsonArtifact):
    """Chosen hyperparameters by name."""

    file = "hyperparameters.json"


class PushedModel(JsonArtifact):
    """Where a model was pushed, and as which version."""

    file = "pushed.json"

    destination = Property(str, "The folder or URL with the pushed SavedModel.")
    version = Property(int, "The version that the model server sees.")

    def is_live(self) -> bool:
        """Tells whether it is still what a model server takes: there, and the newest version."""
        if not super().is_live():
            return False
        base, _, own = self.properties.get("destination", "").rpartition("/")
        versions = sorted((int(name) for name in storage.names_in(base) if name.isdigit()), reverse=True)
        newest = (n for n in versions if storage.exists(storage.join(base, str(n), "saved_model.pb")))
        return own.isdigit() and next(newest, None) == int(own)


class RowsArtifact(Artifact):
    """Rows as Parquet files."""

    imports = ("pyarrow",)

    rows = Property(int, "How many rows.")

    def read(self) -> Any:
        """Reads all rows into one `pyarrow.Table`."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        tables = []
        for shard in self.shards():
            with storage.open_file(shard) as file:
                tables.append(pq.read_table(file))
        return pa.concat_tables(tables)

    def shards(self) -> list[str]:
        """The URIs of the Parquet files, in order."""
        return [storage.join(self.uri, name) for name, _ in storage.walk(self.uri) if name.endswith(".parquet")]


class Predictions(RowsArtifact):
    """Rows with a model's outputs."""


class QuarantinedRows(RowsArtifact):
    """Bad rows that were set aside: file, row, column, text and reason of each."""

    def take(self, file: Path) -> None:
        """Moves a Parquet file of such rows into the artifact."""
        import shutil

        shutil.move(file, self.path / "rows.parquet")


def artifact_class(name: str) -> type[Artifact]:
    """Gives the class of a type name: a standard one, or one that user code has defined by now.

    >>> artifact_class("Schema").__name__
    'Schema'
    """
    return artifact_classes().get(name, Artifact)


__all__ = [
    "Anomalies",
    "Blessing",
    "Evaluation",
    "Examples",
    "HyperParameters",
    "InfraBlessing",
    "Model",
    "Predictions",
    "PushedModel",
    "QuarantinedRows",
    "Schema",
    "SkewBlessing",
    "Statistics",
    "TransformGraph",
    "artifact_class",
]
