"""In the style of TFX's penguin example: what its trainers share."""

from __future__ import annotations

import tensorflow_transform as tft

FEATURE_KEYS = ["culmen_length_mm", "body_mass_g"]
LABEL_KEY = "species"
TRAIN_BATCH_SIZE = 20


def transformed_name(key):
    return key + "_xf"


def preprocessing_fn(inputs):
    """tf.transform's callback."""
    outputs = {}
    for key in FEATURE_KEYS:
        outputs[transformed_name(key)] = tft.scale_to_z_score(inputs[key])
    outputs[transformed_name(LABEL_KEY)] = inputs[LABEL_KEY]
    return outputs
