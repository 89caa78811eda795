"""Two exports of one model have one digest; a weight, a vocabulary, a constant or a signature that differs gives
another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from headrace.pipelines.saved_model_digest import saved_model_digest

keras = pytest.importorskip("keras")


def build(vocabulary: list[str], scale: float, kernel: float, seed_names: int = 0) -> keras.Model:
    for _ in range(seed_names):
        # Shifts Keras' counters, and so every generated layer name.
        keras.layers.Dense(1)(keras.Input((1,)))
    words, number = keras.Input((1,), dtype="string", name="word"), keras.Input((1,), name="number")
    index = keras.layers.StringLookup(vocabulary=vocabulary, output_mode="one_hot")(words)
    scaled = keras.layers.Rescaling(scale)(number)
    dense = keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant(kernel))
    return keras.Model([words, number], dense(keras.layers.Concatenate()([index, scaled])))


def export(model: keras.Model, folder: Path, name: str = "serving_default") -> str:
    import tensorflow as tf

    @tf.function(
        input_signature=[tf.TensorSpec((None, 1), tf.string, "word"), tf.TensorSpec((None, 1), tf.float32, "number")]
    )
    def serve(word, number):  # type: ignore[no-untyped-def]
        return {"y": model([word, number])}

    module = tf.Module()
    module.model = model
    tf.saved_model.save(module, str(folder), signatures={name: serve})
    return saved_model_digest(folder)


def test_two_exports_of_one_model_have_one_digest(tmp_path: Path) -> None:
    model = build(["a", "b"], 2.0, 0.5)
    first, second = export(model, tmp_path / "1"), export(model, tmp_path / "2")
    rebuilt = export(build(["a", "b"], 2.0, 0.5, seed_names=3), tmp_path / "3")
    assert first == second == rebuilt
    bytes_of = [(tmp_path / n / "saved_model.pb").read_bytes() for n in "13"]
    assert bytes_of[0] != bytes_of[1], "the exports are the same bytes: this test shows nothing"


@pytest.mark.parametrize(
    ("vocabulary", "scale", "kernel", "name"),
    [
        (["a", "c"], 2.0, 0.5, "serving_default"),
        (["b", "a"], 2.0, 0.5, "serving_default"),
        (["a", "b"], 3.0, 0.5, "serving_default"),
        (["a", "b"], 2.0, float(np.nextafter(np.float32(0.5), 1)), "serving_default"),
        (["a", "b"], 2.0, 0.5, "other"),
    ],
    ids=["vocabulary", "vocabulary-order", "constant", "weight", "signature"],
)
def test_a_difference_gives_another_digest(
    tmp_path: Path, vocabulary: list[str], scale: float, kernel: float, name: str
) -> None:
    reference = export(build(["a", "b"], 2.0, 0.5), tmp_path / "1")
    assert export(build(vocabulary, scale, kernel), tmp_path / "2", name) != reference
