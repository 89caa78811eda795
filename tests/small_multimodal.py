"""What the tests of several modalities train on: notes and a table of rides, and models that a test puts together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
from headrace.transforms.layers import JoinModalities, Present
from keras import layers, ops

SCHEMA = """
feature { name: "note" type: BYTES presence { min_fraction: 0.5 } }
feature { name: "speed" type: FLOAT presence { min_fraction: 0.5 } }
feature { name: "wind" type: FLOAT presence { min_fraction: 0.5 } }
feature { name: "wheels" type: INT presence { min_fraction: 1 } }
feature { name: "fell" type: INT presence { min_fraction: 1 } }
"""
MODALITIES = {"text": ["note"], "table": ["speed", "wind"]}
_WORDS = ["sun", "rain", "ice", "hill", "cat", "tram", "dog", "wet", "dry", "late"]


def rows(number: int, seed: int) -> pa.Table:
    """Who falls is said by the note (ice, wet) and by the speed, each alone in part."""
    random = np.random.default_rng(seed)
    words = random.integers(0, len(_WORDS), (number, 5))
    speed = random.normal(20, 6, number)
    risk = 2.2 * np.isin(words, [2, 7]).sum(axis=1) - 2.5 + 0.35 * (speed - 20)
    fell = random.random(number) < 1 / (1 + np.exp(-risk))
    notes = [" ".join(_WORDS[word] for word in row) for row in words]
    return pa.table(
        {
            "note": pa.array(notes, mask=random.random(number) < 0.1),
            "speed": pa.array(speed.astype(np.float32), mask=random.random(number) < 0.1),
            "wind": pa.array(random.normal(size=number).astype(np.float32), mask=random.random(number) < 0.1),
            "wheels": random.integers(1, 4, number),
            "fell": fell.astype(np.int64),
        }
    )


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """The note four times over, the table, what there is of either, and the label."""
    note = inputs["note"]
    length = layers.Lambda(_letters, output_shape=(1,), dtype="float32")(note)
    features = {
        "note": note,
        "bag": layers.TextVectorization(output_mode="tf_idf", ngrams=2)(note),
        "hot": layers.TextVectorization(output_mode="multi_hot")(note),
        "words": layers.TextVectorization(output_sequence_length=5)(note),
        "length": layers.Normalization(axis=None)(length),
        "has_text": Present()(note),
        "has_table": Present()([inputs["speed"], inputs["wind"]]),
        "wheels": layers.Lambda(lambda x: ops.cast(x, "float32"))(inputs["wheels"]),
        "fell": inputs["fell"],
    }
    for name in ("speed", "wind"):
        scaled = layers.Normalization(axis=None)(inputs[name])
        features[name] = layers.Lambda(lambda x: ops.where(ops.isnan(x), 0.0, x))(scaled)
    return features


def _letters(text: Any) -> Any:
    import tensorflow as tf

    return tf.cast(tf.strings.length(text), tf.float32)


def build_model(features: Any, *, dropout: float = 0.2, missing: Any = "learned") -> keras.Model:
    words = layers.Embedding(features.spec["words"].size, 4, name="embedding")(features["words"])
    bag = layers.Dense(4, name="bag_branch")(features["bag"])
    text = layers.Concatenate()([bag, layers.GlobalAveragePooling1D()(words), features["length"]])
    columns = layers.Concatenate()([features[name] for name in ("speed", "wind", "wheels")])
    vectors = {"text": text, "table": layers.Dense(4, name="table_branch")(columns)}
    joined = JoinModalities(missing=missing, dropout=dropout, name="join")(
        vectors, present={name: features[f"has_{name}"] for name in vectors}
    )
    return compiled(features, layers.Dense(1, activation="sigmoid", name="head")(joined))


def on_saved_keras(features: Any, *, pretrained: dict[str, str], frozen: bool) -> keras.Model:
    vectors = keras.models.load_model(pretrained["words"])
    vectors.trainable = not frozen
    note = features["note"]
    return compiled({"note": note}, layers.Dense(1, activation="sigmoid", name="head")(vectors(note)))


def on_saved_model(features: Any, *, pretrained: dict[str, str], frozen: bool) -> keras.Model:
    vectors = layers.TFSMLayer(pretrained["words"], call_endpoint="serve", trainable=not frozen)
    note = features["note"]
    return compiled({"note": note}, layers.Dense(1, activation="sigmoid", name="head")(vectors(note)))


def compiled(features: Any, output: Any) -> keras.Model:
    model = keras.Model(features, output)
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy", jit_compile=False)
    return model


def word_vectors(vocabulary: list[str]) -> keras.Model:
    """A small pretrained model: a text to the average of its words' vectors, with its own table of words."""
    text = keras.Input((1,), dtype="string", name="text")
    words = layers.TextVectorization(vocabulary=vocabulary, output_sequence_length=5)(text)
    vectors = layers.Embedding(len(vocabulary) + 2, 3, name="pretrained_vectors")(words)
    return keras.Model(text, layers.GlobalAveragePooling1D()(vectors))


def save_word_vectors(folder: Path) -> keras.Model:
    """Writes them as `words.keras` and as the SavedModel `words/`, trained to tell the slippery words."""
    model = word_vectors(_WORDS)
    head = keras.Model(model.input, layers.Dense(1)(model.output))
    head.compile("adam", "mse", jit_compile=False)
    texts = np.array([[word] for word in _WORDS], object)
    head.fit(keras.ops.convert_to_tensor(texts), np.isin(texts, ["ice", "wet"]).astype(float), epochs=3, verbose=0)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "words.keras")
    model.export(folder / "words", verbose=False)
    return model
