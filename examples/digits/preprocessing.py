"""Bytes of a PNG, and numbers, to features: pixels, measures, and which of the two a row has."""

from __future__ import annotations

from typing import Any

from headrace.transforms.layers import DecodeImage, Present
from keras import layers, ops

from examples.digits.data import MEASURES


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Makes the features of a digit.

    Args:
        inputs: Raw column -> tensor of shape (rows, 1): the bytes of an image, numbers, NaN where one is missing.

    Returns:
        pixels: uint8 of shape (rows, 8, 8, 1), zeros for a missing image.
        measures: float32 of shape (rows, 8), of mean 0 and deviation 1, with 0 for a missing one.
        image_there, measures_there: 1 or 0, of shape (rows, 1).
        digit: The label.
    """
    measures = layers.Concatenate()([layers.Normalization(axis=None)(inputs[name]) for name in MEASURES])
    return {
        "pixels": DecodeImage(8, 8, channels=1)(inputs["image"]),
        "measures": layers.Lambda(lambda x: ops.where(ops.isnan(x), 0.0, x))(measures),
        "image_there": Present()(inputs["image"]),
        "measures_there": Present()([inputs[name] for name in MEASURES]),
        "digit": inputs["digit"],
    }
