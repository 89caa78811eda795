"""Raw columns of `query.sql` -> features, in stock Keras layers.

Nobody calls `adapt`: the Transform component finds the layers that need data and computes their state over the train
split. Missing is NaN for floats and nullable ints. A Normalization leaves it out of its moments and passes it on, so
that it can be set to 0, the mean, afterwards.
"""

from __future__ import annotations

import math
from typing import Any

from keras import layers, ops

Tensors = dict[str, Any]

WEATHER = ("temp", "dewp", "humid", "wind_speed", "pressure", "visib")
SKEWED_WEATHER = ("wind_gust", "precip")


def preprocessing_fn(inputs: Tensors) -> Tensors:
    """Makes the features of a flight.

    Args:
        inputs: Raw column -> tensor of shape (rows, 1).

    Returns:
        Feature -> tensor of shape (rows, 1), and the label `late`. A name that ends in `_id` or `_cross` is an integer
        id; everything else is a float32 of the order of 1, with 0 where the value is missing.
    """
    return {**_place(inputs), **_time(inputs), **_weather(inputs), **_airline(inputs), "late": inputs["late"]}


def _place(inputs: Tensors) -> Tensors:
    """Scaled coordinates, the euclidean distance between them, and a cross of the destination's area."""
    known = layers.Lambda(lambda x: ops.cast(~ops.isnan(x), "int32"))(inputs["dest_lat"])
    origin_lat = layers.Lambda(lambda x: (x - 18.0) / 44.0)(inputs["origin_lat"])
    origin_lon = layers.Lambda(lambda x: (x + 158.0) / 90.0)(inputs["origin_lon"])
    dest_lat = layers.Lambda(lambda x: (x - 18.0) / 44.0)(inputs["dest_lat"])
    dest_lon = layers.Lambda(lambda x: (x + 158.0) / 90.0)(inputs["dest_lon"])
    euclidean = layers.Lambda(lambda x: ops.sqrt((x[2] - x[0]) ** 2 + (x[3] - x[1]) ** 2))(
        [origin_lat, origin_lon, dest_lat, dest_lon]
    )
    # Discretization puts NaN in its last bin, so an unknown place gets a bin of its own, 0.
    lat_bin = layers.Lambda(lambda x: (x[0] + 1) * x[1])([layers.Discretization(num_bins=8)(inputs["dest_lat"]), known])
    lon_bin = layers.Discretization(num_bins=8)(inputs["dest_lon"])
    return {
        "dest_lat_scaled": _zero_if_missing(dest_lat),
        "dest_lon_scaled": _zero_if_missing(dest_lon),
        "euclidean": _zero_if_missing(euclidean),
        "dest_known": layers.Lambda(lambda x: ops.cast(x, "float32"))(known),
        "distance_scaled": layers.Normalization(axis=None)(layers.Lambda(lambda x: ops.log1p(x))(inputs["distance"])),
        "area_cross": layers.HashedCrossing(num_bins=128)((lat_bin, lon_bin)),
    }


def _time(inputs: Tensors) -> Tensors:
    """Hour of day and weekday as ids, their cross, and the time of day as a number and as a point on a circle."""
    hour = layers.Lambda(lambda hhmm: hhmm // 100)(inputs["sched_dep_time"])
    departure = layers.Lambda(_minutes)(inputs["sched_dep_time"])
    arrival = layers.Lambda(_minutes)(inputs["sched_arr_time"])
    return {
        "hour_id": layers.IntegerLookup()(hour),
        "weekday_id": layers.IntegerLookup()(inputs["weekday"]),
        "departure_scaled": layers.Rescaling(1.0 / 720.0, offset=-1.0)(departure),
        "arrival_scaled": layers.Rescaling(1.0 / 720.0, offset=-1.0)(arrival),
        "departure_sin": layers.Lambda(lambda x: ops.sin(x * (math.pi / 720.0)))(departure),
        "departure_cos": layers.Lambda(lambda x: ops.cos(x * (math.pi / 720.0)))(departure),
        "hour_weekday_cross": layers.HashedCrossing(num_bins=512)((hour, inputs["weekday"])),
    }


def _weather(inputs: Tensors) -> Tensors:
    """Normalised weather of the hour before, the wind as a vector, a cross, and what was not observed."""
    features: Tensors = {}
    for name in WEATHER:
        features[f"{name}_scaled"] = _zero_if_missing(layers.Normalization(axis=None)(inputs[name]))
    for name in SKEWED_WEATHER:
        logarithm = layers.Lambda(lambda x: ops.log1p(100.0 * x))(inputs[name])
        features[f"{name}_scaled"] = _zero_if_missing(layers.Normalization(axis=None)(logarithm))
    for name in ("temp", "wind_gust", "pressure"):
        features[f"{name}_missing"] = layers.Lambda(lambda x: ops.cast(ops.isnan(x), "float32"))(inputs[name])
    # Degrees are integers, and floats where one is missing: Rescaling takes both.
    wind = [layers.Rescaling(math.pi / 180.0)(inputs["wind_dir"]), inputs["wind_speed"]]
    east = layers.Lambda(lambda x: x[1] * ops.sin(x[0]) / 20.0)(wind)
    north = layers.Lambda(lambda x: x[1] * ops.cos(x[0]) / 20.0)(wind)
    humid_bin = layers.Discretization(num_bins=10)(inputs["humid"])
    visib_bin = layers.Discretization(bin_boundaries=[1.0, 3.0, 6.0, 9.0])(inputs["visib"])
    return {
        **features,
        "wind_east": _zero_if_missing(east),
        "wind_north": _zero_if_missing(north),
        "humid_visib_cross": layers.HashedCrossing(num_bins=128)((humid_bin, visib_bin)),
    }


def _airline(inputs: Tensors) -> Tensors:
    """Carrier, origin and destination as ids, and the cross of carrier and origin."""
    return {
        "carrier_id": layers.StringLookup()(inputs["carrier"]),
        "origin_id": layers.StringLookup()(inputs["origin"]),
        "dest_id": layers.StringLookup()(inputs["dest"]),
        "carrier_origin_cross": layers.HashedCrossing(num_bins=128)((inputs["carrier"], inputs["origin"])),
    }


def _minutes(hhmm: Any) -> Any:
    """1545, a quarter to four, -> 945 minutes after midnight."""
    return ops.cast((hhmm // 100) * 60 + hhmm % 100, "float32")


def _zero_if_missing(x: Any) -> Any:
    return layers.Lambda(lambda x: ops.where(ops.isnan(x), 0.0, x))(x)
