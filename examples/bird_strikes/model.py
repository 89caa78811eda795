"""The model: a branch for the remarks, a branch for the table, joined so that a report may lack either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import keras
from headrace.transforms.layers import JoinModalities
from keras import layers


class Features(Protocol):
    """What a Trainer gives to `build_model`: feature -> KerasTensor, and what is known of each."""

    spec: Any

    def __getitem__(self, name: str) -> Any: ...
    def items(self) -> Any: ...


def build_model(
    features: Features,
    *,
    modalities: Sequence[str] = ("text", "table"),
    units: int = 32,
    embedding: int = 16,
    modality_dropout: float = 0.1,
    bag_dropout: float = 0.5,
    dropout: float = 0.3,
    learning_rate: float = 2e-3,
) -> keras.Model:
    """Builds and compiles the classifier.

    Args:
        features: Feature -> KerasTensor.
        modalities: "text", "table" or both: what the model is given.
        units: Length of each branch's vector.
        embedding: Length of a word's vector.
        modality_dropout: Share of the reports that lose a modality in a training step, so that the model learns to do
            without. None where there is but one.
        bag_dropout: Share of the bag's words that a training step leaves out.
        dropout: Share of the joined vector that a training step sets to 0.
        learning_rate: Of Adam.

    Returns:
        A compiled model with one output of shape (None, 1), the probability that the flight was changed.
    """
    branches = {
        "text": lambda: _text(features, units, embedding, bag_dropout),
        "table": lambda: _table(features, units),
    }
    vectors = {name: branches[name]() for name in modalities}
    joined = JoinModalities(missing="learned", dropout=modality_dropout if len(vectors) > 1 else 0.0)(
        vectors, present={name: features[f"has_{name}"] for name in vectors}
    )
    x = layers.Dense(units, activation="relu")(layers.Dropout(dropout)(joined))
    probability = layers.Dense(1, activation="sigmoid", name="changed_probability")(x)
    used = {f"has_{name}": features[f"has_{name}"] for name in vectors}
    used |= {name: x for name, x in features.items() if name.startswith(tuple(f"{one}_" for one in vectors))}
    model = keras.Model(used, probability)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="binary_crossentropy",
        metrics=[keras.metrics.AUC(name="auc"), keras.metrics.BinaryCrossentropy(name="log_loss")],
        jit_compile=False,
    )
    return model


def _text(features: Features, units: int, embedding: int, bag_dropout: float) -> Any:
    """Bag of words, average of the words' vectors, and length."""
    words = layers.Embedding(features.spec["text_words"].size, embedding, mask_zero=True)(features["text_words"])
    average = layers.GlobalAveragePooling1D()(words)
    bag = layers.Dense(units, activation="relu")(layers.Dropout(bag_dropout)(features["text_bag"]))
    return layers.Concatenate(name="text")([bag, average, features["text_length"]])


def _table(features: Features, units: int) -> Any:
    """Everything in one row, through one layer."""
    columns = layers.Concatenate()([x for name, x in sorted(features.items()) if name.startswith("table_")])
    return layers.Dense(units, activation="relu", name="table")(columns)
