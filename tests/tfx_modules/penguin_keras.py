"""In the style of TFX's penguin example: trained on raw rows, which the transform layer transforms as they are read."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft
from penguin_base import FEATURE_KEYS, LABEL_KEY, TRAIN_BATCH_SIZE, preprocessing_fn, transformed_name  # noqa: F401
from tensorflow import keras
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.components.trainer.fn_args_utils import DataAccessor, FnArgs
from tfx.utils import io_utils
from tfx_bsl.tfxio import dataset_options


def _input_fn(file_pattern, data_accessor: DataAccessor, schema, transform_layer, batch_size):
    dataset = data_accessor.tf_dataset_factory(
        file_pattern, dataset_options.TensorFlowDatasetOptions(batch_size=batch_size), schema
    )

    def apply_transform(raw_features):
        transformed = dict(transform_layer(raw_features))
        label = transformed.pop(transformed_name(LABEL_KEY))
        return transformed, label

    return dataset.map(apply_transform).repeat()


def _build_keras_model():
    inputs = [keras.layers.Input(shape=(1,), name=transformed_name(f)) for f in FEATURE_KEYS]
    d = keras.layers.concatenate(inputs)
    d = keras.layers.Dense(8, activation="relu")(d)
    outputs = keras.layers.Dense(3, activation="softmax")(d)
    model = keras.Model(inputs=inputs, outputs=outputs)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-2),
        loss="sparse_categorical_crossentropy",
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    return model


def run_fn(fn_args: FnArgs):
    """Trains a model on raw rows."""
    tf_transform_output = tft.TFTransformOutput(fn_args.transform_graph_path)
    schema = io_utils.parse_pbtxt_file(fn_args.schema_path, schema_pb2.Schema())
    layer = tf_transform_output.transform_features_layer()
    train_dataset = _input_fn(fn_args.train_files, fn_args.data_accessor, schema, layer, TRAIN_BATCH_SIZE)
    eval_dataset = _input_fn(fn_args.eval_files, fn_args.data_accessor, schema, layer, TRAIN_BATCH_SIZE)
    model = _build_keras_model()
    model.fit(
        train_dataset,
        steps_per_epoch=fn_args.train_steps,
        validation_data=eval_dataset,
        validation_steps=fn_args.eval_steps,
        verbose=2,
    )
    model.tft_layer = tf_transform_output.transform_features_layer()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(serialized):
        spec = tf_transform_output.raw_feature_spec()
        spec.pop(LABEL_KEY)
        return {"outputs": model(model.tft_layer(tf.io.parse_example(serialized, spec)))}

    model.save(fn_args.serving_model_dir, save_format="tf", signatures={"serving_default": serve})
