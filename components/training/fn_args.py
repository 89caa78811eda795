"""What a `run_fn(fn_args)` gets: paths and settings under TFX's names, and the Trainer's own stream and export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.pipelines.errors import MissingExtra

if TYPE_CHECKING:
    import keras
    from headrace.components.tfx.data_accessor import DataAccessor
    from headrace.components.training.export import Interface
    from headrace.components.training.feature_source import FeatureSource
    from headrace.transforms.keras_graph import Features


@dataclass(frozen=True)
class FnArgs:
    """Arguments of a user's `run_fn`, which trains and writes a SavedModel to `serving_model_dir`.

    Every field of TFX's `FnArgs` is here under its name, so that a `run_fn` of TFX's runs unchanged.

    Attributes:
        train_files: Parquet shards of the training split, which `data_accessor` reads.
        eval_files: Those of the evaluation split.
        serving_model_dir: Where the SavedModel is to be written.
        model_run_dir: Where logs and checkpoints may be written; it is kept beside the model.
        transform_graph_path: Folder of the transform graph; `transform_output` is the same.
        eval_model_dir: Where a model for evaluation may be written; it is kept beside the model.
        working_dir: A folder of the step, gone after it.
        schema_file: The schema as text, or None; `schema_path` is the same.
        base_model: Folder of the SavedModel of `base_model=`, or None.
        epochs: Passes over the training split that the pipeline asks for.
        batch_size: Rows of a batch that it asks for.
        seed: Its seed.
        train_steps: Steps it asks for, or None for whole epochs.
        eval_steps: The same for an evaluation.
        hyperparameters: What the pipeline passes for `build_model`.
        custom_config: What else it passes.

    Example:
        >>> def run_fn(fn_args):                                                     # doctest: +SKIP
        ...     model = my_model(fn_args.features())
        ...     model.fit(fn_args.dataset("train", shuffle=True, model=model), epochs=fn_args.epochs)
        ...     fn_args.export(model)
    """

    train_files: list[str]
    eval_files: list[str]
    serving_model_dir: str
    model_run_dir: str
    transform_graph_path: str
    eval_model_dir: str = ""
    working_dir: str = ""
    schema_file: str | None = None
    base_model: str | None = None
    epochs: int = 1
    batch_size: int = 512
    seed: int = 0
    train_steps: int | None = None
    eval_steps: int | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    custom_config: Mapping[str, Any] = field(default_factory=dict)
    interface: Interface | None = None
    source: FeatureSource | None = None

    @property
    def schema_path(self) -> str | None:
        """The same as `schema_file`."""
        return self.schema_file

    @property
    def transform_output(self) -> str:
        """The same as `transform_graph_path`."""
        return self.transform_graph_path

    @property
    def data_accessor(self) -> DataAccessor:
        """TFX's way of reading: `tf_dataset_factory` and `record_batch_factory`, each of files, options and a schema.

        Raises:
            MissingExtra: TensorFlow Transform, whose libraries have the options, is not installed.
        """
        try:
            from headrace.components.tfx.data_accessor import accessor
        except ModuleNotFoundError as error:
            raise MissingExtra("tft", error.name or "tfx_bsl") from error
        return accessor(self._source.transformed, self.seed)

    def dataset(
        self, split: str, batch_size: int | None = None, *, shuffle: bool = False, model: keras.Model | None = None
    ) -> Any:
        """A split as a `tf.data.Dataset` of (features, label) or (features, label, weight), one epoch.

        Args:
            split: The split.
            batch_size: Rows of a batch; the pipeline's when None.
            shuffle: Whether to permute the rows, each epoch in its own way.
            model: The model that is fed, to get the features that it takes, arranged as it was built; all features by
                name when None.
        """
        source = self._source if model is None else self._source.for_model(model)
        return source.stream(split, batch_size or self.batch_size, shuffle=shuffle, seed=self.seed).dataset()

    def features(self) -> Features:
        """The features as KerasTensors with static shapes; `.spec[name]` has vocabulary and size."""
        return self._source.transform.feature_inputs(list(self._source.features))

    def export(self, model: keras.Model, output_names: list[str] | None = None) -> None:
        """Writes a Keras model to `serving_model_dir` with the transform inside: it takes raw columns.

        Args:
            model: The model, built on `features()`.
            output_names: Names of its outputs; the pipeline's when None.
        """
        from headrace.components.training.export import Interface, export
        from headrace.components.training.keras_file import save_keras
        from headrace.components.training.warm_start import save_weights

        training = Path(self.model_run_dir)
        interface = self.interface or Interface()
        if output_names is not None:
            interface = replace(interface, output_names=output_names)
        export(model, self._source, Path(self.serving_model_dir), training, interface)
        save_weights(model, training)
        save_keras(model, training)

    @property
    def _source(self) -> FeatureSource:
        assert self.source is not None
        return self.source
