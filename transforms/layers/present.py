"""Whether a row has a modality, from its raw columns."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="headrace")
class Present(keras.layers.Layer):  # type: ignore[misc]
    """1 where any of the columns has a value in the row, 0 where all are missing; for `preprocessing_fn`.

    What stands for a missing value is what the feature model says (docs/feature-model.md): a text of no characters, an
    image of no bytes, a number that is NaN. So an integer that has a default in the schema, or none missing, is always
    there. A list has a value where one of its elements has.

    A Lambda would do, but Keras cannot find the shape of what it makes of strings.

    Call with:
        One column, or a list of columns, each of shape `(rows, n)`.

    Returns:
        float32 of shape `(rows, 1)`.

    Example:
        >>> import numpy as np
        >>> age, weight = np.array([[31.0], [np.nan]]), np.array([[np.nan], [np.nan]])
        >>> Present()([age, weight]).numpy().ravel().tolist()
        [1.0, 0.0]
    """

    def __init__(self, **kwargs: Any) -> None:
        # A default dtype would turn what a client sends into it, int64 into float32 for one.
        super().__init__(**{"autocast": False, **kwargs})

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        found = [_has_value(tf.convert_to_tensor(column)) for column in _columns(inputs)]
        return tf.cast(tf.reduce_any(tf.concat(found, axis=1), axis=1, keepdims=True), tf.float32)

    def compute_output_spec(self, inputs: Any) -> Any:
        columns = _columns(inputs)
        wrong = [tuple(column.shape) for column in columns if len(column.shape) != 2]
        if wrong or not columns:
            raise ValueError(
                f"Present layer {self.name!r}: expected columns of shape (rows, n), received {wrong or 'none'}: call "
                "it on raw columns"
            )
        return keras.KerasTensor((columns[0].shape[0], 1), "float32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "autocast": False}


def _columns(inputs: Any) -> list[Any]:
    return list(inputs) if isinstance(inputs, list | tuple) else [inputs]


def _has_value(column: Any) -> Any:
    import tensorflow as tf

    if column.dtype == tf.string:
        return tf.not_equal(column, "")
    if column.dtype.is_floating:
        return tf.logical_not(tf.math.is_nan(column))
    return tf.ones_like(column, tf.bool)
