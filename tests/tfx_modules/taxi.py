"""In the style of TFX's taxi example: both functions in one module file, `tf.keras` as Keras 2 has it."""

from __future__ import annotations

import json

import tensorflow as tf
import tensorflow_transform as tft
from tfx import v1 as tfx
from tfx_bsl.public import tfxio

_DENSE_FLOAT_FEATURE_KEYS = ["trip_miles", "fare"]
_VOCAB_FEATURE_KEYS = ["payment_type", "company"]
_BUCKET_FEATURE_KEYS = ["pickup_latitude"]
_CATEGORICAL_FEATURE_KEYS = ["trip_start_hour"]
_LABEL_KEY = "tips"
_FARE_KEY = "fare"
_VOCAB_SIZE = 10
_OOV_SIZE = 2
_FEATURE_BUCKET_COUNT = 4


def _transformed_name(key):
    return key + "_xf"


def _fill_in_missing(x):
    """Replaces missing values of a SparseTensor, and makes it rank 1."""
    if not isinstance(x, tf.sparse.SparseTensor):
        return tf.squeeze(x, axis=1)
    default_value = "" if x.dtype == tf.string else 0
    dense = tf.sparse.to_dense(tf.SparseTensor(x.indices, x.values, [x.dense_shape[0], 1]), default_value)
    return tf.squeeze(dense, axis=1)


def preprocessing_fn(inputs):
    """tf.transform's callback."""
    outputs = {}
    for key in _DENSE_FLOAT_FEATURE_KEYS:
        outputs[_transformed_name(key)] = tft.scale_to_z_score(_fill_in_missing(inputs[key]))
    for key in _VOCAB_FEATURE_KEYS:
        outputs[_transformed_name(key)] = tft.compute_and_apply_vocabulary(
            _fill_in_missing(inputs[key]), top_k=_VOCAB_SIZE, num_oov_buckets=_OOV_SIZE, vocab_filename=key
        )
    for key in _BUCKET_FEATURE_KEYS:
        outputs[_transformed_name(key)] = tft.bucketize(_fill_in_missing(inputs[key]), _FEATURE_BUCKET_COUNT)
    for key in _CATEGORICAL_FEATURE_KEYS:
        outputs[_transformed_name(key)] = _fill_in_missing(inputs[key])
    taxi_fare = _fill_in_missing(inputs[_FARE_KEY])
    tips = _fill_in_missing(inputs[_LABEL_KEY])
    outputs[_transformed_name(_LABEL_KEY)] = tf.where(
        tf.math.is_nan(taxi_fare),
        tf.cast(tf.zeros_like(taxi_fare), tf.int64),
        tf.cast(tf.greater(tips, tf.multiply(taxi_fare, tf.constant(0.2))), tf.int64),
    )
    return outputs


def _get_tf_examples_serving_signature(model, tf_transform_output):
    model.tft_layer_inference = tf_transform_output.transform_features_layer()

    @tf.function(input_signature=[tf.TensorSpec(shape=[None], dtype=tf.string, name="examples")])
    def serve_tf_examples_fn(serialized_tf_example):
        raw_feature_spec = tf_transform_output.raw_feature_spec()
        raw_feature_spec.pop(_LABEL_KEY)
        raw_features = tf.io.parse_example(serialized_tf_example, raw_feature_spec)
        transformed_features = model.tft_layer_inference(raw_features)
        return {"outputs": model(transformed_features)}

    return serve_tf_examples_fn


def _get_transform_features_signature(model, tf_transform_output):
    model.tft_layer_eval = tf_transform_output.transform_features_layer()

    @tf.function(input_signature=[tf.TensorSpec(shape=[None], dtype=tf.string, name="examples")])
    def transform_features_fn(serialized_tf_example):
        raw_features = tf.io.parse_example(serialized_tf_example, tf_transform_output.raw_feature_spec())
        return model.tft_layer_eval(raw_features)

    return transform_features_fn


