"""The image twice, as a vector and by a convolution, joined with what was measured in it."""

from __future__ import annotations

from typing import Any

import keras
from headrace.transforms.layers import JoinModalities
from keras import layers

DIGITS = 10


def build_model(
    features: Any, *, learning_rate: float = 2e-3, image_dropout: float = 0.1, measures_dropout: float = 0.5
) -> keras.Model:
    """Builds and compiles the classifier.

    The vector sees where ink is, the convolution what strokes there are wherever they lie. Some rows of the training
    lose their image or their measures, so that the model also learns from the one without the other.

    Args:
        features: The features of `preprocessing_fn` as KerasTensors.
        learning_rate: Of Adam.
        image_dropout: Share of rows that lose their image.
        measures_dropout: Share of rows that lose their measures.

    Returns:
        A compiled model with one output of shape (None, 10), the probability of each digit.
    """
    pixels = layers.Rescaling(1 / 255)(features["pixels"])
    vector = layers.Dense(64, activation="relu", name="vector")(layers.Flatten()(pixels))
    strokes = layers.Conv2D(32, 3, padding="same", activation="relu", name="strokes")(pixels)
    shapes = layers.Conv2D(64, 3, activation="relu", name="shapes")(layers.MaxPooling2D()(strokes))
    image = layers.Concatenate(name="tiled")([vector, layers.Flatten()(shapes)])
    measures = layers.Dense(32, activation="relu", name="measured")(features["measures"])
    joined = JoinModalities(dropout={"image": image_dropout, "measures": measures_dropout})(
        {"image": image, "measures": measures},
        present={"image": features["image_there"], "measures": features["measures_there"]},
    )
    hidden = layers.Dense(64, activation="relu")(layers.Dropout(0.3)(joined))
    digit = layers.Dense(DIGITS, activation="softmax", name="digit")(hidden)
    model = keras.Model(dict(features), digit)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=8,
        jit_compile=False,
    )
    return model
