"""In which cell of a grid over the Earth a place is."""

from __future__ import annotations

import math
from typing import Any, Literal

import keras
from headrace.transforms.layers.columns_layer import ColumnsLayer, as_float64, widest

_SMALLEST = 1e-6


@keras.saving.register_keras_serializable(package="headrace")
class GridCell(ColumnsLayer):
    """The cell of a grid of latitudes and longitudes that a place is in; for `preprocessing_fn`.

    Keras has Discretization for one axis, and no layer that makes one category of two. Geohash and S2 have libraries,
    which work outside of the graph. A cell is a token, `row/column`, for a StringLookup to learn and a Hashing to hash,
    or a number, row * columns + column, for an IntegerLookup. Rows are counted from the south pole, columns eastward
    from longitude -180; the last ones are narrower where `degrees` does not divide 180 or 360. A cell is as many km
    high everywhere, and narrower toward the poles.

    A place without a cell has `""`, or -1 (give the IntegerLookup `mask_token=-1`): where a coordinate is missing or
    infinite, or the latitude is not from -90 to 90. Longitudes are periodic: 181 is -179.

    Args:
        degrees: The size of a cell, in both directions, from 0.000001 to 180. A degree of latitude is 111 km.
        output_mode: "string" or "int".

    Call with:
        A list of latitude and longitude, degrees, each of shape `(rows, n)` with the same n, or `(rows, 1)`.

    Returns:
        string or int64 of shape `(rows, n)`.

    Raises:
        ValueError: Another size or mode, another number of columns, other shapes.
        TypeError: Called on strings.

    Example:
        >>> import numpy as np
        >>> latitude, longitude = np.array([[40.64], [40.66], [np.nan]]), np.array([[-73.78], [-73.99], [0.0]])
        >>> GridCell(0.5)([latitude, longitude]).numpy().ravel().tolist()
        [b'261/212', b'261/212', b'']
        >>> GridCell(0.1, output_mode="int")([latitude, longitude]).numpy().ravel().tolist()
        [4702662, 4702660, -1]
    """

    def __init__(self, degrees: float, *, output_mode: Literal["string", "int"] = "string", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not _SMALLEST <= degrees <= 180:
            raise ValueError(f"GridCell: degrees, a cell's size, is from {_SMALLEST} to 180, received {degrees!r}")
        if output_mode not in ("string", "int"):
            raise ValueError(f'GridCell: output_mode is "string" or "int", received {output_mode!r}')
        self.degrees, self.output_mode = float(degrees), output_mode

    @property
    def rows(self) -> int:
        """How many rows of cells there are from pole to pole."""
        return math.ceil(180 / self.degrees)

    @property
    def columns(self) -> int:
        """How many cells there are in a row."""
        return math.ceil(360 / self.degrees)

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        latitude, longitude = (as_float64(column) for column in self._columns(inputs))
        there = (tf.abs(latitude) <= 90) & tf.math.is_finite(longitude)
        # What is not there is replaced before it is cast: an integer of NaN is another one on each processor.
        latitude, longitude = tf.where(there, latitude, 0.0), tf.where(there, longitude, 0.0)
        row = tf.cast(tf.floor((latitude + 90) / self.degrees), tf.int64)
        column = tf.cast(tf.floor(tf.math.floormod(longitude + 180, 360) / self.degrees), tf.int64)
        row, column = tf.clip_by_value(row, 0, self.rows - 1), tf.clip_by_value(column, 0, self.columns - 1)
        if self.output_mode == "int":
            return tf.where(there, row * self.columns + column, tf.constant(-1, tf.int64))
        token = tf.strings.join([tf.strings.as_string(row), tf.strings.as_string(column)], "/")
        return tf.where(there, token, "")

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        columns = self._columns(inputs)
        self._check_columns(columns, "coordinates")
        self._check_numbers(columns, "degrees, north and east positive")
        return keras.KerasTensor(widest(columns), "string" if self.output_mode == "string" else "int64")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "degrees": self.degrees, "output_mode": self.output_mode}

    def _columns(self, inputs: Any) -> list[Any]:
        columns = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if len(columns) != 2:
            raise ValueError(f"{self._said()}: expected a list of latitude and longitude, received {len(columns)}")
        return columns