def _input_fn(file_pattern, data_accessor: tfx.components.DataAccessor, tf_transform_output, batch_size=200):
    return data_accessor.tf_dataset_factory(
        file_pattern,
        tfxio.TensorFlowDatasetOptions(batch_size=batch_size, label_key=_transformed_name(_LABEL_KEY)),
        tf_transform_output.transformed_metadata.schema,
    ).repeat()


def _build_keras_model(hidden_units):
    deep_input = {
        _transformed_name(key): tf.keras.layers.Input(name=_transformed_name(key), shape=(), dtype=tf.float32)
        for key in _DENSE_FLOAT_FEATURE_KEYS
    }
    wide_vocab_input = {
        _transformed_name(key): tf.keras.layers.Input(name=_transformed_name(key), shape=(), dtype="int32")
        for key in [*_VOCAB_FEATURE_KEYS, *_BUCKET_FEATURE_KEYS, *_CATEGORICAL_FEATURE_KEYS]
    }
    deep = tf.keras.layers.concatenate([tf.keras.layers.Reshape((1,))(one) for one in deep_input.values()])
    for units in hidden_units:
        deep = tf.keras.layers.Dense(units)(deep)
    wide = tf.keras.layers.concatenate(
        [
            tf.keras.layers.CategoryEncoding(num_tokens=24)(tf.keras.layers.Reshape((1,))(one))
            for one in wide_vocab_input.values()
        ]
    )
    output = tf.keras.layers.Dense(1, activation="sigmoid")(tf.keras.layers.concatenate([deep, wide]))
    model = tf.keras.Model({**deep_input, **wide_vocab_input}, output)
    model.compile(
        loss="binary_crossentropy",
        optimizer=tf.keras.optimizers.Adam(learning_rate=0.01),
        metrics=[tf.keras.metrics.BinaryAccuracy()],
    )
    model.summary(print_fn=print)
    return model


def run_fn(fn_args: tfx.components.FnArgs):
    """TFX Trainer's callback."""
    tf_transform_output = tft.TFTransformOutput(fn_args.transform_output)
    train_dataset = _input_fn(fn_args.train_files, fn_args.data_accessor, tf_transform_output, 40)
    eval_dataset = _input_fn(fn_args.eval_files, fn_args.data_accessor, tf_transform_output, 40)
    model = _build_keras_model(hidden_units=[fn_args.custom_config["units"], 4])
    tensorboard_callback = tf.keras.callbacks.TensorBoard(log_dir=fn_args.model_run_dir, update_freq="epoch")
    history = model.fit(
        train_dataset,
        steps_per_epoch=fn_args.train_steps,
        validation_data=eval_dataset,
        validation_steps=fn_args.eval_steps,
        callbacks=[tensorboard_callback],
    )
    signatures = {
        "serving_default": _get_tf_examples_serving_signature(model, tf_transform_output),
        "transform_features": _get_transform_features_signature(model, tf_transform_output),
    }
    model.save(fn_args.serving_model_dir, save_format="tf", signatures=signatures)
    _tell(fn_args, tf_transform_output, history)


def _tell(fn_args, tf_transform_output, history):
    """For the test: what this run_fn was given."""
    import keras

    schema = tfx.utils.parse_pbtxt_file(fn_args.schema_path, type(tf_transform_output.transformed_metadata.schema)())
    batches = fn_args.data_accessor.record_batch_factory(
        fn_args.eval_files,
        tfxio.RecordBatchesOptions(batch_size=50, num_epochs=1, shuffle=False),
        tf_transform_output.transformed_metadata.schema,
    )
    told = {
        "tf.keras": tf.keras.Model.__module__,
        "keras": keras.__version__,
        "fn_args": sorted(name for name in dir(fn_args) if not name.startswith("_")),
        "hyperparameters": dict(fn_args.hyperparameters),
        "steps": [fn_args.train_steps, fn_args.eval_steps],
        "loss": history.history["loss"],
        "schema": [feature.name for feature in schema.feature],
        "eval_rows": sum(batch.num_rows for batch in batches),
        "vocabulary": [word.decode() for word in tf_transform_output.vocabulary_by_name("payment_type")],
    }
    with tfx.dsl.io.fileio.open(f"{fn_args.model_run_dir}/told.json", "w") as file:
        file.write(json.dumps(told))
