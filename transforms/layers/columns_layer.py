"""What the layers that take raw columns have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


class ColumnsLayer(keras.layers.Layer):  # type: ignore[misc]
    """Takes columns as they are: Keras would cast them to the layer's dtype, strings and large integers with them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.supports_jit = False

    def _said(self) -> str:
        return f"{type(self).__name__} layer {self.name!r}"

    def _check_columns(self, columns: Sequence[Any], what: str) -> None:
        """Raises ValueError unless each is `(rows, n)`, all of one n but for those of 1."""
        shapes = [tuple(column.shape) for column in columns]
        widths = {shape[-1] for shape in shapes if shape and shape[-1] != 1}
        if any(len(shape) != 2 or shape[1] is None for shape in shapes) or len(widths) > 1:
            raise ValueError(
                f"{self._said()}: expected {what} of shape (rows, 1), or (rows, n) of one n, received {shapes}: call "
                "it on columns, lists of a fixed length"
            )

    def _check_numbers(self, columns: Sequence[Any], repair: str) -> None:
        """Raises TypeError where one is of strings."""
        if any(keras.backend.standardize_dtype(column.dtype) == "string" for column in columns):
            raise TypeError(f"{self._said()} is called on strings; it takes numbers: {repair}")


def widest(columns: Sequence[Any]) -> tuple[int | None, int]:
    """The shape of what is computed from columns that `_check_columns` let through."""
    return columns[0].shape[0], max(column.shape[1] for column in columns)


def as_float64(column: Any) -> Any:
    """A column's numbers as float64, in which what is computed from them loses nothing."""
    import tensorflow as tf

    return tf.cast(tf.convert_to_tensor(column), tf.float64)
