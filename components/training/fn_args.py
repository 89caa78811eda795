"""What a `run_fn(fn_args)` gets: paths and settings under TFX's names, and the stream and export that the Trainer itself uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class FnArgs:
    """Arguments of a user's `run_fn`, which trains and writes a SavedModel to `serving_model_dir`.

    Attributes:
        train_files, eval_files: Parquet shards of the training and evaluation split.
        schema_path: The schema as text, or None.
        transform_output: Folder of the transform graph.
        serving_model_dir: Where the SavedModel is to be written.
        model_run_dir: Where logs and checkpoints may be written.
        train_steps, eval_steps: Steps asked for, or None for whole epochs.
        hyperparameters: What the pipeline passes for `build_model`.
        custom_config: What else it passes.
        source: The features, for `dataset`.
    """

    train_files: list[str]
    eval_files: list[str]
    serving_model_dir: str
    model_run_dir: str
    transform_output: str
    schema_path: str | None = None
    train_steps: int | None = None
    eval_steps: int | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    custom_config: Mapping[str, Any] = field(default_factory=dict)
    source: Any = None
    seed: int = 0
    splits: tuple[str, str] = ("train", "eval")

    def dataset(self, split: str, batch_size: int = 512, *, shuffle: bool = False) -> Any:
        """A split as a `tf.data.Dataset` of (features, label) or (features, label, weight), one epoch."""
        stream = self.source.stream(split, batch_size, shuffle=shuffle, seed=self.seed)
        return stream.dataset(self.source.packer())

    def features(self) -> Any:
        """The features as KerasTensors with static shapes; `.spec[name]` has vocabulary and size."""
        return self.source.transform.feature_inputs(list(self.source.features))

    def export(self, model: Any, output_names: list[str] | None = None) -> None:
        """Writes a Keras model to `serving_model_dir` with the transform inside: it takes raw columns."""
        from headrace.transforms.keras_graph import export_serving_model

        export_serving_model(model, self.source.transform, self.serving_model_dir, output_names=output_names)
