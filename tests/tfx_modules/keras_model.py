"""A model of Keras 3 on features of TensorFlow Transform; importing neither it nor TFX, it runs in the usual worker."""

from __future__ import annotations

import keras


def build_model(features):
    """A dense network over every feature."""
    inputs = [keras.layers.Reshape((1,))(keras.ops.cast(one, "float32")) for one in features.values()]
    output = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Concatenate()(inputs))
    model = keras.Model(dict(features), output)
    model.compile(optimizer="adam", loss="binary_crossentropy")
    return model
