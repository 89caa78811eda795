"""How far two places are from each other."""

from __future__ import annotations

import math
from typing import Any

import keras
from headrace.transforms.layers.columns_layer import ColumnsLayer, as_float64, widest

EARTH_RADIUS_KM = 6371.0088
"""The mean radius R1 of the Earth, km (Moritz, Geodetic Reference System 1980, Journal of Geodesy 74, 2000)."""


@keras.saving.register_keras_serializable(package="headrace")
class GreatCircleDistance(ColumnsLayer):
    """The distance between two places on a sphere, in km; for `preprocessing_fn`.

    Keras has no geography, scikit-learn's `haversine_distances` is outside of the graph, and the haversine formula in
    float32, in which columns come, loses places that are near each other: this computes in float64. The Earth is no
    sphere; the error is up to 0.5 %.

    A distance is missing, NaN, where a coordinate is missing or infinite, or a latitude is not from -90 to 90.
    Longitudes are periodic: 181 is -179.

    Args:
        to: Latitude and longitude of a place, degrees, from which all distances are; without it, the layer is called
            on both places.

    Call with:
        A list of latitude and longitude of the first place and those of the second (the first alone with `to`), in
        degrees, each of shape `(rows, n)` with the same n, or `(rows, 1)`.

    Returns:
        float32 of shape `(rows, n)`, km.

    Raises:
        ValueError: Another number of columns, other shapes, a `to` that is no place.
        TypeError: Called on strings.

    The formula: Sinnott, Virtues of the Haversine, Sky and Telescope 68, 1984.

    Example:
        >>> import numpy as np
        >>> latitude, longitude = np.array([[40.64], [np.nan]]), np.array([[-73.78], [0.0]])
        >>> np.round(GreatCircleDistance(to=(33.94, -118.41))([latitude, longitude]).numpy().ravel())
        array([3974.,   nan], dtype=float32)
    """

    def __init__(self, to: tuple[float, float] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if to is not None:
            if len(to) != 2 or not (-90 <= to[0] <= 90 and math.isfinite(to[1])):
                raise ValueError(
                    f"GreatCircleDistance: to is a latitude from -90 to 90 and a longitude, in degrees, received {to!r}"
                )
            to = (float(to[0]), float(to[1]))
        self.to = to

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        columns = [as_float64(column) for column in self._columns(inputs)]
        if self.to is not None:
            columns += [tf.constant(one, tf.float64) for one in self.to]
        latitude, longitude, other_latitude, other_longitude = columns
        radians = math.pi / 180
        north = tf.sin((other_latitude - latitude) * radians / 2) ** 2
        east = tf.sin((other_longitude - longitude) * radians / 2) ** 2
        share = north + tf.cos(latitude * radians) * tf.cos(other_latitude * radians) * east
        distance = 2 * EARTH_RADIUS_KM * tf.asin(tf.sqrt(tf.clip_by_value(share, 0.0, 1.0)))
        there = (tf.abs(latitude) <= 90) & (tf.abs(other_latitude) <= 90)
        there &= tf.math.is_finite(longitude) & tf.math.is_finite(other_longitude)
        return tf.cast(tf.where(there, distance, math.nan), self.compute_dtype)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        columns = self._columns(inputs)
        self._check_columns(columns, "coordinates")
        self._check_numbers(columns, "degrees, north and east positive")
        return keras.KerasTensor(widest(columns), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "to": self.to}

    def _columns(self, inputs: Any) -> list[Any]:
        columns = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        expected = 4 if self.to is None else 2
        if len(columns) != expected:
            raise ValueError(
                f"{self._said()}: expected a list of {expected} columns, latitude and longitude of "
                f"{'both places' if expected == 4 else 'a place'}, received {len(columns)}"
            )
        return columns
