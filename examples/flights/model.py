"""The demo's model: an embedding of each id and cross beside the numbers, in a small dense network."""

from __future__ import annotations

from typing import Any, Protocol

import keras
import numpy as np
from keras import layers

WEATHER_FEATURES = ("temp", "dewp", "humid", "wind", "precip", "pressure", "visib")


class Features(Protocol):
    """What a Trainer gives to `build_model`: feature -> KerasTensor of shape (None, 1), and what is known of each."""

    spec: Any

    def items(self) -> Any: ...


def build_model(
    features: Features,
    *,
    learning_rate: float = 2e-3,
    decay_steps: int = 478,
    units: int = 64,
    embedding: int = 8,
    dropout: float = 0.1,
    weather: bool = True,
    steps_per_execution: int = 16,
) -> keras.Model:
    """Builds and compiles the classifier.

    Args:
        features: Feature -> KerasTensor of shape (None, 1). `features.spec[name].size` is the number of ids of an
            integer feature (vocabulary or hash bins) and None for a number.
        learning_rate: Of Adam, at the first step; it falls to 5 % of this along a half cosine.
        decay_steps: Steps over which it falls: 478 is one epoch of January to September at 512 flights a step.
        units: Width of the first dense layer; the second has half of it.
        embedding: Length of the vector of an id.
        dropout: Share of the inputs of both dense layers that a training step sets to 0.
        weather: False trains on the schedule alone, which is not good enough to be blessed.
        steps_per_execution: Steps from one return to Python to the next; the weights are the same for any number.

    Returns:
        A compiled model with one output of shape (None, 1), the probability that the flight is late.
    """
    used = {n: x for n, x in features.items() if weather or not n.startswith(WEATHER_FEATURES)}
    ids = {n: x for n, x in used.items() if features.spec[n].size is not None}
    sizes = [features.spec[n].size for n in ids]
    # One table for all ids, each in its own range: a step then has one lookup and one update in place of eight.
    first = np.cumsum([0, *sizes[:-1]])
    vectors = layers.Embedding(sum(sizes), embedding, name="embedding")(layers.Concatenate()([*ids.values()]) + first)
    numbers = [x for n, x in used.items() if n not in ids]
    x = layers.Concatenate()([*numbers, layers.Flatten()(vectors)])
    for width in (units, units // 2):
        x = layers.Dense(width, activation="relu")(layers.Dropout(dropout)(x))
    probability = layers.Dense(1, activation="sigmoid", name="late_probability")(x)

    model = keras.Model(used, probability)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps, alpha=0.05)
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="binary_crossentropy",
        metrics=[keras.metrics.AUC(name="auc"), keras.metrics.BinaryCrossentropy(name="log_loss")],
        steps_per_execution=steps_per_execution,
        jit_compile=False,  # on a CPU, XLA compiles this network for longer than it trains
    )
    return model
