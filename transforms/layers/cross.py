"""What stands together in a row, as one token."""

from __future__ import annotations

from typing import Any

import keras
from headrace.transforms.layers.columns_layer import ColumnsLayer, widest

SEPARATOR = "|"


@keras.saving.register_keras_serializable(package="headrace")
class Cross(ColumnsLayer):
    r"""One token of the values of several columns, for a StringLookup to learn; for `preprocessing_fn`.

    `keras.layers.HashedCrossing` hashes: different pairs share a bucket by chance, and nobody can tell which pair a
    bucket was. A token is exact: two rows have the same one only if all values are the same. It is written as a person
    would, `JFK|7`; where a string has a `|` or a backslash, a backslash stands before it. For more pairs than a
    vocabulary should have, use a Hashing layer behind it, or HashedCrossing.

    An integer is written as digits; a boolean as 1 or 0; a float with the digits that tell it from all others, a whole
    one like an integer (an integer column with missing values is float32), so that 3 and 3.0 are the same.

    Args:
        partial: Whether a row that lacks some of the values, not all, has a token too, with nothing in their place.
            Without, its token is `""`, which is a missing string: no lookup learns it.

    Call with:
        A list of two or more columns: strings, integers, booleans, bucket numbers, each of shape `(rows, n)` with the
        same n, or `(rows, 1)`. Missing are `""` and NaN.

    Returns:
        string of shape `(rows, n)`.

    Raises:
        ValueError: Fewer than two columns, other shapes.

    Example:
        >>> import numpy as np
        >>> origin, hour = np.array([["JFK"], ["a|b"], [""]]), np.array([[7], [8], [9]])
        >>> [token.decode() for token in Cross()([origin, hour]).numpy().ravel()]
        ['JFK|7', 'a\\|b|8', '']
        >>> Cross(partial=True)([origin, hour]).numpy()[2, 0]
        b'|9'
    """

    def __init__(self, *, partial: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.partial = partial

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        columns = [tf.convert_to_tensor(column) for column in self._columns(inputs)]
        self._check_columns(columns, "columns")
        # The width is stated, or TensorFlow forgets it, and a lookup behind this asks for it.
        shape = tf.stack([tf.shape(columns[0])[0], widest(columns)[1]])
        texts = [tf.broadcast_to(_text(column), shape) for column in columns]
        lacking = [tf.equal(text, "") for text in texts]
        of_rows = tf.reduce_all if self.partial else tf.reduce_any
        return tf.where(of_rows(tf.stack(lacking), axis=0), "", tf.strings.join(texts, SEPARATOR))

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        columns = self._columns(inputs)
        self._check_columns(columns, "columns")
        return keras.KerasTensor(widest(columns), "string")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "partial": self.partial}

    def _columns(self, inputs: Any) -> list[Any]:
        columns = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if len(columns) < 2:
            raise ValueError(f"{self._said()}: expected a list of two or more columns, received {len(columns)}")
        return columns


def _text(column: Any) -> Any:
    """Each value as text that no other value of the column has, `""` for a missing one."""
    import tensorflow as tf

    if column.dtype == tf.string:
        return tf.strings.regex_replace(column, r"([\\|])", r"\\\1")
    if column.dtype.is_floating:
        if column.dtype not in (tf.float32, tf.float64):
            column = tf.cast(column, tf.float32)
        # That many decimal digits tell every IEEE 754 number from its neighbours; adding 0 makes -0 a 0.
        digits = 9 if column.dtype == tf.float32 else 17
        text = tf.strings.as_string(column + 0, precision=digits, shortest=True)
        return tf.where(tf.math.is_nan(column), "", text)
    return tf.strings.as_string(column if column.dtype == tf.uint64 else tf.cast(column, tf.int64))
